"""Threads for handlers that block, where the driver itself must not wait.

Unlike those of `concurrent.futures`, they do not keep the program from ending: a handler that hangs
would otherwise do so.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

_Task: TypeAlias = tuple["Future[Any]", Callable[[Any], Any], Any]
_END: Final = None


class Pool:
    """At most ``size`` threads, started when they are needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, function: Callable[[Any], Any], argument: Any) -> "Future[Any]":
        """Call a function in a thread, or in the first that is free. From one thread only."""
        future: Future[Any] = Future()
        self._tasks.put((future, function, argument))
        if not self._idle.acquire(blocking=False) and self._started < self._size:
            self._started += 1
            name = f"demyjpy-handler-{self._started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """Its threads end when they have done what was submitted."""
        for _ in range(self._started):
            self._tasks.put(_END)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not _END:
            future, function, argument = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(argument))
                except BaseException as error:  # noqa: BLE001  # it is the caller's
                    future.set_exception(error)
            del task, future, function, argument  # a context may be large
            self._idle.release()
