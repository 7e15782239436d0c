"""Tables in files: loaded when they are opened, and again when their file changes.

Who asks looks at the file, at most once a second, in his own thread. While he loads a new version,
others get answers from the one before it. A version that cannot be loaded changes nothing, and the log
says why.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, TypeAlias

from demyjpy.drivers.report import log
from demyjpy.errors import TableError
from demyjpy.lookups.tables_rows import Holds, RowError, Table

LARGEST_FILE: Final = 512 << 20
"""Bytes of a file."""

LOOK_EVERY: Final = 1.0
"""Seconds for which nobody looks at the file again."""

SETTLED: Final = 1.0
"""Seconds for which a file must have stayed as it is before it is loaded again."""

Load: TypeAlias = Callable[[Iterable[bytes]], Table]
"""Makes a table of lines; `RowError` for a bad one."""

_Signature: TypeAlias = tuple[int, int, int, int]


class FileTable:
    """A table that follows its file. It is loaded now; `TableError` says what is wrong with the file.

    ``name`` is for the log. ``clock`` gives seconds, ``wall`` those since 1970. From any thread.
    """

    def __init__(
        self,
        name: str,
        path: str,
        load: Load,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._path, self._load = name, path, load
        self._clock, self._wall = clock, wall
        self._lock = Lock()
        self._told = ""
        self._signature, self._table = self._read()
        self._refused: _Signature | None = None
        self._looked = clock()

    def find(self, keys: tuple[str, ...], holds: Holds) -> str | None:
        """The result for the first of these keys that has one."""
        table = self._current()
        for key in keys[:1] if table.has_patterns else keys:
            found = table.find(key, holds)
            if found is not None:
                return found
        return None

    def _current(self) -> Table:
        if self._clock() - self._looked >= LOOK_EVERY and self._lock.acquire(blocking=False):
            try:
                self._look()
                self._looked = self._clock()
            finally:
                self._lock.release()
        return self._table

    def _look(self) -> None:
        """Load the file if it has changed, and does so no more."""
        try:
            found = Path(self._path).stat()
            signature = _signature(found)
            if signature in (self._signature, self._refused):
                return
            if 0 <= self._wall() - found.st_mtime < SETTLED:
                return  # it is perhaps still written
            read, table = self._read()
        except (OSError, TableError) as error:
            why = str(error) if isinstance(error, TableError) else _why(self._path, error)
            if isinstance(error, TableError):
                self._refused = signature
            if why != self._told:
                self._told = why
                log.error("the table %s was not loaded again and stays as it was: %s", self._name, why)
            return
        self._signature, self._table = read, table
        self._refused, self._told = None, ""
        log.info("the table %s was loaded again: %d rows", self._name, table.rows)

    def _read(self) -> tuple[_Signature, Table]:
        path = Path(self._path)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe may take for ever
                raise TableError(f"expected a regular file, got another kind: {path}")
            with path.open("rb") as file:
                return _signature(os.fstat(file.fileno())), self._load(_bounded(file))
        except RowError as error:
            raise TableError(f"{self._path}:{error.line}: {error.why}") from error
        except ImportError as error:
            raise TableError(
                f'expected RE2 for {self._path}, got none: pip install "demyjpy[tables]"'
            ) from error
        except OSError as error:
            raise TableError(_why(self._path, error)) from error


def _why(path: str, error: OSError) -> str:
    return f"expected to read {path}, got {type(error).__name__}: {error.strerror or error}"


def _signature(found: os.stat_result) -> _Signature:
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _bounded(file: BinaryIO) -> Iterator[bytes]:
    """The lines, up to so many bytes in all."""
    number, left = 0, LARGEST_FILE
    while line := file.readline(left + 1):
        number, left = number + 1, left - len(line)
        if left < 0:
            raise RowError(number, f"expected a file of at most {LARGEST_FILE} bytes, got more")
        yield line
