"""Milters that are not ours, as programs: OpenDKIM, and one filter over libmilter in C and in Python."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.integration import fetch_milters

PATIENCE: Final = 30.0  # seconds


def need_milters() -> pytest.MarkDecorator:
    """Skips a module where they are not there; an error with ``DEMYJPY_NO_SKIPS``."""
    reason = fetch_milters.what_is_missing()
    if reason and os.environ.get("DEMYJPY_NO_SKIPS"):
        raise pytest.UsageError(reason)
    told = f"{reason}: run `python -m tests.integration.fetch_milters`"
    return pytest.mark.skipif(reason is not None, reason=told)


@contextmanager
def started(command: list[str | Path], path: Path) -> Iterator[str]:
    """A milter that listens on the Unix socket ``path`` once the block runs; its address."""
    with subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE) as program:
        try:
            _wait_for(path, program)
            yield f"unix:{path}"
        finally:
            program.send_signal(signal.SIGKILL)  # libmilter needs seconds to end by itself


def _wait_for(path: Path, program: "subprocess.Popen[bytes]") -> None:
    # they do not say when they listen: it has to be tried
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and program.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if path.exists() and not probe.connect_ex(str(path)):
                return
        time.sleep(0.02)
    program.kill()
    raise AssertionError(f"expected a milter on {path}, got {program.communicate()[0]!r}")


@contextmanager
def c_filter(directory: Path) -> Iterator[str]:
    """``milters/c_filter.c``."""
    path = directory / "c.sock"
    with started([fetch_milters.c_filter(), f"unix:{path}"], path) as address:
        yield address


@contextmanager
def pymilter_filter(directory: Path) -> Iterator[str]:
    """``milters/pymilter_filter.py``, which does the same."""
    path = directory / "py.sock"
    script = Path(__file__).parent / "milters/pymilter_filter.py"
    with started([fetch_milters.pymilter_python(), script, f"unix:{path}"], path) as address:
        yield address


@contextmanager
def opendkim(directory: Path, **options: str) -> Iterator[str]:
    """OpenDKIM with these lines in its configuration."""
    path, conf = directory / f"{options['Mode']}.sock", directory / f"{options['Mode']}.conf"
    lines = {
        "Socket": f"local:{path}",
        "PidFile": f"{path}.pid",
        "UserID": pwd.getpwuid(os.geteuid()).pw_name,
        "Syslog": "no",
        "RequireSafeKeys": "no",
        **options,
    }
    conf.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    with started([fetch_milters.opendkim(), "-f", "-x", conf], path) as address:
        yield address


def send(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """``demyjpy send`` as a program."""
    command = [sys.executable, "-m", "demyjpy", "send", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
