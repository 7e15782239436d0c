"""Worker processes: several processes that serve one listening socket, and a parent that keeps them.

The parent handles no mail. A worker that dies is replaced; one that dies as soon as it starts, later
and later. What the parent is asked, the workers are asked; they end, too, when the parent is gone.
"""

import math
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn, Self, TypeAlias

from demyjpy.drivers.address import Listener
from demyjpy.drivers.report import log
from demyjpy.drivers.signals import AT_ONCE, SIGNALS, Bell, Started, obey_parent

Work: TypeAlias = Callable[[Started], None]
"""What a worker does, until it is asked to stop."""

_QUICK: Final = 5.0  # a worker that lives shorter than this, in seconds, did not start well
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_PARTING: Final = 2.0  # seconds that a worker may take over its grace period


class Workers:
    """The parent's knowledge of its workers."""

    def __init__(self, count: int, listener: Listener, work: Work, grace: float) -> None:
        self._count, self._listener, self._work, self._grace = count, listener, work, grace
        self._living: dict[int, float] = {}
        """When each was started, by process id."""
        self._asked: deque[bool] = deque()
        self._stopping = False
        self._pause = self._next_start = 0.0

    def run(self, started: Started) -> None:
        """Keep ``count`` workers alive until asked to stop. Returns when all have ended."""
        with _Lifeline() as self._lifeline, Bell() as bell, _children_heard():
            started(self._asked.append)
            try:
                while not self._asked:
                    bell.wait(self._fill())
                    self._reap()
                self._stop(bell)
            finally:
                self._tell(signal.SIGKILL)  # where this has failed; else there are none

    def _fill(self) -> float:
        """Start what is missing; gives the time in seconds until that is to be tried again."""
        while len(self._living) < self._count:
            pause = self._next_start - time.monotonic()
            if pause > 0:
                return pause
            self._start()
        return math.inf

    def _start(self) -> None:
        _flush()  # or the worker would write it again
        # no signal between the fork and the worker's own handlers, or it would be the parent's
        held = signal.pthread_sigmask(signal.SIG_BLOCK, (*SIGNALS, AT_ONCE))
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(held)
        except OSError as error:
            log.error("cannot start a worker: %s; trying again in %.1f s", error, self._put_off())
        else:
            self._living[pid] = time.monotonic()
            log.info("worker %d started", pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def _be_worker(self, held: set[int]) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests = obey_parent()
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            self._lifeline.hold()
            self._work(requests.started)
            code = 0
        except BaseException:  # noqa: BLE001  # nothing may return into the parent's code
            log.exception("worker %d failed", os.getpid())
        finally:
            _flush()
            os._exit(code)

    def _put_off(self) -> float:
        """Let time pass until the next worker is started, twice as much at each failure."""
        self._pause = min(2 * self._pause or _FIRST_PAUSE, _LONGEST_PAUSE)
        self._next_start = time.monotonic() + self._pause
        return self._pause

    def _reap(self) -> None:
        """See which workers have ended."""
        for pid, started in tuple(self._living.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            del self._living[pid]
            if self._stopping:
                continue
            code = os.waitstatus_to_exitcode(status)
            how = f"signal {-code}" if code < 0 else f"exit status {code}"
            if time.monotonic() - started < _QUICK:
                pause = self._put_off()
            else:
                pause = self._pause = 0.0
            log.error("worker %d ended with %s; starting another in %.1f s", pid, how, pause)

    def _stop(self, bell: Bell) -> None:
        """Ask the workers what is asked, until the last has ended; none outlives its time."""
        self._stopping = True
        self._listener.close()
        end = math.inf
        while self._living:
            while self._asked:
                at_once = self._asked.popleft()
                self._tell(AT_ONCE if at_once else signal.SIGTERM)
                end = time.monotonic() + _PARTING + (0.0 if at_once else self._grace)
            left = end - time.monotonic()
            if left <= 0:
                log.error("killed, because they did not end: workers %s", [*self._living])
                self._tell(signal.SIGKILL)
                end = left = math.inf
            bell.wait(left)
            self._reap()

    def _tell(self, number: int) -> None:
        for pid in self._living:
            os.kill(pid, number)


class _Lifeline:
    """A pipe whose writing end only the parent holds: reading from it ends when the parent does."""

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def hold(self) -> None:
        """In a worker: stop as if asked to when the parent is gone."""
        os.close(self._writer)
        threading.Thread(target=self._watch, name="demyjpy-lifeline", daemon=True).start()

    def _watch(self) -> None:
        os.read(self._reader, 1)
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _children_heard() -> Iterator[None]:
    """While the block runs, the end of a child is a signal like others."""
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _flush() -> None:
    """Write what was printed so far."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
            stream.flush()
