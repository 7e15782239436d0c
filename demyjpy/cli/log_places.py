"""What writes the log: to the standard error, a file or syslog.

The mail goes on whatever happens here, and no lock is waited for. A record that cannot be
written is counted, and the number is written when it can be. How a record looks is `demyjpy.cli.logs`.
"""

import errno
import fcntl
import logging
import os
import stat
import sys
from abc import abstractmethod
from contextlib import suppress
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Any, Final

from demyjpy.drivers.logtext import cut

_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""Nonblocking: else a FIFO that nobody reads would be waited for."""

_PATIENCE: Final = 0.05
"""Seconds that a syslog daemon may keep a record waiting."""

_SHORT: Final = 1000
"""Bytes of a record that syslog did not take for its size."""


class Place(logging.Handler):
    """Writes each record at once, or counts it as lost."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0
        self._why = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, and before it how many were lost."""
        try:
            if self._lost:
                notice = f"{self._lost} records of the log were lost: {self._why}"
                said = {"name": "demyjpy", "msg": notice, "process": os.getpid()}
                level = {"levelno": logging.WARNING, "levelname": "WARNING"}
                self.write(self.format(logging.makeLogRecord(said | level)), logging.WARNING)
                self._lost = 0
            self.write(self.format(record), record.levelno)
        except (OSError, ValueError) as error:  # ValueError: a stream that was closed
            self._lost += 1
            self._why = getattr(error, "strerror", None) or type(error).__name__

    @abstractmethod
    def write(self, text: str, level: int) -> None:
        """Write this, or raise."""


class Screen(Place):
    """The standard error as it is now."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = sys.stderr

    def write(self, text: str, level: int) -> None:
        """What the encoding lacks is escaped."""
        encoding = getattr(self._stream, "encoding", None) or "ascii"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._stream.flush()


class Syslog(Place):
    """A datagram a record, of the facility mail."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device: Any = SysLogHandler(device, facility=SysLogHandler.LOG_MAIL)

    def write(self, text: str, level: int) -> None:
        """A daemon that does not read is waited for once; then records are lost until it does."""
        name = self._device.mapPriority(logging.getLevelName(level))
        start = f"<{self._device.encodePriority(self._device.facility, name)}>"
        try:
            self._send(start + text)
        except (BlockingIOError, TimeoutError):
            raise
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                text = cut(text, _SHORT)
            else:  # the daemon was started anew
                self._device.socket.close()
                self._device.createSocket()
            self._send(start + text)

    def _send(self, text: str) -> None:
        self._device.socket.settimeout(0.0 if self._lost else _PATIENCE)
        self._device.socket.send(text.encode() + b"\0")

    def close(self) -> None:
        """Send no more."""
        self._device.close()
        super().close()


class SharedFile(Place):
    """A file that several processes write to, and that any of them, or logrotate(8), may move away."""

    def __init__(self, path: str, size: int = 0, kept: int = 5) -> None:
        super().__init__()
        self._path = Path(os.path.abspath(path))  # noqa: PTH100  # without following links
        self._size, self._kept = size, kept
        self._file = self._open()
        self._is_torn = False

    def write(self, text: str, level: int) -> None:
        """Write a record; move the file away first if it is full.

        If it was moved away and none can be made in its place, records go on into the old one.
        """
        with suppress(OSError):  # the next one tries again
            self._reopen_if_moved()
            if self._size and self._path.stat().st_size >= self._size:
                self._rotate()
        data = f"{text}\n".encode("utf-8", "backslashreplace")
        if self._is_torn:
            data = b"\n" + data
        done = os.write(self._file, data)  # at once, or processes would write into one another's
        self._is_torn = done < len(data)
        if self._is_torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Write no more."""
        with suppress(OSError):
            os.close(self._file)
        super().close()

    def _open(self) -> int:
        """The file, made if there is none; `OSError` if it is somebody else's, or a link of his."""
        try:
            found = os.open(self._path, _FLAGS | os.O_NOFOLLOW, _MODE)
        except OSError as error:
            if error.errno != errno.ELOOP or not _is_mine(self._path.lstat()):
                raise
            found = os.open(self._path, _FLAGS, _MODE)
        if not _is_mine(os.fstat(found)):
            os.close(found)
            raise PermissionError(errno.EPERM, "the file is somebody else's")
        return found

    def _reopen_if_moved(self) -> None:
        try:
            if _is_same(self._path.stat(), os.fstat(self._file)):
                return
        except FileNotFoundError:
            pass
        before, self._file = self._file, self._open()
        os.close(before)

    def _rotate(self) -> None:
        """Move the file away, unless another process is about to: then it writes on."""
        # a descriptor of its own: that of the log is shared with the processes that were forked
        lock = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(self._path.stat(), os.fstat(lock)):
                for number in range(self._kept - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        self._numbered(number).replace(self._numbered(number + 1))
                self._path.replace(self._numbered(1))
        finally:
            os.close(lock)
        self._reopen_if_moved()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _is_mine(found: os.stat_result) -> bool:
    """Whether nobody but us and root can have put it there; a terminal may be anybody's."""
    return found.st_uid in (0, os.geteuid()) or stat.S_ISCHR(found.st_mode)
