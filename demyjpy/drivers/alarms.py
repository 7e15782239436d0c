"""One thread that does things at their time, where each connection has a thread that may not wait."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from demyjpy.drivers.births import BIRTHS


class Alarms:
    """Signs of life, deadlines and sweeps of the threads driver."""

    def __init__(self) -> None:
        self._due: dict[object, tuple[float, float, Callable[[], None]]] = {}
        self._next = float("inf")
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="demyjpy-alarms", daemon=True)

    def start(self) -> None:
        """Begin."""
        BIRTHS.start(self._thread)

    def stop(self) -> None:
        """Nothing is done any more when this returns."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join()

    @contextmanager
    def every(self, period: float, act: Callable[[], None]) -> Iterator[None]:
        """While the block runs, ``act`` is called every ``period`` seconds; never after it."""
        key = object()
        with self._changed:
            due = time.monotonic() + period
            self._due[key] = (due, period, act)
            if due < self._next:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._due[key]

    def _run(self) -> None:
        with self._changed:
            while not self._is_stopped:
                now = time.monotonic()
                for key, (due, period, act) in self._due.items():
                    if now >= due:
                        act()
                        self._due[key] = (now + period, period, act)
                self._next = min((due for due, _, _ in self._due.values()), default=float("inf"))
                self._changed.wait(min(self._next - now, threading.TIMEOUT_MAX))
