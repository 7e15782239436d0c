"""What has a time to be done in: negotiating, a handler's call, the event loop's next turn."""

import asyncio
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from demyjpy import (
    Continue,
    DeadlineError,
    EndOfMessage,
    ReplyCode,
    TemporaryFailure,
    Unknown,
    accept,
    define_event_handlers,
    merge_handlers,
    reject,
    running,
    scoped,
    serve,
)
from demyjpy.drivers import AsyncServer, watch
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.admission import Guest
from demyjpy.drivers.aio_session import AsyncSession
from demyjpy.drivers.alarms import Alarms
from demyjpy.drivers.pool import Pool
from demyjpy.drivers.watch import LoopWatch, call_of
from tests.drivers.filters import noting, wait_until, without
from tests.drivers.peer import ENVELOPE, WAIT, Peer, offer

SHORT = 0.3


def test_a_peer_that_does_not_negotiate_in_time_is_left(driver, log):
    """A byte now and then does not help."""
    options: dict[str, Any] = {"negotiate_timeout": SHORT}
    with running({}, driver=driver, **options) as address, Peer(address) as peer:
        data = peer.bytes_of(offer())
        for byte in data:
            peer.send(bytes((byte,)))
            time.sleep(0.05)
        assert peer.has_ended()
    assert log.take_one().endswith("closed: the MTA did not negotiate within 0.3 s")


def test_who_has_negotiated_may_take_its_time(driver, notes):
    """The time to negotiate is over when that is done."""
    options: dict[str, Any] = {"negotiate_timeout": SHORT}
    with running(noting(notes), driver=driver, **options) as address, Peer(address) as peer:
        peer.begin()
        time.sleep(2 * SHORT)
        assert peer.message() == (Continue(),)


@pytest.mark.parametrize("event", ["mail", "end_of_message"])
def test_a_handler_that_takes_too_long_has_failed(way, event, notes, gate, log):
    """Its message is answered as the exception policy says, and the session goes on."""
    handlers = noting(notes, without(event))
    options = {} if way.kind == "async" else {"blocking": True}
    if way.kind == "plain":
        handlers.add(event, lambda _, ctx: gate.wait(WAIT) and ctx, **options)
    else:
        way.add_slow(handlers, event, gate)
    with running(handlers, driver=way.driver, handler_timeout=0.2) as address, Peer(address) as peer:
        peer.begin()
        if event == "mail":
            assert peer.ask(ENVELOPE[0]) == TemporaryFailure()
        else:
            assert peer.message() == (TemporaryFailure(),)
        gate.set()
        assert peer.message() == (Continue(),)
    message = log.take_one()
    assert "DeadlineError: expected" in message
    assert "within 0.2 s (the option handler_timeout=), got nothing" in message
    left = "it was cancelled" if way.kind == "async" else "its thread goes on, one of 1 left behind"
    assert message.endswith(left)
    wait_until(lambda: not any(one.name == "demyjpy-session" for one in threading.enumerate()))


def test_the_policy_for_deadlines_is_the_filters(way, gate, log):
    """A function on_error is told of a deadline as of any other failure."""
    handlers = define_event_handlers()
    way.add_slow(handlers, "end_of_message", gate)

    def on_error(error: Exception, event: Any, ctx: Any) -> Any:
        return reject(ctx, "5.7.1", "late") if isinstance(error, DeadlineError) else accept(ctx)

    options: dict[str, Any] = {"handler_timeout": 0.1, "on_error": on_error}
    with running(handlers, driver=way.driver, **options) as address, Peer(address) as peer:
        (answer,) = peer.begin().message()
        assert answer == ReplyCode(550, "5.7.1", "late")
    assert "DeadlineError" in log.take_one()


def test_signs_of_life_end_with_the_deadline(way, gate, log):
    """What comes after the answer of the policy is the next answer, and nothing else."""
    handlers = define_event_handlers()
    way.add_slow(handlers, "end_of_message", gate, progress=0.05)
    options: dict[str, Any] = {"handler_timeout": 0.3}
    with running(handlers, driver=way.driver, **options) as address, Peer(address) as peer:
        *_, last = peer.begin().message()
        assert last == TemporaryFailure()
        time.sleep(0.2)
        assert peer.ask(ENVELOPE[0]) is None
        peer.vanish()
    log.take_one()


def test_a_peer_that_goes_before_the_deadline(way, notes, gate, log):
    """The session ends when its handler has had its time."""
    handlers = noting(notes, without("end_of_message"))
    way.add_slow(handlers, "end_of_message", gate)
    with running(handlers, driver=way.driver, handler_timeout=0.3) as address:
        with Peer(address) as peer:
            peer.begin().begin_message().say(EndOfMessage())
        notes.wait_for("disconnect")
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    log.take_one()


def test_threads_left_behind_are_bounded(gate, log):
    """Under threads a connection is closed where no more threads may be left behind."""
    handlers = define_event_handlers()
    handlers.add("end_of_message", lambda event, ctx: gate.wait(WAIT) and ctx)
    options: dict[str, Any] = {"handler_timeout": 0.1, "blocking_threads": 1}
    with running(handlers, driver="threads", **options) as address:
        with Peer(address) as first, Peer(address) as second:
            assert first.begin().message() == (TemporaryFailure(),)
            second.begin().begin_message().say(EndOfMessage())
            assert second.drain() == []
            time.sleep(0.2)
            gate.set()
        with Peer(address) as third:
            assert third.begin().message() == (Continue(),)
    first_line, second_line = log.take()
    assert first_line.endswith("one of 1 left behind")
    assert second_line.endswith("got nothing; 1 threads are left behind")


def test_no_thread_to_go_on_with(gate, log):
    """Where the system has no thread to spare, the connection is closed."""
    handlers = define_event_handlers()

    def hang(event: Any, ctx: Any) -> Any:
        threading.stack_size(1 << 47)  # more than there are addresses
        gate.wait(WAIT)
        return ctx

    handlers.add("end_of_message", hang)
    with running(handlers, driver="threads", handler_timeout=0.2) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        assert peer.drain() == []
        threading.stack_size(0)
        gate.set()
    assert log.take()[0].startswith("cannot go on with a session: can't start")


def test_blocking_handlers_without_a_thread(gate, log):
    """Under asyncio one that gets no thread fails at its deadline; threads come back into use."""
    handlers = define_event_handlers()
    handlers.add("end_of_message", lambda event, ctx: gate.wait(WAIT) and ctx, blocking=True)
    options: dict[str, Any] = {"handler_timeout": 0.1, "blocking_threads": 1}
    with running(handlers, **options) as address, Peer(address) as peer:
        peer.begin()
        for _ in range(3):
            assert peer.message() == (TemporaryFailure(),)
        gate.set()
        for _ in range(3):
            assert peer.message() == (Continue(),)
    lefts = [line.rpartition("; ")[2] for line in log.take()]
    assert lefts == [
        "its thread goes on, one of 1 left behind",
        "its thread goes on, one of 2 left behind",
        "it had not begun, because all 1 threads were busy (blocking_threads)",
    ]


def test_a_task_that_will_not_be_cancelled(gate, log):
    """It is not waited for."""
    handlers = define_event_handlers()
    stubborn = []

    async def hang(event: Any, ctx: Any) -> Any:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                stubborn.append(True)
        return ctx

    handlers.add("end_of_message", hang)
    with running(handlers, handler_timeout=0.1) as address, Peer(address) as peer:
        try:
            assert peer.begin().message() == (TemporaryFailure(),)
            wait_until(lambda: bool(stubborn))
        finally:
            gate.set()
        assert peer.message() == (Continue(),)
    log.take_one()


def test_a_task_of_the_pool_that_ends_just_now():
    """One that has returned is not left behind."""
    pool = Pool(1)
    future = pool.submit(lambda value: value, 3)
    assert future.result(WAIT) == 3
    assert pool.leave(future) == "it has returned just now"
    pool.close()


# ------------------------------------------------------------------------------- the event loop
def test_a_handler_that_blocks_the_loop_is_named_once(log):
    """The first time within a minute, with its place and what to do."""
    handlers = define_event_handlers()

    def slow_mail(event: Any, ctx: Any) -> Any:
        time.sleep(0.4)
        return ctx

    handlers.add("mail", slow_mail)
    with running(handlers, warn_blocked=0.1) as address, Peer(address) as peer:
        peer.begin()
        assert peer.message() == peer.message() == (Continue(),)
    message = log.take_one()
    assert "slow_mail (" in message
    assert "test_deadlines.py:" in message
    assert "has blocked the event loop for 0.1 s: all connections wait. Register it with" in message


def test_one_with_something_around_it_that_blocks_is_named(log):
    """By the name of the handler itself."""

    def slow(event: Any, ctx: Any) -> Any:
        time.sleep(0.4)
        return ctx

    handlers = scoped("mine", define_event_handlers({"mail": slow}))
    with running(handlers, warn_blocked=0.1) as address, Peer(address) as peer:
        peer.begin()
        assert peer.message() == (Continue(),)
    assert "slow (" in log.take_one()


@pytest.mark.parametrize("event", ["header", "unknown"])
def test_one_of_several_filters_that_blocks_is_named(event, notes, log):
    """On the hot path, and in a turn, which has all that is rare."""
    handlers = define_event_handlers()

    def slow(event: Any, ctx: Any) -> Any:
        time.sleep(0.4)
        return ctx

    handlers.add(event, slow)
    merged = merge_handlers(noting(notes), handlers)
    with running(merged, warn_blocked=0.1) as address, Peer(address) as peer:
        peer.begin()
        if event == "unknown":
            assert peer.ask(Unknown("NOOP")) == Continue()
        else:
            assert peer.message() == (Continue(),)
    assert "slow (" in log.take_one()


def test_an_async_handler_that_blocks_is_named(log):
    """Also one that waits in the wrong way."""
    handlers = define_event_handlers()

    async def bad_wait(event: Any, ctx: Any) -> Any:
        await asyncio.sleep(0)
        time.sleep(0.4)  # noqa: ASYNC251  # on purpose
        return ctx

    handlers.add("mail", bad_wait)
    with running(handlers, warn_blocked=0.1) as address, Peer(address) as peer:
        peer.begin().message()
    assert "bad_wait" in log.take_one()


def test_what_blocks_outside_of_a_handler_is_not_named():
    """There is nobody to give the advice to."""
    assert call_of(sys._getframe()) is None
    assert call_of(None) is None


def test_a_watch_that_is_stopped_while_it_waits(log):
    """It does not wait to the end, and names nobody."""
    called = threading.Event()
    watch = LoopWatch(lambda _: called.set(), 1000.0)
    watch._running_call = sys._getframe
    threading.Thread(target=watch._is_answered).start()
    called.wait(WAIT)
    watch.start()
    watch.stop()
    assert watch._is_answered()


def test_a_watch_ends_with_its_loop():
    """Where a program ends so fast that nobody stops it."""
    loop = asyncio.new_event_loop()
    loop.close()
    watch = LoopWatch(loop.call_soon_threadsafe, 0.01)
    watch._running_call = sys._getframe
    watch.start()
    watch._thread.join(WAIT)
    assert not watch._thread.is_alive()


def test_alarms_ring_until_the_block_is_left():
    """Each at its time, again and again."""
    rung = []
    alarms = Alarms()
    alarms.start()
    with alarms.every(1000.0, lambda: rung.append("late")):
        with alarms.every(0.01, lambda: rung.append("often")):
            wait_until(lambda: len(rung) > 2)
        count = len(rung)
        time.sleep(0.05)
    alarms.stop()
    assert rung == ["often"] * count


def test_an_alarm_may_be_due_sooner_for_the_first_time():
    """At once, if it should have rung before."""
    rung = []
    alarms = Alarms()
    alarms.start()
    for first in (-1.0, 0.01):
        with alarms.every(1000.0, lambda: rung.append("once"), first):
            wait_until(lambda: len(rung) > 0)
            time.sleep(0.02)
        assert rung == ["once"]
        rung.clear()
    alarms.stop()


def test_alarms_that_are_switched_off_in_time_do_not_wake_their_thread():
    """They come with each message; the first of a period may, for the thread knows of none yet."""
    alarms = Alarms()
    alarms.start()
    with alarms.every(1000.0, lambda: None):
        for _ in range(3):
            before = waits_of(alarms._thread)
            for _ in range(100):
                with alarms.every(50.0, lambda: None):
                    pass
                time.sleep(0.0005)  # in which a thread that was woken up waits again
            assert waits_of(alarms._thread) - before < 10
    alarms.stop()


def waits_of(thread: threading.Thread) -> int:
    """How often it has fallen asleep."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


def test_a_peer_that_takes_no_answer_is_read_no_further(driver, log):
    """However much it has to say: what it costs is bounded."""
    options: dict[str, Any] = {"driver": driver, "write_timeout": 1.0}
    handlers = {"mail": lambda _, ctx: reject(ctx, "5.7.1", ["x" * 900] * 20)}
    with running(handlers, **options) as address, Peer(address) as peer:
        peer.begin().socket.settimeout(3.0)  # longer than one read takes to be answered
        data = peer.bytes_of(ENVELOPE[0]) * 500
        assert how_much_is_taken(peer.socket, data) < 100_000_000
        wait_until(lambda: bool(log.records()))
    assert "the MTA read nothing" in log.take_one()


def how_much_is_taken(sock: socket.socket, data: bytes) -> int:
    """Bytes until the socket takes no more; not many more than there may be."""
    sent = 0
    try:
        while sent < 200_000_000:
            sent += sock.send(data)
    except OSError:
        pass
    return sent


def test_a_deadline_that_comes_with_the_outcome():
    """A handler that has just returned is in time."""

    async def main() -> None:
        server = AsyncServer(parse_address("inet:0@127.0.0.1"), {})
        guest = Guest("", server._setup({}), True, 1.0, server._door.opened)
        session = AsyncSession(server, guest, "name")
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        session._overdue(done, None)
        session.abandon()  # nor is there anything left behind
        assert session._running is None

    asyncio.run(main())


def test_how_late_the_loop_is_is_told():
    """It comes late to all that is due while a handler blocks it."""
    told = []
    handlers = define_event_handlers()

    def slow(event: Any, ctx: Any) -> Any:
        time.sleep(0.8)  # longer than it takes to the next look
        return ctx

    handlers.add("mail", slow)
    with running(handlers, on_lag=told.append, warn_blocked=10.0) as address, Peer(address) as peer:
        wait_until(lambda: bool(told))
        assert peer.begin().message() == (Continue(),)
        wait_until(lambda: max(told) > 0.2)
    assert min(told) >= 0.0
    count = len(told)
    time.sleep(0.6)
    assert len(told) == count


def test_nothing_is_told_when_the_server_has_closed(monkeypatch):
    """Though the loop goes on."""
    monkeypatch.setattr(watch, "_PULSE", 0.01)
    told: list[float] = []

    async def main() -> None:
        async with serve("inet:0@127.0.0.1", {}, on_lag=told.append):
            while not told:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        count = len(told)
        await asyncio.sleep(0.1)
        assert len(told) == count

    asyncio.run(asyncio.wait_for(main(), WAIT))


@pytest.mark.parametrize("on_error", ["tempfail", "accept"])
def test_a_late_handler_is_told_that_its_message_ends(way, on_error, notes, gate, log):
    """By abort, once: it may hold what its mail handler opened."""
    handlers = noting(notes, ("mail", "abort"))
    way.add_slow(handlers, "end_of_message", gate)
    options: dict[str, Any] = {"handler_timeout": 0.1, "on_error": on_error}
    with running(handlers, driver=way.driver, **options) as address, Peer(address) as peer:
        peer.begin().message()
        notes.wait_for("abort")
        gate.set()
    assert notes.all() == ["mail", "abort"]
    assert "DeadlineError" in log.take_one()
