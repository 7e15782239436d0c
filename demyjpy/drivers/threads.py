"""The threads driver: one thread a connection, blocking sockets, handlers called where they are.

For filters that block everywhere, or whose libraries know no event loop. Nothing is decided here
about mail.
"""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Self

from demyjpy.connection import Call, Connection
from demyjpy.drivers.address import Address, bound_address, forget, listen
from demyjpy.drivers.options import Options, SessionNames
from demyjpy.drivers.report import log, report
from demyjpy.errors import HandlerError
from demyjpy.handlers import chain_of
from demyjpy.pipeline import PROGRESS, hang_up, open_connection, receive_data, resume, run_call
from demyjpy.registry import Handler, Registry

_READ_SIZE: Final = 262_144
_PAUSE: Final = 1.0  # seconds until accepting is tried again when the system has no more sockets
_TICK: Final = 0.25  # seconds: how exactly PROGRESS keeps its times


def _is_deferred(handler: Handler[Any]) -> bool:
    """Only what needs PROGRESS while it runs comes back to the driver."""
    return handler.event == "end_of_message" and handler.progress is not None


def refuse_async(on_connect: Any) -> None:
    """Raise `HandlerError` for a registry with an ``async def`` handler: there is no event loop."""
    if isinstance(on_connect, Registry):
        for event in on_connect:
            for _, handler in chain_of(on_connect, event):
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
        self, address: Address | socket.socket, on_connect: Any, options: Options | None = None
    ) -> None:
        self._where = address
        self._options = options or Options()
        self._setup = self._options.setup(on_connect, _is_deferred)
        self._names = SessionNames()
        self._sessions: set[_Session] = set()
        self._changed = threading.Condition()
        self._keepalive = _Keepalive()
        self.stopping = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen. `AddressError` says why that is not possible."""
        where = self._where
        self._socket = where if isinstance(where, socket.socket) else listen(where)
        self._owned = Address("fd") if isinstance(where, socket.socket) else where
        self.address = str(bound_address(self._owned, self._socket))
        # Closing a socket does not wake up who waits on it: one byte here does.
        self._wake, self._woken = socket.socketpair()
        self._acceptor = threading.Thread(target=self._accept_all, name="demyjpy-accept", daemon=True)
        self._acceptor.start()
        self._keepalive.start()

    def close(self, grace: float | None = None) -> None:
        """Stop accepting; end sessions between messages now, others after theirs, all after
        ``grace`` seconds (default: the option). Returns when the last is gone.
        """
        self.stopping = True
        self._wake.send(b"x")
        self._acceptor.join()
        self._socket.close()
        self._wake.close()
        self._woken.close()
        forget(self._owned)
        with self._changed:
            for session in self._sessions:
                session.leave_if_idle()
            self._changed.wait_for(
                lambda: not self._sessions, self._options.grace if grace is None else grace
            )
            for session in self._sessions:
                session.cut()
            self._changed.wait_for(lambda: not self._sessions, 1.0)
        self._keepalive.stop()

    def cut_all(self) -> None:
        """End all sessions now."""
        with self._changed:
            for session in self._sessions:
                session.cut()

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self.stopping:
                selector.select()
                if not self.stopping:
                    self._accept()

    def _accept(self) -> None:
        with self._changed:  # more than that wait in the backlog
            self._changed.wait_for(
                lambda: len(self._sessions) < self._options.connections or self.stopping
            )
        try:
            sock, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("cannot accept connections: %s; trying again in %s s", error, _PAUSE)
            time.sleep(_PAUSE)
            return
        session = _Session(self, sock, self._names.next())
        with self._changed:
            self._sessions.add(session)
        try:
            threading.Thread(target=session.serve, name="demyjpy-session", daemon=True).start()
        except RuntimeError as error:
            log.error("cannot serve a connection: %s", error)
            sock.close()
            self._forget_session(session)

    def _forget_session(self, session: "_Session") -> None:
        with self._changed:
            self._sessions.discard(session)
            self._changed.notify_all()


class _Session:
    """One connection and its thread. ``_connection`` is all that is known of it."""

    def __init__(self, server: ThreadServer, sock: socket.socket, name: str) -> None:
        self._server = server
        self._socket = sock
        self._connection = Connection(server._setup, name)

    def serve(self) -> None:
        """Until the connection ends."""
        try:
            self._prepare()
            self._connection = open_connection(self._connection.setup, self._connection.session)
            while self._follow():
                data = self._read()
                if data:
                    self._connection = receive_data(self._connection, data)
                else:
                    self._connection = hang_up(self._connection)
        finally:
            self._socket.close()
            self._server._forget_session(self)

    def _prepare(self) -> None:
        options = self._server._options
        sock = self._socket
        sock.setblocking(True)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # the kernel's own timeouts: settimeout() would cost a poll() for each read
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(options.idle_timeout))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(options.write_timeout))

    def _follow(self) -> bool:
        """Do what the engine wants done; whether there is more to read."""
        while True:
            connection = self._connection
            if connection.troubles:
                report(connection)
            if connection.data_to_send:
                self._send(connection.data_to_send)
            if connection.call is not None:
                started = time.perf_counter()
                outcome = self._call(connection.call)
                self._connection = resume(connection, outcome, time.perf_counter() - started)
            elif connection.is_closed:
                return False
            elif self._server.stopping and connection.is_idle:
                self._connection = hang_up(connection)
            else:
                return True

    def _call(self, call: Call) -> Any:
        if call.progress is None:
            return run_call(call)
        with self._server._keepalive.watching(self._progress, call.progress):
            return run_call(call)

    def _progress(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(PROGRESS, socket.MSG_DONTWAIT)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            name, timeout = self._connection.session, self._server._options.write_timeout
            log.warning("session %s: closed: the MTA read nothing for %g s", name, timeout)
            self.cut()
        except OSError:
            self.cut()  # reading says that the peer is gone

    def _read(self) -> bytes:
        try:
            return self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            name, timeout = self._connection.session, self._server._options.idle_timeout
            log.warning("session %s: closed: the MTA said nothing for %g s", name, timeout)
        except OSError:
            pass
        return b""

    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        if self._connection.is_idle:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """End the session now; its thread finds the connection closed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class _Keepalive:
    """One thread that sends PROGRESS for all handlers that run at end of message."""

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, float, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demyjpy-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    @contextlib.contextmanager
    def watching(self, send: Callable[[], None], period: float) -> Any:
        """While the block runs, ``send`` is called every ``period`` seconds; never after it."""
        key = threading.get_ident()
        with self._lock:
            self._due[key] = (time.monotonic() + period, period, send)
        try:
            yield
        finally:
            with self._lock:
                del self._due[key]

    def _run(self) -> None:
        while not self._stopped.wait(_TICK):
            now = time.monotonic()
            with self._lock:
                for key, (due, period, send) in self._due.items():
                    if now >= due:
                        send()
                        self._due[key] = (now + period, period, send)


def _timeval(seconds: float) -> bytes:
    """``struct timeval``; at least a millisecond, for zero would mean for ever."""
    micro = max(1000, int(seconds * 1_000_000))
    return struct.pack("ll", *divmod(micro, 1_000_000))


def run(
    sock: socket.socket,
    on_connect: Any,
    options: Options,
    stop: Callable[[Callable[[], None]], None],
) -> None:
    """Serve a listening socket until told to stop; ``stop`` is given the function that does it."""
    told = threading.Semaphore(0)
    server = ThreadServer(sock, on_connect, options)
    server.start()
    stop(told.release)
    told.acquire()
    closing = threading.Thread(target=server.close, name="demyjpy-close", daemon=True)
    closing.start()
    while closing.is_alive():
        if told.acquire(timeout=0.05):  # told twice: at once
            server.cut_all()
    closing.join()
