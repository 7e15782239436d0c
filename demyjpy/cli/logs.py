"""Where the log goes and how it looks: text or JSON lines, to stderr, a file or syslog."""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import SysLogHandler, WatchedFileHandler
from pathlib import Path
from typing import Any, Final

from demyjpy.drivers.privileges import acting_as
from demyjpy.errors import AddressError

TEXT: Final = "%(asctime)s %(levelname)s %(message)s"
SYSLOG: Final = "demyjpy[%(process)d]: %(message)s"
DEVICE: Final = "/dev/log"
FACTS: Final = ("session", "queue_id", "client", "event", "handler")
"""What records about a session have besides their message."""


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

    ``owner``: user and group that a file is made for, where they may make it: else they could not
    move it away when it is full. `AddressError` where the place cannot be had.
    """
    try:
        try:
            with acting_as(*owner):
                handler = _handler(place, size, kept)
        except PermissionError:
            handler = _handler(place, size, kept)
    except OSError as error:
        raise AddressError(f"cannot log to {place}: {error.strerror or error}") from error
    handler.setFormatter(JsonLines(_ident(place)) if as_json else _text(place))
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
            return logging.StreamHandler()
        case "syslog":
            return SysLogHandler(DEVICE, facility=SysLogHandler.LOG_MAIL)
    return SharedFile(place, size, kept)


def _ident(place: str) -> str:
    return f"demyjpy[{os.getpid()}]: " if place == "syslog" else ""


def _text(place: str) -> logging.Formatter:
    return OneRecord(SYSLOG) if place == "syslog" else logging.Formatter(TEXT)


class OneRecord(logging.Formatter):
    """For syslog, where a record is a line: those of a traceback are told apart by ``|``."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def __init__(self, ident: str = "") -> None:
        super().__init__()
        self._ident = ident

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        for name in FACTS:
            value = getattr(record, name, None)
            if value is not None:
                found[name] = str(value)
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        # bytes that are no UTF-8 are escaped, like all that is not ASCII: a line is always whole
        return self._ident + json.dumps(found)


class SharedFile(WatchedFileHandler):
    """A file that several processes write to, and that any of them, or logrotate(8), may move away."""

    def __init__(self, path: str, size: int = 0, kept: int = 5) -> None:
        self._size, self._kept = size, kept
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; move the file away first if it is full. A file that cannot be had is no error.

        Where it was moved away and none can be made in its place, records go on into the old one.
        """
        with suppress(OSError):  # the next one tries again
            self.reopenIfNeeded()
            if self._size:
                self._rotate_if_full()
        logging.StreamHandler.emit(self, record)

    def reopenIfNeeded(self) -> None:  # noqa: N802  # as the base calls it
        """Open the file that has the name now, if it is another; the old one is kept until then."""
        try:
            now = os.stat(self.baseFilename)  # noqa: PTH116  # as the base has it
        except FileNotFoundError:
            now = None
        if now is None or (now.st_dev, now.st_ino) != (self.dev, self.ino):
            before: Any = self.stream
            self.stream = self._open()
            before.close()
            self._statstream()

    def _rotate_if_full(self) -> None:
        with Path(f"{self.baseFilename}.lock").open("a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process at a time
            with suppress(FileNotFoundError):
                if Path(self.baseFilename).stat().st_size < self._size:
                    return
                for number in range(self._kept - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        Path(f"{self.baseFilename}.{number}").replace(
                            f"{self.baseFilename}.{number + 1}"
                        )
                Path(self.baseFilename).replace(f"{self.baseFilename}.1")
        self.reopenIfNeeded()
