"""A directory of recordings whose files are bounded: in number, in bytes, in age.

It is listed seldom, by the thread that writes there: between two listings what this process has written
is added. Other processes write there, too: together they may be over the bounds until the next listing.
"""

import os
import re
import secrets
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from attrs import frozen

from demyjpy.drivers.report import log
from demyjpy.errors import TraceError
from demyjpy.trace.format.files import open_to_write

PERIOD: Final = 30.0  # seconds between two listings, at least

_OURS: Final = re.compile(r"\d{8}T\d{6}Z-.*\.jsonl(\.part)?")


def file_stamp(seconds: float) -> str:
    """What the names of our files begin with: a time, in seconds since 1970."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def reason_of(error: Exception) -> object:
    """What the system says of an error, without the path; of any other error, what it says."""
    return (error.strerror if isinstance(error, OSError) else None) or error


@frozen(order=True)
class _File:
    modified: float
    name: str
    size: int


class BoundedDirectory:
    """``files``, ``disk`` (bytes) and ``days`` bound what is in the directory."""

    def __init__(self, path: str | Path, *, files: int, disk: int, days: float = float("inf")) -> None:
        self.path = Path(path)
        self._most, self._disk, self._days = files, disk, days
        self._found: deque[_File] = deque()
        self._size = 0
        self._listed = float("-inf")
        self._process = 0
        self._has_failed = False

    def prepare(self) -> Self:
        """Make the directory, and see that files can be made in it; `TraceError` if they cannot."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.path / f".probe-{secrets.token_hex(4)}"
            probe.touch(0o600)
            probe.unlink()
        except OSError as error:
            raise TraceError(f"cannot record in {self.path}: {reason_of(error)}") from error
        return self

    def write_file(self, name: str, lines: Sequence[bytes]) -> Path | None:
        """Write a whole file, in place of the oldest ones if need be; whoever sees it sees all of it.

        None if that fails. The log says so once, and once when it works again.
        """
        path, size = self.path / name, sum(map(len, lines))
        part = path.with_name(f"{name}.part")
        try:
            self.make_room(size)
            with open_to_write(part) as stream:
                stream.writelines(lines)
            part.rename(path)
        except (OSError, TraceError) as error:
            self.fail(reason_of(error))
            with suppress(OSError):
                part.unlink()
            return None
        self.add(name, size)
        if self._has_failed:
            self._has_failed = False
            log.info("writing to %s again", self.path)
        return path

    def fail(self, reason: object) -> None:
        """Log that nothing can be written, unless that is known."""
        if not self._has_failed:
            self._has_failed = True
            log.error("cannot write to %s: %s; the mail goes on", self.path, reason)

    def has_room(self, size: int, files: int = 0) -> bool:
        """Whether ``size`` more bytes, in this many more files, are within the bounds. `OSError`."""
        self._list()
        return self._fits(size, files)

    def make_room(self, size: int) -> None:
        """Remove files that are too old, and the oldest until there is room for one of this size.

        `OSError`; `TraceError` if it never fits.
        """
        if size > self._disk:
            raise TraceError(f"{size} bytes are more than the directory may hold ({self._disk})")
        self._list()
        oldest = time.time() - self._days * 86_400
        while self._found and (self._found[0].modified < oldest or not self._fits(size, 1)):
            (self.path / self._found[0].name).unlink(missing_ok=True)
            self._size -= self._found.popleft().size

    def add(self, name: str, size: int) -> None:
        """A file was written."""
        self._found.append(_File(time.time(), name, size))
        self._size += size

    def grow(self, size: int) -> None:
        """So much was written to a file that is there."""
        self._size += size

    def _fits(self, size: int, files: int) -> bool:
        return self._size + size <= self._disk and len(self._found) + files <= self._most

    def _list(self) -> None:
        now = time.monotonic()
        if self._process == os.getpid() and now - self._listed < PERIOD:
            return
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                if _OURS.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # another process was faster
                        status = entry.stat(follow_symlinks=False)
                        found.append(_File(status.st_mtime, entry.name, status.st_size))
        self._found = deque(sorted(found))
        self._size = sum(one.size for one in found)
        self._listed, self._process = now, os.getpid()
