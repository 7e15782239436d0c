"""A directory of recordings whose files are bounded: in number, in bytes, in age.

It is listed seldom, by the thread that writes there: between two listings what this process has written
is added. Other processes write there, too: together they may be over the bounds until the next listing.
"""

import os
import re
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from demyjpy.errors import TraceError

PERIOD: Final = 30.0
"""Seconds between two listings, at least."""

_OURS: Final = re.compile(r"\d{8}T\d{6}Z-.*\.jsonl(\.part)?")


@frozen(order=True)
class _File:
    modified: float
    name: str
    size: int


class BoundedDirectory:
    """``files``, ``disk`` (bytes) and ``days`` bound what is in the directory."""

    def __init__(self, directory: Path, *, files: int, disk: int, days: float = float("inf")) -> None:
        self.directory = directory
        self._most, self._disk, self._days = files, disk, days
        self._found: deque[_File] = deque()
        self._size = 0
        self._listed = float("-inf")
        self._process = 0

    def has_room(self, size: int, files: int = 0) -> bool:
        """Whether so many bytes, in so many more files, are within the bounds. `OSError`."""
        self._list()
        return self._fits(size, files)

    def make_room(self, size: int) -> None:
        """Remove files that are too old, and the oldest until there is room for one of this size.

        `OSError`; `TraceError` where it never fits.
        """
        if size > self._disk:
            raise TraceError(f"{size} bytes are more than the directory may hold ({self._disk})")
        self._list()
        oldest = time.time() - self._days * 86_400
        while self._found and (self._found[0].modified < oldest or not self._fits(size, 1)):
            old = self._found[0]
            (self.directory / old.name).unlink(missing_ok=True)
            self._found.popleft()
            self._size -= old.size

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
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if _OURS.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # another process was faster
                        status = entry.stat(follow_symlinks=False)
                        found.append(_File(status.st_mtime, entry.name, status.st_size))
        self._found = deque(sorted(found))
        self._size = sum(one.size for one in found)
        self._listed, self._process = now, os.getpid()
