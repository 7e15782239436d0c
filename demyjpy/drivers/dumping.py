"""SIGUSR1: what a process has in memory is written out; if it keeps nothing, the log says so.

It never ends a process that serves, as it would by itself (signal(7)).
"""

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from demyjpy.drivers.report import log
from demyjpy.drivers.signals import handling

DUMP: Final = signal.SIGUSR1
"""What has everything in memory written out."""


class _Obeying:
    """The handler of `DUMP`; ``is_shared``: the workers are to obey, and not their parent."""

    def __init__(self, act: Callable[[], object], *, is_shared: bool) -> None:
        self._act = act
        self._busy = _thread.allocate_lock()
        self._is_asked = False
        self.is_shared = is_shared

    def __call__(self, *_: object) -> None:
        """In a signal handler: whatever was interrupted may hold any lock, those of `threading` too."""
        self._is_asked = True
        if not self._busy.locked():  # else who holds it looks again when it has let go
            with suppress(RuntimeError):  # the system has no thread left: the next signal tries again
                _thread.start_new_thread(self._run, ())

    def _run(self) -> None:  # pragma: no cover  # coverage sees threads that `threading` starts
        """As often as it was asked since it was last begun: once. One thread at a time."""
        while self._is_asked and self._busy.acquire(blocking=False):
            try:
                self._is_asked = False
                self._act()
            finally:
                self._busy.release()


@contextmanager
def obeying(act: Callable[[], object] | None = None) -> Iterator[None]:
    """While the block runs, `DUMP` has ``act`` called in a thread, in workers if there are any.

    Without ``act`` it is a line in the log, unless the program has a use for the signal itself. In the
    main thread only.
    """
    before = signal.getsignal(DUMP)
    is_taken = act is None and before is not signal.SIG_DFL
    if is_taken or threading.current_thread() is not threading.main_thread():
        yield
        return
    with handling({DUMP: _Obeying(act or _say_that_nothing_is_kept, is_shared=act is not None)}):
        yield


def _say_that_nothing_is_kept() -> None:  # pragma: no cover  # called by `_run` only, in that thread
    log.warning("SIGUSR1: nothing is written, because nothing is kept in memory (see --flight)")


@contextmanager
def passing_on(tell: Callable[[int], None]) -> Iterator[None]:
    """In the parent of workers, while the block runs: what they are to obey goes to them."""
    before = signal.getsignal(DUMP)
    if not (isinstance(before, _Obeying) and before.is_shared):
        yield
        return
    parent = os.getpid()

    def obey(*_: object) -> None:
        if os.getpid() == parent:
            tell(DUMP)
        else:
            before()

    with handling({DUMP: obey}):
        yield
