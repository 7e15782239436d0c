"""Child processes: how one is forked, and how it is seen off.

What a child does, and what is said between it and its parent, is in the modules that fork.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from demyjpy.drivers.signals import AT_ONCE, RELOAD, RETIRE, SIGNALS

HELD: Final = (*SIGNALS, AT_ONCE, RETIRE, RELOAD)
"""Signals that are held back around a fork: no handler of the parent's may run in the child."""

_NAP: Final = 0.005  # seconds between two looks at a child


def fork(be_child: Callable[[set[int]], NoReturn]) -> int:
    """Fork; the child's process id. `OSError` if the system has no room for one.

    ``be_child`` is what the child does, with `HELD` held back: it gets the signals to hold back after.
    """
    flush()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        pid = os.fork()
        if pid == 0:
            be_child(held)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def flush() -> None:
    """Write what was printed so far, or a child would write it again."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
            stream.flush()


def see_off(pid: int, seconds: float) -> None:
    """Wait until a child has ended; after so many seconds it is killed."""
    end = time.monotonic() + seconds
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_NAP)
