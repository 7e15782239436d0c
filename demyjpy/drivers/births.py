"""Starting threads, and none while the interpreter ends.

A thread that begins as the interpreter ends reads memory that is free already: before CPython 3.11.6
that ends the program with SIGSEGV (gh-108987). Who serves in a daemon thread would see that at exit.
"""

import atexit
import os
import threading
from typing import Final


class Births:
    """Starts threads until `end`."""

    def __init__(self) -> None:
        self._is_over = False
        self.renew()

    def renew(self) -> None:
        """Begin again in a process that was forked: another thread may have held the lock then."""
        self._lock = threading.Lock()

    def start(self, thread: threading.Thread) -> None:
        """Start it; `RuntimeError` if it cannot be started, or the interpreter ends."""
        with self._lock:
            if self._is_over:
                raise RuntimeError("can't start new thread: the program ends")
            thread.start()  # which returns when it runs

    def end(self) -> None:
        """From now on, no thread is started, and those that were run."""
        with self._lock:
            self._is_over = True


BIRTHS: Final = Births()
"""Of this process: the interpreter ends for all servers in it at once."""

atexit.register(BIRTHS.end)
os.register_at_fork(after_in_child=BIRTHS.renew)
