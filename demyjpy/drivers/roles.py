"""Who does the jobs of a filter, of all processes that serve one socket: one of them at a time.

A lock on a file says who. The parent opens the file before it forks, and the system gives the lock up
when the process that has it ends, however it ends.
"""

import fcntl
import os
import tempfile
import threading
from contextlib import suppress
from typing import Any, Self

from demyjpy.drivers.report import log


class Role:
    """What one owner at a time may have; without a file, in this process."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self._owner: Any = None
        self._lock = threading.Lock()

    @classmethod
    def shared(cls) -> Self:
        """One for this process and for those that it forks; they keep a file without a name open."""
        try:
            with tempfile.TemporaryFile(buffering=0) as file:
                return cls(os.dup(file.fileno()))
        except OSError as error:
            log.warning("no jobs run: cannot make a file that says which worker does them: %s", error)
            return cls(-1)

    def take(self, owner: Any) -> bool:
        """Whether the owner has it now; it keeps it until `leave`, or until the process ends."""
        with self._lock:
            if self._owner is None and self._is_free():
                self._owner = owner
            return self._owner is owner

    def leave(self, owner: Any) -> None:
        """The owner has it no more, if it had it."""
        with self._lock:
            if self._owner is not owner:
                return
            self._owner = None
            if self._descriptor is not None:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """In the parent, when all have ended."""
        if self._descriptor is not None:
            with suppress(OSError):  # there was none
                os.close(self._descriptor)

    def _is_free(self) -> bool:
        if self._descriptor is None:
            return True
        try:
            # of the process, not of the open file: those that are forked share that
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, ValueError):  # another has it; no file could be made
            return False
        return True
