"""Steps from a tape: the pure engine plays what was heard again, and no handler is called.

Each handler is handed out, as one that may block would be, and what it returned then is what it returns
now. So there is one implementation of what a session does, and an observer sees here what it would have
seen there, except for times: a step has the time that its handler took.

`Player.play_quickly` takes a tenth of the time, but gives no steps for what is plain: it plays that
again on the hot path.
"""

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from demyjpy.context import Context
from demyjpy.engine.connection import Agreed, Call, Connection, Scope, Setup, Step
from demyjpy.engine.effect_keeping import KEEPING, ending_of
from demyjpy.engine.hot_ends import Handover
from demyjpy.engine.hot_path import GOODBYE, run_hot_path
from demyjpy.engine.letters import BODY, MACRO
from demyjpy.engine.open_questions import Asked, Learned
from demyjpy.engine.phases import IN_MESSAGE
from demyjpy.engine.pipeline import hang_up, receive_data, resume, run_call, take_answer
from demyjpy.engine.question_flow import ASKING, KNOWN, LEARNED
from demyjpy.engine.routes import Route, make_routes
from demyjpy.engine.spooling import SPOOLING, is_writing
from demyjpy.engine.stock import Spooling
from demyjpy.engine.tape import LONGEST_PACKET, HangUp, Outcome, Queued, Stretch, is_on_tapes
from demyjpy.errors import LocalProtocolError
from demyjpy.questions import Ask
from demyjpy.questions import Outcome as Answer
from demyjpy.registry import Handler
from demyjpy.wire.framing import join_frame

_NOTHING: Final = object()
_NO_OUTCOME: Final[Outcome] = (None, _NOTHING, None)
_MOST_AGREED: Final = 64


Called: TypeAlias = tuple[Handler[Any], Context, Context | None, float | None]
"""A handler that ran on the hot path, the context that it got, the one that it returned, seconds.

If it returned the context that it got, None stands for that.
"""

Command: TypeAlias = tuple[Sequence[Called], bool]
"""A command on the hot path: the handlers that ran, and whether it was answered."""

Read: TypeAlias = tuple[float, bytes, Sequence[Command]]
"""What came at once on the hot path: when (seconds since 1970), the packets, the commands among them.

All of these are tuples, because there are many.
"""


@frozen
class Played:
    """A stretch: ``reads`` is what was played on the hot path, ``steps`` is what came after that.

    ``scope`` is what held before, ``answers`` is what was said to the commands that are answered.
    ``ends_message``: the last packet of the last read ended a message.
    """

    scope: Scope
    reads: Sequence[Read]
    answers: Sequence[bytes]
    ends_message: bool
    steps: list[tuple[Step, float]]


class Stage:
    """The hot path for playing: on its routes handlers return what they returned on the tape.

    Nothing is decoded if nobody looks at events. Players share a stage if they play one after the
    other: the routes are made once for what was agreed.
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[Agreed, Agreed]] = {}
        self._outcomes: deque[Outcome] = deque()
        self._commands: list[Command] = []
        self._calls: list[Called] = []

    def agreed(self, agreed: Agreed) -> Agreed:
        """What was agreed on an observed connection, with routes for playing."""
        known = self._made.get(id(agreed))
        if known is None:
            if len(self._made) >= _MOST_AGREED:
                self._made.clear()
            table = {**agreed.table, MACRO: evolve(agreed.table[MACRO], chain=())}
            made = make_routes(
                table,
                agreed.agreement,
                lambda handler: False,
                agreed.members,
                tried=agreed.tried,
                keepers=agreed.keepers,
            )
            keeps = agreed.members is not None and agreed.members.gives_messages
            routes = {
                phase: {letter: self._replaying(route, keeps) for letter, route in rows.items()}
                for phase, rows in (made or {}).items()
            }
            # it holds what was agreed: nothing else gets the same id meanwhile
            known = self._made[id(agreed)] = (
                agreed,
                evolve(agreed, table=table, routes=routes, watched=routes),
            )
        return known[1]

    def _replaying(self, route: Route, keeps: bool) -> Route:
        """``keeps``: the events of a message are kept for its end."""
        replies, decode_really = route.dispatch.replies, route.dispatch.decode
        needs_event = keeps or route.keep is not None

        def decode(payload: bytes, leading_space: bool) -> Any:
            self._calls = []
            self._commands.append((self._calls, replies))
            return decode_really(payload, leading_space) if needs_event else None

        calls = tuple((place, self._returning(handler), handler) for place, _, handler in route.calls)
        return evolve(route, dispatch=evolve(route.dispatch, decode=decode), calls=calls)

    def _returning(self, handler: Handler[Any]) -> Callable[[Any, Context], Any]:
        def play(event: Any, ctx: Context) -> Any:
            whose, result, duration = self._outcomes.popleft()
            if not _is_same(whose, handler):
                raise _unexpected(handler, whose)
            if result is None:
                self._calls.append((handler, ctx, None, duration))
                return ctx
            after = _in_context(result, ctx)
            self._calls.append((handler, ctx, after, duration))
            return after

        return play

    def play(
        self,
        connection: Connection,
        heard: Sequence[bytes],
        times: Sequence[float],
        outcomes: deque[Outcome],
    ) -> tuple[list[Read], Connection]:
        """What came, with what was done about it, and the connection after that.

        ``outcomes`` are taken. `LocalProtocolError` if this is not what happened on the hot path.
        """
        found: list[Read] = []
        handover: Handover | None = None
        self._outcomes = outcomes
        if connection.is_plain:
            path = run_hot_path(connection)
            next(path)
            try:
                for data, time in zip(heard, times, strict=False):
                    commands: list[Command] = []
                    self._commands = commands
                    path.send(data)
                    found.append((time, data, commands))
                path.send(None)
            except StopIteration as end:
                handover = end.value
        if handover is None or len(found) < len(heard) or handover.connection.backlog.unread.size:
            raise LocalProtocolError("expected what happens on the hot path, got something else")
        return found, handover.connection


class Player:
    """Plays the stretches of one session, from its first one on and in order."""

    def __init__(self, opened: Connection) -> None:
        known = opened.setup
        self._steps: list[Step] = []
        self._outcomes: deque[Outcome] = deque()
        self._time = 0.0
        setup = Setup(
            known.on_connect,
            known.on_error,
            known.limits,
            self._steps.append,
            None if known.clock is None else lambda: 0.0,  # of the library's own handlers
            is_on_tapes,
            caches=known.caches,
            stand_in=self._answer_failure,
            # filters get a body that was in a file in other pieces
            spool=known.spool and Spooling(known.spool.size, lambda: _PlayedFile(self._outcomes)),
            known_answer=self._known_answer,
            own_questions=self._own_questions,
            keep_effects=known.keep_effects and (lambda due, session: _NothingKept()),
            trusted_relays=known.trusted_relays,
        )
        self._connection = evolve(opened, setup=setup)

    def play(self, stretch: Stretch) -> list[tuple[Step, float]]:
        """The steps of a stretch, each with when it was (seconds since 1970).

        `LocalProtocolError` if it does not follow on those before.
        """
        self._outcomes.extend(stretch.outcomes)
        return self._play_turns(stretch, 0)

    def play_quickly(self, stretch: Stretch, stage: Stage) -> Played:
        """The same, without steps for what is plain.

        A player that plays quickly does not count what is plain: `Step.exchange` is another one then.
        """
        self._outcomes.extend(stretch.outcomes)
        scope = self._connection.scope
        plain = self._plain_part(stretch)
        reads: list[Read] = []
        if plain:
            observed = self._connection.agreed
            connection = _agreeing(self._connection, stage.agreed(observed))
            now = connection.scope
            # else a handler had been called in a turn before, within its message
            if now.chain.is_plain or now.phase not in IN_MESSAGE:
                reads, connection = stage.play(connection, plain, stretch.times, self._outcomes)
                self._connection = _agreeing(connection, observed)
        steps = self._play_turns(stretch, len(reads))
        return Played(scope, reads, stretch.left, stretch.ends_message, steps)

    def _plain_part(self, stretch: Stretch) -> Sequence[bytes]:
        """What was heard on the hot path, except a body without its bytes, and the end."""
        known = self._connection
        if stretch.turned is not None or known.call is not None or not known.is_negotiated:
            return ()
        found: list[bytes] = []
        for heard in stretch.heard:
            if not isinstance(heard, bytes) or heard == GOODBYE:
                break
            found.append(heard)
        return found

    def _play_turns(self, stretch: Stretch, first: int) -> list[tuple[Step, float]]:
        found: list[tuple[Step, float]] = []
        total = len(stretch.handlers)
        ends = [total - one.outcomes for one in stretch.heard if isinstance(one, HangUp)]
        ends.append(0)
        at = 0
        moments = zip((None, *stretch.heard[first:]), (self._time, *stretch.times[first:]), strict=True)
        for heard, self._time in moments:
            if isinstance(heard, HangUp):
                at += 1
                self._connection = hang_up(self._connection)
            elif heard is not None:
                data = heard if isinstance(heard, bytes) else _body_of(heard)
                self._connection = receive_data(self._connection, data)
            if self._is_left_out(stretch):
                known = self._connection
                backlog = evolve(known.backlog, is_ending=False)
                self._connection = hang_up(evolve(known, call=None, backlog=backlog))
            # those that came back after the connection ended are not done with before it ends
            self._answer_calls(ends[at])
            found += [(step, self._time) for step in self._steps]
            self._steps.clear()
        return found

    def _is_left_out(self, stretch: Stretch) -> bool:
        """Whether the handler that is handed out never ran: the peer went before its turn came."""
        known = self._connection
        if known.call is None or not known.backlog.is_ending:
            return False
        if not self._outcomes:
            return stretch.is_over
        return not _is_same(self._outcomes[0][0], _on_tape(known.call))

    def _answer_calls(self, left: int) -> None:
        """Handlers return what they returned, until so many of their outcomes are left.

        An answer comes as soon as it is the next thing on the tape.
        """
        while len(self._outcomes) > left:
            if self._outcomes[0][0] is LEARNED:
                _, learned, duration = self._outcomes.popleft()
                number, outcome = learned.asked.number, learned.outcome
                self._connection = take_answer(self._connection, number, outcome, duration)
                continue
            call = self._connection.call
            if call is None:
                return
            result, duration = self._take(_on_tape(call))
            is_done = result is None and _on_tape(call) is not call.handler  # it is the library's own
            outcome = run_call(call) if is_done else _in_context(result, call.ctx)
            self._connection = resume(self._connection, outcome, duration)

    def _take(self, handler: Handler[Any] | None) -> tuple[Any, float | None]:
        """What this handler returned (None: ``on_error``), and what it took."""
        whose, result, duration = self._outcomes.popleft() if self._outcomes else _NO_OUTCOME
        if not _is_same(whose, handler) or result is _NOTHING:
            raise _unexpected(handler, whose)
        return result, duration

    def _own_questions(self, handler: Handler[Any], event: Any, ctx: Context) -> tuple[Ask, ...]:
        """What ``asking=`` gave or raised. If it never ran, the peer went before its turn came."""
        if not self._outcomes or self._outcomes[0][0] is not ASKING:
            return ()
        asks = self._outcomes.popleft()[1]
        if isinstance(asks, Exception):
            raise asks
        found: tuple[Ask, ...] = asks
        return found

    def _known_answer(self, asked: Asked) -> Answer | None:
        """What was known at once."""
        if not self._outcomes or self._outcomes[0][0] is not KNOWN:
            return None
        learned: Learned = self._outcomes[0][1]
        if learned.asked.number != asked.number:
            return None
        self._outcomes.popleft()
        return learned.outcome

    def _answer_failure(self, error: Exception, event: Any, ctx: Context) -> Any:
        result = _in_context(self._take(None)[0], ctx)
        if isinstance(result, Exception):
            raise result
        return result


class _PlayedFile:
    """A body that was in a file, in memory; if it could not be read then, it cannot be read now.

    Of a body of which the tape has no more than its size, there is no more here.
    """

    def __init__(self, outcomes: deque[Outcome]) -> None:
        self._data, self._blank, self._outcomes = bytearray(), 0, outcomes

    def append(self, pieces: Iterable[bytes]) -> None:
        """Keep these at its end."""
        for piece in pieces:
            if not (self._data or piece.strip(b"\0")):
                self._blank += len(piece)
            else:
                self._data += piece

    def read(self, at: int, size: int) -> bytes:
        """So many bytes from there; the `OSError` that is on the tape."""
        whose, result, _ = self._outcomes[0] if self._outcomes else _NO_OUTCOME
        if whose is SPOOLING and isinstance(result, Exception):
            self._outcomes.popleft()
            raise OSError(str(result))
        begun = self._blank - at
        if begun > 0:  # and whatever follows
            return bytes(min(size, begun)) + self._data[: max(size - begun, 0)]
        return bytes(self._data[-begun : size - begun])


class _NothingKept:
    """Whether effects were kept is on the tape."""

    def keep(self) -> None:
        """They were kept then."""

    def leave(self) -> None:
        """There is nothing to leave."""


def _on_tape(call: Call) -> Handler[Any]:
    """The handler that is on the tape for what was handed out."""
    if is_writing(call):
        return SPOOLING
    return call.handler if ending_of(call) is None else KEEPING


def _is_same(one: Handler[Any] | None, other: Handler[Any] | None) -> bool:
    """Whether both are the same handler; those of several filters are made anew."""
    if one is other or one is None or other is None:
        return one is other
    is_alike = (one.event, one.filter) == (other.event, other.filter)
    return is_alike and inspect.unwrap(one.function) is inspect.unwrap(other.function)


def _unexpected(handler: Handler[Any] | None, whose: Handler[Any] | None) -> LocalProtocolError:
    asked = "on_error" if handler is None else handler.name
    return LocalProtocolError(f"expected what {asked} returned on the tape, got that of {whose}")


def _agreeing(connection: Connection, agreed: Agreed) -> Connection:
    """The same if this was agreed; nothing waits there."""
    return Connection(  # evolve() takes four times as long
        connection.setup, connection.session, agreed=agreed, scope=connection.scope
    )


def _in_context(result: Any, ctx: Context) -> Any:
    """What a handler returned, as it would be from this context."""
    if result is None:
        return ctx
    if not isinstance(result, Queued):
        return result
    after = ctx.set("queue", result.queue)
    if result.findings is not None:
        after = after.set("findings", result.findings)
    return after if result.macros is None else after.set("macros", result.macros)


def _body_of(size: int) -> bytes:
    """A packet of a body of which only the size is known."""
    return join_frame(BODY, bytes(size), limit=LONGEST_PACKET)
