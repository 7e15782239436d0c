"""What a turn takes from the MTA: packets, one by one, until they or the budget are used up."""

from collections import deque

from demyjpy.engine.connection import Backlog, Setup
from demyjpy.engine.limits import Meter
from demyjpy.wire.framing import Frames, Packet


class Intake(Frames):
    """The packets of one turn, and what of the budget is used. It is changed by taking.

    ``packets`` are those that were taken and put back: they are taken first.
    """

    __slots__ = ("meter", "packets")

    def __init__(self, backlog: Backlog, setup: Setup) -> None:
        super().__init__(backlog.unread, setup.limits.packet)
        self.packets = deque(backlog.packets)
        self.meter = Meter(setup.budget)

    def take(self) -> Packet | None:
        """The next packet; None if none is complete, or if others have to have their turn."""
        if self.meter.taken > 1 and self.meter.is_used_up():  # macros and their command stay together
            return None
        self.meter.taken += 1
        return self.packets.popleft() if self.packets else super().take()

    def drop(self) -> None:
        """Nothing more is taken from this peer."""
        self.packets.clear()
        super().drop()
