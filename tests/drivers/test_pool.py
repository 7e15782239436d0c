"""The threads for handlers that block, where the system has no more of them."""

import sys
import threading

import pytest

from demyjpy import TemporaryFailure, define_event_handlers, running
from demyjpy.drivers.pool import DaemonExecutor, Pool
from tests.drivers.filters import wait_until
from tests.drivers.peer import CONNECT, Peer

WAIT = 20


@pytest.fixture
def no_threads(monkeypatch):
    """Switches off and on again that threads for handlers can be started."""
    start = threading.Thread.start
    missing = threading.Event()

    def try_to_start(thread):
        if missing.is_set() and thread.name.startswith("demyjpy-handler"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", try_to_start)
    return missing


def test_without_a_thread_nothing_is_taken(no_threads):
    """And when there are some again, it works as before."""
    pool = Pool(2)
    no_threads.set()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="can't start"):
            pool.submit(str, 1)
    no_threads.clear()
    assert pool.submit(str, 1).result(WAIT) == "1"
    wait_until(lambda: pool._open == 0)
    pool.close()


def test_what_has_begun_goes_on_with_the_threads_that_there_are(no_threads, gate):
    """One after the other."""
    pool = Pool(2)
    busy = pool.submit(gate.wait, WAIT)
    no_threads.set()
    other = pool.submit(str, 1)
    assert not other.done()
    gate.set()
    assert other.result(WAIT) == "1"
    assert busy.result(WAIT)
    pool.close()


def test_one_is_left_behind_where_no_other_can_take_its_place(no_threads, gate):
    """The next that is submitted has one started."""
    pool = Pool(1)
    busy = pool.submit(gate.wait, WAIT)
    while not busy.running():
        pass
    waiting = pool.submit(str, 1)
    no_threads.set()
    assert "left behind" in pool.leave(busy)
    no_threads.clear()
    assert pool.submit(str, 2).result(WAIT) == "2"
    assert waiting.result(WAIT) == "1"
    gate.set()
    pool.close()


def test_an_error_is_handed_on_and_its_thread_goes_on():
    """Whatever is raised: it is for who waits."""
    pool = Pool(1)
    with pytest.raises(ValueError, match="invalid literal"):
        pool.submit(int, "x").result(WAIT)
    with pytest.raises(SystemExit):
        pool.submit(sys.exit, 3).result(WAIT)
    assert pool.submit(str, 1).result(WAIT) == "1"
    pool.close()


def test_a_handler_without_a_thread_has_failed(no_threads, log):
    """The exception policy answers; the session, and those after it, go on."""
    handlers = define_event_handlers()
    handlers.connect(lambda event, ctx: ctx, blocking=True)
    with running(handlers, driver="asyncio", blocking_threads=1) as address:
        no_threads.set()
        with Peer(address) as peer:
            peer.negotiate()
            assert peer.ask(CONNECT) == TemporaryFailure()
        no_threads.clear()
        with Peer(address) as peer:
            peer.begin()
    assert "expected a thread for " in log.take_one()


def test_the_threads_of_an_executor_end_when_it_is_shut_down():
    """After what they are at."""
    executor = DaemonExecutor(1)
    thread = executor.submit(threading.current_thread).result(WAIT)
    executor.shutdown()
    thread.join(WAIT)
    assert not thread.is_alive()
