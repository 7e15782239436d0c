"""Threads for handlers that block, for a driver that must not wait itself.

Unlike those of `concurrent.futures`, they do not keep the program from ending: a handler that hangs
would otherwise do so.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

from demyjpy.drivers.births import BIRTHS

_Task: TypeAlias = tuple["Future[Any]", Callable[[Any], Any], Any]
_END: Final = None


class Pool:
    """At most ``size`` threads, started when they are needed.

    One whose task was left behind does not count, so that another may take its place; but no more
    than ``size`` of those.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._open = self._names = 0
        self._left: dict[Future[Any], bool] = {}
        """Tasks left behind that still run, and whether another thread may take that one's place."""

    def submit(self, function: Callable[[Any], Any], argument: Any) -> "Future[Any]":
        """Call a function in a thread, or in the first that is free. From one thread only.

        `RuntimeError` if there is no thread, and none can be started.
        """
        future: Future[Any] = Future()
        with self._lock:
            self._open += 1
            try:
                self._start_if_needed()
            except RuntimeError:  # the system has no more threads
                if not self._threads:
                    self._open -= 1
                    raise
        self._tasks.put((future, function, argument))
        return future

    def leave(self, future: "Future[Any]") -> str:
        """Wait for a task no more; says what becomes of it, in words."""
        if future.cancel():
            return f"it had not begun, because all {self._size} threads were busy (blocking_threads)"
        with self._lock:
            if future.done():
                return "it has returned just now"
            makes_room = len(self._left) < self._size
            self._left[future] = makes_room
            if makes_room:
                self._threads -= 1
                self._open -= 1
                with suppress(RuntimeError):  # the next that is submitted tries again
                    self._start_if_needed()
            return f"its thread goes on, one of {len(self._left)} left behind"

    def close(self) -> None:
        """Its threads end when they have done what was submitted."""
        for _ in range(self._threads):
            self._tasks.put(_END)

    def _start_if_needed(self) -> None:
        if self._open > self._threads and self._threads < self._size:
            self._names += 1
            name = f"demyjpy-handler-{self._names}"
            BIRTHS.start(threading.Thread(target=self._run, name=name, daemon=True))
            self._threads += 1

    def _run(self) -> None:
        while (task := self._tasks.get()) is not _END:
            future, function, argument = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(argument))
                except BaseException as error:  # noqa: BLE001  # it is the caller's
                    future.set_exception(error)
            with self._lock:
                if self._left.pop(future, False):
                    return  # another thread is in its place
                self._open -= 1
            del task, future, function, argument  # a context may be large


class DaemonExecutor(ThreadPoolExecutor):
    """For an event loop's ``run_in_executor`` and `asyncio.to_thread`: a `Pool`, not waited for."""

    def __init__(self, size: int) -> None:
        super().__init__(size)  # which starts no thread before one is needed: never
        self._pool = Pool(size)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """As `ThreadPoolExecutor.submit`, from the loop's thread."""
        return self._pool.submit(lambda call: call(), partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Threads end after what they are at."""
        self._pool.close()
