"""What a handler may ask about the mail at hand: the time, and what the connection remembers."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from demyjpy import (
    Context,
    EndOfMessage,
    HandlerError,
    add_header,
    define_event_handlers,
    merge_handlers,
    new_context,
    now,
    recall,
    remember,
    running,
)
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.moment import Moment
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.errors import LocalProtocolError
from demyjpy.registry import Registry
from demyjpy.testing import Sendmail, at_time, context, run, session
from demyjpy.testing.server import Server
from demyjpy.trace.replay.replaying import Filter, replay, replay_at_once
from demyjpy.wire.framing import join_frame
from tests.engine.harness import CONNECT, DATA, HELO, RCPT, macros, offer
from tests.engine.harness import MAIL as MAIL_PACKET

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC)
MAIL = session().mail("a@example.org").rcpt("b@example.org").message()


def stamping(**options: Any) -> Registry:
    """A filter that writes down when each packet came."""
    handlers = define_event_handlers(state={"times": ()}, actions={"add_header"})

    def stamp(event: Any, ctx: Context) -> Context:
        return ctx.set("times", (*ctx["times"], now(ctx).timestamp()))

    for name in ("connect", "hello", "mail", "recipient", "header", "body", "end_of_message"):
        handlers.add(name, stamp, **options)
    return handlers


def ticking(start: float = 1000.0) -> Callable[[], float]:
    """A clock that goes on by a second whenever somebody looks."""
    seen: list[float] = []

    def tick() -> float:
        seen.append(start + len(seen))
        return seen[-1]

    return tick


def test_the_time_of_a_test_is_what_its_clock_says():
    """A fixed datetime is the time of every packet."""
    handlers = define_event_handlers(state={"found": ()})

    @handlers.end_of_message
    def look(event: EndOfMessage, ctx: Context) -> Context:
        return remember(ctx, found=now(ctx))

    result = run(handlers, MAIL, mta=Sendmail(), clock=NOON)
    assert recall(result.steps[-1].context, "found") == NOON
    assert recall(result.steps[-1].context, "lost", 7) == 7


def test_one_packet_has_one_time_and_the_next_another():
    """However often it is asked, by however many filters, the clock is read once for each packet."""
    seen: list[tuple[str, float]] = []

    def make(name: str) -> Registry:
        handlers = define_event_handlers(name=name)
        for event in ("connect", "mail", "end_of_message"):
            handlers.add(event, lambda happened, ctx: seen.append((name, now(ctx).timestamp())) or ctx)
        return handlers

    run(merge_handlers(make("a"), make("b")), MAIL, mta=Sendmail(), clock=ticking())
    assert seen == [(name, time) for time in (1000.0, 1001.0, 1002.0) for name in "ab"]


@pytest.mark.parametrize("clock", [datetime(2026, 1, 1), "noon", True, lambda: None])  # noqa: DTZ001
def test_what_is_no_time_is_refused(clock: Any):
    """The error says what was expected: a datetime with a time zone, or seconds."""
    handlers = define_event_handlers()
    handlers.add("mail", lambda event, ctx: now(ctx) and ctx)
    try:
        result = run(handlers, MAIL, mta=Sendmail(), clock=clock)
    except LocalProtocolError as error:
        text = str(error)
    else:
        text = str(result.troubles[0].error)
    assert "expected the time as a datetime with a time zone or as seconds since 1970" in text


def test_a_handler_that_is_called_by_hand_has_a_time():
    """`context` gives the real time, `at_time` another one; a bare context has none, and says so."""
    ctx = context(define_event_handlers())
    assert abs(now(ctx).timestamp() - datetime.now(UTC).timestamp()) < 60
    assert now(at_time(ctx, NOON)) == NOON
    assert now(at_time(ctx, 0)) == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(HandlerError, match=r"knows no time: make it with demyjpy.testing.context"):
        now(new_context())


def line(handlers: Registry, wall: Callable[[], float], tape: Tape | None = None) -> Line:
    """A connection as a driver holds it, which has negotiated."""
    setup = Setup(as_on_connect(handlers), wall=wall)
    made = Line(open_connection(setup, "s"), tape)
    made.receive_data(join_frame(*offer()))
    return made


READS = (
    join_frame(*CONNECT),
    join_frame(*HELO),
    join_frame(*macros("M", i="Q1")) + join_frame(*MAIL_PACKET),
    join_frame(*RCPT),
)


def test_on_the_hot_path_a_read_has_the_time_of_the_first_who_asks():
    """Nobody looks at the clock for a packet at which no handler asks."""
    handlers = define_event_handlers(state={"times": ()})
    for name in ("mail", "recipient"):
        handlers.add(name, lambda event, ctx: ctx.set("times", (*ctx["times"], now(ctx).timestamp())))
    clock = ticking()
    made = line(handlers, clock)
    for read in READS:
        made.receive_data(read)
    assert made.leave().scope.context["times"] == (1000.0, 1001.0)
    assert clock() == 1002.0


def test_two_connections_do_not_share_a_time():
    """What one is at does not change what the other has been told."""
    handlers = stamping()
    first, second = line(handlers, ticking()), line(handlers, ticking(2000.0))
    for read in READS:
        first.receive_data(read)
        second.receive_data(read)
    assert first.leave().scope.context["times"] == (1000.0, 1001.0, 1002.0, 1003.0)
    assert second.leave().scope.context["times"] == (2000.0, 2001.0, 2002.0, 2003.0)
    assert first.leave().scope.macros.moment.session == "s"


@pytest.mark.parametrize("is_turned", [False, True])
def test_with_a_tape_the_time_is_the_one_on_the_tape(is_turned: bool):
    """So whoever plays the tape, or replays a recording, knows what the handlers knew."""
    handlers = stamping()
    if is_turned:  # a filter with this goes through turns
        handlers.add("define_macros", lambda event, ctx: ctx.set("macros", ctx["macros"].define(0, b"")))
    stretches: list[Stretch] = []
    tape = Tape(stretches.append, lambda: 0.0, ticking(5000.0))
    made = line(handlers, lambda: 1.0, tape)
    for read in READS:
        made.receive_data(read)
    told = made.leave().scope.context["times"]
    made.hang_up()
    times = [time for one in stretches for time in one.times]
    assert len(told) == 4
    assert set(told) < set(times)


def test_a_session_that_leaves_the_hot_path_keeps_the_time_of_its_packet():
    """The handler that refuses, and abort after it, know the same time as the tape."""
    handlers = stamping()
    handlers.add("data", lambda event, ctx: remember(ctx, at=now(ctx).timestamp()).set("queue", (1,)))
    stretches: list[Stretch] = []
    made = line(handlers, lambda: 1.0, Tape(stretches.append, lambda: 0.0, ticking(5000.0)))
    for read in (*READS, join_frame(*DATA)):
        made.receive_data(read)
    made.hang_up()
    data = [heard for one in stretches for heard in zip(one.heard, one.times, strict=True)]
    (time,) = [when for heard, when in data if isinstance(heard, bytes) and heard == join_frame(*DATA)]
    assert time == max(when for heard, when in data if isinstance(heard, bytes))


def deciding() -> Registry:
    """A filter whose edits depend on the time."""
    handlers = define_event_handlers(actions={"add_header"}, state={"times": ""})

    @handlers.recipient
    def keep(event: Any, ctx: Context) -> Context:
        return ctx.set("times", now(ctx).isoformat())

    @handlers.end_of_message
    def tell(event: EndOfMessage, ctx: Context) -> Context:
        return add_header(ctx, "X-Times", f"{ctx['times']} {now(ctx).isoformat()}")

    return handlers


def test_a_replay_gives_the_recorded_times():
    """Byte for byte the same as then; so does the quick way of replaying."""
    trace = run(deciding(), MAIL, mta=Sendmail(), clock=ticking(1234.5)).trace
    replayed = replay(trace, Filter(deciding()))
    assert [one.data for one in replayed.replies] == [one.recorded.data for one in trace.exchanges]
    expected = b"".join(one.expected for one in trace.exchanges)
    assert replay_at_once(trace, Filter(deciding()))[0] == expected
    assert [step.sent for step in trace.step(deciding()) if step.sent] == [
        one.expected for one in trace.exchanges if one.expected
    ]


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
@pytest.mark.parametrize("options", [{}, {"blocking": True}])
def test_under_a_driver_it_is_the_real_time(driver: Any, options: Any):
    """Within the seconds that the session takes."""
    seen: list[datetime] = []
    handlers = define_event_handlers()
    handlers.add("mail", lambda event, ctx: seen.append(now(ctx)) or ctx, **options)
    before = datetime.now(UTC)
    with running(handlers, driver=driver) as address:
        Server(address, Sendmail()).run(MAIL)
    assert before <= seen[0] <= datetime.now(UTC)
    assert seen[0].tzinfo is UTC


def test_a_moment_without_a_clock_has_no_time():
    """Nothing is made up."""
    assert Moment("s", None).read() is None
