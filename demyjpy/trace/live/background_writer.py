"""A thread in each process that writes for an observer, so that a slow disk does not delay the mail.

The observer bounds what waits: it looks at `BackgroundWriter.size` first, or lets
`BackgroundWriter.put` refuse.
"""

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final

from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.report import log

PARTING: Final = 1.0
"""Seconds after which a process ends if its observer has written nothing of what waits."""

LONGEST_PARTING: Final = 2.0
"""Seconds that each observer has for writing when a process ends; the parent of workers allows six."""

SWITCH: Final = 0.000_1
"""Seconds after which the thread gives the interpreter's lock to one that serves mail.

A session waits for this time at each answer. With the interpreter's own 5 ms, a dozen answers would take
longer than a message does. It holds for the process, from the first work on.
"""

REST: Final = 1.0
"""Seconds that the thread rests for each second that it has worked, if more waits and it has a lag."""

_LEAST_WORK: Final = 0.002
_LONGEST_REST: Final = 0.05


class BackgroundWriter:
    """``name`` is the thread's and the log's; ``most``: bytes that may wait.

    ``lag``: seconds that the thread waits for more when something has come; then it does all that has
    come. It wakes up for many things at once, and so does not disturb those who put them there. If a
    quarter of ``most`` waits, or somebody waits for it, it begins at once. With a lag it rests for as
    long as it has worked, unless somebody waits for it: who serves mail has at least half of the time.

    The thread is begun with the first work, in each process anew. It may be used from any thread.
    """

    def __init__(self, name: str, most: int, *, lag: float = 0.0) -> None:
        self._name, self._most, self._lag = name, most, lag
        self._closed = 0
        self._renew()
        found = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _renew_in_child(found))

    def _renew(self) -> None:
        lock = threading.RLock()
        self._changed, self._hurried = threading.Condition(lock), threading.Condition(lock)
        self._is_hurried = self._is_awaited = False
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
            if len(self._waiting) == 1:
                self._changed.notify_all()
            if self._lag and self.size > self._most // 4:
                self._hurry()
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
            self._is_awaited = bool(self._waiting)
            self._hurry()
            return self._process != os.getpid() or self._changed.wait_for(
                lambda: not self._waiting, seconds
            )

    def _hurry(self) -> None:
        """Have the thread begin with what waits."""
        if not self._is_hurried:
            self._is_hurried = True
            self._hurried.notify_all()

    def close(self) -> bool:
        """End the thread when all is done. Whether it is.

        It waits for `LONGEST_PARTING` at most, and no longer than `PARTING` for each thing. It logs how
        much is left.
        """
        end = time.monotonic() + LONGEST_PARTING
        left = self.waiting + 1
        is_done = False
        while not is_done and self.waiting < left and (still := end - time.monotonic()) > 0:
            left = self.waiting
            is_done = self.wait(min(PARTING, still))
        if not is_done:
            log.warning("%s: ended before all was written; left: %d", self._name, self.waiting)
        with self._changed:
            if not is_done or self._process != os.getpid() or self._waiting:
                return is_done
            self._process = 0
            self._closed += 1
            self._changed.notify_all()
        self._thread.join(PARTING)
        return True

    def _run(self, closed: int) -> None:
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH))
        is_idle, rested = True, 0.0
        while True:
            with self._changed:
                if is_idle:
                    self._changed.wait_for(lambda: self._waiting or self._closed != closed)
                    if self._lag and self._closed == closed:
                        self._hurried.wait_for(lambda: self._is_hurried, self._lag)
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
                is_idle = not self._waiting
                if is_idle:
                    self._is_hurried = self._is_awaited = False
                    self._changed.notify_all()
            rest = rest_after(time.thread_time() - rested)
            if is_idle or rest:
                if not is_idle and self._lag and not self._is_awaited:
                    time.sleep(rest)
                rested = time.thread_time()


def rest_after(worked: float) -> float:
    """The seconds that a thread rests after it has worked for so many; none if these are few."""
    return min(REST * worked, _LONGEST_REST) if worked >= _LEAST_WORK else 0.0


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
