"""A client for SQLite files, by the standard library: a few connections, each in one thread at a time.

Statements run in threads, so that a locked or slow file holds up nobody else.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, Final, Self, TypeAlias

from demyjpy.errors import HandlerError
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError
from demyjpy.lookups.sql import check_rows
from demyjpy.lookups.thread_connections import ThreadConnections
from demyjpy.shown import safe

__all__ = ["Sqlite"]

Found: TypeAlias = tuple[tuple[Any, ...], ...] | int
POOL: Final = 5
_BUSY: Final = 0.02  # seconds until what was locked is tried again

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
    file is opened when the filter is loaded, and made if it is not there: `HandlerError` if that
    fails. The other options are those of `demyjpy.lookups.guard.Guard`.
    """

    def __init__(
        self, path: str, *, pool: int = POOL, timeout: float = TIMEOUT, setup: str = "", **breaker: Any
    ) -> None:
        self._path, self._setup = str(path), setup
        self._guard = Guard("sqlite", places=pool, timeout=timeout, **breaker)
        self._connections = ThreadConnections(
            pool, self._connect, sqlite3.Connection.close, sqlite3.Connection.interrupt
        )

    async def __aenter__(self) -> Self:
        try:
            await self._connections.open_one()
        except sqlite3.Error as error:
            self._guard.close()
            self._connections.close()
            raise HandlerError(
                f"expected SQLite to open {_place(self._path)}, got {type(error).__name__}: {error}; "
                "its directory must exist, and the user of the milter must be able to write there"
            ) from error
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()
        self._connections.close()

    async def execute(
        self, statement: str, parameters: Mapping[str, Any], most: int, *, is_read: bool
    ) -> Found:
        """As `Database.execute` says."""
        run = partial(_run, statement, dict(parameters), most, is_read)
        return await self._guard.ask(self._path, lambda: self._execute(run))

    async def _execute(self, run: Callable[[sqlite3.Connection], Found]) -> Found:
        try:
            return await self._connections.call(run)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
            kind = RefusedError if code in _OF_STATEMENT else UnansweredError
            raise kind(f"{type(error).__name__}: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=self._guard.timeout,
            isolation_level=None,  # transactions are begun here, by what is to be done
            check_same_thread=False,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        """In a thread. SQLite does not wait for a lock to change the mode of the journal; this does."""
        end = time.monotonic() + self._guard.timeout
        while True:
            try:
                connection.executescript(self._setup)
            except sqlite3.OperationalError as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(_BUSY)
            else:
                return


def _place(path: str) -> str:
    """Where the file is, in parts: errors do not show a setting called dsn as it stands there.

    Nothing of a URL, because it may have a password.
    """
    if "://" in path:
        return "a file, not a URL"
    directory, name = os.path.split(path)
    return f"the file {safe(name)!r} in {safe(directory or os.curdir)!r}"


def _run(
    statement: str, parameters: dict[str, Any], most: int, is_read: bool, connection: sqlite3.Connection
) -> Found:
    """In a thread. A connection that comes back has no open transaction."""
    connection.execute("begin" if is_read else "begin immediate")
    try:
        with closing(connection.execute(statement, parameters)) as cursor:
            has_rows = cursor.description is not None
            found = check_rows(cursor.fetchmany(most + 1), most) if has_rows else max(0, cursor.rowcount)
        if not is_read:
            connection.execute("commit")
        return found
    finally:
        if connection.in_transaction:
            connection.rollback()
