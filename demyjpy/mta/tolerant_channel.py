"""A channel for a milter that may be away or go away: what that means shows when it is asked.

An MTA takes an SMTP session even if its milter cannot be reached; the first question has no answer
then. And it goes on if what needs no answer (an observer's event, ABORT, QUIT) reaches nobody:
that, too, shows at the next question.
"""

from typing import Final, Self

from demyjpy.drivers.address import Address
from demyjpy.mta.channel import AsyncChannel, Tap, Timeouts, untapped
from demyjpy.mta.milter_link import Answer, MilterFailedError, MilterLink
from demyjpy.mta.smtp_session import Exchange

_CLOSED: Final = "it closed the connection"


class TolerantChannel(AsyncChannel):
    """An `AsyncChannel` on which only a question fails; ``waits_for`` is the last one asked."""

    def __init__(
        self,
        address: str | int | Address,
        timeouts: Timeouts | None = None,
        tap: Tap = untapped,
    ) -> None:
        super().__init__(address, timeouts, tap)
        self.waits_for = "connecting"
        self._gone: MilterFailedError | None = None

    async def __aenter__(self) -> Self:
        try:
            await super().__aenter__()
        except MilterFailedError as failure:
            self._gone = failure
        return self

    async def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        """Write, and read until the answer is complete; fails only if there should be one."""
        event = exchange.link.event
        self.waits_for = event or self.waits_for
        if self._gone is None:
            try:
                return await super().carry_out(exchange)
            except MilterFailedError as failure:
                self._gone = failure
                if event is not None:
                    raise
        if event is None:
            return exchange.link, None
        if self._gone.event == "connecting":
            raise self._gone
        raise MilterFailedError(event, _CLOSED)
