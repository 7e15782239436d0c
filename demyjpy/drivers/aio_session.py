"""One connection of the asyncio driver: bytes to the engine and back, and the time that they take.

How connections come, and where handlers run, is the server's: `demyjpy.drivers.aio`.
"""

import asyncio
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from demyjpy.drivers.admission import Guest
from demyjpy.drivers.asker import Asker, Errands
from demyjpy.drivers.effects import Effects
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.report import UNFINISHED, Notes, report, report_closed
from demyjpy.drivers.signs import end_in_hand, period_of
from demyjpy.drivers.sockets import acknowledge, acknowledgeable
from demyjpy.drivers.tape_makers import Tapes
from demyjpy.drivers.transport import Poller, Transport
from demyjpy.engine.connection import Call, Connection
from demyjpy.engine.handler_results import as_exception
from demyjpy.engine.hot_path import Line
from demyjpy.engine.open_questions import Wait
from demyjpy.engine.pipeline import PROGRESS, open_connection
from demyjpy.errors import HandlerError
from demyjpy.events import Abort, Disconnect
from demyjpy.questions import LATE, Outcome


class Server(Protocol):
    """What a session needs of its server."""

    options: ServerOptions
    poller: Poller
    tapes: Tapes
    asker: Asker
    effects: Effects
    stopping: bool

    def call(self, call: Call) -> "tuple[asyncio.Future[Any], Callable[[], str]]":
        """Run a handler that must not run in the loop itself; and how to wait for it no more."""

    def forget_session(self, session: "AsyncSession") -> None:
        """A session has ended. Saying it again does nothing."""


class AsyncSession:
    """One connection. ``_line`` is all that is known of it."""

    __slots__ = (
        "_begun",
        "_deadline",
        "_end",
        "_errands",
        "_give_up",
        "_has_kept",
        "_is_behind",
        "_is_cut",
        "_is_full",
        "_keepalive",
        "_late",
        "_line",
        "_loop",
        "_moved",
        "_notes",
        "_patience",
        "_running",
        "_seen",
        "_server",
        "_started",
        "_transport",
        "_unsent",
        "_waits",
        "guest",
    )

    def __init__(self, server: Server, guest: Guest, name: str) -> None:
        self._server = server
        self.guest = guest
        self._late: socket.socket | None = None
        """Where acknowledgements would be late."""
        self._line = Line(open_connection(guest.setup, name), server.tapes.new())
        self._errands: Errands | None = None
        """The questions that are on their way, if there was one."""
        self._waits: Wait | None = None
        """The answers for which a handler waits, and when it has waited long enough."""
        self._patience: asyncio.TimerHandle | None = None
        self._has_kept = False
        """Whether more has come while it waits: no more than one read is kept."""
        self._transport: Transport | None = None
        self._running: asyncio.Future[Any] | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._notes = Notes()
        self._end: int | None = None
        """The end of message that is in hand."""
        self._loop = asyncio.get_running_loop()
        self._seen = self._moved = monotonic()
        self._begun: float | None = self._seen
        """When it began, until it has negotiated."""
        self._unsent = 0
        self._is_full = self._is_cut = False
        """Whether the peer has to take answers before anything is done for it."""
        self._is_behind = False
        """Whether there is work left, for which it has to wait."""

    def begin(self, sock: socket.socket) -> None:
        """Serve an accepted socket."""
        self._late = acknowledgeable(sock)
        self._transport = Transport(self._server.poller, sock, self)
        self._follow(self._line.leave())

    # ---------------------------------------------------------------------- what the transport says
    def receive(self, data: bytes) -> None:
        answer = self._line.receive_data(data)
        if answer is None:
            self._has_kept = self._waits is not None
            connection = self._line.leave()
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

    def go_on(self) -> None:
        if not self._is_full:  # else `hold_back` says when
            self._is_behind = False
            self.receive(b"")
            self._read_if_due()

    def lose(self) -> None:
        self._transport = None
        self._stop_progress()
        connection = self._line.leave()
        if connection.is_closed:
            self._server.forget_session(self)
            return
        try:
            self._hang_up()
        except BaseException:
            self._server.forget_session(self)
            raise

    def hold_back(self, is_full: bool) -> None:
        self._is_full = is_full
        if not is_full and self._is_behind and self._transport is not None:
            self._transport.work_later()
        self._read_if_due()

    def _read_if_due(self) -> None:
        # what was kept of the last read is done with before there is another
        is_busy = self._running is not None or self._has_kept
        self._read(not self._is_full and not self._is_behind and not is_busy)

    def _read(self, is_wanted: bool) -> None:
        if self._transport is not None:
            self._transport.read(is_wanted)

    # ---------------------------------------------------------------------- what the engine says
    def _hang_up(self) -> None:
        """The peer has gone, or we leave it."""
        if not self._line.leave().is_closed:
            self._line.hang_up()
            self._follow(self._line.leave())

    def _follow(self, connection: Connection) -> None:
        """Do what the engine wants done, now that this is what holds."""
        report(connection, self._notes)
        if connection.troubles or connection.requests:
            self._line.forget_troubles()
        transport = self._transport
        self._send_out(connection)
        self._note_end(connection)
        if connection.open_questions or self._errands is not None:
            self._follow_questions(connection)
        if connection.call is not None:
            if self._running is None:
                self._call(connection.call)
            else:
                self._read(False)  # no more than one read is kept while a handler runs
        elif connection.wait is not None:
            pass  # `_follow_questions` has seen it
        elif connection.is_closed:
            if transport is not None:
                transport.close()
            else:
                self._server.forget_session(self)
        elif connection.is_behind and transport is not None:
            self._is_behind = True
            self._read(False)
            transport.work_later()
        elif self._server.stopping and connection.is_idle:
            self._hang_up()
        self._seen = monotonic()  # now it is the MTA's turn

    def _send_out(self, connection: Connection) -> None:
        """What is for the MTA, and then what is to be done because of it."""
        if connection.data_to_send and self._transport is not None:
            self._transport.write(connection.data_to_send)
        if connection.requests:
            self._server.effects.take(connection.requests, connection.session, self.guest.opened)

    # ---------------------------------------------------------------------- questions
    def _follow_questions(self, connection: Connection) -> None:
        """Have done what is to be asked; no handler waits for longer than it may run."""
        wait, known = connection.wait, self._waits
        if wait is None or known is None or not wait.numbers <= known.numbers:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
            if wait is not None:
                seconds = wait.timeout or self._server.options.handler_timeout
                self._patience = self._loop.call_later(seconds, self._wait_no_longer, seconds)
        self._waits = wait
        self._has_kept = self._has_kept and wait is not None
        if self._has_kept:
            self._read(False)  # as while a handler runs
        if self._errands is None:
            self._errands = Errands(self._server.asker.begin, self._learn)
        self._errands.follow(connection.open_questions)

    def _wait_no_longer(self, seconds: float) -> None:
        for number in self._waits.numbers if self._waits else ():
            self._learn(number, LATE, seconds)

    def _learn(self, number: int, outcome: Outcome, seconds: float) -> None:
        """What became of a question."""
        transport = self._transport
        try:
            self._line.take_answer(number, outcome, seconds)
            self._follow(self._line.leave())
            self._read_if_due()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if transport is None:
                self._server.forget_session(self)
                raise
            transport.fail(error)

    # ---------------------------------------------------------------------- handlers that run apart
    def _call(self, call: Call) -> None:
        self._started = monotonic()
        self._running, self._give_up = self._server.call(call)
        self._running.add_done_callback(self._called)
        timeout = self._server.options.time_for(call)
        self._deadline = self._loop.call_later(timeout, self._overdue, self._running, call)

    def _note_end(self, connection: Connection) -> None:
        """Signs of life are due from when an end of message is in hand, whoever is called meanwhile."""
        end = end_in_hand(connection)
        if end != self._end:
            self._end = end
            self._stop_progress()
            period = None if end is None else period_of(connection.agreed)
            if period is not None and self._transport is not None:
                self._send_progress_later(self._transport, period)

    def _send_progress_later(self, transport: Transport, period: float) -> None:
        self._keepalive = self._loop.call_later(period, self._send_progress, transport, period)

    def _send_progress(self, transport: Transport, period: float) -> None:
        transport.write(PROGRESS)
        self._send_progress_later(transport, period)

    def _stop_progress(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None

    def _overdue(self, running: "asyncio.Future[Any]", call: Call) -> None:
        """The handler has had its time: what it does now is no longer waited for."""
        if running.remove_done_callback(self._called):
            self._fail(self._server.options.late(call, self._give_up()))

    def _fail(self, error: HandlerError) -> None:
        failed = self._loop.create_future()
        failed.set_exception(error)
        self._finish(failed)

    def _called(self, future: "asyncio.Future[Any]") -> None:
        # a turn of the loop later it has seen whether the peer went while the handler ran
        self._loop.call_soon(self._finish, future)

    def _finish(self, future: "asyncio.Future[Any]") -> None:
        self._deadline.cancel()
        self._running = None
        self._give_up = str  # the other one knows what the handler has returned
        try:
            outcome = future.result()
        except BaseException as error:  # noqa: BLE001  # what ends a task is no end of the milter
            outcome = as_exception(error)
        if self._is_cut and isinstance(getattr(outcome, "__cause__", None), asyncio.CancelledError):
            outcome = HandlerError(f"expected a handler to return a context, but {UNFINISHED}")
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
        if self._transport is not None and self._transport.is_closing:
            self._line.hang_up()
        self._line.resume(outcome, monotonic() - self._started)
        self._follow(self._line.leave())
        self._read_if_due()

    # ---------------------------------------------------------------------- what the server says
    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        if self._transport is not None and self._line.leave().is_idle:
            self._hang_up()

    def cut(self) -> None:
        """End the session now. A handler that still runs is cancelled, which is reported then."""
        if self._transport is not None:
            if self._running is None and not self._transport.is_closing:
                report_closed(self._line.leave(), UNFINISHED)
            self._transport.abort()
            self._hang_up()
        call = self._line.leave().call
        if self._running and call and not isinstance(call.event, Abort | Disconnect):  # which are due
            self._is_cut = True
            self._running.cancel()

    def abandon(self) -> None:
        """Wait no more for a handler that was cancelled, and has not ended."""
        if self._running is not None and self._running.remove_done_callback(self._called):
            self._fail(HandlerError(f"{UNFINISHED}; {self._give_up()}"))

    def check_time(self, now: float, options: ServerOptions) -> None:
        """End the session of a peer that says nothing, or reads nothing, for too long."""
        if self._running is not None or self._waits is not None or self._transport is None:
            return
        if self._begun is not None:
            if self._line.leave().is_negotiated:
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
        report_closed(self._line.leave(), why)
        transport.abort()
