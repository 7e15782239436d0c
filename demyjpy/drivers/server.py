"""What the servers of all drivers have in common: where they listen, who is let in, with which filter.

How connections are taken and served is each driver's.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from demyjpy.declarations import Declarations
from demyjpy.drivers.address import Address, Listener, listen
from demyjpy.drivers.admission import Door
from demyjpy.drivers.asker import Asker
from demyjpy.drivers.effects import Effects
from demyjpy.drivers.jobs import Jobs
from demyjpy.drivers.loading import why
from demyjpy.drivers.options import ServerOptions, SessionNames
from demyjpy.drivers.resources import Opened, Resources
from demyjpy.drivers.side_loop import Loop
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
        self._where, self._on_connect = address, on_connect
        self.options = options or ServerOptions()
        self.asker = Asker(self.loop, self.resources_of, self.options.blocking_threads)
        self.effects = Effects(
            lambda: self._loop_beside, self.options.blocking_threads, self.options.effects
        )
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
        self._listener = listener
        return listener

    def adopt(self, on_connect: Any, ended: Callable[[str], None]) -> None:
        """Serve the sessions to come with this filter; those begun keep theirs.

        ``ended`` is called when that is so, or known not to be possible, with what was wrong, or with
        an empty text; it is called at once if the filter has no resources. Only where the driver works.
        """
        setup = self._setup(on_connect)
        opening = self.resources.open(on_connect, self.options.load_timeout)

        def take_over() -> None:
            ended(self._take_over(on_connect, setup, opening))

        if opening.done():
            take_over()
        else:
            opening.add_done_callback(lambda _: self._soon(take_over))

    def _take_over(self, on_connect: Any, setup: Setup, opening: "Future[Opened]") -> str:
        """The resources are open, or what was wrong."""
        error = opening.exception()
        if error is not None:
            return why(error)
        before, self._door.opened = self._door.opened, opening.result()
        self._door.setup = setup
        before.release()
        self._jobs.stop()
        self._begin_jobs(on_connect)
        return ""

    def _begin_jobs(self, on_connect: Any) -> None:
        self._jobs = Jobs(on_connect, self._door.opened, self._listener.role, self._loop_beside)
        self._jobs.start()
        self.effects.begin(on_connect, self._door.opened)

    @abstractmethod
    def _soon(self, act: Callable[[], None]) -> None:
        """Have this done where the driver works. From any thread."""

    def _begin_resources(self, loop: Loop) -> "Future[Opened]":
        """Open what the filter declares."""
        self._loop_beside = loop
        self.resources = Resources(self.options.settings, loop)
        self.effects.open()
        return self.resources.open(self._on_connect, self.options.load_timeout)

    def resources_of(self, declarations: Declarations) -> Mapping[str, Any]:
        """What performers of a filter get; from any thread."""
        return self.resources.of(declarations)
