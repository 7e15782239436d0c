"""The threads driver: one thread a connection, blocking sockets, handlers called where they are.

For filters that block everywhere, or whose libraries know no event loop. Nothing is decided here
about mail.
"""

import asyncio
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Final, Self

from demyjpy.drivers.accepting import PAUSE
from demyjpy.drivers.address import Listener
from demyjpy.drivers.alarms import Alarms
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.report import UNFINISHED, log
from demyjpy.drivers.resources import CLOSING, NOT_CLOSED
from demyjpy.drivers.server import Server
from demyjpy.drivers.side_loop import SideLoop
from demyjpy.drivers.signals import Bell, Controls, Started
from demyjpy.drivers.thread_session import ThreadSession
from demyjpy.drivers.turns import BUDGET, Turns
from demyjpy.engine.connection import Call, Setup
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry, chain_of
from demyjpy.registry import Handler

_PARTING: Final = 1.0  # seconds for the last handlers of sessions that were cut


def _is_deferred(handler: Handler[Any]) -> bool:
    """Only what may need PROGRESS, or too much time, while it runs comes back to the driver.

    So does all else that filters get at the end of a message (``defers_ends``).
    """
    return handler.event == "end_of_message" or handler.blocking or handler.timeout is not None


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


class ThreadServer(Server):
    """A milter in threads; a context manager that listens while it is entered. See `Server`."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen. `AddressError` says why that is not possible, `HandlerError` what did not open."""
        self._listen()
        self._side_loop = SideLoop(self.options.blocking_threads)
        try:
            self._door.opened = self._begin_resources(self._side_loop).result()
        except BaseException:
            self._listener.close()
            self.effects.close()
            self._end_resources()
            raise
        self._sessions: set[ThreadSession] = set()
        self._changed = threading.Condition()
        self._left = 0  # threads whose handler took too long, and still runs
        self._is_hurried = False
        self.soon: Callable[[Callable[[], None]], None] = lambda act: act()
        self.alarms, self.turns = Alarms(), Turns()
        self._ended = ExitStack()
        self._selector = selectors.DefaultSelector()
        # Closing a socket does not wake up who waits on it: one byte here does.
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._listener.socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._acceptor = threading.Thread(target=self._accept_all, name="demyjpy-accept", daemon=True)
        self._ended.enter_context(self.alarms.every(self.options.sweep_period, self._sweep))
        self.alarms.start()
        self._begin_jobs(self._on_connect)
        BIRTHS.start(self._acceptor)  # the last: if the program ends now, it serves or does not start

    def close(self, grace: float | None = None) -> None:
        """Stop accepting, end all sessions, and return when the last is gone.

        Those between messages end now, others after theirs, all after ``grace`` seconds (default:
        the option).
        """
        seconds = self.options.grace if grace is None else grace
        end = time.monotonic() + seconds
        self._jobs.stop()
        self.effects.stop()
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
            self._changed.wait_for(lambda: self._is_hurried or not self._sessions, seconds)
        self._jobs.wait(end - time.monotonic(), lambda: self._is_hurried)
        self._jobs.cancel()
        self.effects.wait(end - time.monotonic(), lambda: self._is_hurried)
        with self._changed:
            for session in self._sessions:
                session.cut(UNFINISHED)
            self._changed.wait_for(lambda: not self._sessions, _PARTING)
        self._side_loop.soon(self.asker.close)
        self.effects.close()
        self._end_resources()
        self._ended.close()
        self.alarms.stop()

    def _end_resources(self) -> None:
        if wait(self.resources.end(), CLOSING)[1]:
            log.warning(NOT_CLOSED, CLOSING)
        self._side_loop.stop()

    def _soon(self, act: Callable[[], None]) -> None:
        self.soon(act)

    def _setup(self, on_connect: Any) -> Setup:
        refuse_async(on_connect)
        return self.options.setup(
            on_connect,
            _is_deferred,
            BUDGET,
            defers_ends=True,
            known_answer=self.asker.known_answer,
            keep_effects=self.effects.keeper,
        )

    def loop(self) -> asyncio.AbstractEventLoop:
        """The side loop, in which nothing else runs."""
        return self._side_loop.running()

    def retire(self, ended: Callable[[], None]) -> None:
        """Accept no more, and say so when the last session has ended by itself."""
        self._jobs.stop()
        self.effects.stop()
        with self._changed:
            self._retired = ended
            self._changed.notify_all()
            is_empty = not self._sessions
        with suppress(OSError):  # it closes, and accepts no more as it is
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
            log.error("cannot accept connections: %s; trying again in %s s", error, PAUSE)
            with self._changed:
                self._changed.wait_for(self._accepts_no_more, PAUSE)
            return
        with self._changed:
            guest = self._door.enter(address)
            if guest is None:
                sock.close()
                return
            session = ThreadSession(self, sock, guest, self._names.next())
            self._sessions.add(session)
        try:
            BIRTHS.start(threading.Thread(target=session.serve, name="demyjpy-session", daemon=True))
        except RuntimeError as error:
            log.error("cannot serve a connection: %s", error)
            session.end()

    def forget_session(self, session: "ThreadSession") -> None:
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

    def leave_behind(self, session: "ThreadSession", call: Call) -> bool:
        """Have another thread go on if a handler takes too long; False if there is no other thread."""
        with self._changed:
            if self._left < self.options.blocking_threads:
                left = f"its thread goes on, one of {self._left + 1} left behind"
                error = self.options.late(call, left)
                try:
                    name = "demyjpy-session"
                    BIRTHS.start(
                        threading.Thread(target=session.take_over, args=(error,), name=name, daemon=True)
                    )
                except RuntimeError as problem:
                    log.error("cannot go on with a session: %s", problem)
                else:
                    self._left += 1
                    return True
        session.cut(str(self.options.late(call, f"{self._left} threads are left behind")))
        return False

    def come_back(self) -> None:
        """A thread that was left behind ends."""
        with self._changed:
            self._left -= 1


def run(listener: Listener, on_connect: Any, options: ServerOptions, started: Started) -> None:
    """Serve until told to stop; ``started`` is given the function that does it."""
    server = ThreadServer(listener, on_connect, options)
    asked: deque[bool] = deque()
    closed = threading.Event()
    with Bell() as bell:  # before connections can take the last descriptors
        server.start()
        server.soon = bell.soon

        def stop(at_once: bool) -> None:
            asked.append(at_once)
            bell.ring()

        def close() -> None:
            try:
                server.close()
            finally:  # whatever happens, nobody waits for ever
                closed.set()
                bell.ring()

        ended = partial(stop, False)
        started(
            Controls(stop, partial(bell.soon, partial(server.retire, ended)), server.adopt, bell.soon)
        )
        while not asked:
            bell.wait()
            bell.do_due()
        closing = threading.Thread(target=close, name="demyjpy-close", daemon=True)
        BIRTHS.start(closing)
        while not closed.is_set():
            if any(asked):
                server.hurry()
            bell.wait()
            bell.do_due()
        closing.join()
