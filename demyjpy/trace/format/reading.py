"""Traces from files: session by session, in memory that does not grow with the file.

What can be read is used; what cannot is counted and named in ``problems``. Sessions may lie between one
another in a file, and files may be put together as they are (``cat``).
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from demyjpy.errors import TraceError
from demyjpy.trace.format.files import damages, open_to_read, read_lines
from demyjpy.trace.format.json_lines import MOST_BYTES, parse_line, weight_of
from demyjpy.trace.format.records import FORMAT, Record
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.format.wire_captures import is_capture, records_of

MOST_OPEN: Final = 10_000  # sessions that may lie between one another; of more, the oldest ends

_MOST_KINDS: Final = 100  # of problems: their texts hold what the file has
_OPEN_TO_LONGEST: Final = 4  # all open sessions may take what so many of the longest take

dump_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""A value as JSON, as it stands in a line."""

_START: Final = re.compile(rb'\{"session": ?"([^"\\]*)", ?"direction": ?"(\w+)"')


@frozen
class Lines:
    """The lines of one session, not looked into yet."""

    name: str
    lines: tuple[bytes, ...]
    source: str = ""
    damage: tuple[str, ...] = ()

    def parse(self) -> Trace:
        """The session."""
        records: list[Record] = []
        damage = list(self.damage)
        for line in self.lines:
            try:
                records.append(parse_line(line))
            except ValueError as error:
                damage.append(f"a record that is no JSON: {error}")
            except TraceError as error:
                damage.append(f"a record that cannot be read: {error}")
        return Trace(self.name, tuple(records), self.source, tuple(damage))


@define
class _OpenLines:
    """A session that has not ended: its lines, as many as are kept."""

    lines: list[bytes] = field(factory=list)
    size: int = 0
    damage: tuple[str, ...] = ()


@define
class Reading:
    """One file on its way through: iterating gives its sessions, each when it has ended.

    ``longest`` is what is kept of a session, in bytes (`MOST_BYTES` says how they are counted): the rest
    of a longer one is left out, which is a problem of that session. ``problems`` maps what else is wrong
    to how often it was met and where first, by line.
    """

    path: str
    longest: int = MOST_BYTES
    problems: dict[str, tuple[int, int]] = field(factory=dict)
    sessions: int = 0
    is_trace: bool = False
    _open: "OrderedDict[str, _OpenLines]" = field(factory=OrderedDict)
    _size: int = 0  # of all that are open

    def __iter__(self) -> Iterator[Trace]:
        return (one.parse() for one in self.lines())

    def lines(self) -> Iterator[Lines]:
        """The sessions as lines; `OSError` and `TraceError` if nothing can be read at all."""
        with open_to_read(self.path) as stream:
            number = 0
            try:
                for number, line in enumerate(read_lines(stream), 1):  # told below
                    if number == 1 and is_capture(line):
                        yield from self._take_capture(chain([line], read_lines(stream)))
                        return
                    yield from self._take(line, number)
            except damages() as error:
                what = str(error) or type(error).__name__
                self._problem(f"the compressed file is damaged: {what}", number + 1)
        yield from self._give_up()
        if not self.is_trace:
            self._problem('no demyjpy trace: expected a first line {"trace": 1, ...}', 1)

    def report(self) -> list[str]:
        """The problems, a line each."""
        return [
            f"{self.path}: line {line}: {what}" + (f" ({count} times)" if count > 1 else "")
            for what, (count, line) in self.problems.items()
        ]

    def _take_capture(self, lines: Iterable[bytes]) -> Iterator[Lines]:
        self.is_trace = True
        path = Path(self.path)
        name = f"{path.parent.name}/{path.stem}".strip("/")
        found = _OpenLines()
        try:
            for record in records_of(lines, name):
                if not self._keep(found, dump_record(record)):
                    break
        except TraceError as error:
            self._problem(str(error), 1)
        self.sessions += 1
        yield Lines(name, tuple(found.lines), self.path, found.damage)

    def _keep(self, session: _OpenLines, line: bytes) -> bool:
        """Keep a line of a session, if that is not too much; after one that was, none is kept."""
        size = weight_of(line)
        if not session.damage and session.size + size <= self.longest:
            session.lines.append(line)
            session.size += size
            return True
        session.damage = (
            f"longer than {self.longest} bytes: the rest is left out; --max-session BYTES takes more",
        )
        return False

    def _take(self, line: bytes, number: int) -> Iterator[Lines]:
        start = _START.match(line)
        if start and line.endswith(b"}\n"):
            name, direction = start[1].decode("utf-8", "replace"), start[2].decode()
            yield from self._add(name, direction, line)
            return
        if not line.strip():
            if not line:
                self._problem("a line that is too long", number)
            return
        try:
            found: Any = parse_line(line)
        except ValueError:
            self._problem("no JSON: cut off or damaged", number)
            return
        except TraceError as error:
            self._problem(str(error), number)
            return
        match found:
            case {"trace": version}:
                yield from self._begin(version, number)
            case {"session": str(name), "direction": str(direction)}:
                yield from self._add(name, direction, line)
            case _:
                self._problem("no record of a trace", number)

    def _begin(self, version: object, number: int) -> Iterator[Lines]:
        self.is_trace = True
        yield from self._give_up()
        if type(version) is not int or version < 1:
            self._problem(f"expected a format from 1, got {version!r:.40}", number)
        elif version > FORMAT:
            self._problem(
                f"format {version} is newer than {FORMAT}, which is known here: what is new is left out",
                number,
            )

    def _add(self, name: str, direction: str, line: bytes) -> Iterator[Lines]:
        if name not in self._open:
            if len(self._open) >= MOST_OPEN:
                yield self._finish(next(iter(self._open)))
            self._open[name] = _OpenLines()
        if self._keep(self._open[name], line):
            self._size += weight_of(line)
        if direction == "end":
            yield self._finish(name)
        while self._size > _OPEN_TO_LONGEST * self.longest:
            name = next(iter(self._open))
            open_end = "ended here, because too much is open at once in this file"
            self._open[name].damage = self._open[name].damage or (open_end,)
            yield self._finish(name)

    def _finish(self, name: str) -> Lines:
        self.sessions += 1
        session = self._open.pop(name)
        self._size -= session.size
        return Lines(name, tuple(session.lines), self.path, session.damage)

    def _give_up(self) -> Iterator[Lines]:
        """What has no end in this file."""
        while self._open:
            yield self._finish(next(iter(self._open)))

    def _problem(self, what: str, line: int) -> None:
        if what not in self.problems and len(self.problems) >= _MOST_KINDS:
            what = "something else that cannot be read"
        count, first = self.problems.get(what, (0, line))
        self.problems[what] = (count + 1, first)


def load(path: str | Path, *, longest: int = MOST_BYTES) -> list[Trace]:
    """All sessions of a trace (or capture); see `Reading` for a file that does not fit into memory.

    ``longest``: what is kept of each session, in bytes.

    `OSError` if it cannot be opened, `TraceError` if it is no trace at all.
    """
    reading = Reading(str(path), longest)
    found = list(reading)
    if not found and reading.problems:
        raise TraceError("; ".join(reading.report()))
    return found


def dump_record(record: Record) -> bytes:
    """A record as its line."""
    try:
        text = dump_json(record).encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        text = json.dumps(record, separators=(",", ":")).encode("ascii")
    return text + b"\n"


def as_line(text: str) -> bytes:
    """A record that is JSON already, as its line."""
    return dump_record(json.loads(text))
