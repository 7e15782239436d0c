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
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final, Self

from demyjpy.connection import Call, Connection
from demyjpy.drivers.address import Address, Listener, listen
from demyjpy.drivers.admission import Door, Guest
from demyjpy.drivers.alarms import Alarms
from demyjpy.drivers.options import Options, SessionNames
from demyjpy.drivers.report import UNFINISHED, log, report, report_closed
from demyjpy.drivers.signals import Bell, Controls, Started
from demyjpy.drivers.sockets import acknowledge, acknowledgeable, send_at_once
from demyjpy.errors import DeadlineError, HandlerError
from demyjpy.handlers import as_registry, chain_of
from demyjpy.pipeline import PROGRESS, Line, hang_up, open_connection, resume, run_call
from demyjpy.registry import Handler

_READ_SIZE: Final = 100_000  # over 128 kB, malloc() asks the kernel for the memory of each read
_NOTICEABLE: Final = 0.005  # seconds of a handler, after which a look at the peer is worth a system call
_PAUSE: Final = 1.0  # seconds until accepting is tried again when the system has no more sockets
_PARTING: Final = 1.0  # seconds for the last handlers of sessions that were cut


def _is_deferred(handler: Handler[Any]) -> bool:
    """Only what may need PROGRESS, or too much time, while it runs comes back to the driver."""
    return handler.event == "end_of_message" or handler.blocking


class _LeftBehindError(Exception):
    """In a thread whose handler took too long: another has taken the session over."""


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
        self._door = Door(self.options, self.options.setup(on_connect, _is_deferred))
        self._retired: Callable[[], None] | None = None
        self._sessions: set[_Session] = set()
        self._changed = threading.Condition()
        self._left = 0  # threads whose handler took too long, and still runs
        self.alarms = Alarms()
        self._ended = ExitStack()
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
        self._ended.enter_context(self.alarms.every(self.options.sweep_period, self._sweep))
        self.alarms.start()

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
        self._ended.close()
        self.alarms.stop()

    def adopt(self, on_connect: Any) -> None:
        """Serve the sessions to come with this filter; those begun keep theirs. From any thread."""
        refuse_async(on_connect)
        self._door.setup = self.options.setup(on_connect, _is_deferred)

    def retire(self, ended: Callable[[], None]) -> None:
        """Accept no more, and say so when the last session has ended by itself."""
        with self._changed:
            self._retired = ended
            self._changed.notify_all()
            is_empty = not self._sessions
        self._wake.send(b"x")
        if is_empty:
            ended()

    def hurry(self) -> None:
        """The grace period of `close` is over."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    # ------------------------------------------------------------------------------- accepting
    def _accept_all(self) -> None:
        while not self._accepts_no_more():
            self._selector.select()
            with self._changed:  # more than that wait in the backlog
                self._changed.wait_for(lambda: not self._door.is_shut or self._accepts_no_more())
            if not self._accepts_no_more():
                self._accept()

    def _accepts_no_more(self) -> bool:
        return self.stopping or self._retired is not None

    def _accept(self) -> None:
        try:
            sock, address = self._listener.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process was faster, or the peer is gone
        except OSError as error:
            log.error("cannot accept connections: %s; trying again in %s s", error, _PAUSE)
            with self._changed:
                self._changed.wait_for(self._accepts_no_more, _PAUSE)
            return
        with self._changed:
            guest = self._door.enter(address)
            if guest is None:
                sock.close()
                return
            session = _Session(self, sock, guest, self._names.next())
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
            self._door.leave(session.guest)
            self._changed.notify_all()
            if self._retired is not None and not self._sessions:
                self._retired()

    def _sweep(self) -> None:
        now = time.monotonic()
        with self._changed:
            for session in self._sessions:
                session.check_time(now)

    def leave_behind(self, session: "_Session", handler: Handler[Any]) -> bool:
        """Have another thread go on where a handler takes too long; False where there is none."""
        seconds = self.options.handler_timeout
        with self._changed:
            if self._left < self.options.blocking_threads:
                left = f"its thread goes on, one of {self._left + 1} left behind"
                error = DeadlineError(handler.name, seconds, left)
                try:
                    name = "demyjpy-session"
                    threading.Thread(
                        target=session.take_over, args=(error,), name=name, daemon=True
                    ).start()
                except RuntimeError as problem:
                    log.error("cannot go on with a session: %s", problem)
                else:
                    self._left += 1
                    return True
        session.cut(str(DeadlineError(handler.name, seconds, f"{self._left} threads are left behind")))
        return False

    def come_back(self) -> None:
        """A thread that was left behind ends."""
        with self._changed:
            self._left -= 1


class _Session:
    """One connection and its thread. ``_line`` is all that is known of it."""

    def __init__(self, server: ThreadServer, sock: socket.socket, guest: Guest, name: str) -> None:
        self._server = server
        self._options = server.options
        self._socket = sock
        self.guest = guest
        self._line = Line(Connection(guest.setup, name))
        self._begun: float | None = time.monotonic()
        """When it began, until it has negotiated."""
        self._lock = threading.Lock()
        self._is_reading = self._is_left = False
        self._half_sent = b""

    def serve(self) -> None:
        """Until the connection ends."""
        with self._until_its_end():
            self._prepare()
            begun = self._line.connection
            self._line.connection = open_connection(begun.setup, begun.session)
            self._exchange()

    def take_over(self, error: DeadlineError) -> None:
        """Go on in another thread, as if the handler that takes too long had failed."""
        with self._until_its_end():
            self._resume(error, self._options.handler_timeout)
            self._exchange()

    @contextmanager
    def _until_its_end(self) -> Iterator[None]:
        is_left = False
        try:
            yield
        except _LeftBehindError:
            is_left = True
        finally:
            if is_left:
                self._server.come_back()
            else:
                self.end()

    def _exchange(self) -> None:
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

    def end(self) -> None:
        """The connection has ended."""
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
            connection = self._line.connection
            report(connection)
            if connection.data_to_send:
                self._send(connection.data_to_send)
            if connection.call is not None:
                started = time.perf_counter()
                outcome = self._call(connection.call)
                self._resume(outcome, time.perf_counter() - started)
            else:
                return not connection.is_closed

    def _resume(self, outcome: Any, duration: float) -> None:
        connection = self._line.connection
        if duration > _NOTICEABLE and self._is_gone():
            connection = hang_up(connection)
        self._line.connection = resume(connection, outcome, duration)

    def _call(self, call: Call) -> Any:
        """Call a handler; `_LeftBehindError` where it took so long that another thread went on."""
        alarms = self._server.alarms
        is_left: list[bool] = []

        def give_up() -> None:
            if not is_left:
                is_left.append(self._server.leave_behind(self, call.handler))

        def show_life() -> None:
            if not is_left:
                self._send_progress()

        with ExitStack() as stack:
            stack.enter_context(alarms.every(self._options.handler_timeout, give_up))
            if call.progress is not None:
                stack.enter_context(alarms.every(call.progress, show_life))
            outcome = run_call(call)
        if any(is_left):
            raise _LeftBehindError
        return outcome

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
                self._line.connection, f"the MTA read nothing for {self._options.write_timeout:g} s"
            )
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
            self._break_off(self._line.connection, f"the MTA said nothing for {self.guest.patience:g} s")
        except OSError:
            pass
        return b""

    def leave_if_idle(self) -> None:
        """End the session, unless a message is on its way."""
        with self._lock:
            if self._is_reading and self._line.connection.is_idle:
                self._is_left = True
                self._shut(socket.SHUT_RD)

    def check_time(self, now: float) -> None:
        """End the session of a peer that takes too long to negotiate."""
        if self._begun is None:
            return
        with self._lock:
            if not self._is_reading:
                return
            if self._line.connection.agreement is not None:
                self._begun = None
            elif now - self._begun > self._options.negotiate_timeout:
                self._begun = None
                late = f"the MTA did not negotiate within {self._options.negotiate_timeout:g} s"
                self._break_off(self._line.connection, late)

    def cut(self, why: str) -> None:
        """From another thread: end the session now; its own finds the connection closed."""
        with self._lock:
            known = self._line.connection if self._is_reading else self._line.outline
        self._break_off(known, why)

    def _break_off(self, known: Connection, why: str) -> None:
        report_closed(known, why)
        self._is_left = True
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)


def _timeval(seconds: float) -> bytes:
    """``struct timeval``; at least a millisecond, for zero would mean for ever."""
    micro = max(1000, int(seconds * 1_000_000))
    return struct.pack("ll", *divmod(micro, 1_000_000))


def run(listener: Listener, on_connect: Any, options: Options, started: Started) -> None:
    """Serve until told to stop; ``started`` is given the function that does it."""
    server = ThreadServer(listener, on_connect, options)
    asked: deque[bool] = deque()
    due: deque[Callable[[], None]] = deque()
    closed = threading.Event()
    with Bell() as bell:  # before connections can take the last descriptors
        server.start()

        def stop(at_once: bool) -> None:
            asked.append(at_once)
            bell.ring()

        def soon(act: Callable[[], None]) -> None:
            due.append(act)
            bell.ring()

        def wait() -> None:
            bell.wait()
            while due:
                due.popleft()()

        def close() -> None:
            server.close()
            closed.set()
            bell.ring()

        ended = partial(stop, False)
        started(Controls(stop, partial(soon, partial(server.retire, ended)), server.adopt, soon))
        while not asked:
            wait()
        closing = threading.Thread(target=close, name="demyjpy-close", daemon=True)
        closing.start()
        while not closed.is_set():
            if any(asked):
                server.hurry()
            wait()
        closing.join()
