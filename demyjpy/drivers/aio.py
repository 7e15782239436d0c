"""The asyncio driver: one event loop, one object a connection, no task unless a handler asks.

Everything that answers one read leaves in one write. Plain handlers run in the loop, ``blocking=True``
ones in a pool of threads, ``async def`` ones as tasks. Nothing is decided here about mail.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Self, Unpack

from demyjpy.drivers.accepting import Acceptor
from demyjpy.drivers.address import Listener, parse_address
from demyjpy.drivers.aio_session import AsyncSession
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.jobs import LOOK, perform_apart
from demyjpy.drivers.option_types import ServeOptions
from demyjpy.drivers.options import ServerOptions, make_options
from demyjpy.drivers.pool import DaemonExecutor, Pool
from demyjpy.drivers.report import log
from demyjpy.drivers.resources import CLOSING, NOT_CLOSED
from demyjpy.drivers.server import Server
from demyjpy.drivers.side_loop import OwnLoop
from demyjpy.drivers.signals import Bell, Controls, Started
from demyjpy.drivers.sockets import send_at_once
from demyjpy.drivers.transport import Poller
from demyjpy.drivers.waiting import within
from demyjpy.drivers.watch import LoopWatch, Pulse
from demyjpy.engine.connection import Call, Setup
from demyjpy.engine.limits import Budget
from demyjpy.engine.pipeline import run_call, run_call_async
from demyjpy.errors import HandlerError
from demyjpy.settings.making import settle

_ACCEPTS: Final = 64  # connections taken at one wake-up
_PARTING: Final = 1.0  # seconds for the last handlers of sessions that were cut


class AsyncServer(Server):
    """A milter on the running event loop; an async context manager that listens while it is entered.

    ``address`` is where it listens, with the port that was chosen. Leaving it, or `close`, stops
    accepting, lets messages in flight finish within the grace period, and ends all sessions.
    """

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. `AddressError` says why that is not possible, `HandlerError` what did not open."""
        self._listen()
        self._sessions: set[AsyncSession] = set()
        self._left: set[asyncio.Future[Any]] = set()
        """Tasks that were cancelled, and have not ended yet."""
        self._loop = asyncio.get_running_loop()
        try:
            opening = self._begin_resources(OwnLoop(self._loop))
            self._door.opened = await asyncio.wrap_future(opening, loop=self._loop)
        except BaseException:
            self._listener.close()
            self.effects.close()
            await self._end_resources()
            raise
        self.poller = Poller(self._loop)
        self._over = asyncio.Event()
        self._is_hurried = False
        self._pool = Pool(self.options.blocking_threads)
        self._watch = LoopWatch(self._loop.call_soon_threadsafe, self.options.warn_blocked)
        self._watch.start()
        tell = self.options.on_lag
        self._pulse = Pulse(self._loop, tell) if tell else None
        self._sweeper = self._loop.call_later(self.options.sweep_period, self._sweep)
        at_once = 1 if self._listener.is_shared else _ACCEPTS  # or the first worker to wake gets all
        self._acceptor = Acceptor(self._listener.socket, self._take, at_once, lambda: self._door.is_shut)
        self._acceptor.resume()
        self._begin_jobs(self._on_connect)

    async def close(self, grace: float | None = None) -> None:
        """Stop accepting, end all sessions, and return when the last is gone.

        Those between messages end now, others after theirs, all after ``grace`` seconds (default:
        the option).
        """
        self.stopping = True
        self._jobs.stop()
        self.effects.stop()
        seconds = self.options.grace if grace is None else grace
        end = monotonic() + seconds
        self._acceptor.close()
        self._listener.close()
        for session in tuple(self._sessions):
            session.leave_if_idle()
        try:
            await self._wait_empty(seconds)
            await self._end_jobs(end)
            self._cut()
            await self._wait_empty(_PARTING)
            for session in tuple(self._sessions):
                session.abandon()
            await self._wait_empty(_PARTING)
            await self._end_effects()
            await self._end_resources()
        finally:
            self._cut()  # if closing itself is cancelled
            self.poller.close()
            self._sweeper.cancel()
            self._watch.stop()
            if self._pulse:
                self._pulse.stop()
            self._end_threads()

    async def _end_jobs(self, end: float) -> None:
        """Wait for those that run, and for effects, in the grace period, and if nobody is in a hurry."""
        while (  # noqa: ASYNC110  # they end in threads, too
            (self._jobs.is_busy or self.effects.is_busy) and monotonic() < end and not self._is_hurried
        ):
            await asyncio.sleep(LOOK)
        self._jobs.cancel()

    async def _end_effects(self) -> None:
        """In a thread: it may have to wait for others."""
        ending = perform_apart(self.effects.close, self._loop_beside, name="demyjpy-effects-end")
        closing = asyncio.wrap_future(ending)
        await asyncio.wait([closing], timeout=CLOSING)
        if closing.done() and closing.exception() is not None:  # there is no thread
            self.effects.close()

    async def _end_resources(self) -> None:
        closing = [asyncio.wrap_future(one) for one in self.resources.end() if not one.done()]
        if closing and (await asyncio.wait(closing, timeout=CLOSING))[1]:
            log.warning(NOT_CLOSED, CLOSING)

    def _soon(self, act: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(act)

    def _setup(self, on_connect: Any) -> Setup:
        return self.options.setup(
            on_connect,
            lambda handler: handler.blocking or handler.is_async,
            Budget(clock=monotonic),
            known_answer=self.asker.known_answer,
            keep_effects=self.effects.keeper,
        )

    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the server."""
        return self._loop

    def retire(self, ended: Callable[[], None]) -> None:
        """Accept no more, and say so when the last session has ended by itself."""
        self._retired = ended
        self._jobs.stop()
        self.effects.stop()
        self._acceptor.close()
        if not self._sessions:
            ended()

    def hurry(self) -> None:
        """The grace period of `close` is over."""
        self._is_hurried = True
        self._over.set()

    async def _wait_empty(self, seconds: float) -> None:
        """Wait until the last session is gone, these seconds are over, or `hurry` is called."""
        if self._sessions:
            await within(seconds, self._over.wait())
        self._over.clear()

    def _cut(self) -> None:
        for session in tuple(self._sessions):
            session.cut()

    def _end_threads(self) -> None:
        if not self._sessions:  # whose last handlers may need one
            self._pool.close()
            self.asker.close()

    # -------------------------------------------------------------------------------- sessions
    def _take(self, sock: socket.socket, address: Any) -> None:
        guest = self._door.enter(address)
        if guest is None:
            sock.close()
            return
        send_at_once(sock)
        session = AsyncSession(self, guest, self._names.next())
        self._sessions.add(session)
        session.begin(sock)

    def forget_session(self, session: "AsyncSession") -> None:
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
        count = len(self._left)
        return "it was cancelled" + (f", one of {count} that have not ended" if count > 1 else "")


def serve(address: str | int, on_connect: Any, **options: Unpack[ServeOptions]) -> AsyncServer:
    """A milter for a program with its own event loop.

    ``async with serve("inet:20025@localhost", handlers) as server:`` listens while the block runs;
    ``server.address`` is where. Options are those of `ServerOptions`, except ``loop``: it runs in the
    loop that is there. Several may run in one loop.
    """
    given: dict[str, Any] = {**options}
    if "loop" in given:
        raise HandlerError(
            f"expected serve() to be used in a loop of your own, got loop={given['loop']!r}: "
            "that is an option of start_milter and running"
        )
    ready = settle(on_connect, given.pop("settings", None))
    chosen = make_options(serve, {**given, "settings": ready.settings})
    return AsyncServer(parse_address(address), ready.on_connect, chosen)


def run(listener: Listener, on_connect: Any, options: ServerOptions, started: Started) -> None:
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
                await server.close(grace=0)  # if KeyboardInterrupt ends the loop
            loop.remove_reader(bell.fileno())

    runner = asyncio.Runner(loop_factory=loop_factory(options.loop))
    try:
        runner.run(main())
    finally:
        _end(runner)


def _end(runner: asyncio.Runner) -> None:
    """Close the loop.

    What swallows its cancellation is left behind, because asyncio would wait for it.
    """
    loop = runner.get_loop()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:  # a parent kills its workers a few seconds after the grace period
        loop.run_until_complete(asyncio.wait(tasks, timeout=_PARTING))
    left = [task for task in tasks if not task.done()]
    if not left:
        runner.close()
        return
    log.warning("tasks that were cancelled have not ended, and are left behind: %d", len(left))
    loop.set_exception_handler(lambda *_: None)  # which would hear of each when it is forgotten
    # one that is forgotten is closed, and may swallow that for ever; what a thread has is not forgotten
    with suppress(RuntimeError):  # there are no more threads
        BIRTHS.start(
            threading.Thread(target=lambda _: threading.Event().wait(), args=(left,), daemon=True)
        )
    asyncio.set_event_loop(None)
    loop.close()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes an event loop of this name; None for asyncio's own choice.

    `HandlerError` if it is not installed.
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
