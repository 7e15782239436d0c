"""One connection of the threads driver: its thread, which reads, calls handlers and sends.

How connections come, and how many threads may be left behind, is the server's:
`demyjpy.drivers.threads`.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from demyjpy.drivers.admission import Guest
from demyjpy.drivers.alarms import Alarms
from demyjpy.drivers.asker import Asker, Errands
from demyjpy.drivers.effects import Effects
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.report import Notes, report, report_closed
from demyjpy.drivers.signs import end_in_hand, period_of
from demyjpy.drivers.sockets import acknowledge, acknowledgeable, send_at_once
from demyjpy.drivers.tape_makers import Tapes
from demyjpy.drivers.turns import Share, Turns
from demyjpy.engine.connection import Call, Connection
from demyjpy.engine.hot_path import Line
from demyjpy.engine.open_questions import Wait
from demyjpy.engine.pipeline import PROGRESS, open_connection, run_call
from demyjpy.errors import DeadlineError
from demyjpy.questions import LATE, Outcome

_READ_SIZE: Final = 100_000  # over 128 kB, malloc() asks the kernel for the memory of each read
_FEW: Final = 8  # reads, after which it is looked what they took
_LOOK: Final = 0.5  # seconds, after which it is looked whether the peer still waits for the answer
_NOTICEABLE: Final = 0.005  # seconds of a handler, after which a look at the peer is worth a system call


class Server(Protocol):
    """What a session needs of its server."""

    options: ServerOptions
    alarms: Alarms
    tapes: Tapes
    asker: Asker
    effects: Effects
    turns: Turns
    stopping: bool

    def leave_behind(self, session: "ThreadSession", call: Call) -> bool:
        """Have another thread go on if a handler takes too long; False if there is no other thread."""

    def come_back(self) -> None:
        """A thread that was left behind ends."""

    def forget_session(self, session: "ThreadSession") -> None:
        """A session has ended."""


class _LeftBehindError(Exception):
    """In a thread whose handler took too long: another has taken the session over."""


class ThreadSession:
    """One connection and its thread. ``_line`` is all that is known of it."""

    def __init__(self, server: Server, sock: socket.socket, guest: Guest, name: str) -> None:
        self._server = server
        self._options = server.options
        self._socket = sock
        self.guest = guest
        self._line = Line(Connection(guest.setup, name), server.tapes.new())
        self._begun: float | None = time.monotonic()
        """When it began, until it has negotiated."""
        self._lock = threading.Lock()
        self._is_reading = self._is_left = False
        self._half_sent = b""
        self._end: int | None = None
        """The end of message that was in hand at the last call."""
        self._notes = Notes()
        self._period: float | None = None
        """How often PROGRESS is sent there."""
        self._shown = 0.0
        """When the MTA has last heard of it."""
        self._errands: Errands | None = None
        """The questions that are on their way, if there was one."""
        self._answers: SimpleQueue[tuple[int, Outcome, float]] = SimpleQueue()
        """What became of questions."""
        self._awaited: frozenset[int] = frozenset()
        """The questions for which the last handler waited that had to, and until when it may."""
        self._until = 0.0

    def serve(self) -> None:
        """Until the connection ends."""
        with self._until_its_end():
            self._prepare()
            begun = self._line.leave()
            self._line.hold(open_connection(begun.setup, begun.session))
            self._exchange()

    def take_over(self, error: DeadlineError) -> None:
        """Go on in another thread, as if the handler that takes too long had failed."""
        with self._until_its_end():
            self._resume(error, error.seconds)
            self._exchange()

    @contextmanager
    def _until_its_end(self) -> Iterator[None]:
        is_left = False
        share = self._share = Share(self._server.turns, self._socket)
        try:
            yield
        except _LeftBehindError:
            is_left = True
        finally:
            share.end()
            if is_left:
                self._server.come_back()
            else:
                self.end()

    def _exchange(self) -> None:
        answer: bytes | None = None
        late = acknowledgeable(self._socket)
        share, reads = self._share, _FEW
        while answer is not None or self._follow():
            data = self._read()
            if data:
                answer = self._line.receive_data(data)
                reads -= 1
                if not reads or share.is_in_turn:
                    share.spend(False)
                    reads = _FEW
                if answer:
                    self._send(answer)
                elif late and (answer is not None or self._line.leave().is_silent):
                    acknowledge(late)
            else:
                answer = None
                self._line.hang_up()

    def end(self) -> None:
        """The connection has ended."""
        if self._errands is not None:
            self._errands.follow({})
        self._socket.close()
        self._server.forget_session(self)

    def _prepare(self) -> None:
        sock = self._socket
        sock.setblocking(True)
        send_at_once(sock)
        # the kernel's own timeouts: settimeout() would cost a poll() for each read
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(self.guest.patience))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._options.write_timeout))

    def _follow(self) -> bool:
        """Do what the engine wants done; whether there is more to read."""
        while True:
            connection = self._line.leave()
            report(connection, self._notes)
            if connection.troubles or connection.requests:
                self._line.forget_troubles()
            is_behind = connection.backlog.has_more
            if is_behind or connection.call is not None:  # at its end a message mostly waits
                self._share.spend(is_behind)
            self._send_out(connection)
            if connection.open_questions or self._errands is not None:
                self._follow_questions(connection)
            if connection.call is not None:
                started = time.perf_counter()
                outcome = self._call(connection.call)
                self._resume(outcome, time.perf_counter() - started)
            elif not self._answers.empty():
                self._line.take_answer(*self._answers.get())
            elif connection.wait is not None:
                self._wait(connection.wait)
            elif connection.is_closed or not is_behind:
                return not connection.is_closed
            elif self._is_left:
                self._line.hang_up()
            else:
                answer = self._line.go_on()
                if answer is not None:
                    self._send(answer)
                    return True

    def _send_out(self, connection: Connection) -> None:
        """What is for the MTA, and then what is to be done because of it."""
        if connection.data_to_send:
            self._send(connection.data_to_send)
        if connection.requests:
            self._server.effects.take(connection.requests, connection.session, self.guest.opened)

    def _resume(self, outcome: Any, duration: float) -> None:
        if duration > _NOTICEABLE and self._is_gone():
            self._line.hang_up()
        self._line.resume(outcome, duration)

    # ---------------------------------------------------------------------- questions
    def _follow_questions(self, connection: Connection) -> None:
        """Have done what is to be asked."""
        if self._errands is None:
            asker = self._server.asker
            self._errands = Errands(asker.begin_from_thread, lambda *said: self._answers.put(said))
        self._errands.follow(connection.open_questions)

    def _wait(self, wait: Wait) -> None:
        """Until one of the answers is there for which a handler waits, and no longer than it may run."""
        self._share.end()
        self._note_end(self._line.leave())
        seconds = wait.timeout or self._options.handler_timeout
        with ExitStack() as alarms:
            if self._period is not None:
                due = self._shown + self._period - time.monotonic()
                alarms.enter_context(self._server.alarms.every(self._period, self._show_life, due))
            if not wait.numbers <= self._awaited:
                self._until = time.monotonic() + seconds  # else the same handler still waits
            self._awaited = wait.numbers
            while (left := self._until - time.monotonic()) > 0:
                with suppress(Empty):
                    self._line.take_answer(*self._answers.get(timeout=min(left, _LOOK)))
                    return
                if self._is_gone():
                    self._line.hang_up()
                    return
        for number in wait.numbers:
            self._line.take_answer(number, LATE, seconds)

    def _show_life(self) -> None:
        self._shown = time.monotonic()
        self._send_progress()

    # ---------------------------------------------------------------------- handlers
    def _call(self, call: Call) -> Any:
        """Call a handler; `_LeftBehindError` if another thread went on because it took too long."""
        alarms = self._server.alarms
        is_left: list[bool] = []

        def give_up() -> None:
            if not is_left:
                is_left.append(self._server.leave_behind(self, call))

        def show_life() -> None:
            if not is_left:
                self._show_life()

        self._note_end(self._line.leave())
        with alarms.every(self._options.time_for(call), give_up):
            period = self._period
            if period is None:
                outcome = run_call(call)
            else:
                due = self._shown + period - time.monotonic()
                with alarms.every(period, show_life, due):
                    outcome = run_call(call)
        if any(is_left):
            raise _LeftBehindError
        return outcome

    def _note_end(self, connection: Connection) -> None:
        """Signs of life are due from the first call of an end of message on, whoever is called."""
        end = end_in_hand(connection)
        if end != self._end:
            self._end, self._shown = end, time.monotonic()
            self._period = None if end is None else period_of(connection.agreed)

    def _send_progress(self) -> None:
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
            self._break_off(
                self._line.leave(), f"the MTA read nothing for {self._options.write_timeout:g} s"
            )
        except OSError:
            pass  # reading says that the peer is gone

    def _read(self) -> bytes:
        """What the peer says; nothing when the session is over."""
        with self._lock:
            if self._server.stopping and self._line.leave().is_idle:
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
            self._break_off(self._line.leave(), f"the MTA said nothing for {self.guest.patience:g} s")
        except OSError:
            pass
        return b""

    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        with self._lock:
            if self._is_reading and self._line.leave().is_idle:
                self._is_left = True
                self._shut(socket.SHUT_RD)

    def check_time(self, now: float) -> None:
        """End the session of a peer that takes too long to negotiate."""
        if self._begun is None:
            return
        with self._lock:
            if not self._is_reading:
                return
            if self._line.leave().is_negotiated:
                self._begun = None
            elif now - self._begun > self._options.negotiate_timeout:
                self._begun = None
                late = f"the MTA did not negotiate within {self._options.negotiate_timeout:g} s"
                self._break_off(self._line.leave(), late)

    def cut(self, why: str) -> None:
        """From another thread: end the session now; its own finds the connection closed."""
        with self._lock:
            known = self._line.leave() if self._is_reading else self._line.outline
        self._break_off(known, why)

    def _break_off(self, known: Connection, why: str) -> None:
        report_closed(known, why)
        self._is_left = True
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)


def _timeval(seconds: float) -> bytes:
    """``struct timeval``; at least a millisecond, because zero would mean for ever."""
    micro = max(1000, int(seconds * 1_000_000))
    return struct.pack("ll", *divmod(micro, 1_000_000))
