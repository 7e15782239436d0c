"""Taking connections from a listening socket in an event loop, none of them lost when that ends.

asyncio's own servers may leave a connection open for ever that came as they were closed. Who may come in
is decided elsewhere.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

from demyjpy.drivers.report import log

PAUSE: Final = 1.0
"""Seconds until accepting is tried again when the system has no more sockets."""


class Acceptor:
    """Gives what it accepts to ``take``, with the peer's address, from `resume` on.

    ``sock`` does not block. At one wake-up it takes ``at_once`` connections, so that those open get
    their turn; before each it asks ``is_full``, and pauses if that is so. For a running event loop.
    """

    def __init__(
        self,
        sock: socket.socket,
        take: Callable[[socket.socket, Any], None],
        at_once: int = 1,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._take = take
        self._at_once = at_once
        self._is_full = is_full
        self._is_accepting = self._is_closed = False

    def resume(self) -> None:
        """Accept from now on, unless closed."""
        if not self._is_accepting and not self._is_closed:
            self._is_accepting = True
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def pause(self) -> None:
        """Let them wait until `resume`."""
        if self._is_accepting:
            self._is_accepting = False
            self._loop.remove_reader(self._sock.fileno())

    def close(self) -> None:
        """Accept no more. The socket stays open: it is not ours."""
        self.pause()
        self._is_closed = True

    def _accept(self) -> None:
        for _ in range(self._at_once):
            if self._is_full():
                self.pause()
                return
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return  # another process was faster, or the peer is gone
            except OSError as error:
                log.error("cannot accept connections: %s; trying again in %s s", error, PAUSE)
                self.pause()
                self._loop.call_later(PAUSE, self.resume)
                return
            sock.setblocking(False)
            self._take(sock, address)


class ProtocolServer:
    """Gives each connection that it accepts on ``sock`` a protocol, made by ``factory``.

    Like `asyncio.Server`, but if it is closed, who was accepted is still connected.
    """

    def __init__(self, sock: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._coming: set[asyncio.Task[Any]] = set()
        """Those that were accepted, and are not connected yet; the loop keeps no task alive."""
        self._acceptor = Acceptor(sock, self._take)
        self._acceptor.resume()

    def close(self) -> None:
        """Accept no more. The socket stays open: it is not ours."""
        self._acceptor.close()

    async def wait_connected(self) -> None:
        """Until all that were accepted have their protocol."""
        await asyncio.gather(*self._coming)

    def _take(self, sock: socket.socket, address: object) -> None:
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._factory, sock))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)
