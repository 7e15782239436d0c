"""A thread in each process that writes for an observer, so that a slow disk does not delay the mail.

The observer bounds what waits: it looks at `BackgroundWriter.size` first, or lets
`BackgroundWriter.put` refuse.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.report import log

PARTING: Final = 0.5
"""Seconds that each observer has for writing when a process ends; the parent of workers allows three."""


class BackgroundWriter:
    """``name`` is the thread's and the log's; ``most``: bytes that may wait.

    The thread is begun with the first work, in each process anew. It may be used from any thread.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._closed = 0
        self._renew()
        found = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _renew_in_child(found))

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self._process = 0
        self.size = 0
        """Bytes that wait, or are being written."""

    def put(self, size: int, act: Callable[[], object], *, always: bool = False) -> bool:
        """Have something done that holds ``size`` bytes; False if it will not be done.

        ``always``: though too much waits; who says so has counted it.
        """
        with self._changed:
            if self._process != os.getpid() and not self._begin():
                return False
            if self.size + size > self._most and not always:
                return False
            self._waiting.append((size, act))
            self.size += size
            self._changed.notify_all()
        return True

    @property
    def waiting(self) -> int:
        """How many things are still to be done."""
        return len(self._waiting)

    def _begin(self) -> bool:
        name, closed = f"demyjpy-{self._name}", self._closed
        self._thread = threading.Thread(target=self._run, args=(closed,), name=name, daemon=True)
        try:
            BIRTHS.start(self._thread)
        except RuntimeError:  # the next one tries again
            return False
        self._process = os.getpid()
        return True

    def wait(self, seconds: float = PARTING) -> bool:
        """Until all is done that was put here, for ``seconds`` at most; whether it is done."""
        with self._changed:
            return self._process != os.getpid() or self._changed.wait_for(
                lambda: not self._waiting, seconds
            )

    def close(self) -> bool:
        """End the thread when all is done, within `PARTING`. Whether it is."""
        is_done = self.wait()
        with self._changed:
            if not is_done or self._process != os.getpid() or self._waiting:
                return is_done
            self._process = 0
            self._closed += 1
            self._changed.notify_all()
        self._thread.join(PARTING)
        return True

    def _run(self, closed: int) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed != closed)
                if self._closed != closed:
                    return
                size, act = self._waiting[0]
            try:
                act()
            except Exception as error:  # noqa: BLE001  # the next one may go well; of this one no word
                log.error("%s: %s: the mail goes on", self._name, type(error).__name__)
            with self._changed:
                self._waiting.popleft()
                self.size -= size
                self._changed.notify_all()


def _renew_in_child(found: "weakref.ref[BackgroundWriter]") -> None:
    """What waits is the parent's to do, and its thread may have held the lock as it forked."""
    desk = found()
    if desk is not None:
        desk._renew()  # noqa: SLF001  # of this module


class RateLimit:
    """``most`` in ``seconds``, at once or one by one."""

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        self._most, self._seconds = most, seconds
        self._left = float(most)
        self._seen = time.monotonic()

    def allows(self) -> bool:
        """Whether one more may be; it counts."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._seen) * self._most / self._seconds)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """One that was allowed was not used."""
        self._left += 1
