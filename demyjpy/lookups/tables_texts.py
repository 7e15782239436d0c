"""Tables of plain keys: ``hash:`` and ``texthash:`` as Postfix reads their text, and ``list:``.

Upper and lower case are the same. Of two rows with the same key the first counts whose terms hold.
"""

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from demyjpy.lookups.tables_rows import (
    ALWAYS,
    Found,
    Holds,
    RowError,
    Terms,
    logical_lines,
    split_row,
    split_terms,
)

MOST_ROWS: Final = 10_000_000
"""Rows of such a table."""

_Rows = list[tuple[str, Terms]]


@frozen(eq=False)
class TextTable:
    """Results by key: a text, or several rows if the first has terms."""

    results: dict[str, "str | _Rows"]
    rows: int
    has_patterns: bool = False

    def find(self, key: str, holds: Holds) -> Found:
        found = self.results.get(key.casefold())
        if found is None or isinstance(found, str):
            return found
        return next((result for result, terms in found if holds(terms)), None)


def load_texts(lines: Iterable[bytes], *, is_list: bool = False) -> TextTable:
    """A table from its lines. In a list a row may be a key alone: that is its result then.

    `RowError` for a line that is no row.
    """
    results: dict[str, str | _Rows] = {}
    same: dict[str, str] = {}  # equal results are kept once
    count = 0
    for number, text in logical_lines(lines):
        key, result = split_row(number, text)
        result, terms = split_terms(number, result)
        if not result:
            if not is_list:
                raise RowError(number, "expected a key, a space and a result, got no result")
            result = key
        else:
            result = same.setdefault(result, result)
        count += 1
        if count > MOST_ROWS:
            raise RowError(number, f"expected at most {MOST_ROWS} rows, got more")
        key = key.casefold()
        if terms is ALWAYS and key not in results:
            results[key] = result
        else:
            _add(results, key, result, terms)
    return TextTable(results, count)


def _add(results: dict[str, "str | _Rows"], key: str, result: str, terms: Terms) -> None:
    known = results.get(key)
    if known is None:
        results[key] = [(result, terms)]
    elif not isinstance(known, str) and known[-1][1] is not ALWAYS:  # else that one always counts
        known.append((result, terms))
