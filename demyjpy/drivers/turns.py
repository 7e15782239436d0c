"""Turns of the threads driver: those who have more to say than is their due work one at a time.

The interpreter runs one thread at a time, and gives another the lock only 5 ms after it was asked for:
twenty threads that all have something to do keep a twenty-first waiting for 100 ms. So a thread whose
peer lets it rest, as an MTA does that waits for each answer, works at once, and one whose peer has
already sent more takes a turn first. There is one turn in the process; all wait for it in the order
in which they came, and give it on after `SLICE`. So a thread that works at once has at most one such
thread to wait for, however many peers send without end. Every second turn is for those who have had
none since they rested, if there are any: a message whose header comes in one piece, and takes longer
than it should, does not wait behind all the peers that send without end.

What counts is the processor's time, not the clock's. A handler may wait for a database for as long as
it takes: that costs nobody anything, and a thread that holds the turn and waits loses it.
"""

import socket
import threading
import time
from array import array
from collections import deque
from fcntl import ioctl
from termios import FIONREAD
from typing import Final

from demyjpy.engine.limits import Budget

CREDIT: Final = 0.000_5
"""Seconds of work after a rest for which no turn is needed."""

SLICE: Final = 0.001
"""Seconds of work in one turn."""

PATIENCE: Final = 0.01
"""Seconds after which the next in line looks whether who holds the turn works. On a machine that has
too much to do, who waits for the processor looks like who waits for something else: with fewer there
would be more and more who work at a time."""

LEASE: Final = 0.05
"""Seconds after which a turn is over in any case: one handler may work for longer than that."""

_PAUSE: Final = 0.000_05
"""Seconds for which nobody works, so that a thread with a turn of its own can take the lock."""

_LARGE: Final = array("i", bytes(1028))
"""What `ioctl` writes into, in the first place. If a buffer has more than 1024 bytes, CPython keeps
its lock during the call (``fcntl_ioctl_impl`` in ``Modules/fcntlmodule.c``, up to 3.13). A poll() gives
the lock away, and the thread has to wait until it has it again: with ten sessions at work that was a
tenth of the messages a second."""

BUDGET: Final = Budget(seconds=CREDIT / 2, clock=time.monotonic)
"""After which the engine comes back to the driver."""


class Turns:
    """The line in which threads wait for the one turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: deque[Share] = deque()
        self._again: deque[Share] = deque()
        self._is_first_next = True
        self._holder: Share | None = None
        self._since = self._worked = 0.0

    def take(self, share: "Share") -> None:
        """Wait for the turn, behind those who wait for it already."""
        with self._lock:
            if self._holder is None:
                self._give(share)
                return
            (self._again if share.is_in_turn else self._first).append(share)
            place = len(self._again) + len(self._first)
        while not share.gate.acquire(timeout=place * PATIENCE):
            with self._lock:
                if self._is_over():
                    self._pass_on()

    def leave(self, share: "Share") -> bool:
        """Give the turn on, if it is still this one's; whether anybody else waited for it."""
        with self._lock:
            if self._holder is not share:
                return False
            self._pass_on()
            return self._holder is not None

    def _pass_on(self) -> None:
        self._holder = None
        if self._first and (self._is_first_next or not self._again):
            following = self._first.popleft()
        elif self._again:
            following = self._again.popleft()
        else:
            return
        self._is_first_next = not self._is_first_next
        self._give(following)
        following.gate.release()

    def _give(self, share: "Share") -> None:
        self._holder = share
        self._since = time.monotonic()
        self._worked = share.worked()

    def _is_over(self) -> bool:
        """Whether the one who holds the turn waits for something, or works for too long."""
        held = time.monotonic() - self._since
        if self._holder is None or held < PATIENCE:
            return False
        return held > LEASE or self._holder.worked() - self._worked < held / 4


class Share:
    """What the thread of one connection may use. Made in that thread, and used there only.

    ``is_in_turn``: it has taken a turn, and not rested since.
    """

    __slots__ = ("_clock", "_due", "_size", "_socket", "_turns", "gate", "is_in_turn")

    def __init__(self, turns: Turns, sock: socket.socket) -> None:
        self._turns = turns
        self._socket = sock
        self._size = _LARGE[:]
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._due: float | None = None
        self.is_in_turn = False
        self.gate = threading.Lock()
        self.gate.acquire()

    def worked(self) -> float:
        """Seconds for which this thread has worked. From any thread, while this one lives."""
        return time.clock_gettime(self._clock)

    def _has_more(self) -> bool:
        """Whether the peer has sent more. That it is gone is no more."""
        ioctl(self._socket, FIONREAD, self._size)
        return self._size[0] > 0

    def spend(self, is_behind: bool) -> None:
        """A part is done. If there is more, and the share is used up, wait for a turn.

        ``is_behind``: whether there is more that was read already. Say this before an answer leaves:
        after that, a peer that has waited for it may have sent more, too.
        """
        if not is_behind and not self._has_more():
            self.end()
            self._due = None
        elif self._due is None:
            self._due = self.worked() + CREDIT
        elif self.worked() >= self._due:
            if not self._turns.leave(self):
                time.sleep(_PAUSE)
            self._turns.take(self)
            self.is_in_turn = True
            self._due = self.worked() + SLICE

    def end(self) -> None:
        """Others may have the turn: the thread ends, or waits for its peer."""
        if self.is_in_turn:
            self.is_in_turn = False
            self._turns.leave(self)
