"""The places of a client: how many questions are on their way at once, and who waits for a place.

Call all of this in the loop that performs.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable


class Places:
    """So many places; who comes when all are taken waits his turn."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[asyncio.Future[None], str] = OrderedDict()
        """Those who wait, in order, with the server that each wants to ask."""

    async def take(self, server: str) -> None:
        """Have a place, to be given back once."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = server
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # it was given just before
                self.give_back()
            raise
        finally:
            self._waiting.pop(turn, None)

    def give_back(self) -> None:
        """It is for the one who has waited longest."""
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def send_away(self, server: str, error: Callable[[], Exception]) -> None:
        """Those who wait to ask this server get an error at once: nobody asks it now."""
        for turn, wanted in tuple(self._waiting.items()):
            if wanted == server and not turn.done():
                turn.set_exception(error())
