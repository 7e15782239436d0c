"""The rows of a table in a text file: logical lines, keys and results, and terms such as ``until=``.

The format is that of postmap(1). A line that Postfix skips with a warning is an error here: a table with
a rule less than its author thinks is not used. Nothing here does I/O.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeAlias

from attrs import evolve, frozen

SPACE: Final = " \t\n\v\f\r"
"""What C's isspace(3) calls a space; `str.strip` knows more."""

_FAST: Final = re.compile(r'([^ \t\n\v\f\r"\\]+)[ \t\n\v\f\r]+')
_TERM: Final = re.compile(r"(?:^|[ \t\n\v\f\r])(until|percent)=([^ \t\n\v\f\r]*)$")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_PERCENT: Final = re.compile(r"\d{1,3}(\.\d{1,6})?")
_PARTS: Final = 1 << 64


class RowError(ValueError):
    """A line that is no row. ``line`` is its number, ``why`` says what was expected."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


@frozen
class Terms:
    """When a row counts: up to the end of the day ``until``, for ``percent`` of the keys."""

    until: str = ""
    percent: float = 100.0


ALWAYS: Final = Terms()
"""The terms of a row that has none."""

Holds: TypeAlias = Callable[[Terms], bool]
"""Whether a row with these terms counts for the question at hand."""

Found: TypeAlias = str | None
"""The result of a row; None if there is no row."""


class Table(Protocol):
    """A table in memory."""

    @property
    def has_patterns(self) -> bool:
        """Whether its rows are patterns, which are asked for whole keys only."""

    @property
    def rows(self) -> int:
        """How many it has."""

    def find(self, key: str, holds: Holds) -> Found:
        """The result of the first row for a key whose terms hold."""


def logical_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Rows with the number of their first line: comments are left out, continued lines joined.

    As Postfix's readllines does. `RowError` for bytes that are no UTF-8, NUL, and a continuation of
    nothing.
    """
    first, parts = 0, [""]
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            raise RowError(number, "expected UTF-8, got other bytes") from None
        if "\0" in line:
            raise RowError(number, "expected text, got a byte of value 0")
        line = line.removesuffix("\n")
        begins = line[:1]
        if begins in SPACE or begins == "#":  # the empty line, too
            bare = line.strip(SPACE)
            if not bare or bare[0] == "#":
                continue
            if not first:
                raise RowError(
                    number, "expected a row before the line that begins with a space and continues it"
                )
            parts.append(line)
            continue
        if first:
            yield first, "".join(parts)
        first, parts = number, [line]
    if first:
        yield first, "".join(parts)


def split_row(number: int, text: str) -> tuple[str, str]:
    """The key and the result, which may be empty. Double quotes hold the spaces in a key, and stay."""
    plain = _FAST.match(text)
    if plain:
        return plain[1], text[plain.end() :].rstrip(SPACE)
    at, is_quoted, end = 0, False, len(text)
    while at < end:
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            is_quoted = not is_quoted
        elif text[at] in SPACE and not is_quoted:
            break
        at += 1
    if is_quoted:
        raise RowError(number, "expected a closing double quote, got none")
    return text[:at], text[at:].strip(SPACE)


def split_terms(number: int, text: str) -> tuple[str, Terms]:
    """A result without the terms at its end, and these."""
    terms = ALWAYS
    while "=" in text and (found := _TERM.search(text)):
        text = text[: found.start()].rstrip(SPACE)
        name, given = found[1], found[2]
        value: Any = _day(number, given) if name == "until" else _percent(number, given)
        if getattr(terms, name) != getattr(ALWAYS, name):
            raise RowError(number, f"expected {name}= once, got it twice")
        terms = evolve(terms, **{name: value})
    return text, terms


def _day(number: int, text: str) -> str:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise RowError(number, f"expected until= with a day such as 2027-01-31, got {text!r:.80}")


def _percent(number: int, text: str) -> float:
    if _PERCENT.fullmatch(text) and float(text) <= 100:
        return float(text)
    raise RowError(number, f"expected percent= with a number from 0 to 100, got {text!r:.80}")


def share_of(key: str) -> float:
    """Where a key stands among all keys, from 0 up to 100, by its hash, in any case of its letters.

    A row with ``percent=10`` counts for the keys below 10. So its keys are among those of
    ``percent=20``, in each table and process.
    """
    data = key.casefold().encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") * 100 / _PARTS
