"""What watchers keep of sessions in memory: the lines of a file, or the tape that they are made from.

A tape is played when a file is written, by the thread that writes: until then nothing is decoded.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import is_
from sys import getsizeof
from typing import Any, Final, TypeVar

from attrs import define, field, fields_dict
from pyrsistent import PMap

from demyjpy.engine.connection import Connection, Step
from demyjpy.engine.macros import Macros
from demyjpy.engine.open_questions import Learned
from demyjpy.engine.playback import Player
from demyjpy.engine.smallmap import entries_of
from demyjpy.engine.tape import HangUp, Heard, Queued, Stretch
from demyjpy.engine.told_questions import weight_of_told, weight_of_value
from demyjpy.events import Disconnect
from demyjpy.registry import Handler
from demyjpy.requests import Request
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import Record, ended
from demyjpy.trace.format.scrubbed_results import played
from demyjpy.trace.format.scrubbing import Scrubber
from demyjpy.wire.fields import Parameters
from demyjpy.wishes import Wished

T = TypeVar("T")

TOO_LONG: Final = "it was too long to be kept"

_OUTCOME: Final = 100  # bytes that an outcome takes, about
_EACH: Final = 400
"""Bytes that a kept stretch takes besides what is in it, about."""

_CONTEXT: Final = 250
"""Bytes that a context takes besides its keys, about."""
_KEY: Final = 40


class OpenSessions(dict[str, T]):
    """Sessions by name; ``make`` makes what is kept of one when its first step comes."""

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> T:
        self[name] = self._make(name)
        return self[name]


@define
class KeptSession:
    """The lines of one session, until it is too long (``is_full``)."""

    converter: StepConverter
    said: list[bytes] = field(factory=list)
    size: int = 0
    is_full: bool = False

    def add(self, line: bytes) -> None:
        """Keep a line more."""
        self.said.append(line)
        self.size += len(line)

    def lines(self) -> tuple[bytes, ...]:
        """The lines as of now."""
        return tuple(self.said)

    def cut(self, now: float) -> bytes:
        """The line that ends a session of which more was said than is kept."""
        return dump_record(ended(self.converter.session, now, "cut", TOO_LONG))


# ---------------------------------------------------------------------------------------- tapes
def weight_of(result: Any) -> int:
    """The bytes that the kept result of a handler takes, about; of a context, with what was queued."""
    if isinstance(result, Exception):
        return 64
    if isinstance(result, Learned) or type(result) is tuple:
        return 64 + weight_of_told(result)
    is_kept = isinstance(result, Queued)
    kept = result if is_kept else Queued(result.get("queue"), findings=result.get("findings"))
    found = 64 + sum([_weight_of_action(one) for one in kept.queue or ()])
    if kept.findings:  # the others are those of an outcome before
        found += 8 * len(kept.findings) + _weight_of_action(kept.findings[-1])
    return found


def weight_of_outcomes(stretch: Stretch) -> int:
    """The bytes that outcomes take, about, with what was queued, but without contexts."""
    found = _OUTCOME * len(stretch.handlers)
    for result in stretch.results.values():
        if not isinstance(result, Exception):
            found += weight_of(result) - 64
    return found


def weight_of_contexts(results: Iterable[Any]) -> int:
    """The bytes that the contexts among results take, about, with the texts and bytes in them.

    Of a value that one context after the other has, it counts once. A handler may gather a body there,
    so that every context of a message holds one more that is as long as what has come.
    """
    found = 0
    before: dict[str, Any] = {}
    for result in results:
        if not isinstance(result, PMap):
            continue
        entries = entries_of(result)
        get = before.get
        new = [value for key, value in entries.items() if get(key) is not value]
        found += _CONTEXT + _KEY * len(entries) + sum([_size_in_context(value) for value in new])
        before = entries
    return found


def _size_in_context(value: Any) -> int:
    """The bytes of a value, with the texts in it, but with nothing that lies deeper."""
    if isinstance(value, Macros):
        return _CONTEXT + value.size
    size = getsizeof(value)
    if isinstance(value, list | tuple):
        size += sum([getsizeof(one) for one in value])
    return size


def _weight_of_action(action: Any) -> int:
    size = 64
    if isinstance(action, Request):
        return weight_of_value(action)
    if isinstance(action, Wished):
        return size + sum(map(_weight_of_action, action.edits))
    for name in fields_dict(type(action)) if hasattr(type(action), "__attrs_attrs__") else ():
        value = getattr(action, name)
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, tuple):
            size += sum([64 + len(one) for one in value if isinstance(one, str)])
        elif isinstance(value, Parameters):
            size += sum([64 + len(one) for one in value.as_words()])
    return size


@define(weakref_slot=False)  # frozen, its making would take several times as long
class KeptStretch:
    """What it takes to play a stretch again, as small as can be, and nothing that may not be kept.

    ``told`` is in one piece: all that came, packed, when each of its ``entries`` came, and how long each
    handler took. ``hung_up`` are the ends of the connection, each with its place among the entries.
    ``results`` are those of handlers that returned another context than they got, by their place.
    """

    told: bytes
    entries: int
    hung_up: tuple[tuple[int, HangUp], ...]
    handlers: tuple[Handler[Any] | None, ...]
    results: Mapping[int, Any]

    @property
    def size(self) -> int:
        """The bytes that it takes, about."""
        size = _EACH + len(self.told) + 8 * len(self.handlers)
        return size + sum(map(weight_of, self.results.values())) if self.results else size

    def stretch(self, opened: Connection, scrubber: Scrubber) -> Stretch:
        """A stretch for a `Player` of the session."""
        numbers = array("d")
        end = len(self.told) - numbers.itemsize * (self.entries + len(self.handlers))
        numbers.frombytes(self.told[end:])
        heard: list[Heard] = []
        times = array("d")
        hung_up = dict(self.hung_up)
        for place, entries in enumerate(scrubber.unpack(self.told[:end])):
            for entry in [hung_up[place]] if place in hung_up else entries:
                heard.append(entry)
                times.append(numbers[place])
        results = {at: played(result) for at, result in self.results.items()}
        took = numbers[self.entries :]
        return Stretch(opened, tuple(heard), times, self.handlers, took, results, (), None)


def keep_stretch(
    stretch: Stretch,
    scrubber: Scrubber,
    *,
    keeps_contexts: bool = False,
    usual: tuple[Handler[Any] | None, ...] = (),
    packed: bytes | None = None,
) -> KeptStretch:
    """What is kept of a stretch. ``keeps_contexts``: contexts, too; they may hold anything.

    ``usual``: if its handlers are these, this tuple is kept. ``packed``: what is kept of what was heard,
    if that is known.
    """
    heard = stretch.heard
    told: list[Any] = scrubber.pack(heard) if packed is None else [packed]
    told += (stretch.times, stretch.took)
    handlers, results = stretch.handlers, stretch.results
    if len(handlers) == len(usual) and all(map(is_, handlers, usual)):
        handlers = usual
    if results and not keeps_contexts:
        results = {at: scrubber.outcome(handlers[at], result) for at, result in results.items()}
    hung_up: tuple[tuple[int, HangUp], ...] = ()
    if stretch.turned is not None:
        hung_up = tuple([(place, one) for place, one in enumerate(heard) if isinstance(one, HangUp)])
    return KeptStretch(b"".join(told), len(heard), hung_up, handlers, results)


def is_failure(step: Step) -> bool:
    """Whether a handler has failed here."""
    return step.error is not None and step.handler is not None


def records_of(
    opened: Connection,
    stretches: Iterable[Stretch],
    *,
    failed: tuple[Stretch, int] | None = None,
    is_full: bool = False,
    is_over: bool = False,
) -> Iterator[Record]:
    """The records of a session, from its tape.

    ``failed``: they end with a failure, the first in this stretch, or the second ... ``is_full``: more
    was said than is kept; ``is_over``: the session has ended. The last record says so, or that the
    session cannot be played again.
    """
    converter, player = StepConverter(opened.session), Player(opened)
    place, left = failed or (None, 0)
    time = 0.0
    farewell = 0  # the exchange in which a session ended, after which the MTA may begin another
    try:
        for stretch in stretches:
            for step, time in player.play(stretch):
                if farewell and step.exchange != farewell and failed is None:
                    yield converter.end(time)
                    converter = StepConverter(opened.session)
                    farewell = 0
                yield from converter.take(step, time)
                if isinstance(step.event, Disconnect):
                    farewell = step.exchange
                if stretch is place and is_failure(step):
                    left -= 1
                    if not left:
                        return
    except Exception as error:  # noqa: BLE001  # other sessions go into the same file
        reason = f"it cannot be played again ({type(error).__name__})"
        yield ended(opened.session, time, "cut", reason)
        return
    if is_full:
        yield ended(opened.session, time, "cut", TOO_LONG)
    elif is_over:
        yield converter.end(time)


@define
class KeptTape:
    """The tape of one session, until it is too long (``is_full``)."""

    opened: Connection
    scrubber: Scrubber
    stretches: list[KeptStretch] = field(factory=list)
    size: int = 0
    is_full: bool = False
    is_over: bool = False

    def add(self, kept: KeptStretch, size: int) -> None:
        """Keep a stretch more."""
        self.stretches.append(kept)
        self.size += size

    def lines(self) -> Iterator[bytes]:
        """The lines of a file, as of now. They are made when somebody takes them."""
        return self._lines(tuple(self.stretches), is_full=self.is_full, is_over=self.is_over)

    def _lines(self, kept: Iterable[KeptStretch], *, is_full: bool, is_over: bool) -> Iterator[bytes]:
        stretches = (one.stretch(self.opened, self.scrubber) for one in kept)
        for record in records_of(self.opened, stretches, is_full=is_full, is_over=is_over):
            yield dump_record(self.scrubber.privacy.of(record))
