"""A packet's way through: bytes in, handlers called or handed to the driver, bytes out.

The functions here take a `Connection` and return the next one. They do no I/O: a driver reads bytes
and gives them to `receive_data`, sends ``data_to_send``, runs ``call`` and gives its outcome to
`resume`, and says `hang_up` when the peer is gone. A driver that is in a hurry holds a
`demyjpy.engine.hot_path.Line` in place of the value.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve, frozen

from demyjpy.context import Context, new_context
from demyjpy.engine.arrival import TEARDOWN, receive_packet
from demyjpy.engine.conclusions import answer_event, conclude
from demyjpy.engine.connection import Agreed, Call, Connection, Observer, Setup, Step
from demyjpy.engine.dispatch import negotiates_by_default, opening_table
from demyjpy.engine.effect_keeping import end_keeping, ending_of
from demyjpy.engine.handler_results import as_exception, check_context
from demyjpy.engine.handler_times import note_time
from demyjpy.engine.handling import absorb, run_handlers
from demyjpy.engine.letters import MAIL, SPOOL
from demyjpy.engine.limits import NO_END
from demyjpy.engine.phases import Phase
from demyjpy.engine.question_flow import learn
from demyjpy.engine.spooling import begin_spooling, end_spooling
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError, LocalProtocolError, RemoteProtocolError, describe
from demyjpy.handlers import as_registry, with_handlers
from demyjpy.policies import check_timeouts
from demyjpy.questions import Outcome
from demyjpy.registry import Registry
from demyjpy.wire.codes import Response
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame

PROGRESS: Final = join_frame(Response.PROGRESS)
"""What keeps the MTA waiting at end of message."""


_LONGEST_OFFER: Final = 64
"""Bytes: what is remembered by what an MTA says is bounded."""


@frozen
class Begin:
    """The ``on_connect`` of a registry. How connections begin with it is worked out once."""

    registry: Registry

    def __call__(self, ctx: Context) -> Context:
        return with_handlers(ctx, self.registry)


def as_on_connect(on_connect: Any) -> Any:
    """A function ``ctx -> ctx`` as it is; a registry (or map of handlers) as such a function.

    `HandlerError` if it is neither, or if its filters may take longer than an MTA waits.
    """
    if isinstance(on_connect, Mapping):
        registry = as_registry(on_connect)
        check_timeouts(registry)
        return Begin(registry)
    if not callable(on_connect):
        raise HandlerError(f"expected a registry or a function ctx -> ctx, got {describe(on_connect)}")
    return on_connect


def open_connection(setup: Setup, session: str = "") -> Connection:
    """A new connection; ``session`` is its name in logs.

    If ``on_connect`` fails, the connection is closed from the start.
    """
    begin = setup.on_connect
    if not isinstance(begin, Begin):
        return take_turn(Connection(setup, session), _open)
    opened = setup.cache.once(
        ("opened", begin.registry.sizes), lambda: take_turn(Connection(setup, ""), _open)
    )
    return opened.of_session(session)


def _open(turn: Turn) -> None:
    """A connection begins: the user's ``on_connect`` makes its context."""
    scope = turn.scope
    try:
        ctx = check_context(turn.setup.on_connect(new_context()))
        registry = as_registry(ctx["handlers"])
        turn.agreed = Agreed(table=opening_table(registry))
        if registry.observer is not None:
            turn.setup = _observed(turn.setup, registry.observer)
        scope.ctx = scope.initial = ctx
    except BaseException as error:  # whatever it raises is its failure
        turn.note(as_exception(error), "on_connect")
        turn.is_closed = True


def _observed(setup: Setup, observer: Observer) -> Setup:
    """The same for connections that the filter has observed, besides who observes them anyway."""
    known = setup.observer

    def observe(step: Step) -> None:
        if known is not None:
            known(step)
        observer(step)

    return evolve(setup, observer=observe, caches=setup.caches)


def receive_data(connection: Connection, data: bytes, tape: Tape | None = None) -> Connection:
    """After the MTA sent bytes. While a call is out they are only kept."""
    begin, cache = connection.setup.on_connect, connection.setup.cache
    if (
        connection.scope.phase is not Phase.NEW
        or not isinstance(begin, Begin)
        or connection.backlog.unread is not NOTHING_UNREAD
        or not _is_offer(data)
        or not negotiates_by_default(connection.agreed.table)
    ):
        return _receive_data(connection, data, tape)
    # what follows is up to nothing but the offer
    key = ("negotiated", begin.registry.sizes, data)
    known: tuple[Connection, list[Stretch]] | None = cache.get(key)
    if known is None:
        heard: list[Stretch] = []
        apart = None if tape is None else Tape(heard.append, tape.clock, tape.wall)
        known = _receive_data(connection, data, apart), heard
        if known[0].is_plain:
            cache.keep(key, known)
        elif tape is not None:  # it failed, or somebody observes: it is not for others
            for stretch in heard:
                tape.take_over(stretch)
            return known[0]
    after, stretches = known
    if tape is not None:
        for stretch in stretches:
            tape.repeat(stretch, connection)
    return after if after.session == connection.session else after.of_session(connection.session)


def _is_offer(data: bytes) -> bool:
    """Whether this is an offer, and nothing else, of a size to remember."""
    size = len(data)
    return 4 < size <= _LONGEST_OFFER and data[:5] == (size - 4).to_bytes(4, "big") + b"O"


def _receive_data(connection: Connection, data: bytes, tape: Tape | None) -> Connection:
    return take_turn(connection, lambda turn: turn.receive_data(data), tape)


def go_on(connection: Connection, tape: Tape | None = None) -> Connection:
    """After others have had their turn, if a connection is behind its budget."""
    return _receive_data(connection, b"", tape)


def resume(
    connection: Connection,
    outcome: Context | Exception,
    duration: float | None = None,
    tape: Tape | None = None,
) -> Connection:
    """After the handler that was handed out has returned a context or raised."""

    def come_back(turn: Turn) -> None:
        job = turn.call.job if turn.call else None
        ending = ending_of(turn.call) if turn.call else None
        if job is None:
            raise LocalProtocolError("expected resume after a connection with a call, got no call")
        turn.call = None
        turn.intake.meter.taken = NO_END  # a handler that has run apart is enough for one turn
        letter = job.dispatch.letter
        following = None
        if letter == SPOOL:
            end_spooling(turn, outcome)
        elif ending is not None:  # it is decided, also if the peer has gone meanwhile
            answer_event(turn, *end_keeping(turn, ending, outcome))
        else:
            note_time(turn, job, duration or 0.0)
            following = absorb(turn, job, outcome, duration)
        if following is not None and (letter in TEARDOWN or not turn.is_ending):
            turn.jobs.appendleft(following)
        elif following is not None and letter == MAIL:  # the others have seen no message begin
            scope = turn.scope
            scope.decisions = scope.decisions.tell(number for number, _ in following.chain)
        if turn.is_ending:
            turn.is_ending = False
            turn.hang_up()

    return take_turn(connection, come_back, tape)


def take_answer(
    connection: Connection,
    number: int,
    outcome: Outcome,
    duration: float | None = None,
    tape: Tape | None = None,
) -> Connection:
    """After the answer to an open question has come, or is late; ``duration`` in seconds.

    If nobody wants it any more, nothing happens.
    """
    return take_turn(connection, lambda turn: learn(turn, number, outcome, duration), tape)


def hang_up(connection: Connection, tape: Tape | None = None) -> Connection:
    """After the peer has gone, or when we leave it: abort and disconnect handlers run, once."""

    def end(turn: Turn) -> None:
        if not connection.is_closed:
            time = None if tape is None else tape.hang_up()
            if turn.call is None:  # else its handler is still at work on the packet that it got
                turn.moment.seconds = time
        turn.hang_up()

    return take_turn(connection, end, tape)


def take_turn(
    connection: Connection, begin: Callable[[Turn], None], tape: Tape | None = None
) -> Connection:
    """What ``begin`` does, and then all that there is to do.

    That is until no packet is complete, a handler is handed out, or the budget is used up. What filters
    get at the end of a message, one after the other, counts as packets do. Nothing else waits there: a
    handler that has run is done with at once, so that a tape can be played without a budget.
    """
    if tape is not None:
        tape.begin_turns(connection)
    turn = Turn(connection, tape)
    begin(turn)
    while turn.call is None and turn.wait is None and not turn.is_closed:
        if turn.jobs:
            job = turn.jobs[0]
            if job.dispatch.letter == SPOOL:
                begin_spooling(turn, turn.jobs.popleft())
                continue
            is_of_end = bool(job.chain and job.place and job.place.end)
            if is_of_end and turn.intake.must_wait():
                break
            turn.jobs.popleft()
            done = run_handlers(turn, job)
            if done is not None:
                conclude(turn, done)
            continue
        try:
            packet = turn.intake.take()
            if packet is None:
                break
            receive_packet(turn, *packet)
        except RemoteProtocolError as error:
            # whose frames hold this turn, which holds the error, and all that the peer has said
            turn.note(error.with_traceback(None))
            if tape is not None:
                tape.hang_up()
            turn.hang_up()
    after = turn.value()
    if tape is not None:
        tape.end_turn(after)
    return after


def run_call(call: Call) -> Context | Exception:
    """Call a plain handler that was handed out; its outcome is for `resume`."""
    try:
        outcome: Context | Exception = call.handler.function(call.event, call.ctx)
    except BaseException as error:  # whatever it raises is its failure
        return as_exception(error)
    return outcome


async def run_call_async(call: Call) -> Context | Exception:
    """The same for an ``async def`` handler."""
    try:
        outcome: Context | Exception = await call.handler.function(call.event, call.ctx)
    except BaseException as error:  # whatever it raises is its failure
        return as_exception(error)
    return outcome
