"""On which line of a TOML file a key stands, which `tomllib` does not say. Text only.

The text was parsed already: what is no TOML never comes here.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from attrs import define, field

Place: TypeAlias = tuple[str | int, ...]
"""The way to a value: names of tables and keys, and numbers within lists."""

_TOKEN: Final = re.compile(
    # up to two quotes of a string may stand before the three that close it
    r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"{3,5}'
    r"|'''[^']*(?:'(?!'')[^']*)*'{3,5}"
    r'|"[^"\\]*(?:\\.[^"\\]*)*"'
    r"|'[^']*'"
    r"|#[^\n]*"
    r"|\n"
    r"|[\[\]{}=]"
    r"|[^\"'#\n\[\]{}=]+",
    re.DOTALL,
)
_OPENING: Final = frozenset("[{")
_CLOSING: Final = frozenset("]}")
_DEEPEST: Final = 32
"""Parts of a key that are looked at."""


@define
class _Scan:
    """What is known while a text is read, statement by statement."""

    lines: dict[Place, int] = field(factory=dict)
    table: Place = ()
    counts: dict[Place, int] = field(factory=dict)
    """How many tables an array of tables has so far."""

    def begin_table(self, header: str, line: int) -> None:
        """``[a.b]``, or ``[[a.b]]``, which begins one more table of an array."""
        way = _parts_of(header.strip("[] \t"))
        if not header.startswith("[["):
            self.table = self._now(way)
        else:
            array = (*self._now(way[:-1]), way[-1])
            self._note(array, line)
            number = self.counts.get(array, 0)
            self.counts[array] = number + 1
            self.table = (*array, number)
        self._note(self.table, line)

    def take_key(self, key: str, line: int) -> None:
        """``a.b =``."""
        self._note((*self.table, *_parts_of(key)), line)

    def _now(self, way: Place) -> Place:
        """A way by names, with the numbers of the tables that are open now."""
        found: Place = ()
        for part in way:
            found = (*found, part)
            if found in self.counts:
                found = (*found, self.counts[found] - 1)
        return found

    def _note(self, place: Place, line: int) -> None:
        for length in range(1, len(place) + 1):
            self.lines.setdefault(place[:length], line)


def lines_of(text: str) -> Mapping[Place, int]:
    """The line, from 1, of each table and key that stands in a TOML text by itself.

    What is in an inline table or a list stands on the line of the key that it is the value of.
    """
    scan = _Scan()
    for statement, line in _statements(text):
        if statement.startswith("["):
            scan.begin_table(statement, line)
        else:
            scan.take_key(statement, line)
    return scan.lines


def line_of(lines: Mapping[Place, int], place: Place) -> int | None:
    """The line of what is there, or of the nearest thing around it; None if no line is known."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place)


def _statements(text: str) -> Iterator[tuple[str, int]]:
    """Each header of a table, and each key without its value; with its line."""
    number = begun = 1
    said: list[str] = []
    depth, is_value = 0, False
    for found in _TOKEN.finditer(text):
        word = found[0]
        number += word.count("\n")
        if word[0] == "#":
            continue
        if word == "\n" and (depth == 0 or not is_value):
            statement = "".join(said).strip()
            if statement:
                yield statement, begun
            begun, said, depth, is_value = number, [], 0, False
        elif is_value:
            depth += (word in _OPENING) - (word in _CLOSING)
        elif word == "=":
            is_value = True
        else:
            said.append(word)
    if "".join(said).strip():
        yield "".join(said).strip(), begun


def _parts_of(key: str) -> tuple[str, ...]:
    """A key as it is spelled, with dots and quotes, in parts."""
    found = tomllib.loads(f"{key} = 0")
    parts: list[str] = []
    while len(parts) < _DEEPEST:
        ((name, found),) = found.items()
        parts.append(name)
        if not isinstance(found, dict):
            break
    return tuple(parts)
