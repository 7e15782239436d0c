"""Tables from files that are loaded again when they change: block lists, networks, access maps.

A filter declares them as a resource, `Tables`, and asks with a question, `Lookup`. The kinds that there
are stand in `demyjpy.lookups.postfix_maps`.
"""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, get_args

from attrs import field, frozen

from demyjpy.context import Context
from demyjpy.errors import HandlerError, TableError, describe
from demyjpy.facts import now
from demyjpy.lookups.clients import client_of
from demyjpy.lookups.postfix_maps import POSTMAP, Command, Opened, check_table_name
from demyjpy.lookups.tables_rows import Terms, share_of
from demyjpy.lookups.tables_search import Search, keys_to_try
from demyjpy.lookups.tables_shared import SHARED
from demyjpy.questions import Question

__all__ = ["LONGEST_KEY", "RESOURCE", "Lookup", "OpenTables", "Tables", "look_up"]

RESOURCE: Final = "tables"
"""Under which name in ``resources=`` the question finds its tables."""

LONGEST_KEY: Final = 10_000
"""Characters of a key."""

_EXAMPLE: Final = 'Tables({"clients": "cidr:/etc/postfix/clients"})(settings)'


def _key(given: Any) -> str | None:
    key = str(given) if isinstance(given, IPv4Address | IPv6Address) else given
    if key is not None and not isinstance(key, str):
        raise HandlerError(f"expected a key as a text, an IP address or None, got {describe(given)}")
    return key


def _search(given: Any) -> Search:
    if given not in get_args(Search):
        known = ", ".join(map(repr, get_args(Search)))
        raise HandlerError(f"expected search= as one of {known}, got {given!r:.80}")
    found: Search = given
    return found


@frozen
class Lookup(Question, pure=True):
    """What does a table say about a key? The answer is the result of a row, as text, or None.

    ``table``: its name in `Tables`. ``key``: text, or an IP address; None, as the address of a client
    that has none, is in no row. ``search="address"`` looks for a
    mail address and its parts, as access(5) does; ``"host"`` for the name or address of a client;
    ``"virtual"`` for an address as virtual(5) does. ``dotted``: a parent domain stands in the table as
    ``.example.org``. ``delimiter``: what begins an address extension, as ``+``. ``day``: today, for rows
    with ``until=``; `look_up` fills it in. ``using``: the name of the resource.

    `HandlerError` if the resource is not declared, and for a field of another kind. `TableError` if the
    table is not in it, and for a key of more than `LONGEST_KEY` characters: then the answer is `Failed`.
    """

    table: str
    key: str | None = field(converter=_key)
    search: Search = field(default="key", converter=_search, kw_only=True)
    dotted: bool = field(default=False, kw_only=True)
    delimiter: str = field(default="", kw_only=True)
    day: str = field(default="", kw_only=True)
    using: str = field(default=RESOURCE, kw_only=True)
    examples = (None, "OK", "REJECT")

    def perform(self, resources: Mapping[str, Any]) -> str | None:
        """Look into the table, and load it again first if its file has changed."""
        return client_of(resources, self.using, OpenTables, example=_EXAMPLE).find(self)


def look_up(
    ctx: Context,
    table: str,
    key: str | IPv4Address | IPv6Address | None,
    *,
    search: Search = "key",
    dotted: bool = False,
    delimiter: str = "",
    using: str = RESOURCE,
) -> Lookup:
    """A `Lookup` with the day of the packet at hand, in UTC, by `now`."""
    when: datetime = now(ctx)
    return Lookup(
        table,
        key,
        search=search,
        dotted=dotted,
        delimiter=delimiter,
        day=when.date().isoformat(),
        using=using,
    )


class OpenTables:
    """The tables of a filter while they are open. From any thread."""

    def __init__(self, tables: Mapping[str, Opened]) -> None:
        self._tables = dict(tables)

    def find(self, lookup: Lookup) -> str | None:
        """The answer to a question; `TableError` if there is none."""
        table = self._tables.get(lookup.table)
        if table is None:
            raise TableError(
                f"expected one of the tables {', '.join(self._tables)}, got {lookup.table!r:.80}"
            )
        key = lookup.key
        if key is None:
            return None
        if len(key) > LONGEST_KEY:
            raise TableError(f"expected a key of at most {LONGEST_KEY} characters, got {len(key)}")
        keys = keys_to_try(key, lookup.search, lookup.delimiter, dotted=lookup.dotted)
        return table.find(keys, lambda terms: _holds(terms, lookup, key)) if any(keys) else None


def _holds(terms: Terms, lookup: Lookup, key: str) -> bool:
    if terms.until and not lookup.day:
        raise TableError(
            f"expected the day with a question about {lookup.table}, which has rows with until=, got "
            "none: ask with look_up(ctx, ...)"
        )
    if terms.until and lookup.day > terms.until:
        return False
    return terms.percent >= 100 or share_of(key) < terms.percent


def _tables(given: Any) -> Mapping[str, str]:
    if not isinstance(given, Mapping) or not given or not all(isinstance(one, str) for one in given):
        raise HandlerError(
            'expected tables as a map from names to KIND:FILE, as in Tables({"blocked": '
            f'"list:/etc/blocked"}}), got {describe(given)}'
        )
    return {name: check_table_name(table) for name, table in given.items()}


@frozen(eq=False)
class Tables:
    """Tables by name, as a resource of a filter: ``resources={"tables": Tables({...})}``.

    ``tables``: a map from names to ``KIND:FILE``, such as ``{"clients": "cidr:/etc/postfix/clients"}``.
    ``postmap``: the command for kinds that are not read here.

    A filter is not loaded if one of its tables cannot be: `TableError` says file, line and why. Filters
    of one process that name the same file share the table; it is loaded once.
    """

    tables: Mapping[str, str] = field(converter=_tables)
    postmap: Command = field(default=(POSTMAP,), converter=tuple)

    @contextmanager
    def __call__(self, settings: Mapping[str, Any]) -> Generator[OpenTables, None, None]:
        """Open them; the settings are not used."""
        with ExitStack() as stack:
            opened = {}
            for name, table in self.tables.items():
                opened[name] = SHARED.take(table, self.postmap)
                stack.callback(SHARED.give_back, table, self.postmap)
            yield OpenTables(opened)
