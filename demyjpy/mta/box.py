"""A mail server in a box: SMTP in, milters asked as Postfix would ask them, Maildir out.

For trying a filter without installing an MTA; it relays nothing. It needs aiosmtpd (the extra ``box``).
Here is the server; a client's session is `demyjpy.mta.dialogue`'s.
"""

import asyncio
from typing import Self

from attrs import define, setters

from demyjpy.drivers.accepting import ProtocolServer
from demyjpy.drivers.address import listen
from demyjpy.mta.box_settings import BoxSettings
from demyjpy.mta.dialogue import Dialogue


@define(eq=False, slots=False, on_setattr=setters.NO_OP)
class Box(BoxSettings):
    """The server; an async context manager that listens while it is entered."""

    async def __aenter__(self) -> Self:
        self._listener = listen(self.address)
        self.address = self._listener.address
        self._server = ProtocolServer(self._listener.socket, lambda: Dialogue(self))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self._listener.close()
        await self._server.wait_connected()
        await asyncio.gather(*[dialogue.leave() for dialogue in self.sessions.values()])
