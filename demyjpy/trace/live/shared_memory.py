"""The memory that all observers of a process hold together.

Each observer has a limit of its own. These are for a quiet server: if peers send much, all of them
would be reached at the same time. So there is one for the process, too. Who finds no room gives up
detail, as it does at its own limit: a session is cut, or not kept on. Mail never waits for room.
"""

from typing import Final, Protocol
from weakref import ReferenceType, ref

TOGETHER: Final = 16 << 20
"""Bytes; an observer whose own limit is larger may reach that if the others hold nothing."""

RESERVE: Final = 4
"""This part of its own limit an observer may hold in any case: one in four bytes."""


class Holder(Protocol):
    """An observer. ``held``: bytes that it holds now; ``memory``: those that it may hold."""

    memory: int

    @property
    def held(self) -> int:
        """Bytes that it holds now."""


class SharedMemory:
    """What the observers of one process hold, and how much more they may.

    No lock is taken: any thread may ask, also in a child that a thread has forked meanwhile.
    """

    def __init__(self, together: int = TOGETHER) -> None:
        self._together = together
        self._holders: list[ReferenceType[Holder]] = []

    def join(self, holder: Holder) -> None:
        """One observer more, for as long as somebody else holds it."""
        self._holders.append(ref(holder, self._holders.remove))

    def room(self) -> int:
        """Bytes that may be held besides all that is held; less than none if there is too much."""
        holders = [holder for one in (*self._holders,) if (holder := one()) is not None]
        most = max([self._together, *[one.memory for one in holders]])
        return most - sum([one.held for one in holders])


SHARED: Final = SharedMemory()
"""That of this process."""
