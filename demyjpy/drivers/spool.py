"""Where the bodies of large messages lie: in files that have no name, in the directory of TMPDIR.

The directory is that of `tempfile.gettempdir`. A file is gone as soon as its object is, however the
process ends.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from demyjpy.drivers.report import log

KEPT_IN_MEMORY: Final = 1 << 20
"""Bytes of a body that are kept in memory if nobody says otherwise."""

_AT_ONCE: Final = 262_144
"""So many bytes, or a little more, are written by one call of the system."""
_MOST_PIECES: Final = 512
"""So many pieces at most: POSIX allows 16 at least, Linux and the BSDs 1024."""
_MOUNTS: Final = Path("/proc/self/mountinfo")
_MOUNT: Final = re.compile(rb"^(?:[^ \n]+ ){4}([^ \n]+) .*? - ([^ \n]+)", re.MULTILINE)
"""A line of it: where the mount is, and the type of the file system."""
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_ADVICE: Final = "set TMPDIR to a directory on a disk, such as /var/tmp"


class SpoolFile:
    """A file without a name that holds one body.

    ``descriptor`` is that of an empty file, open to read and to write. The object closes it when it
    goes. What reads may do so in several threads; only one at a time may append.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls) -> Self:
        """A new file in `tempfile.gettempdir`, for this user only; `OSError` if none can be made.

        If the file system knows O_TMPFILE, it never has a name; elsewhere its name is removed at
        once.
        """
        with tempfile.TemporaryFile(buffering=0) as file:
            return cls(os.dup(file.fileno()))  # its own object would complain if nobody closed it

    def append(self, pieces: Iterable[bytes]) -> None:
        """Write all of these at the end; `OSError` if there is no room, and then some may be there."""
        batch: list[bytes] = []
        size = 0
        for piece in pieces:
            batch.append(piece)
            size += len(piece)
            if size >= _AT_ONCE or len(batch) == _MOST_PIECES:
                self._write(batch, size)
                batch, size = [], 0
        if batch:
            self._write(batch, size)

    def _write(self, batch: list[bytes], size: int) -> None:
        written = os.writev(self._descriptor, batch)
        if written == size:
            return
        rest = memoryview(b"".join(batch))[written:]
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def read(self, at: int, size: int) -> bytes:
        """So many bytes from the byte number ``at`` on; fewer only at the end of the file."""
        found = []
        while size > 0 and (piece := os.pread(self._descriptor, size, at)):
            found.append(piece)
            at += len(piece)
            size -= len(piece)
        return b"".join(found)

    def __del__(self, close: Any = os.close) -> None:
        close(self._descriptor)


def warn_of_spool(on_connect: Any) -> None:
    """Warn at the start if a filter takes whole messages and there is no disk for large ones.

    Only a registry shows whether it has a handler for ``message``; a function is not asked.
    """
    if not isinstance(on_connect, Mapping) or "message" not in on_connect:
        return
    try:
        directory = tempfile.gettempdir()
    except OSError as error:
        log.warning(
            "expected a directory for the bodies of messages above spool= bytes, found none that can "
            "be written to (%s): make room there, or %s",
            error,
            _ADVICE,
        )
        return
    warn_if_spool_is_in_memory(directory)


def warn_if_spool_is_in_memory(directory: str, mounts: Path = _MOUNTS) -> None:
    """Warn if the files in a directory are in memory; ``mounts`` as proc_pid_mountinfo(5) has it.

    Nothing is said on a system without such a list.
    """
    try:
        known = mounts.read_bytes()
    except OSError:
        return
    kind = file_system_of(directory, known)
    if kind in _IN_MEMORY:
        log.warning(
            "bodies of messages above spool= bytes are kept in files in %s, which is in memory (%s): %s",
            directory,
            kind,
            _ADVICE,
        )


def file_system_of(directory: str, mounts: bytes) -> str:
    """The type of the file system that a directory is in; empty if none of ``mounts`` has it."""
    path = os.fsencode(os.path.realpath(directory)).rstrip(b"/") + b"/"
    longest, found = b"", b""
    for mount in _MOUNT.finditer(mounts):
        point = _unescaped(mount[1]).rstrip(b"/") + b"/"
        if path.startswith(point) and len(point) >= len(longest):  # a later mount hides an earlier one
            longest, found = point, mount[2]
    return os.fsdecode(found)


def _unescaped(point: bytes) -> bytes:
    """A mount point as it is: the list has spaces, tabs, line ends and backslashes in octal."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point)
