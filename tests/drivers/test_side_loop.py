"""The event loop for async code beside the mail: a thread of its own, or the driver's."""

import asyncio
import threading
from contextlib import suppress

import pytest

from demyjpy.drivers.side_loop import OwnLoop, SideLoop

WAIT = 20


def _threads():
    return [one for one in threading.enumerate() if one.name == "demyjpy-side-loop"]


async def _where():
    return threading.current_thread().name, asyncio.get_running_loop()


def test_it_begins_with_the_first_coroutine_and_all_run_in_the_same_loop():
    """Nothing is started before, and all is gone after `stop`, however often that is called."""
    before = len(_threads())
    side = SideLoop()
    assert len(_threads()) == before
    first, second = side.submit(_where()).result(WAIT), side.submit(_where()).result(WAIT)
    assert first == second
    assert first[0] == "demyjpy-side-loop"
    assert len(_threads()) == before + 1
    side.stop()
    side.stop()
    assert len(_threads()) == before
    assert first[1].is_closed()


def test_what_still_runs_at_the_end_is_cancelled():
    """Also what was handed over just before."""
    side = SideLoop()
    ended = []

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    first = side.submit(wait())
    side.submit(asyncio.sleep(0)).result(WAIT)
    side.stop(WAIT)
    assert first.cancelled()
    assert ended == [True]


def test_after_the_end_nothing_is_taken():
    """The coroutine is closed, so that Python does not warn of it."""
    side = SideLoop()
    side.stop()
    with pytest.raises(RuntimeError, match="the side loop has ended"):
        side.submit(_where())
    assert not side._loop


def test_what_swallows_its_cancellation_is_left_behind(log):
    """Stopping does not wait for it longer than it says."""
    side = SideLoop()
    over = threading.Event()

    async def stay():
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    stays = side.submit(stay())
    side.submit(asyncio.sleep(0)).result(WAIT)
    side.stop(0.01)
    assert log.take() == ["what runs in the side loop has not ended, and is left behind"]
    over.set()
    stays.exception(WAIT)


def test_without_a_thread_there_is_none(monkeypatch):
    """And when there is one again, it begins."""
    start = threading.Thread.start

    def fail(thread):
        raise RuntimeError("can't start new thread")

    side = SideLoop()
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        side.submit(_where())
    monkeypatch.setattr(threading.Thread, "start", start)
    assert side.submit(_where()).result(WAIT)
    side.stop()


def test_asynchronous_generators_are_closed_at_the_end():
    """As `asyncio.run` does."""
    side = SideLoop()
    ended = []
    kept = []

    async def numbers():
        try:
            yield 1
        finally:
            ended.append(True)

    async def begin():
        kept.append(numbers())
        return await anext(kept[0])

    assert side.submit(begin()).result(WAIT) == 1
    side.stop()
    assert ended == [True]


def test_blocking_code_of_a_coroutine_runs_in_a_thread_that_does_not_keep_the_program(gate):
    """`asyncio.to_thread` uses threads that nobody waits for."""
    side = SideLoop(threads=1)

    async def in_thread():
        return await asyncio.to_thread(lambda: threading.current_thread().daemon)

    assert side.submit(in_thread()).result(WAIT) is True
    side.stop()


def test_the_drivers_own_loop_takes_coroutines_from_any_thread_until_it_is_closed():
    """The same interface as a side loop has."""

    async def main():
        own = OwnLoop(asyncio.get_running_loop())
        return own, await asyncio.to_thread(lambda: own.submit(_where()).result(WAIT))

    own, (_, loop) = asyncio.run(main())
    assert loop.is_closed()
    with pytest.raises(RuntimeError):
        own.submit(_where())
