"""The sockets of the asyncio driver: read and written in one batch for each turn of the event loop.

asyncio's own transports cost a handle, a context and half a dozen calls for each read, and a task for
each connection: for a small message more than the engine takes. Here the loop watches one descriptor,
that of a selector which watches all sockets of a server, as every loop with ``add_reader`` can. What is
read and what is said is no business of this module.
"""

import asyncio
import socket
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from time import monotonic
from typing import Any, Final, Protocol

_READ_SIZE: Final = 65_536
_HIGH: Final = 65_536
_LOW: Final = 16_384
"""Bytes of unsent data at which the endpoint holds back, and at which it goes on: asyncio's own limits
(``_FlowControlMixin._set_write_buffer_limits``: 64 KiB, a quarter of it)."""

_PATIENCE: Final = 0.001
"""Seconds that an answer may wait for others, and the event loop for this server."""


class Endpoint(Protocol):
    """Whose bytes a transport carries."""

    def receive(self, data: bytes) -> None:
        """Bytes have come."""

    def go_on(self) -> None:
        """It is its turn again, after `Transport.work_later`."""

    def lose(self) -> None:
        """The connection is no more. Said once, by the loop itself."""

    def hold_back(self, is_full: bool) -> None:
        """With True: the peer does not read what is written; with False: it has read most of it."""


class Poller:
    """Watches the sockets of a server for the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.selector: Any = DefaultSelector()  # any, for epoll's and kqueue's have fileno(), not all
        self._fileno = self.selector.fileno()
        # One for all, for what is read is taken out before anybody else reads. A new one for each read
        # is so large that malloc() gives its pages back to the kernel each time.
        self.buffer = memoryview(bytearray(_READ_SIZE))
        self.behind: deque[Transport] = deque()
        """Those with work left, for which it is not read: one part of it each, in turn."""
        self._is_called = self._is_closed = False
        self.due: list[Transport] | None = None
        """While sockets are served: those with something to send at the end. Until then no peer is woken
        up, that would only take the processor, and what is in its caches, from those still to come."""
        loop.add_reader(self._fileno, self._poll)

    def _poll(self) -> None:
        """What can be read or written now, and what comes meanwhile: a turn of the loop is expensive."""
        end = monotonic() + _PATIENCE
        while (self._serve_ready() or self.behind) and monotonic() < end:
            pass
        if self.behind:
            self._poll_soon()

    def _poll_soon(self) -> None:
        """Although nothing may come: there is work left."""
        if not self._is_called:
            self._is_called = True
            self.loop.call_soon(self._poll_again)

    def _poll_again(self) -> None:
        self._is_called = False
        if not self._is_closed:
            self._poll()

    def _serve_ready(self) -> bool:
        """Whether there was anything to do."""
        found = self.selector.select(0)
        self.due = []
        until = monotonic() + _PATIENCE
        try:
            for key, ready in found:
                key.data(ready)
                if monotonic() > until:  # handlers that compute for long: the others wait for nothing
                    self._flush([])
                    until = monotonic() + _PATIENCE
            if self.behind:
                self._flush([])
                self._work()
        finally:
            self._flush(None)
        return bool(found)

    def _work(self) -> None:
        """Parts of the work that is left, until others may have said something."""
        until = monotonic() + _PATIENCE
        for _ in range(len(self.behind)):
            self.behind.popleft().go_on()
            if monotonic() > until:
                break

    def work_later(self, transport: "Transport") -> None:
        """It has work left, which is done when those have been served that say something new."""
        self.behind.append(transport)
        if self.due is None:
            self._poll_soon()

    def _flush(self, following: "list[Transport] | None") -> None:
        due, self.due = self.due, following
        for transport in due or ():
            transport.flush()

    def close(self) -> None:
        """Watch no more; it must watch no socket any more."""
        self._is_closed = True
        self.loop.remove_reader(self._fileno)
        self.selector.close()


class Transport:
    """Reads and writes one socket, which must be non-blocking."""

    __slots__ = (
        "_buffer",
        "_endpoint",
        "_is_behind",
        "_is_full",
        "_loop",
        "_poller",
        "_queue",
        "_receive",
        "_selector",
        "_sock",
        "_watched",
        "is_closing",
        "unsent",
    )

    def __init__(self, poller: Poller, sock: socket.socket, endpoint: Endpoint) -> None:
        self._poller, self._loop = poller, poller.loop
        self._selector, self._buffer = poller.selector, poller.buffer
        self._sock, self._endpoint, self._receive = sock, endpoint, endpoint.receive
        self._queue: deque[bytes | memoryview] = deque()
        self.unsent = 0
        """Bytes that the peer has not taken yet."""
        self._is_full = self._is_behind = False
        self._watched = 0
        """What the selector looks for."""
        self.is_closing = False
        """Whether it is closed, or will be when all is sent."""
        self._watch(EVENT_READ)

    def _watch(self, wanted: int) -> None:
        was, self._watched = self._watched, wanted
        if wanted == was:
            return
        if not wanted:
            self._selector.unregister(self._sock)
        elif was:
            self._selector.modify(self._sock, wanted, self._ready)
        else:
            self._selector.register(self._sock, wanted, self._ready)

    def _ready(self, ready: int) -> None:
        try:
            # what came before in the batch may have changed what is watched for
            if ready & EVENT_WRITE & self._watched:
                self.flush()
            if ready & EVENT_READ & self._watched:
                try:
                    count = self._sock.recv_into(self._buffer)
                except BlockingIOError:
                    return
                except OSError:
                    self.abort()
                    return
                if count:
                    self._receive(bytes(self._buffer[:count]))
                else:
                    self.close()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # it is the end of this session, and of no other
            self.fail(error)

    def work_later(self) -> None:
        """Call the endpoint when it is its turn again; not once it is closed."""
        if not self._is_behind:
            self._is_behind = True
            self._poller.work_later(self)

    def go_on(self) -> None:
        """It is its turn again."""
        self._is_behind = False
        if self.is_closing:
            return
        try:
            self._endpoint.go_on()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # as in `_ready`
            self.fail(error)

    # ------------------------------------------------------------------------------- reading
    def read(self, is_wanted: bool) -> None:
        """Read from now on, or no more until this is called again."""
        if not self.is_closing:
            self._watch(self._watched | EVENT_READ if is_wanted else self._watched & ~EVENT_READ)

    # ------------------------------------------------------------------------------- writing
    def write(self, data: bytes) -> None:
        """Send this, at the end of the turn or when the peer takes it."""
        if self.is_closing:
            return
        is_first = not self._queue
        self._queue.append(data)
        self.unsent += len(data)
        if not is_first:
            self._tell_whether_full()
        elif self._poller.due is None:
            self.flush()
        else:
            self._poller.due.append(self)

    def flush(self) -> None:
        """Send what the peer takes of it now."""
        if not self._queue:
            return  # it was aborted meanwhile
        while self._queue:
            data = self._queue[0]
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                break
            except OSError:
                self.abort()
                return
            self.unsent -= sent
            if sent < len(data):
                self._queue[0] = memoryview(data)[sent:]
                break
            self._queue.popleft()
        if self._queue:
            self._watch(self._watched | EVENT_WRITE)
        else:
            self._watch(self._watched & ~EVENT_WRITE)
            if self.is_closing:
                self._end()
                return
        self._tell_whether_full()

    def _tell_whether_full(self) -> None:
        is_full = self.unsent > (_LOW if self._is_full else _HIGH)
        if is_full != self._is_full:
            self._is_full = is_full
            self._endpoint.hold_back(is_full)

    # -------------------------------------------------------------------------------- the end
    def close(self) -> None:
        """Close it when all is sent."""
        if not self.is_closing:
            self.is_closing = True
            self._watch(self._watched & ~EVENT_READ)
            if not self._queue:
                self._end()

    def abort(self) -> None:
        """Close it now."""
        if self._queue or not self.is_closing:
            self.is_closing = True
            self._queue.clear()
            self.unsent = 0
            self._watch(0)
            self._end()

    def fail(self, error: BaseException) -> None:
        """Close it now because of something unforeseen; the loop's handler of exceptions hears of it."""
        self._loop.call_exception_handler({"message": "a session has failed", "exception": error})
        self.abort()

    def _end(self) -> None:
        self._loop.call_soon(self._lost)

    def _lost(self) -> None:
        try:
            self._endpoint.lose()  # the last handlers have run before the peer sees the end
        finally:
            self._sock.close()
