"""Disks that are full, processes without descriptors or threads: for tests of those who write."""

import os
import resource
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, size: str = "1m") -> Iterator[Path]:
    """A file system of this size, while the block runs; skips where none can be mounted (no root)."""
    path.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(path)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path, left: int = 0) -> Path:
    """A file that takes all the room there is, but for so many bytes; without it there is room again."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as stream:
        for size in (4096, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                continue
        stream.truncate(stream.tell() - left)
    return path


@contextmanager
def no_descriptors() -> Iterator[None]:
    """No file can be opened by this process, while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def leave_descriptors(pid: int, free: int) -> tuple[int, int]:
    """Let another process open so many more files, and no more; the limit that it had."""
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    numbers = (number for number in range(1 << 20) if number not in used)
    most = next(number for count, number in enumerate(numbers) if count == free)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    return before


@contextmanager
def no_threads() -> Iterator[None]:
    """No thread can be started by this process, while the block runs: its stack would be too large."""
    before = threading.stack_size(1 << 47)
    try:
        yield
    finally:
        threading.stack_size(before)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes, while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fork() -> int:
    """As `os.fork`, also where threads run: from 3.12 on Python warns of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()
