"""The asyncio driver: one event loop, one protocol object a connection, no task unless a handler asks.

Everything that answers one read leaves in one write. Plain handlers run in the loop, ``blocking=True``
ones in a pool of threads, ``async def`` ones as tasks. Nothing is decided here about mail.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, Self

from demyjpy.connection import Call, Connection, Setup
from demyjpy.drivers.address import Address, bound_address, forget, listen, parse_address
from demyjpy.drivers.options import Options, SessionNames
from demyjpy.drivers.report import log, report
from demyjpy.pipeline import (
    PROGRESS,
    as_exception,
    hang_up,
    open_connection,
    receive_data,
    resume,
    run_call,
    run_call_async,
)

_ACCEPTS: Final = 64  # connections taken at one wake-up, so that those open get their turn
_PAUSE: Final = 1.0  # seconds until accepting is tried again when the system has no more sockets


class AsyncServer:
    """A milter on the running event loop; an async context manager that listens while it is entered.

    ``address`` is where it listens, with the port that was chosen. Leaving it, or `close`, stops
    accepting, lets messages in flight finish within the grace period, and ends all sessions.
    """

    def __init__(
        self, address: Address | socket.socket, on_connect: Any, options: Options | None = None
    ) -> None:
        self._where = address
        self._options = options or Options()
        self._setup = self._options.setup(
            on_connect, lambda handler: handler.blocking or handler.is_async
        )
        self._names = SessionNames()
        self._sessions: set[_Session] = set()
        self._accepting = False
        self.stopping = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. `AddressError` says why that is not possible."""
        self._loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()
        self._empty.set()
        self._pool = ThreadPoolExecutor(self._options.blocking_threads, "demyjpy-handler")
        where = self._where
        self._socket = where if isinstance(where, socket.socket) else listen(where)
        address = Address("fd") if isinstance(where, socket.socket) else where
        self.address = str(bound_address(address, self._socket))
        self._owned = address
        self._sweeper = self._loop.call_later(self._period(), self._sweep)
        self._resume_accepting()

    def _period(self) -> float:
        return min(30.0, self._options.idle_timeout / 4, self._options.write_timeout / 4)

    async def close(self, grace: float | None = None) -> None:
        """Stop accepting; end sessions between messages now, others after theirs, all after
        ``grace`` seconds (default: the option). Returns when the last is gone.
        """
        self.stopping = True
        self._pause_accepting()
        self._sweeper.cancel()
        self._socket.close()
        forget(self._owned)
        for session in tuple(self._sessions):
            session.leave_if_idle()
        await self._wait_empty(self._options.grace if grace is None else grace)
        for session in tuple(self._sessions):
            session.cut()
        await self._wait_empty(1.0)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _wait_empty(self, timeout: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._empty.wait()

    # ------------------------------------------------------------------------------- accepting
    def _resume_accepting(self) -> None:
        if not self._accepting and not self.stopping:
            self._accepting = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _pause_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._socket.fileno())

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            if len(self._sessions) >= self._options.connections:
                self._pause_accepting()  # until a session ends
                return
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("cannot accept connections: %s; trying again in %s s", error, _PAUSE)
                self._pause_accepting()
                self._loop.call_later(_PAUSE, self._resume_accepting)
                return
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = _Session(self, self._setup, self._names.next())
            self._sessions.add(session)
            self._empty.clear()
            task = self._loop.create_task(self._loop.connect_accepted_socket(lambda s=session: s, sock))
            session.keep(task)

    def forget_session(self, session: "_Session") -> None:
        """A session has ended."""
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()
        self._resume_accepting()

    def _sweep(self) -> None:
        now = self._loop.time()
        for session in tuple(self._sessions):
            session.check_time(now, self._options.idle_timeout, self._options.write_timeout)
        self._sweeper = self._loop.call_later(self._period(), self._sweep)

    # ------------------------------------------------------------------------ calling handlers
    def call(self, call: Call) -> "asyncio.Future[Any]":
        """Run a handler that must not run in the loop itself."""
        if call.handler.is_async:
            return self._loop.create_task(run_call_async(call))
        return self._loop.run_in_executor(self._pool, run_call, call)


class _Session(asyncio.Protocol):
    """One connection: bytes to the engine and back. ``_connection`` is all that is known of it."""

    __slots__ = (
        "_connection",
        "_keepalive",
        "_loop",
        "_running",
        "_seen",
        "_server",
        "_started",
        "_stuck",
        "_task",
        "_transport",
    )
    _transport: asyncio.Transport | None

    def __init__(self, server: AsyncServer, setup: Setup, name: str) -> None:
        self._server = server
        self._connection: Connection = Connection(setup, name)
        self._transport = None
        self._running: asyncio.Future[Any] | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._seen = self._loop.time()
        self._stuck: float | None = None

    def keep(self, task: "asyncio.Task[Any]") -> None:
        """Hold the task that makes the transport until it is done."""
        self._task: asyncio.Task[Any] | None = task
        task.add_done_callback(self._made)

    def _made(self, task: "asyncio.Task[Any]") -> None:
        self._task = None
        if self._transport is None:  # it failed, or the server was closed meanwhile
            if not task.cancelled() and task.exception():
                log.error("cannot serve a connection: %s", task.exception())
            self._server.forget_session(self)

    # ---------------------------------------------------------------------- what asyncio says
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket's transport is both
        self._follow(open_connection(self._connection.setup, self._connection.session))

    def data_received(self, data: bytes) -> None:
        self._seen = self._loop.time()
        self._follow(receive_data(self._connection, data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._follow(hang_up(self._connection))

    def pause_writing(self) -> None:
        self._stuck = self._loop.time()
        self._read(False)

    def resume_writing(self) -> None:
        self._stuck = None
        self._read(self._running is None)

    def _read(self, wanted: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # ---------------------------------------------------------------------- what the engine says
    def _follow(self, connection: Connection) -> None:
        """Do what the engine wants done."""
        self._connection = connection
        if connection.troubles:
            report(connection)
        transport = self._transport
        if connection.data_to_send and transport is not None:
            transport.write(connection.data_to_send)
        if connection.call is not None:
            if self._running is None:
                self._call(connection.call)
            else:
                self._read(False)  # no more than one read is kept while a handler runs
        elif connection.is_closed:
            if transport is not None:
                transport.close()
            else:
                self._server.forget_session(self)
        elif self._server.stopping and connection.is_idle:
            self._follow(hang_up(connection))

    def _call(self, call: Call) -> None:
        self._started = self._loop.time()
        self._running = self._server.call(call)
        self._running.add_done_callback(self._called)
        if call.progress is not None:
            self._keepalive = self._loop.call_later(call.progress, self._progress, call.progress)

    def _progress(self, period: float) -> None:
        if self._transport is not None:
            self._transport.write(PROGRESS)
        self._keepalive = self._loop.call_later(period, self._progress, period)

    def _called(self, future: "asyncio.Future[Any]") -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None
        self._running = None
        self._read(self._stuck is None)
        try:
            outcome = future.result()
        except BaseException as error:  # noqa: BLE001  # cancelled, or the pool was shut down
            outcome = as_exception(error)
        self._follow(resume(self._connection, outcome, self._loop.time() - self._started))

    # ---------------------------------------------------------------------- what the server says
    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        if self._transport is not None and self._connection.is_idle:
            self._follow(hang_up(self._connection))

    def cut(self) -> None:
        """End the session now."""
        if self._running is not None:
            self._running.cancel()
        if self._transport is not None:
            self._transport.abort()

    def check_time(self, now: float, idle_timeout: float, write_timeout: float) -> None:
        """End the session of a peer that says nothing, or reads nothing, for too long."""
        if self._running is not None or self._transport is None:
            return
        name = self._connection.session
        if self._stuck is not None and now - self._stuck > write_timeout:
            log.warning("session %s: closed: the MTA read nothing for %g s", name, write_timeout)
            self._transport.abort()
        elif now - self._seen > idle_timeout:
            log.warning("session %s: closed: the MTA said nothing for %g s", name, idle_timeout)
            self._transport.abort()


def serve(address: str | int, on_connect: Any, **options: Any) -> AsyncServer:
    """A milter for a program with its own event loop.

    ``async with serve("inet:20025@localhost", handlers) as server:`` listens while the block runs;
    ``server.address`` is where. Options are those of `Options`. Several may run in one loop.
    """
    return AsyncServer(parse_address(address), on_connect, Options(**options))


def run(
    sock: socket.socket,
    on_connect: Any,
    options: Options,
    stop: "Callable[[Callable[[], None]], None]",
) -> None:
    """Serve a listening socket until told to stop; ``stop`` is given the function that does it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[None] = asyncio.Queue()
        server = AsyncServer(sock, on_connect, options)
        await server.start()
        stop(lambda: loop.call_soon_threadsafe(told.put_nowait, None))
        await told.get()
        closing = loop.create_task(server.close())
        again = loop.create_task(told.get())
        await asyncio.wait({closing, again}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        if not closing.done():  # told twice: at once
            closing.cancel()
            await server.close(grace=0)

    asyncio.run(main())
