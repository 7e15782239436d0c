"""Where ``async`` code of a filter runs beside the mail: in the driver's own loop, or in a side loop.

The asyncio driver has a loop. The threads driver has none: a loop in a thread of its own is started when
the first coroutine comes. Handlers never run here.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.pool import DaemonExecutor
from demyjpy.drivers.report import log

_T = TypeVar("_T")

_PARTING: Final = 1.0  # seconds for tasks that were cancelled
_LATER: Final = 0.5  # seconds over that, for a loop that something blocks
_THREADS: Final = 64


class Loop(Protocol):
    """An event loop that other threads may give work to."""

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Run a coroutine in the loop, from any thread; `RuntimeError` if it runs no more."""


def _hand_over(
    coroutine: Coroutine[Any, Any, _T], loop: Callable[[], asyncio.AbstractEventLoop]
) -> "Future[_T]":
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop())
    except RuntimeError:
        coroutine.close()  # or Python warns that nobody awaited it
        raise


class OwnLoop:
    """The loop of the driver itself; who made it ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Run a coroutine in the loop, from any thread; `RuntimeError` if it is closed."""
        return _hand_over(coroutine, lambda: self._loop)


class SideLoop:
    """A loop in a thread of its own, which starts with the first `submit` and ends with `stop`.

    One for each server in each process. ``threads``: how many `asyncio.to_thread` may use in it.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Run a coroutine in the loop, from any thread.

        `RuntimeError` if it was stopped, or if the system has no thread for it.
        """
        with self._lock:  # what is handed over is there before `stop` looks
            return _hand_over(coroutine, self._running)

    def stop(self, seconds: float = _PARTING) -> None:
        """Cancel what still runs, and end. What has not ended after ``seconds`` is left behind.

        Not to be called in the loop itself. Calling it again does nothing.
        """
        with self._lock:
            is_over, self._is_over = self._is_over, True
        if is_over or self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(self._loop, seconds), self._loop)
        self._thread.join(seconds + _LATER)
        if self._thread.is_alive():
            log.warning("what runs in the side loop has not ended, and is left behind")

    def soon(self, act: Callable[[], None]) -> None:
        """Have this done in the loop, from any thread, if it has begun and has not ended."""
        with self._lock:
            if self._loop is not None and not self._is_over:
                self._loop.call_soon_threadsafe(act)

    def running(self) -> asyncio.AbstractEventLoop:
        """The loop, which begins to run if need be. Errors as of `submit`."""
        with self._lock:
            return self._running()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._is_over:
            raise RuntimeError("the side loop has ended")
        if self._loop is None:
            self._loop = self._start()
        return self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(DaemonExecutor(self._threads))
        self._thread = threading.Thread(target=_run, args=(loop,), name="demyjpy-side-loop", daemon=True)
        try:
            BIRTHS.start(self._thread)
        except RuntimeError:
            loop.close()
            raise
        return loop

    async def _end(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if not tasks or not (await asyncio.wait(tasks, timeout=seconds))[1]:
            loop.stop()  # else its thread goes on with those that swallow their cancellation


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
