"""A client for PostgreSQL and the other databases of SQLAlchemy (the extra ``sql``).

The driver of the database is the user's choice: ``postgresql+asyncpg``, ``mysql+aiomysql``.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

from demyjpy.errors import HandlerError
from demyjpy.lookups.clients import library
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError, UnansweredError
from demyjpy.lookups.sql import check_rows

__all__ = ["Databases"]

sqlalchemy: Final = library("SQLAlchemy", "sql", "sqlalchemy", "sqlalchemy.ext.asyncio")

POOL: Final = 10

_DOWN_CLASSES: Final = frozenset({"08", "53", "57", "58"})
"""Classes of SQLSTATE: no connection, no resources, stopped or starting, broken system."""

_DOWN: Final = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
)
"""Errors without a SQLSTATE that are the server's."""


class Databases:
    """A database by its URL, as in ``resources={"sql": lambda settings: Databases(settings["url"])}``.

    ``url``: ``postgresql+asyncpg://filter@192.0.2.1/mail``. It connects when it is first asked.
    ``pool``: connections, and statements at once. ``timeout``: seconds for a statement. The other
    options are those of `demyjpy.lookups.guard.Guard`.
    """

    def __init__(self, url: str, *, pool: int = POOL, timeout: float = TIMEOUT, **breaker: Any) -> None:
        self._guard = Guard("sql", places=pool, timeout=timeout, finishes=True, **breaker)
        try:
            self._engine = sqlalchemy.ext.asyncio.create_async_engine(
                url,
                pool_size=pool,
                max_overflow=0,
                pool_pre_ping=True,  # one that a restart has closed is opened again, and no mail fails
                hide_parameters=True,  # errors are logged, and parameters come from mail
            )
        except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
            raise HandlerError(f"expected the URL of a database and its driver, got: {error}") from error
        self._server = self._engine.url.render_as_string(hide_password=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()
        await self._engine.dispose()

    async def execute(
        self, statement: str, parameters: Mapping[str, Any], most: int, *, is_read: bool
    ) -> tuple[tuple[Any, ...], ...] | int:
        """As `Database.execute` says."""
        return await self._guard.ask(
            self._server, lambda: self._execute(statement, dict(parameters), most, is_read)
        )

    async def _execute(
        self, statement: str, parameters: dict[str, Any], most: int, is_read: bool
    ) -> tuple[tuple[Any, ...], ...] | int:
        text = sqlalchemy.text(statement)
        try:
            async with self._engine.connect() as connection:
                if is_read:  # what is not committed is rolled back
                    async with connection.stream(text, parameters) as result:
                        return check_rows(await result.fetchmany(most + 1), most)
                result = await connection.execute(text, parameters)
                has_rows = result.returns_rows
                changed = check_rows(result.fetchmany(most + 1), most) if has_rows else None
                await connection.commit()
                return max(0, result.rowcount) if changed is None else changed
        except Exception as error:
            fault = _fault(error)
            if fault is None:
                raise
            raise fault from None


def _fault(error: Exception) -> UnansweredError | RefusedError | None:
    """What the driver says, in one line, because SQLAlchemy's own text has the whole statement.

    None for what is no error of a database.
    """
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if state is None and not isinstance(error, sqlalchemy.exc.SQLAlchemyError):
        return None
    is_down = getattr(error, "connection_invalidated", False)
    if state is None:
        is_down = is_down or isinstance(error, _DOWN)
    else:
        is_down = is_down or str(state)[:2] in _DOWN_CLASSES
    why = f"{type(cause).__name__}: {cause}".partition("\n")[0]
    return UnansweredError(why) if is_down else RefusedError(why)
