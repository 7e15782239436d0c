"""The asyncio driver: one event loop, one object a connection, no task unless a handler asks.

Everything that answers one read leaves in one write. Plain handlers run in the loop, ``blocking=True``
ones in a pool of threads, ``async def`` ones as tasks. Nothing is decided here about mail.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Self

from demyjpy.connection import Call, Connection, Setup
from demyjpy.drivers.accepting import Acceptor
from demyjpy.drivers.address import Address, Listener, listen, parse_address
from demyjpy.drivers.admission import Door, Guest
from demyjpy.drivers.options import Options, SessionNames
from demyjpy.drivers.pool import DaemonExecutor, Pool
from demyjpy.drivers.report import UNFINISHED, report, report_closed
from demyjpy.drivers.signals import Bell, Controls, Started
from demyjpy.drivers.sockets import acknowledge, acknowledgeable, send_at_once
from demyjpy.drivers.transport import Poller, Transport
from demyjpy.drivers.watch import LoopWatch, Pulse
from demyjpy.errors import DeadlineError, HandlerError
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

_ACCEPTS: Final = 64  # connections taken at one wake-up
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
        self.options = options or Options()
        self._door = Door(self.options, self._setup(on_connect))
        self._retired: Callable[[], None] | None = None
        self._sessions: set[_Session] = set()
        self._left: set[asyncio.Future[Any]] = set()
        """Tasks that were cancelled, and have not ended yet."""
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
        self.poller = Poller(self._loop)
        self._over = asyncio.Event()
        self._names = SessionNames()
        self._pool = Pool(self.options.blocking_threads)
        self._watch = LoopWatch(self._loop.call_soon_threadsafe, self.options.warn_blocked)
        self._watch.start()
        tell = self.options.on_lag
        self._pulse = Pulse(self._loop, tell) if tell else None
        self._sweeper = self._loop.call_later(self.options.sweep_period, self._sweep)
        at_once = 1 if self._listener.is_shared else _ACCEPTS  # or the first worker to wake gets all
        self._acceptor = Acceptor(self._listener.socket, self._take, at_once, lambda: self._door.is_shut)
        self._acceptor.resume()

    async def close(self, grace: float | None = None) -> None:
        """Stop accepting, end all sessions, and return when the last is gone.

        Those between messages end now, others after theirs, all after ``grace`` seconds (default:
        the option).
        """
        self.stopping = True
        self._acceptor.close()
        self._listener.close()
        for session in tuple(self._sessions):
            session.leave_if_idle()
        try:
            await self._wait_empty(self.options.grace if grace is None else grace)
            self._cut()
            await self._wait_empty(_PARTING)
        finally:
            self._cut()  # where closing itself is cancelled
            self.poller.close()
            self._sweeper.cancel()
            self._watch.stop()
            if self._pulse:
                self._pulse.stop()
            self._end_threads()

    def _setup(self, on_connect: Any) -> Setup:
        return self.options.setup(on_connect, lambda handler: handler.blocking or handler.is_async)

    def adopt(self, on_connect: Any) -> None:
        """Serve the sessions to come with this filter; those begun keep theirs. From any thread."""
        self._door.setup = self._setup(on_connect)

    def retire(self, ended: Callable[[], None]) -> None:
        """Accept no more, and say so when the last session has ended by itself."""
        self._retired = ended
        self._acceptor.close()
        if not self._sessions:
            ended()

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

    # -------------------------------------------------------------------------------- sessions
    def _take(self, sock: socket.socket, address: Any) -> None:
        guest = self._door.enter(address)
        if guest is None:
            sock.close()
            return
        send_at_once(sock)
        session = _Session(self, guest, self._names.next())
        self._sessions.add(session)
        session.begin(sock)

    def forget_session(self, session: "_Session") -> None:
        """A session has ended. Saying it again does nothing."""
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        self._door.leave(session.guest)
        self._acceptor.resume()
        if not self._sessions:
            if self._retired is not None:
                self._retired()
            if self.stopping:
                self._over.set()
                self._end_threads()

    def _sweep(self) -> None:
        now = monotonic()
        for session in tuple(self._sessions):
            session.check_time(now, self.options)
        self._sweeper = self._loop.call_later(self.options.sweep_period, self._sweep)

    # ------------------------------------------------------------------------ calling handlers
    def call(self, call: Call) -> "tuple[asyncio.Future[Any], Callable[[], str]]":
        """Run a handler that must not run in the loop itself; and how to wait for it no more."""
        if call.handler.is_async:
            task = self._loop.create_task(run_call_async(call))
            return task, lambda: self._leave(task)
        try:
            future = self._pool.submit(run_call, call)
        except RuntimeError as error:
            failed = self._loop.create_future()
            failed.set_exception(
                HandlerError(f"expected a thread for {call.handler.name}, got none: {error}")
            )
            return failed, str
        return asyncio.wrap_future(future, loop=self._loop), lambda: self._pool.leave(future)

    def _leave(self, task: "asyncio.Task[Any]") -> str:
        self._left.add(task)  # the loop keeps no task alive
        task.add_done_callback(self._left.discard)
        task.cancel()
        return "it was cancelled"


class _Session:
    """One connection: bytes to the engine and back. ``_line`` is all that is known of it."""

    __slots__ = (
        "_begun",
        "_deadline",
        "_give_up",
        "_is_full",
        "_keepalive",
        "_late",
        "_line",
        "_loop",
        "_moved",
        "_running",
        "_seen",
        "_server",
        "_started",
        "_transport",
        "_unsent",
        "guest",
    )

    def __init__(self, server: AsyncServer, guest: Guest, name: str) -> None:
        self._server = server
        self.guest = guest
        self._late: socket.socket | None = None
        """Where acknowledgements would be late."""
        self._line = Line(open_connection(guest.setup, name))
        self._transport: Transport | None = None
        self._running: asyncio.Future[Any] | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._seen = self._moved = monotonic()
        self._begun: float | None = self._seen
        """When it began, until it has negotiated."""
        self._unsent = 0
        self._is_full = False

    def begin(self, sock: socket.socket) -> None:
        """Serve an accepted socket."""
        self._late = acknowledgeable(sock)
        self._transport = Transport(self._server.poller, sock, self)
        self._follow(self._line.connection)

    # ---------------------------------------------------------------------- what the transport says
    def receive(self, data: bytes) -> None:
        answer = self._line.receive_data(data)
        if answer is None:
            connection = self._line.connection
            if self._late and connection.is_silent:
                acknowledge(self._late)
            self._follow(connection)
            return
        if answer and self._transport is not None:
            self._transport.write(answer)
        elif self._late:
            acknowledge(self._late)
        self._seen = monotonic()
        if self._server.stopping:
            self.leave_if_idle()

    def lose(self) -> None:
        self._transport = None
        self._stop_progress()
        connection = self._line.connection
        if connection.is_closed:
            self._server.forget_session(self)
            return
        try:
            self._follow(hang_up(connection))
        except BaseException:
            self._server.forget_session(self)
            raise

    def pause_writing(self) -> None:
        self._is_full = True
        self._read(False)

    def resume_writing(self) -> None:
        self._is_full = False
        self._read(self._running is None)

    def _read(self, wanted: bool) -> None:
        if self._transport is not None:
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
        self._running, self._give_up = self._server.call(call)
        self._running.add_done_callback(self._called)
        timeout = self._server.options.handler_timeout
        self._deadline = self._loop.call_later(timeout, self._overdue, self._running, call, timeout)
        if call.progress is not None and self._transport is not None:
            self._send_progress_later(self._transport, call.progress)

    def _send_progress_later(self, transport: Transport, period: float) -> None:
        self._keepalive = self._loop.call_later(period, self._send_progress, transport, period)

    def _send_progress(self, transport: Transport, period: float) -> None:
        transport.write(PROGRESS)
        self._send_progress_later(transport, period)

    def _stop_progress(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None

    def _overdue(self, running: "asyncio.Future[Any]", call: Call, timeout: float) -> None:
        """The handler has had its time: what it does now is no longer waited for."""
        if running.remove_done_callback(self._called):
            failed = self._loop.create_future()
            failed.set_exception(DeadlineError(call.handler.name, timeout, self._give_up()))
            self._finish(failed)

    def _called(self, future: "asyncio.Future[Any]") -> None:
        # a turn of the loop later it has seen whether the peer went while the handler ran
        self._loop.call_soon(self._finish, future)

    def _finish(self, future: "asyncio.Future[Any]") -> None:
        self._stop_progress()
        self._deadline.cancel()
        self._running = None
        try:
            outcome = future.result()
        except BaseException as error:  # noqa: BLE001  # what ends a task is no end of the milter
            outcome = as_exception(error)
        try:
            self._go_on(outcome)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if self._transport is None:
                self._server.forget_session(self)
                raise
            self._transport.fail(error)

    def _go_on(self, outcome: Any) -> None:
        connection = self._line.connection
        if self._transport is not None and self._transport.is_closing:
            connection = hang_up(connection)
        self._follow(resume(connection, outcome, monotonic() - self._started))
        if self._running is None:  # else what was kept of the last read is not yet done with
            self._read(not self._is_full)

    # ---------------------------------------------------------------------- what the server says
    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        if self._transport is not None and self._line.connection.is_idle:
            self._follow(hang_up(self._line.connection))

    def cut(self) -> None:
        """End the session now. A handler that still runs is cancelled, which is reported then."""
        if self._transport is not None:
            if self._running is None and not self._transport.is_closing:
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
        if self._begun is not None:
            if self._line.connection.agreement is not None:
                self._begun = None
            elif now - self._begun > options.negotiate_timeout:
                self._leave(
                    self._transport, f"the MTA did not negotiate within {options.negotiate_timeout:g} s"
                )
                return
        unsent = self._transport.unsent
        if unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        if unsent and now - self._moved > options.write_timeout:
            self._leave(self._transport, f"the MTA read nothing for {options.write_timeout:g} s")
        elif now - self._seen > self.guest.patience:
            self._leave(self._transport, f"the MTA said nothing for {self.guest.patience:g} s")

    def _leave(self, transport: Transport, why: str) -> None:
        report_closed(self._line.connection, why)
        transport.abort()


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
        loop.set_default_executor(DaemonExecutor(options.blocking_threads))
        server = AsyncServer(listener, on_connect, options)
        told = asyncio.Event()

        def stop(at_once: bool) -> None:
            told.set()
            if at_once:
                server.hurry()

        def soon(act: Callable[..., None], *arguments: Any) -> None:
            with suppress(RuntimeError):  # it has stopped already
                loop.call_soon_threadsafe(act, *arguments)

        controls = Controls(
            partial(soon, stop), partial(soon, server.retire, told.set), server.adopt, soon
        )

        with Bell() as bell:
            loop.add_reader(bell.fileno(), bell.wait, 0.0)  # signals are handled on waking up
            await server.start()
            try:
                started(controls)
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
