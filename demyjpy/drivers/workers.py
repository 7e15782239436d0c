"""Worker processes: several processes that serve one listening socket, and a parent that keeps them.

The parent handles no mail. A worker that dies is replaced; one that dies as soon as it starts, later
and later. SIGTERM or SIGINT to the parent reaches all.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Final

from demyjpy.drivers.report import log

_QUICK: Final = 5.0  # a worker that lives shorter than this, in seconds, did not start well
_LONGEST_PAUSE: Final = 30.0


class Workers:
    """The parent's knowledge of its workers."""

    def __init__(self, count: int, work: Callable[[], None]) -> None:
        self._count, self._work = count, work
        self._started: dict[int, float] = {}
        self._failures = 0
        self._stopping = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT: keep ``count`` workers alive. Returns when all have ended."""
        signals = {signal.SIGTERM, signal.SIGINT}
        before = {number: signal.signal(number, self._stop) for number in signals}
        try:
            while not self._stopping:
                while len(self._started) < self._count and not self._stopping:
                    self._start()
                self._reap()
            while self._started:
                self._reap()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self) -> None:
        # no signal between fork and the worker's own handlers, or it would be the parent's
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for number in signals:
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
                self._work()
                code = 0
            except BaseException:  # noqa: BLE001  # nothing may return into the parent's code
                traceback.print_exc()
            finally:
                os._exit(code)
        self._started[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        log.info("worker %d started", pid)

    def _reap(self) -> None:
        """Wait for one worker to end; a signal ends the wait, too."""
        try:
            pid, status = os.wait()
        except InterruptedError:
            return
        started = self._started.pop(pid, None)
        if started is None or self._stopping:
            return
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        lived = time.monotonic() - started
        self._failures = self._failures + 1 if lived < _QUICK else 0
        pause = min(0.1 * 2**self._failures, _LONGEST_PAUSE) if self._failures else 0.0
        log.error("worker %d ended with %s; starting another in %.1f s", pid, how, pause)
        end = time.monotonic() + pause
        while not self._stopping and time.monotonic() < end:
            time.sleep(min(0.1, pause))

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True
        for pid in self._started:
            os.kill(pid, signal.SIGTERM)
