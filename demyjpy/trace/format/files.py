"""Trace files: opened for reading and writing, compressed or not (``.gz``, ``.zst``).

What a file is compressed with is seen from its first bytes when it is read, and from its name when it
is written. Files are for their owner only.
"""

import gzip
import os
import secrets
import select
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from demyjpy.errors import TraceError

LONGEST_LINE: Final = 64 << 20  # bytes; a longer line is no record

_PATIENCE: Final = 10.0  # seconds for somebody to write into a pipe
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@contextmanager
def open_to_read(path: str | Path) -> Iterator[BinaryIO]:
    """The bytes of a trace file, unpacked; `OSError` if there is none.

    A named pipe to which nobody writes is `TraceError`: it would be waited for without end.
    """
    with ExitStack() as stack:
        plain = stack.enter_context(open(path, "rb", opener=_open_at_once))
        _await_writer(path, plain.fileno())
        start = plain.peek(4)[:4]
        found: Any = plain
        if start[:2] == _GZIP:
            found = stack.enter_context(gzip.GzipFile(fileobj=plain))
        elif start == _ZSTD:
            found = stack.enter_context(_open_zstd(plain))
        yield found


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _await_writer(path: str | Path, file: int) -> None:
    """Go on when there is something to read; from a pipe that may take a while."""
    os.set_blocking(file, True)
    if not stat.S_ISFIFO(os.fstat(file).st_mode):
        return
    poll = select.poll()
    poll.register(file, select.POLLIN)
    if not poll.poll(_PATIENCE * 1000):
        raise TraceError(f"expected a trace in {path}, got a pipe to which nobody writes")


def open_to_write(path: Path) -> BinaryIO:
    """A new file, compressed as its name says; `OSError` if it cannot be made."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    openers: dict[str, Any] = {".gz": gzip.open, ".zst": _open_zstd}
    found: BinaryIO = openers.get(path.suffix, open)(path, "wb")
    return found


@contextmanager
def open_to_replace(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of what is there when the block ends well; else nothing is changed.

    What is no regular file (a pipe, a device) is written as it goes.
    """
    if path.exists() and not path.is_file():
        with open_to_write(path) as stream:
            yield stream
        return
    path = path.resolve()  # a link stays one
    ending = path.suffix if path.suffix in (".gz", ".zst") else ""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part{ending}")
    try:
        with open_to_write(part) as stream:
            yield stream
        part.replace(path)
    finally:
        with suppress(OSError):  # it is gone if all went well
            part.unlink()


def is_any_of(path: Path, others: Iterable[str | Path]) -> bool:
    """Whether it is the same file as one of these, by whatever name; `OSError` if they are not seen."""
    return path.exists() and any(path.samefile(one) for one in others)


def _zstd() -> Any:
    """Zstandard: Python's own from 3.14 on, its backport before."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    raise TraceError(".zst needs Python 3.14 or backports.zstd: pip install 'demyjpy[zst]'")


def _open_zstd(file: Any, mode: str = "rb") -> Any:
    return _zstd().open(file, mode)


def damages() -> tuple[type[Exception], ...]:
    """What reading a damaged compressed file raises."""
    found: list[type[Exception]] = [EOFError, zlib.error, gzip.BadGzipFile]
    with suppress(TraceError):
        found.append(_zstd().ZstdError)
    return tuple(found)


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their line ends; of one that is too long an empty one is left."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_LINE)
        yield b""
