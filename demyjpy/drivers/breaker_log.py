"""What circuit breakers of this process have done, for the metrics; the breakers live elsewhere.

Figures are counted from tapes, which know nothing of what performers share. So who has a breaker writes
down here when it opens and closes, and who counts reads on from where it was.
"""

import itertools
import os
import threading
from collections import deque
from typing import Final

from attrs import frozen

MOST_CHANGES: Final = 1_000
"""Changes that are kept for those who count."""


@frozen
class Change:
    """The breaker of a server, asked by a client of the kind ``lookup``, has opened or closed."""

    lookup: str
    server: str
    is_open: bool


class BreakerLog:
    """Changes in order, numbered from 0. From any thread."""

    def __init__(self) -> None:
        self.count = 0
        """How many there have been: it costs nothing to see that there is nothing new."""
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self.renew()

    def renew(self) -> None:
        """Begin again in a process that was forked: another thread may have held the lock then."""
        self._lock = threading.Lock()

    def add(self, change: Change) -> None:
        """One more."""
        with self._lock:
            self._changes.append(change)
            self.count += 1

    def take(self, reader: "Mark") -> tuple[Change, ...]:
        """What is new for one who reads; what is too old is lost."""
        with self._lock:
            new = min(self.count - reader.at, len(self._changes))
            reader.at = self.count
            return tuple(itertools.islice(self._changes, len(self._changes) - new, None))


class Mark:
    """Who has read the changes until now; each of its changes is taken once, from any thread."""

    __slots__ = ("_log", "at")

    def __init__(self, log: BreakerLog) -> None:
        self._log = log
        self.at = log.count

    def take(self) -> tuple[Change, ...]:
        """What is new; to find that nothing is costs nearly nothing."""
        return () if self.at == self._log.count else self._log.take(self)


BREAKERS: Final = BreakerLog()
"""Of this process: its metrics are of all servers in it, too."""

os.register_at_fork(after_in_child=BREAKERS.renew)
