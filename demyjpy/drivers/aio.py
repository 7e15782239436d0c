"""The asyncio driver: one event loop, one protocol object a connection, no task unless a handler asks.

Everything that answers one read leaves in one write. Plain handlers run in the loop, ``blocking=True``
ones in a pool of threads, ``async def`` ones as tasks. Nothing is decided here about mail.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Self

from demyjpy.connection import Call, Connection, Setup
from demyjpy.drivers.address import Address, Listener, listen, parse_address
from demyjpy.drivers.options import Options, SessionNames
from demyjpy.drivers.pool import Pool
from demyjpy.drivers.report import UNFINISHED, log, report, report_closed
from demyjpy.drivers.signals import Bell, Started
from demyjpy.drivers.sockets import acknowledge, acknowledgeable
from demyjpy.errors import HandlerError
from demyjpy.events import Abort, Disconnect
from demyjpy.outcomes import as_exception
from demyjpy.pipeline import (
    PROGRESS,
    Line,
    hang_up,
    open_connection,
    resume,
    run_call,
    run_call_async,
)

_ACCEPTS: Final = 64  # connections taken at one wake-up, so that those open get their turn
_READ_SIZE: Final = 262_144
_PAUSE: Final = 1.0  # seconds until accepting is tried again when the system has no more sockets
_PARTING: Final = 1.0  # seconds for the last handlers of sessions that were cut


class AsyncServer:
    """A milter on the running event loop; an async context manager that listens while it is entered.

    ``address`` is where it listens, with the port that was chosen. Leaving it, or `close`, stops
    accepting, lets messages in flight finish within the grace period, and ends all sessions.
    """

    def __init__(
        self, address: Address | Listener, on_connect: Any, options: Options | None = None
    ) -> None:
        self._where = address
        self._options = options or Options()
        self._setup = self._options.setup(
            on_connect, lambda handler: handler.blocking or handler.is_async
        )
        self._sessions: set[_Session] = set()
        # One for all, for what is read is taken out before anybody else reads. A new one for each read,
        # as `asyncio.Protocol` gets it, is so large that malloc() asks the kernel for it every time.
        self.buffer = memoryview(bytearray(_READ_SIZE))
        self._accepting = False
        self.stopping = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. `AddressError` says why that is not possible."""
        where = self._where
        self._listener = where if isinstance(where, Listener) else listen(where)
        self.address = str(self._listener.address)
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._names = SessionNames()
        self._pool = Pool(self._options.blocking_threads)
        self._sweeper = self._loop.call_later(self._period(), self._sweep)
        self._resume_accepting()

    def _period(self) -> float:
        return min(30.0, self._options.idle_timeout / 4, self._options.write_timeout / 4)

    async def close(self, grace: float | None = None) -> None:
        """Stop accepting, end all sessions, and return when the last is gone.

        Those between messages end now, others after theirs, all after ``grace`` seconds (default:
        the option).
        """
        self.stopping = True
        self._pause_accepting()
        self._listener.close()
        for session in tuple(self._sessions):
            session.leave_if_idle()
        try:
            await self._wait_empty(self._options.grace if grace is None else grace)
            self._cut()
            await self._wait_empty(_PARTING)
        finally:
            self._cut()  # where closing itself is cancelled
            self._sweeper.cancel()
            self._end_threads()

    def hurry(self) -> None:
        """The grace period of `close` is over."""
        self._over.set()

    async def _wait_empty(self, seconds: float) -> None:
        """Until the last session is gone, or so long, or until there is hurry."""
        if self._sessions:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._over.wait()
        self._over.clear()

    def _cut(self) -> None:
        for session in tuple(self._sessions):
            session.cut()

    def _end_threads(self) -> None:
        if not self._sessions:  # whose last handlers may need one
            self._pool.close()

    # ------------------------------------------------------------------------------- accepting
    def _resume_accepting(self) -> None:
        if not self._accepting and not self.stopping:
            self._accepting = True
            self._loop.add_reader(self._listener.socket.fileno(), self._accept)

    def _pause_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listener.socket.fileno())

    def _accept(self) -> None:
        for _ in range(1 if self._listener.is_shared else _ACCEPTS):  # or the first to wake gets all
            if len(self._sessions) >= self._options.connections:
                self._pause_accepting()  # until a session ends
                return
            try:
                sock, _ = self._listener.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("cannot accept connections: %s; trying again in %s s", error, _PAUSE)
                self._pause_accepting()
                self._loop.call_later(_PAUSE, self._resume_accepting)
                return
            sock.setblocking(False)
            session = _Session(self, self._setup, self._names.next())
            self._sessions.add(session)
            session.begin(sock)

    def forget_session(self, session: "_Session") -> None:
        """A session has ended."""
        self._sessions.discard(session)
        self._resume_accepting()
        if self.stopping and not self._sessions:
            self._over.set()
            self._end_threads()

    def _sweep(self) -> None:
        now = monotonic()
        for session in tuple(self._sessions):
            session.check_time(now, self._options)
        self._sweeper = self._loop.call_later(self._period(), self._sweep)

    # ------------------------------------------------------------------------ calling handlers
    def call(self, call: Call) -> "asyncio.Future[Any]":
        """Run a handler that must not run in the loop itself."""
        if call.handler.is_async:
            return self._loop.create_task(run_call_async(call))
        return asyncio.wrap_future(self._pool.submit(run_call, call), loop=self._loop)


class _Session(asyncio.BufferedProtocol):
    """One connection: bytes to the engine and back. ``_line`` is all that is known of it."""

    __slots__ = (
        "_buffer",
        "_is_full",
        "_keepalive",
        "_late",
        "_line",
        "_loop",
        "_making",
        "_moved",
        "_running",
        "_seen",
        "_server",
        "_started",
        "_transport",
        "_unsent",
    )

    def __init__(self, server: AsyncServer, setup: Setup, name: str) -> None:
        self._server = server
        self._buffer = server.buffer
        self._late: socket.socket | None = None
        """Where acknowledgements would be late."""
        self._line = Line(Connection(setup, name))
        self._making: asyncio.Task[Any] | None = None
        self._transport: asyncio.Transport | None = None
        self._running: asyncio.Future[Any] | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._seen = self._moved = monotonic()
        self._unsent = 0
        self._is_full = False

    def begin(self, sock: socket.socket) -> None:
        """Have a transport made for an accepted socket."""
        self._late = acknowledgeable(sock)

        def protocol() -> _Session:
            return self

        # kept here because the loop keeps no task alive
        self._making = self._loop.create_task(self._loop.connect_accepted_socket(protocol, sock))
        self._making.add_done_callback(lambda task: self._made(task, sock))

    def _made(self, task: "asyncio.Task[Any]", sock: socket.socket) -> None:
        self._making = None
        if task.cancelled() or task.exception():  # a program may cancel whatever runs in its loop
            report_closed(self._line.connection, "it could not begin")
            sock.close()
            self._server.forget_session(self)

    # ---------------------------------------------------------------------- what asyncio says
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket's transport is both
        connection = self._line.connection
        self._follow(open_connection(connection.setup, connection.session))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._line.receive_data(bytes(self._buffer[:nbytes]))
        if answer is None:
            connection = self._line.connection
            if self._late and connection.is_silent:
                acknowledge(self._late)
            self._follow(connection)
            return
        if not answer:
            if self._late:
                acknowledge(self._late)
        elif self._transport is not None:
            self._transport.write(answer)
        self._seen = monotonic()
        if self._server.stopping:
            self.leave_if_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stop_progress()
        self._follow(hang_up(self._line.connection))

    def pause_writing(self) -> None:
        self._is_full = True
        self._read(False)

    def resume_writing(self) -> None:
        self._is_full = False
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
        self._line.connection = connection
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
        self._seen = monotonic()  # now it is the MTA's turn

    def _call(self, call: Call) -> None:
        self._started = monotonic()
        self._running = self._server.call(call)
        self._running.add_done_callback(self._called)
        if call.progress is not None and self._transport is not None:
            self._send_progress_later(self._transport, call.progress)

    def _send_progress_later(self, transport: asyncio.Transport, period: float) -> None:
        self._keepalive = self._loop.call_later(period, self._send_progress, transport, period)

    def _send_progress(self, transport: asyncio.Transport, period: float) -> None:
        transport.write(PROGRESS)
        self._send_progress_later(transport, period)

    def _stop_progress(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None

    def _called(self, future: "asyncio.Future[Any]") -> None:
        # a turn of the loop later it has seen whether the peer went while the handler ran
        self._loop.call_soon(self._finish, future)

    def _finish(self, future: "asyncio.Future[Any]") -> None:
        self._stop_progress()
        self._running = None
        self._read(not self._is_full)
        try:
            outcome = future.result()
        except BaseException as error:  # noqa: BLE001  # what ends a task is no end of the milter
            outcome = as_exception(error)
        connection = self._line.connection
        if self._transport is not None and self._transport.is_closing():
            connection = hang_up(connection)
        self._follow(resume(connection, outcome, monotonic() - self._started))

    # ---------------------------------------------------------------------- what the server says
    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        if self._transport is not None and self._line.connection.is_idle:
            self._follow(hang_up(self._line.connection))

    def cut(self) -> None:
        """End the session now. A handler that still runs is cancelled, which is reported then."""
        if self._transport is not None:
            if self._running is None and not self._transport.is_closing():
                report_closed(self._line.connection, UNFINISHED)
            self._transport.abort()
            self._follow(hang_up(self._line.connection))
        call = self._line.connection.call
        if self._running and call and not isinstance(call.event, Abort | Disconnect):  # which are due
            self._running.cancel(UNFINISHED)

    def check_time(self, now: float, options: Options) -> None:
        """End the session of a peer that says nothing, or reads nothing, for too long."""
        if self._running is not None or self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        if unsent and now - self._moved > options.write_timeout:
            report_closed(self._line.connection, f"the MTA read nothing for {options.write_timeout:g} s")
            self._transport.abort()
        elif now - self._seen > options.idle_timeout:
            report_closed(self._line.connection, f"the MTA said nothing for {options.idle_timeout:g} s")
            self._transport.abort()


def serve(address: str | int, on_connect: Any, **options: Any) -> AsyncServer:
    """A milter for a program with its own event loop.

    ``async with serve("inet:20025@localhost", handlers) as server:`` listens while the block runs;
    ``server.address`` is where. Options are those of `Options`, but for ``loop``: it runs in the loop
    that is there. Several may run in one loop.
    """
    if "loop" in options:
        raise HandlerError(
            f"expected serve() to be used in a loop of your own, got loop={options['loop']!r}: "
            "that is an option of start_milter and running"
        )
    return AsyncServer(parse_address(address), on_connect, Options(**options))


def run(listener: Listener, on_connect: Any, options: Options, started: Started) -> None:
    """Serve until told to stop; ``started`` is given the function that does it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = AsyncServer(listener, on_connect, options)
        told = asyncio.Event()

        def stop(at_once: bool) -> None:
            told.set()
            if at_once:
                server.hurry()

        def stop_soon(at_once: bool) -> None:
            with suppress(RuntimeError):  # it has stopped already
                loop.call_soon_threadsafe(stop, at_once)

        with Bell() as bell:
            loop.add_reader(bell.fileno(), bell.wait, 0.0)  # signals are handled on waking up
            await server.start()
            try:
                started(stop_soon)
                await told.wait()
                await server.close()
            finally:
                await server.close(grace=0)  # where KeyboardInterrupt ends the loop
            loop.remove_reader(bell.fileno())

    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        runner.run(main())


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes an event loop of this name; None for asyncio's own choice.

    `HandlerError` where it is not installed.
    """
    if name == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415  # an extra, and only this needs it
    except ImportError:
        raise HandlerError(
            'expected uvloop to be installed for loop="uvloop", got none: pip install "demyjpy[uvloop]"'
        ) from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
