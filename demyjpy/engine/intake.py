"""What a turn takes from the MTA: packets, one by one, until they or the budget are used up."""

from collections import deque

from demyjpy.engine.connection import Backlog, Setup
from demyjpy.wire.framing import Frames, Packet


class Intake(Frames):
    """The packets of one turn, and how much of the budget is used. It is changed by taking."""

    __slots__ = ("_budget", "_until", "answered", "packets", "taken")

    def __init__(self, backlog: Backlog, setup: Setup) -> None:
        super().__init__(backlog.unread, setup.limits.packet)
        self.packets = deque(backlog.packets)
        """Those that were taken and put back: they are taken first."""
        self.taken = self.answered = 0
        """Packets, and bytes of answers."""
        self._budget = setup.budget
        self._until = 0.0

    def take(self) -> Packet | None:
        """The next packet; None if none is complete, or if others have to have their turn."""
        if self._is_spent():
            return None
        self.taken += 1
        return self.packets.popleft() if self.packets else super().take()

    def drop(self) -> None:
        """Nothing more is taken from this peer."""
        self.packets.clear()
        super().drop()

    def _is_spent(self) -> bool:
        budget = self._budget
        if budget is None or self.taken < 2:  # macros and their command
            return False
        if self.taken >= budget.packets or self.answered > budget.answer:
            return True
        if budget.clock is None or not (self.packets or self.rest().is_ready):
            return False
        now = budget.clock()
        self._until = self._until or now + budget.seconds
        return now >= self._until
