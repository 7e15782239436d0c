"""Tables by the names that they have in Postfix, as ``cidr:/etc/postfix/clients``, and postmap(1).

The kinds that are text are read here. All others, as ``lmdb:`` or ``ldap:``, are asked through
``postmap -q``: a process for each question.
"""

import re
import subprocess  # nosec B404  # postmap, without a shell, with the key on its standard input
from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol, TypeAlias

from attrs import frozen

from demyjpy.errors import HandlerError, TableError, describe
from demyjpy.lookups.tables_files import FileTable, Load
from demyjpy.lookups.tables_networks import load_networks
from demyjpy.lookups.tables_patterns import load_patterns
from demyjpy.lookups.tables_rows import ALWAYS, Holds, RowError, split_terms
from demyjpy.lookups.tables_texts import load_texts

LOADERS: Final[Mapping[str, Load]] = {
    "list": partial(load_texts, is_list=True),
    "hash": load_texts,
    "texthash": load_texts,
    "cidr": load_networks,
    "regexp": load_patterns,
}
"""The kinds that are read here."""

POSTMAP: Final = "postmap"
"""The kind ``postmap:KIND:NAME`` asks postmap in any case."""

PATIENCE: Final = 5.0
"""Seconds that postmap may take."""

_NAME: Final = re.compile(r"(?P<kind>[a-z][a-z0-9_]*):(?P<rest>[^\n\0]+)")
_PATTERNS: Final = frozenset({"cidr", "regexp", "pcre", "static"})
_LARGEST: Final = 1 << 20
_FATAL: Final = re.compile(r"(?:fatal|panic): ([^\n]*)")

Command: TypeAlias = tuple[str, ...]


class Opened(Protocol):
    """A table that can be asked."""

    def find(self, keys: tuple[str, ...], holds: Holds) -> str | None:
        """The result for the first of these keys that has one, among rows whose terms hold."""

    def renew(self) -> None:
        """See that it can be used as it is now; `TableError` if it cannot."""


def check_table_name(given: object) -> str:
    """The name of a table, as ``cidr:/etc/postfix/clients``; `HandlerError` for anything else."""
    if not isinstance(given, str):
        raise HandlerError(f"expected the name of a table as a text, got {describe(given)}")
    found = _NAME.fullmatch(given)
    if found is None or (found["kind"] == POSTMAP and not _NAME.fullmatch(found["rest"])):
        raise HandlerError(
            f"expected a table as KIND:FILE, such as cidr:/etc/postfix/clients, got {given!r:.200}: "
            f"kinds are {', '.join(LOADERS)}, and those of postconf -m"
        )
    return given


def open_table(name: str, postmap: Command = (POSTMAP,)) -> Opened:
    """Open a table by its name; `TableError` if it cannot be used."""
    kind, _, rest = check_table_name(name).partition(":")
    load = LOADERS.get(kind)
    if load is not None and not rest.startswith("{"):  # with it: rows in the name itself
        return FileTable(name, rest, load)
    table = PostmapTable(rest if kind == POSTMAP else name, postmap)
    table.renew()
    return table


@frozen
class PostmapTable:
    """A table that ``postmap -q`` answers for. ``command`` is the program with its first arguments."""

    name: str
    command: Command = (POSTMAP,)
    patience: float = PATIENCE

    def renew(self) -> None:
        self._ask(("demyjpy.invalid",))

    def find(self, keys: tuple[str, ...], holds: Holds) -> str | None:
        if self.name.partition(":")[0] in _PATTERNS:
            keys = keys[:1]
        if any("\n" in key or "\0" in key for key in keys):
            raise TableError("expected a key for postmap in one line, got more")
        results = self._ask(keys)
        for key in keys:
            if key in results:
                try:
                    result, terms = split_terms(0, results[key])
                except RowError as error:
                    raise TableError(f"{self.name}: {error.why}") from error
                if terms is ALWAYS or holds(terms):
                    return result
        return None

    def _ask(self, keys: tuple[str, ...]) -> dict[str, str]:
        """What postmap prints for these keys.

        They go to its standard input, so none of them can be an option.
        """
        given = "".join(f"{key}\n" for key in keys).encode("utf-8", "surrogateescape")
        try:
            done = subprocess.run(  # noqa: S603  # nosec B603  # the postmaster's own command
                [*self.command, "-q", "-", self.name],
                input=given,
                capture_output=True,
                timeout=self.patience,
                check=False,
            )
        except OSError as error:
            raise TableError(
                f"expected {self.command[0]} to run for {self.name}, got {type(error).__name__}: "
                f"{error.strerror}"
            ) from error
        except subprocess.TimeoutExpired:
            raise TableError(
                f"expected {self.command[0]} to answer for {self.name} within {self.patience:g} s, "
                "got nothing"
            ) from None
        fatal = _FATAL.search(done.stderr.decode("utf-8", "replace"))
        if fatal or done.returncode not in (0, 1) or len(done.stdout) > _LARGEST:
            got = fatal[1][:200] if fatal else f"exit status {done.returncode}"
            raise TableError(f"expected an answer from {self.command[0]} for {self.name}, got: {got}")
        return self._results(keys, done.stdout.decode("utf-8", "surrogateescape"))

    def _results(self, keys: tuple[str, ...], shown: str) -> dict[str, str]:
        """The results by their keys, of lines of key, tab and result. Key and result may have tabs, too.

        `TableError` if a line may answer two keys: who sends a mail could choose the wrong one.
        """
        tabs, asked = {key.count("\t") for key in keys}, frozenset(keys)
        found: dict[str, str] = {}
        for line in shown.split("\n"):
            cuts = [parts for n in tabs if len(parts := _cut(line, n)) == 2 and parts[0] in asked]
            if len(cuts) > 1:
                raise TableError(
                    f"expected keys for {self.name} of which none begins with another and a tab, got "
                    "such keys: what postmap prints for them cannot be told apart"
                )
            for key, result in cuts:
                found.setdefault(key, result)
        return found


def _cut(line: str, tabs: int) -> tuple[str, ...]:
    """What stands before and behind the tab that follows so many tabs; one text if there is none."""
    parts = line.split("\t", tabs + 1)
    return ("\t".join(parts[:-1]), parts[-1]) if len(parts) == tabs + 2 else (line,)
