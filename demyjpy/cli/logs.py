"""How the log looks and where it goes: text or JSON lines, to stderr, a file or syslog.

The records of all loggers pass here, those of the filter and of libraries, too: what they say is made
harmless as in `demyjpy.drivers.logtext`. What writes them is in `demyjpy.cli.log_places`.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from demyjpy.cli.log_places import Screen, SharedFile, Syslog
from demyjpy.drivers.logtext import (
    LONGEST,
    cut,
    error_of,
    message_of,
    printable,
    shown,
    size_of,
    traceback_of,
)
from demyjpy.drivers.privileges import acting_as
from demyjpy.errors import AddressError

DEVICE: Final = "/dev/log"
FACTS: Final = ("session", "queue_id", "client", "event", "handler")
"""What records about a session have besides their message."""

_AROUND: Final = 64
"""Bytes of a record for what is around the text: the end of the line, the priority in syslog."""

_FACT, _MESSAGE, _DETAILS = 400, 2400, 2400
"""Bytes of JSON for each of `FACTS`, for the message and for the traceback."""

_STACK: Final = 20
"""Lines of ``stack_info=`` that are shown."""


@contextmanager
def logging_to(
    place: str,
    level: str,
    *,
    as_json: bool,
    size: int = 0,
    kept: int = 5,
    owner: tuple[str | None, str | None] = (None, None),
) -> Iterator[None]:
    """While the block runs, records from ``level`` on go to ``place``, too.

    ``owner``: user and group that a file is made for, if they may make it: else they could not move
    it away when it is full. `AddressError` if the place cannot be used.
    """
    try:
        try:
            with acting_as(*owner):
                handler = _handler(place, size, kept)
        except PermissionError:
            handler = _handler(place, size, kept)
    except OSError as error:
        raise AddressError(f"cannot log to {place}: {error.strerror or error}") from error
    is_syslog = place == "syslog"
    text = OneLine() if is_syslog else Lines()
    ident = f"demyjpy[{os.getpid()}]: " if is_syslog else ""
    handler.setFormatter(JsonLines(ident) if as_json else text)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


def _handler(place: str, size: int, kept: int) -> logging.Handler:
    match place:
        case "stderr":
            return Screen()
        case "syslog":
            return Syslog(DEVICE)
    return SharedFile(place, size, kept)


class Lines(logging.Formatter):
    """A record as text: one line, and for a traceback further ones, which begin with ``|``, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """At most `LONGEST` bytes in any encoding, with the end of the line."""
        return "\n  | ".join(_lines(record, f"{self.formatTime(record)} {shown(record.levelname)} "))


class OneLine(logging.Formatter):
    """For syslog, where a record is a line: ``|`` separates those of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """At most `LONGEST` bytes in any encoding, with the priority before it."""
        return " | ".join(_lines(record, f"demyjpy[{record.process}]: "))


def _lines(record: logging.LogRecord, start: str) -> list[str]:
    details = _details(record)
    room = LONGEST - _AROUND - size_of(start) - sum(size_of(line) + 5 for line in details)
    return [start + cut(message_of(record), room), *details]


def _details(record: logging.LogRecord) -> list[str]:
    """The lines of the traceback and of the stack; both together leave room for a message."""
    error = error_of(record)
    lines = traceback_of(error, LONGEST // 2).split("\n") if error else []
    stack = islice((record.stack_info or "").splitlines(), _STACK)
    return [*lines, *(cut(printable(line), 100) for line in stack)]


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def __init__(self, ident: str = "") -> None:
        super().__init__()
        self._ident = ident

    def format(self, record: logging.LogRecord) -> str:
        """At most `LONGEST` bytes of ASCII."""
        details = "\n".join(_details(record))
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": cut(shown(record.levelname).lower(), _FACT, _json_size),
            "logger": cut(shown(record.name), _FACT, _json_size),
            "process": record.process,
            "message": cut(
                message_of(record, as_it_is=True), _MESSAGE if details else 2 * _MESSAGE, _json_size
            ),
        }
        for name in FACTS:
            value = getattr(record, name, None)
            if value is not None:
                found[name] = cut(shown(value), _FACT, _json_size)
        if details:
            found["traceback"] = _last_of(details)
        return self._ident + _as_json(found)


def _last_of(details: str) -> str:
    """The end of a traceback, which says most."""
    while _json_size(details) > _DETAILS:
        details = f"...\n{details[len(details) // 4 + 5 :]}"
    return details


def _as_json(value: Any) -> str:
    # what is not ASCII is escaped, and DEL, which json leaves as it is: a line is always whole
    return json.dumps(value).replace("\x7f", "\\u007f")


def _json_size(text: str) -> int:
    return len(_as_json(text))
