"""Questions and effects for SQL databases; the clients live in `sqlite` and `databases`.

Parameters are always bound, never pasted into a statement. Who writes a question says by its class
whether it changes something: what `SqlRead` has done is rolled back.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from attrs import field, frozen
from pyrsistent import PMap, pmap

from demyjpy.declarations import EFFECT_KEY
from demyjpy.lookups.clients import client_of
from demyjpy.lookups.guard import RefusedError
from demyjpy.questions import Question

__all__ = ["Database", "SqlRead", "SqlWrite"]

MOST_ROWS: Final = 1_000


@runtime_checkable
class Database(Protocol):
    """What asks a database: the resource of a filter."""

    async def execute(
        self, statement: str, parameters: Mapping[str, Any], most: int, *, is_read: bool
    ) -> tuple[tuple[Any, ...], ...] | int:
        """The rows of a statement, or how many it has changed if it has none.

        `UnansweredError` if the database cannot be asked now, `RefusedError` if it refuses the statement
        or if there are more than ``most`` rows (`check_rows`). After an error nothing of it is kept.
        """


def check_rows(rows: Sequence[Any], most: int) -> tuple[tuple[Any, ...], ...]:
    """These rows as tuples; `RefusedError` if they are more than ``most``. Call it before the commit."""
    if len(rows) > most:
        raise RefusedError(f"expected at most {most} rows (most=), got more: give the statement a limit")
    return tuple(map(tuple, rows))


def _frozen(parameters: Mapping[str, Any]) -> PMap[str, Any]:
    return pmap(dict(parameters))


def plain(value: Any) -> Any:
    """A value of a column as one that can be recorded: what is no number, text or bytes is a text."""
    if value is None or isinstance(value, bool | int | float | str | bytes | memoryview | list | dict):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


async def _execute(
    question: "SqlRead | SqlWrite", resources: Mapping[str, Any], *, is_read: bool
) -> tuple[tuple[Any, ...], ...] | int:
    database: Database = client_of(
        resources,
        question.using,
        Database,  # type: ignore[type-abstract]  # whichever has its method
        example='Sqlite("/var/lib/filter.db")',
    )
    parameters = question.parameters
    if f":{EFFECT_KEY}" in question.statement and EFFECT_KEY in resources:
        parameters = parameters.set(EFFECT_KEY, resources[EFFECT_KEY])
    found = await database.execute(question.statement, parameters, question.most, is_read=is_read)
    if isinstance(found, int):
        return found
    return tuple(tuple(map(plain, row)) for row in found)


@frozen
class SqlRead(Question, pure=True):
    """The rows of a statement that changes nothing, as a tuple of tuples.

    ``statement`` has parameters as ``:name``, and ``parameters`` gives them. ``using``: the name of the
    resource. At most ``most`` rows; more are a failure. Dates are texts, and so are decimal numbers.
    What it has changed all the same is rolled back.
    """

    statement: str
    parameters: PMap[str, Any] = field(factory=pmap, converter=_frozen)
    using: str = "sql"
    most: int = MOST_ROWS
    examples: ClassVar[tuple[Any, ...]] = ((), ((1,),), (("text",),))

    async def perform(self, resources: Mapping[str, Any]) -> tuple[tuple[Any, ...], ...] | int:
        """Ask the database."""
        return await _execute(self, resources, is_read=True)


@frozen
class SqlWrite(Question):
    """A statement that changes something: a question, or an effect (``do(ctx, SqlWrite(...))``).

    The answer is what it returns (``returning``), as of `SqlRead`, else how many rows it has changed. If
    it returns more than ``most`` rows it fails, and what it has changed is rolled back.
    In an effect ``:effect_key`` is bound to the key of that effect (docs/effects.md).
    """

    statement: str
    parameters: PMap[str, Any] = field(factory=pmap, converter=_frozen)
    using: str = "sql"
    most: int = MOST_ROWS
    examples: ClassVar[tuple[Any, ...]] = (1, ((1,),))

    async def perform(self, resources: Mapping[str, Any]) -> tuple[tuple[Any, ...], ...] | int:
        """Have the database do it, and keep it."""
        return await _execute(self, resources, is_read=False)
