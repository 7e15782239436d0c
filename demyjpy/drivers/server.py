"""What the servers of all drivers have in common: where they listen, who is let in, with which filter.

How connections are taken and served is each driver's.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from demyjpy.drivers.address import Address, Listener, listen
from demyjpy.drivers.admission import Door
from demyjpy.drivers.asker import Asker
from demyjpy.drivers.options import ServerOptions, SessionNames
from demyjpy.drivers.tape_makers import Tapes
from demyjpy.engine.connection import Setup


class Server(ABC):
    """A milter that listens while it is entered as a context manager.

    ``address`` is where it listens, with the port that was chosen. Leaving it, or `close`, stops
    accepting, lets messages in flight finish within the grace period, and ends all sessions.
    """

    def __init__(
        self, address: Address | Listener, on_connect: Any, options: ServerOptions | None = None
    ) -> None:
        self._where = address
        self.options = options or ServerOptions()
        self.asker = Asker(self.loop, threads=self.options.blocking_threads)
        self._door = Door(self.options, self._setup(on_connect))
        self._names = SessionNames()
        self.tapes = Tapes(self.options.readers)
        self._retired: Callable[[], None] | None = None
        """Called when the last session has ended, if no more connections are to be accepted."""
        self.stopping = False

    @abstractmethod
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which the world is asked."""

    @abstractmethod
    def _setup(self, on_connect: Any) -> Setup:
        """What the engine needs to serve a session with this filter; `HandlerError` if it cannot run."""

    def _listen(self) -> Listener:
        """Listen. `AddressError` says why that is not possible."""
        listener = self._where if isinstance(self._where, Listener) else listen(self._where)
        self.address = str(listener.address)
        return listener

    def adopt(self, on_connect: Any) -> None:
        """Serve the sessions to come with this filter; those begun keep theirs. From any thread."""
        self._door.setup = self._setup(on_connect)
