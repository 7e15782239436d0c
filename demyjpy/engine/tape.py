"""The tape: what happened on a connection, by reference, for watchers.

A watched connection writes down what it hears, what each handler returned, and what it answers.
Nothing is decoded, formatted or copied for that, and nothing is locked. Between two cuts lies a
`Stretch`: all that came either on the hot path or in turns. The watchers get each stretch when it
is cut. Metrics and the explain line read it as it is; a watcher that wants every step lets the pure
engine play the stretches again (`demyjpy.engine.playback`).

A stretch ends with its message, when a handler fails, when the way through the engine changes, and when
it is long: a tape holds no more than its share, and one read. What may be kept longer than a message is
`Stretch.outline`: it holds no contexts, which hold bodies and whatever else a filter puts there.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from math import isnan, nan
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from attrs import evolve, frozen

from demyjpy.engine.connection import Connection, Step
from demyjpy.engine.letters import BODY, BODYEOB, HEADER
from demyjpy.engine.macros import NO_MACROS, Macros
from demyjpy.engine.open_questions import Learned
from demyjpy.engine.phases import IN_MESSAGE
from demyjpy.engine.told_questions import weight_of_told
from demyjpy.errors import HandlerError
from demyjpy.findings import findings_in, take_findings
from demyjpy.handlers import default_event_handler
from demyjpy.registry import Handler
from demyjpy.wire.framing import join_frame

LONGEST: Final = 64 << 10
"""Bytes of a stretch, except for one read: one that is longer is cut."""

ENTRY: Final = 1 << 10
"""Bytes that an entry counts besides those that were heard."""

_OF_LIBRARY: Final = frozenset({"options", "define_macros"})
LONGEST_PACKET: Final = 1 << 24
"""Bytes; what was taken from the MTA is not longer, so it can be joined to a frame again."""


@frozen
class HangUp:
    """The peer was gone, or was left; ``outcomes``: so many handlers of the stretch had returned."""

    outcomes: int


_NO_NUMBERS: Final = array("d")
_NO_RESULTS: Final[Mapping[int, Any]] = MappingProxyType({})

Heard: TypeAlias = bytes | int | HangUp
"""Whole packets; or the size of a body packet that is not kept; or the end of the connection."""


Outcome: TypeAlias = tuple[Handler[Any] | None, Any, float | None]
"""A handler (None: ``on_error``), what it returned or raised, and what that took, in seconds.

That is a context, an exception, or None for the context that it was given; if no contexts are kept,
`Queued` replaces a context. What ``asking=`` gave is a tuple of `Ask`, an answer is a `Learned`:
see `demyjpy.engine.question_flow`. None of them holds a `Message`.
"""


def is_on_tapes(handler: Handler[Any]) -> bool:
    """Whether what a handler returns is on tapes: what the library does of itself is not."""
    return handler.function is not default_event_handler or handler.event not in _OF_LIBRARY


class Queued(NamedTuple):
    """In place of a context: what a handler queued in it, its findings, ``macros`` if it defines these.

    ``findings`` are all that the context has; None if these are the findings of the context before.
    """

    queue: Any
    macros: Macros | None = None
    findings: tuple[Any, ...] | None = None


class Stretch(NamedTuple):
    """What happened on a connection between two cuts of its tape.

    ``opened`` is the connection as it began: all its stretches are played again from there. ``heard``
    is what came, ``times`` when (seconds since 1970, one for each of ``heard``), ``left`` what was
    answered. ``handlers`` are those that ran, ``took`` the seconds of each (NaN: it was not timed);
    ``results`` is what they returned, by their place, if it was not the context that they were given.
    ``turned`` are the steps of turns, without those of macros; None for the hot path. They are of
    another session if the stretch ``repeats`` that of another one. ``received`` is the bytes of header
    and body that came. At the end of a message on the hot path ``ends_message`` is set, and ``answer``
    is the answer to the MTA, empty if it gave the message up. ``macros`` are those in force at the end
    of the stretch; ``is_open``: a message is open there; ``is_over``: the connection has ended.
    """

    opened: Connection
    heard: tuple[Heard, ...]
    times: "array[float]"
    handlers: tuple[Handler[Any] | None, ...]
    took: "array[float]"
    results: Mapping[int, Any]
    left: tuple[bytes, ...]
    turned: tuple[Step, ...] | None
    macros: Macros = NO_MACROS
    received: int = 0
    ends_message: bool = False
    answer: tuple[Any, ...] = ()
    is_open: bool = False
    is_over: bool = False
    repeats: "Stretch | None" = None

    @property
    def session(self) -> str:
        """The name of the session."""
        return self.opened.session

    @property
    def steps(self) -> tuple[Step, ...] | None:
        """The steps of turns, as those of this session; None for the hot path."""
        if self.repeats is None or not self.turned:
            return self.turned
        return tuple([evolve(step, session=self.opened.session) for step in self.turned])

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What handlers returned, and what that took."""
        took = [None if isnan(one) else one for one in self.took]
        results = map(self.results.get, range(len(took)))
        return tuple(zip(self.handlers, results, took, strict=True))

    def with_outcomes(self, outcomes: Sequence[Outcome]) -> "Stretch":
        """The same if handlers had returned that."""
        return self._replace(
            handlers=tuple([handler for handler, _, _ in outcomes]),
            took=array("d", [nan if took is None else took for _, _, took in outcomes]),
            results={at: result for at, (_, result, _) in enumerate(outcomes) if result is not None},
        )

    def outline(self) -> "Stretch":
        """The same without contexts, which hold bodies and whatever else a filter puts there.

        Nor has it what was answered, nor macros: that follows when it is played.
        """
        results = self.results
        if results:
            results = {at: outlined(self.handlers[at], result) for at, result in results.items()}
        return Stretch(
            self.opened,
            self.heard,
            self.times,
            self.handlers,
            self.took,
            results,
            (),
            None if self.turned is None else (),
            NO_MACROS,
            self.received,
            self.ends_message,
            (),
            self.is_open,
            self.is_over,
        )


def outlined(handler: Handler[Any] | None, result: Any) -> Any:
    """What is kept of what a handler returned: what it queued, or the name and text of an error.

    The context of a negotiation stays, which decides what is agreed: no mail has come by then.
    """
    if result is None or isinstance(result, tuple | Learned):  # queued, asked, learned
        return result
    if isinstance(result, Exception):
        return as_told(result)
    event = None if handler is None else handler.event
    if event == "options":
        return result
    queue = result.get("queue", ())
    if queue and handler is not None and "findings" in result and findings_in(queue):
        with suppress(HandlerError):  # too many: that was found when it happened
            result = take_findings(result, handler.filter or handler.name, handler.event)
            queue = result.get("queue", ())
    found = result.get("findings") or None
    if event != "define_macros":
        return Queued(queue, None, found)
    macros = result.get("macros")
    return Queued(queue, macros if isinstance(macros, Macros) else None, found)


def as_told(error: Exception) -> Exception:
    """An exception of the same name that says the same, and holds nothing else."""
    try:
        text = str(error)
    except Exception as problem:  # noqa: BLE001  # the exception is the user's
        text = f"<str failed: {type(problem).__name__}>"
    told: Exception = type(type(error).__name__, (Exception,), {})(text)
    return told


def learned_in(results: Iterable[Any]) -> list[Learned]:
    """The answers that came, among what is on a tape."""
    return [result for result in results if isinstance(result, Learned)]


@runtime_checkable
class Watcher(Protocol):
    """Who reads tapes. ``keeps_bodies``: whether the bytes of bodies, and contexts, are wanted on them.

    If all watchers of a server have an attribute ``wants_packets`` that is false, what comes on the hot
    path is not on its tapes: `Stretch.heard` is empty there.

    `read` is called with every stretch, in the thread that serves the connection: whatever takes long
    belongs elsewhere. Threads may call it at the same time, for one session one after the other.
    """

    keeps_bodies: bool

    def read(self, stretch: Stretch) -> None:
        """Take a stretch."""


class Tape:
    """The tape of one connection.

    ``read`` takes the stretches; ``share`` says how many bytes the next one may have. ``clock`` times
    handlers (seconds from any beginning), ``wall`` what comes (seconds since 1970).
    """

    __slots__ = (
        "__weakref__",
        "_is_turned",
        "_read",
        "_share",
        "clock",
        "counted",
        "handlers",
        "heard",
        "is_lean",
        "is_silent",
        "left",
        "opened",
        "received",
        "results",
        "room",
        "steps",
        "times",
        "took",
        "wall",
    )

    def __init__(
        self,
        read: Callable[[Stretch], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
        *,
        keeps_bodies: bool = True,
        keeps_packets: bool = True,
        share: Callable[[], int] = lambda: LONGEST,
    ) -> None:
        self._read, self._share = read, share
        self.clock, self.wall = clock, wall
        self.is_lean = not keeps_bodies
        self.is_silent = not keeps_packets
        """The hot path does not write down what came: nobody reads it."""
        self.opened: Connection | None = None
        self.heard: list[Heard] = []
        self.times = _NO_NUMBERS[:]
        self.handlers: list[Handler[Any] | None] = []
        self.took = _NO_NUMBERS[:]
        self.results: dict[int, Any] = {}
        self.left: list[bytes] = []
        self.steps: list[Step] = []
        self.counted = 0
        """Bytes of the message that stretches of the hot path before this one have."""
        self.received = 0
        """Bytes of header and body that turns have taken."""
        self.room = share()
        """Bytes that may still come before the stretch is cut."""
        self._is_turned = False

    # ------------------------------------------------------------------------------------- turns
    def hear_packet(self, letter: int, payload: bytes, time: float | None = None) -> float:
        """A turn takes a packet; when that was. ``time``: if the hot path has begun with it before."""
        if self.is_lean and letter == BODY:
            self.room -= len(payload)  # which a step holds until the stretch is cut
            return self.hear(len(payload), time)
        if self.is_lean and letter == BODYEOB and payload:
            payload = bytes(len(payload))
        return self.hear(join_frame(letter, payload, limit=LONGEST_PACKET), time)

    def hear(self, heard: Heard, time: float | None = None) -> float:
        """In a turn: more was heard; when that was."""
        time = self.wall() if time is None else time
        self.heard.append(heard)
        self.times.append(time)
        self.room -= ENTRY + (len(heard) if isinstance(heard, bytes) else 0)
        return time

    def hang_up(self) -> float:
        """The connection ends from outside, or for what cannot be kept as a packet; when that was."""
        return self.hear(HangUp(len(self.handlers)))

    def receive(self, letter: int, payload: bytes) -> None:
        """A turn has an event of this packet; the hot path counts for itself."""
        if letter in (HEADER, BODY):
            self.received += len(payload) + (letter == HEADER)

    def note(self, handler: Handler[Any] | None, result: Any, duration: float | None = None) -> None:
        """A handler has returned, or ``on_error`` has (no ``handler``)."""
        if self.is_lean:
            result = outlined(handler, result)
        if result is not None:
            self.results[len(self.handlers)] = result
        self.handlers.append(handler)
        self.took.append(nan if duration is None else duration)
        self.room -= ENTRY + weight_of_told(result)

    def repeat(self, stretch: Stretch, connection: Connection) -> None:
        """The stretch of another connection that began like this one has happened here, too."""
        self.opened = connection
        self._read(
            Stretch(
                connection,
                stretch.heard,
                _NO_NUMBERS[:] if self.is_silent else array("d", [self.wall()]) * len(stretch.times),
                (),
                _NO_NUMBERS,
                _NO_RESULTS,
                stretch.left,
                stretch.turned,
                stretch.macros,
                is_over=stretch.is_over,
                repeats=stretch,
            )
        )

    def take_over(self, stretch: Stretch) -> None:
        """A stretch of another tape of this connection has happened here."""
        self.opened = stretch.opened
        self._read(stretch)

    def begin_turns(self, connection: Connection) -> None:
        """What comes now is not on the hot path; connection is what holds before."""
        if self.opened is None:
            self.opened = connection
        if not self._is_turned:
            self.cut_as_of(connection)
            self._is_turned = True

    def end_turn(self, connection: Connection) -> None:
        """A turn is over, and this is what holds. Its message may be, too, or the stretch be long."""
        is_in_message = connection.scope.phase in IN_MESSAGE or connection.call is not None
        if not is_in_message or connection.troubles or connection.is_closed or self.room < 0:
            self.cut_as_of(connection)

    # -------------------------------------------------------------------------------------- cuts
    def begin_hot_path(self, connection: Connection) -> None:
        """What comes now is on the hot path."""
        if self._is_turned:
            self.cut_as_of(connection)
            self._is_turned = False

    def cut_as_of(self, connection: Connection, *, is_open: bool = False) -> None:
        """Cut between two reads. ``is_open``: a message is, though that is not seen from its phase."""
        scope = connection.scope
        received = scope.counts.headers + scope.counts.size
        is_open = is_open or scope.phase in IN_MESSAGE
        self.cut(scope.macros, received, is_open=is_open, is_over=connection.is_closed)

    def cut(
        self,
        macros: Macros,
        received: int,
        answer: tuple[Any, ...] | None = None,
        *,
        is_open: bool = False,
        is_over: bool = False,
    ) -> None:
        """Cut here. ``received``: bytes of the message so far; ``answer``: given at its end."""
        heard, steps = self.heard, self.steps
        handlers, left, results = self.handlers, self.left, self.results
        new = self.received if self._is_turned else received - self.counted
        if self.opened is not None and (heard or steps or handlers or left or new or answer is not None):
            stretch = Stretch(
                self.opened,
                (*heard,),
                self.times[:],
                (*handlers,),
                self.took[:],
                {**results} if results else _NO_RESULTS,
                (*left,),
                (*steps,) if self._is_turned else None,
                macros,
                new,
                answer is not None,
                answer or (),
                is_open,
                is_over,
            )
            # the lists stay the same: the hot path holds them
            heard.clear()
            del self.times[:]
            handlers.clear()
            del self.took[:]
            results.clear()
            left.clear()
            steps.clear()
            self.received = 0
            self._read(stretch)
        self.counted = received
        self.room = self._share()
