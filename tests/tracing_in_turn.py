"""A plugin of coverage with which threads install their trace functions one after the other.

CPython 3.11 lets no thread do so while another does: `RuntimeError`, and the new
thread ends before it has begun. It happens only after somebody has added an audit hook in Python, for
such a hook may hand the interpreter over in the midst. `demyjpy check` and `demyjpy replay` add one.
"""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

_install = sys.settrace
_install_in_threads = threading.settrace
_lock = threading.RLock()


def _renew() -> None:
    """In a child of a process: the thread that held the lock is not there."""
    global _lock  # noqa: PLW0603  # one for all threads of the process
    _lock = threading.RLock()


def _settrace(function: Any) -> None:
    with _lock:
        _install(function)


def _settrace_in_threads(function: Callable[..., Any] | None) -> None:
    def in_turn(*of_event: Any) -> Any:
        """Coverage's first function in a thread installs another one."""
        with _lock:
            return function and function(*of_event)

    _install_in_threads(function and in_turn)


def coverage_init(*_: Any) -> None:
    """Called by coverage before it measures."""
    if sys.settrace is not _settrace:
        sys.settrace, threading.settrace = _settrace, _settrace_in_threads
        os.register_at_fork(after_in_child=_renew)
