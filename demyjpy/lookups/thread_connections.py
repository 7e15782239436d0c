"""Connections of libraries that block: each is used by one thread at a time, and kept for the next."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from demyjpy.drivers.pool import DaemonExecutor

C = TypeVar("C")
R = TypeVar("R")


class ThreadConnections(Generic[C]):
    """``connect`` makes a connection, in a thread; ``close`` closes one that no thread uses.

    ``interrupt`` has what is done in one end soon, from another thread. ``size``: threads. Who calls
    sees to it that no more than so many calls are on their way.
    """

    def __init__(
        self,
        size: int,
        connect: Callable[[], C],
        close: Callable[[C], object],
        interrupt: Callable[[C], object],
    ) -> None:
        self._connect, self._close_one, self._interrupt = connect, close, interrupt
        self._threads = DaemonExecutor(size)
        self._idle: list[C] = []

    async def open_one(self) -> None:
        """Make a connection, so that errors show."""
        self._idle.append(await self._made())

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self._close_one(self._idle.pop())
        self._threads.shutdown()

    async def call(self, function: Callable[[C], R]) -> R:
        """What a function of a connection returns. A connection in which it failed is closed."""
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await self._made()
        running = self._threads.submit(function, connection)
        try:
            found: R = await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            self._interrupt(connection)
            await self._ended(running, connection)  # until then who calls has his place
            raise
        except BaseException:
            self._close_one(connection)
            raise
        self._idle.append(connection)
        return found

    async def _made(self) -> C:
        """A new one. It is closed if nobody waits for it any longer."""
        making = self._threads.submit(self._connect)
        try:
            return await asyncio.wrap_future(making)
        except asyncio.CancelledError:
            making.add_done_callback(self._close_made)
            raise

    def _close_made(self, making: "Future[C]") -> None:
        if not making.cancelled() and making.exception() is None:
            self._close_one(making.result())

    async def _ended(self, running: "Future[Any]", connection: C) -> None:
        """Wait until its thread has left a connection, and have that closed then, whoever waits.

        To close one that is in use may end the process.
        """
        loop, has_ended = asyncio.get_running_loop(), asyncio.Event()

        def end(done: "Future[Any]") -> None:  # in the thread, or at once
            self._close_one(connection)
            with suppress(RuntimeError):  # the loop has ended before it
                loop.call_soon_threadsafe(has_ended.set)

        running.add_done_callback(end)
        await has_ended.wait()
