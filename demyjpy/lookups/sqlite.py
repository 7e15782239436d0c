"""A client for SQLite files, by the standard library: a few connections, each in one thread at a time.

Statements run in threads, so that a locked or slow file holds up nobody else.
"""

import asyncio
import sqlite3
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Self

from demyjpy.drivers.pool import DaemonExecutor
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError

__all__ = ["Sqlite"]

POOL: Final = 5

_OF_STATEMENT: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_MISUSE,
    }
)
"""Errors that are the statement's, not the file's (sqlite.org/rescode.html)."""


class Sqlite:
    """The database in a file, as in ``resources={"sql": lambda settings: Sqlite(path)}``.

    ``pool``: connections, and statements at once. ``timeout``: seconds for a statement; as long a locked
    file is waited for. ``setup``: statements for each connection, as ``pragma journal_mode=wal``. The
    other options are those of `demyjpy.lookups.guard.Guard`.
    """

    def __init__(
        self, path: str, *, pool: int = POOL, timeout: float = TIMEOUT, setup: str = "", **breaker: Any
    ) -> None:
        self._path, self._setup = str(path), setup
        self._guard = Guard("sqlite", places=pool, timeout=timeout, **breaker)
        self._pool = pool
        self._idle: list[sqlite3.Connection] = []

    async def __aenter__(self) -> Self:
        self._threads = DaemonExecutor(self._pool)
        self._idle.append(await self._in_thread(self._connect))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()
        while self._idle:
            self._idle.pop().close()
        self._threads.shutdown()

    async def execute(
        self, statement: str, parameters: Mapping[str, Any], most: int, *, is_read: bool
    ) -> tuple[tuple[Any, ...], ...] | int:
        """As `Database.execute` says."""
        return await self._guard.ask(
            self._path, lambda: self._execute(statement, dict(parameters), most, is_read)
        )

    async def _execute(
        self, statement: str, parameters: dict[str, Any], most: int, is_read: bool
    ) -> tuple[tuple[Any, ...], ...] | int:
        try:
            connection = self._idle.pop() if self._idle else await self._in_thread(self._connect)
            running = self._threads.submit(_run, connection, statement, parameters, most, is_read)
            try:
                found: tuple[tuple[Any, ...], ...] | int = await asyncio.wrap_future(running)
            except asyncio.CancelledError:
                connection.interrupt()
                await _ended(running, connection)  # until then it has its place
                raise
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
            kind = RefusedError if code in _OF_STATEMENT else UnansweredError
            raise kind(f"{type(error).__name__}: {error}") from None
        self._idle.append(connection)
        return found

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.wrap_future(self._threads.submit(function, *arguments))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._guard.timeout,
            isolation_level=None,  # transactions are begun here, by what is to be done
            check_same_thread=False,
        )
        try:
            connection.executescript(self._setup)
        except BaseException:
            connection.close()
            raise
        return connection


async def _ended(running: "Future[Any]", connection: sqlite3.Connection) -> None:
    """Wait until its thread has left a connection, and have that closed then, whoever waits.

    To close one that is in use ends the process.
    """
    loop, has_ended = asyncio.get_running_loop(), asyncio.Event()

    def end(done: "Future[Any]") -> None:  # in the thread, or at once
        connection.close()
        with suppress(RuntimeError):  # the loop has ended before it
            loop.call_soon_threadsafe(has_ended.set)

    running.add_done_callback(end)
    await has_ended.wait()


def _run(
    connection: sqlite3.Connection, statement: str, parameters: dict[str, Any], most: int, is_read: bool
) -> tuple[tuple[Any, ...], ...] | int:
    """In a thread. A connection that comes back has no open transaction."""
    connection.execute("begin" if is_read else "begin immediate")
    try:
        cursor = connection.execute(statement, parameters)
        found = tuple(cursor.fetchmany(most + 1)) if cursor.description else max(0, cursor.rowcount)
        cursor.close()
        if not is_read:
            connection.execute("commit")
        return found
    finally:
        if connection.in_transaction:
            connection.rollback()
