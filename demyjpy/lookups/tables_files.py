"""Tables in files: loaded when they are opened, and again when their file changes.

Who asks looks at the file, at most once a second, in his own thread. A small file he loads himself; a
large one is loaded in a thread of its own, so that no mail waits for it. Until then all others get
answers from the version before. One that cannot be loaded changes nothing, and the log says why.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock, Thread
from typing import BinaryIO, Final, TypeAlias

from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.report import log
from demyjpy.errors import TableError
from demyjpy.lookups.tables_rows import Holds, RowError, Table

LARGEST_FILE: Final = 512 << 20
"""Bytes of a file."""

LOOK_EVERY: Final = 1.0
"""Seconds for which nobody looks at the file again."""

SETTLED: Final = 1.0
"""Seconds for which a file must have stayed as it is before it is loaded again."""

AT_ONCE: Final = 1 << 20
"""Bytes of a file that who asks loads himself: that takes less than 0.2 s."""

Load: TypeAlias = Callable[[Iterable[bytes]], Table]
"""Makes a table of lines; `RowError` for a bad one."""

_Signature: TypeAlias = tuple[int, int, int, int, int]


class FileTable:
    """A table that follows its file. It is loaded now; `TableError` says what is wrong with the file.

    ``name`` is for the log. ``clock`` gives seconds, ``wall`` those since 1970, ``at_once`` bytes.
    From any thread.
    """

    def __init__(
        self,
        name: str,
        path: str,
        load: Load,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        at_once: int = AT_ONCE,
    ) -> None:
        self._name, self._path, self._load, self._at_once = name, path, load, at_once
        self._clock, self._wall = clock, wall
        self._lock = Lock()
        self._told = ""
        self._signature, self._table = self._read()
        self._refused: _Signature | None = None
        self._looked = clock()

    def renew(self) -> None:
        """Load the file now if it is not the one that was loaded; `TableError` if it cannot be."""
        with self._lock:
            try:
                found = Path(self._path).stat()
            except OSError as error:
                raise TableError(_why(self._path, error)) from error
            if _signature(found) != self._signature:
                self._signature, self._table = self._read()
                self._refused, self._told = None, ""

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
            self._look()
        return self._table

    def _look(self) -> None:
        """Load the file if it has changed; the lock is held until that is done."""
        found = self._changed()
        if found is not None and found.st_size > self._at_once:
            thread = Thread(target=self._load_again, args=(found,), name="demyjpy-table", daemon=True)
            try:
                BIRTHS.start(thread)
            except RuntimeError as error:
                self._tell(f"there is no thread to load it: {error}")
            else:
                return
        elif found is not None:
            self._load_again(found)
            return
        self._end()

    def _end(self) -> None:
        self._looked = self._clock()
        self._lock.release()

    def _changed(self) -> os.stat_result | None:
        """What the file is now, if it is to be loaded."""
        try:
            found = Path(self._path).stat()
        except OSError as error:
            self._tell(_why(self._path, error))
            return None
        if _signature(found) in (self._signature, self._refused):
            return None
        # perhaps it is still written
        return None if 0 <= self._wall() - found.st_mtime < SETTLED else found

    def _load_again(self, found: os.stat_result) -> None:
        try:
            self._signature, self._table = self._read()
        except Exception as error:  # noqa: BLE001  # whatever it is, the rows stay
            self._refused = _signature(found)
            self._tell(
                str(error) if isinstance(error, TableError) else f"{type(error).__name__}: {error}"
            )
        else:
            self._refused, self._told = None, ""
            log.info("the table %s was loaded again: %d rows", self._name, self._table.rows)
        finally:
            self._end()

    def _tell(self, why: str) -> None:
        """Once for each reason."""
        if why != self._told:
            self._told = why
            log.error("the table %s was not loaded again and stays as it was: %s", self._name, why)

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
            raise TableError(f"{path}: {error}") from error
        except OSError as error:
            raise TableError(_why(self._path, error)) from error


def _why(path: str, error: OSError) -> str:
    return f"expected to read {path}, got {type(error).__name__}: {error.strerror or error}"


def _signature(found: os.stat_result) -> _Signature:
    # the fourth changes with each of the others, and with permissions
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns, found.st_dev


def _bounded(file: BinaryIO) -> Iterator[bytes]:
    """The lines, up to so many bytes in all."""
    number, left = 0, LARGEST_FILE
    while line := file.readline(left + 1):
        number, left = number + 1, left - len(line)
        if left < 0:
            raise RowError(number, f"expected a file of at most {LARGEST_FILE} bytes, got more")
        yield line
