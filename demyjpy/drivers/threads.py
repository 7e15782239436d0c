"""The threads driver: one thread a connection, blocking sockets, handlers called where they are.

For filters that block everywhere, or whose libraries know no event loop. Nothing is decided here
about mail.
"""

import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

from demyjpy.connection import Call, Connection
from demyjpy.drivers.address import Address, Listener, listen
from demyjpy.drivers.options import Options, SessionNames
from demyjpy.drivers.report import UNFINISHED, log, report, report_closed
from demyjpy.drivers.signals import Bell, Started
from demyjpy.drivers.sockets import acknowledge, acknowledgeable
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry, chain_of
from demyjpy.pipeline import PROGRESS, Line, hang_up, open_connection, resume, run_call
from demyjpy.registry import Handler

_READ_SIZE: Final = 100_000  # over 128 kB, malloc() asks the kernel for the memory of each read
_PAUSE: Final = 1.0  # seconds until accepting is tried again when the system has no more sockets
_PARTING: Final = 1.0  # seconds for the last handlers of sessions that were cut


def _is_deferred(handler: Handler[Any]) -> bool:
    """Only what may need PROGRESS while it runs comes back to the driver."""
    return handler.event == "end_of_message"


def refuse_async(on_connect: Any) -> None:
    """Raise `HandlerError` for a registry with an ``async def`` handler: there is no event loop."""
    if isinstance(on_connect, Mapping):
        registry = as_registry(on_connect)
        for event in registry:
            for _, handler in chain_of(registry, event):
                if handler.is_async:
                    raise HandlerError(
                        f'expected plain handlers with driver="threads", got async def '
                        f'{handler.name} at {event}: use driver="asyncio"'
                    )


class ThreadServer:
    """A milter in threads; a context manager that listens while it is entered.

    ``address`` is where it listens, with the port that was chosen. Leaving it, or `close`, stops
    accepting, lets messages in flight finish within the grace period, and ends all sessions.
    """

    def __init__(
        self, address: Address | Listener, on_connect: Any, options: Options | None = None
    ) -> None:
        refuse_async(on_connect)
        self._where = address
        self.options = options or Options()
        self.setup = self.options.setup(on_connect, _is_deferred)
        self._sessions: set[_Session] = set()
        self._changed = threading.Condition()
        self.keepalive = _Keepalive()
        self.stopping = False
        self._is_hurried = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen. `AddressError` says why that is not possible."""
        where = self._where
        self._listener = where if isinstance(where, Listener) else listen(where)
        self.address = str(self._listener.address)
        self._names = SessionNames()
        self._selector = selectors.DefaultSelector()
        # Closing a socket does not wake up who waits on it: one byte here does.
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._listener.socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._acceptor = threading.Thread(target=self._accept_all, name="demyjpy-accept", daemon=True)
        self._acceptor.start()
        self.keepalive.start()

    def close(self, grace: float | None = None) -> None:
        """Stop accepting, end all sessions, and return when the last is gone.

        Those between messages end now, others after theirs, all after ``grace`` seconds (default:
        the option).
        """
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
        self._wake.send(b"x")
        self._acceptor.join()
        self._selector.close()
        self._wake.close()
        self._woken.close()
        self._listener.close()
        with self._changed:
            for session in self._sessions:
                session.leave_if_idle()
            self._changed.wait_for(
                lambda: self._is_hurried or not self._sessions,
                self.options.grace if grace is None else grace,
            )
            for session in self._sessions:
                session.cut(UNFINISHED)
            self._changed.wait_for(lambda: not self._sessions, _PARTING)
        self.keepalive.stop()

    def hurry(self) -> None:
        """The grace period of `close` is over."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    # ------------------------------------------------------------------------------- accepting
    def _accept_all(self) -> None:
        while not self.stopping:
            self._selector.select()
            with self._changed:  # more than that wait in the backlog
                self._changed.wait_for(
                    lambda: len(self._sessions) < self.options.connections or self.stopping
                )
            if not self.stopping:
                self._accept()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process was faster, or the peer is gone
        except OSError as error:
            log.error("cannot accept connections: %s; trying again in %s s", error, _PAUSE)
            with self._changed:
                self._changed.wait_for(lambda: self.stopping, _PAUSE)
            return
        session = _Session(self, sock, self._names.next())
        with self._changed:
            self._sessions.add(session)
        try:
            threading.Thread(target=session.serve, name="demyjpy-session", daemon=True).start()
        except RuntimeError as error:
            log.error("cannot serve a connection: %s", error)
            session.end()

    def forget_session(self, session: "_Session") -> None:
        """A session has ended."""
        with self._changed:
            self._sessions.discard(session)
            self._changed.notify_all()


class _Session:
    """One connection and its thread. ``_line`` is all that is known of it."""

    def __init__(self, server: ThreadServer, sock: socket.socket, name: str) -> None:
        self._server = server
        self._options = server.options
        self._socket = sock
        self._line = Line(Connection(server.setup, name))
        self._lock = threading.Lock()
        self._is_reading = self._is_left = False
        self._half_sent = b""

    def serve(self) -> None:
        """Until the connection ends."""
        try:
            self._prepare()
            begun = self._line.connection
            self._line.connection = open_connection(begun.setup, begun.session)
            answer: bytes | None = None
            late = acknowledgeable(self._socket)
            while answer is not None or self._follow():
                data = self._read()
                if data:
                    answer = self._line.receive_data(data)
                    if answer:
                        self._send(answer)
                    elif late and (answer is not None or self._line.connection.is_silent):
                        acknowledge(late)
                else:
                    answer = None
                    self._line.connection = hang_up(self._line.connection)
        finally:
            self.end()

    def end(self) -> None:
        """The connection has ended."""
        self._socket.close()
        self._server.forget_session(self)

    def _prepare(self) -> None:
        sock = self._socket
        sock.setblocking(True)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # the kernel's own timeouts: settimeout() would cost a poll() for each read
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self._options.idle_timeout))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._options.write_timeout))

    def _follow(self) -> bool:
        """Do what the engine wants done; whether there is more to read."""
        while True:
            connection = self._line.connection
            report(connection)
            if connection.data_to_send:
                self._send(connection.data_to_send)
            if connection.call is not None:
                started = time.perf_counter()
                outcome = self._call(connection.call)
                duration = time.perf_counter() - started
                if self._is_gone():
                    connection = hang_up(connection)
                self._line.connection = resume(connection, outcome, duration)
            else:
                return not connection.is_closed

    def _call(self, call: Call) -> Any:
        if call.progress is None:
            return run_call(call)
        with self._server.keepalive.watching(self._progress, call.progress):
            return run_call(call)

    def _progress(self) -> None:
        with suppress(OSError):
            data = self._half_sent or PROGRESS
            self._half_sent = data[self._socket.send(data, socket.MSG_DONTWAIT) :]

    def _is_gone(self) -> bool:
        """Whether the connection was closed, by the peer or by us, while a handler ran."""
        try:
            return self._is_left or not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(self._half_sent + data)
            self._half_sent = b""
        except BlockingIOError:
            self.cut(f"the MTA read nothing for {self._options.write_timeout:g} s")
        except OSError:
            pass  # reading says that the peer is gone

    def _read(self) -> bytes:
        """What the peer says; nothing when the session is over."""
        with self._lock:
            if self._server.stopping and self._line.connection.is_idle:
                return b""
            self._is_reading = True
        data = self._receive()
        with self._lock:
            self._is_reading = False
            # what came just when we left is not begun with: its message would be given up
            return b"" if self._is_left else data

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            self.cut(f"the MTA said nothing for {self._options.idle_timeout:g} s")
        except OSError:
            pass
        return b""

    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        with self._lock:
            if self._is_reading and self._line.connection.is_idle:
                self._is_left = True
                self._shut(socket.SHUT_RD)

    def cut(self, why: str) -> None:
        """End the session now; its thread finds the connection closed."""
        report_closed(self._line.connection, why)
        self._is_left = True
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)


class _Keepalive:
    """One thread that sends PROGRESS for all handlers that run at end of message."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, float, Callable[[], None]]] = {}
        self._next = float("inf")
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="demyjpy-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join()

    @contextmanager
    def watching(self, send: Callable[[], None], period: float) -> Iterator[None]:
        """While the block runs, ``send`` is called every ``period`` seconds; never after it."""
        key = threading.get_ident()
        with self._changed:
            due = time.monotonic() + period
            self._due[key] = (due, period, send)
            if due < self._next:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._due[key]

    def _run(self) -> None:
        with self._changed:
            while not self._is_stopped:
                now = time.monotonic()
                for key, (due, period, send) in self._due.items():
                    if now >= due:
                        send()
                        self._due[key] = (now + period, period, send)
                self._next = min((due for due, _, _ in self._due.values()), default=float("inf"))
                self._changed.wait(min(self._next - now, threading.TIMEOUT_MAX))


def _timeval(seconds: float) -> bytes:
    """``struct timeval``; at least a millisecond, for zero would mean for ever."""
    micro = max(1000, int(seconds * 1_000_000))
    return struct.pack("ll", *divmod(micro, 1_000_000))


def run(listener: Listener, on_connect: Any, options: Options, started: Started) -> None:
    """Serve until told to stop; ``started`` is given the function that does it."""
    server = ThreadServer(listener, on_connect, options)
    asked: deque[bool] = deque()
    closed = threading.Event()
    with Bell() as bell:  # before connections can take the last descriptors
        server.start()

        def stop(at_once: bool) -> None:
            asked.append(at_once)
            bell.ring()

        def close() -> None:
            server.close()
            closed.set()
            bell.ring()

        started(stop)
        while not asked:
            bell.wait()
        closing = threading.Thread(target=close, name="demyjpy-close", daemon=True)
        closing.start()
        while not closed.is_set():
            if any(asked):
                server.hurry()
            bell.wait()
        closing.join()
