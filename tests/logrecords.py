"""Any record into every sink and format of the log, and the law that it keeps there."""

import io
import json
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from demyjpy.cli import logs
from demyjpy.cli.logs import logging_to

PLACES: Final = ("stderr", "file", "syslog")
SINKS: Final = tuple((place, as_json) for place in PLACES for as_json in (False, True))
BEFORE, AFTER = "the record before", "the record after"


@frozen
class Caught:
    """What has arrived in a sink: its records, as bytes without what ends them."""

    records: list[bytes]
    as_json: bool


@contextmanager
def sink(place: str, as_json: bool, directory: Path) -> Iterator[Callable[[], Caught]]:
    """While it is open records go there; call what it gives for what has come."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as device:
        stream = io.BytesIO()
        device.bind(str(directory / "device"))
        device.setblocking(False)
        before, sys.stderr = sys.stderr, io.TextIOWrapper(stream, "ascii", "strict")
        root = logging.getLogger()
        others, root.handlers = root.handlers, []  # pytest's raise where arguments do not fit
        of_system, logs.DEVICE = logs.DEVICE, str(directory / "device")
        path = directory / "log"
        try:
            with logging_to(str(path) if place == "file" else place, "debug", as_json=as_json):
                yield lambda: Caught(_records(place, stream, path, device), as_json)
        finally:
            sys.stderr, logs.DEVICE, root.handlers = before, of_system, others
            (directory / "device").unlink()
            path.unlink(missing_ok=True)


def _records(place: str, stream: io.BytesIO, path: Path, device: socket.socket) -> list[bytes]:
    if place == "syslog":
        found = []
        while True:
            try:
                found.append(device.recv(1 << 20).rstrip(b"\0"))
            except BlockingIOError:
                return found
    data = stream.getvalue() if place == "stderr" else path.read_bytes()
    assert data.endswith(b"\n")
    records: list[bytes] = []
    for line in data[:-1].split(b"\n"):
        if line.startswith(b"  | "):
            records[-1] += b"\n" + line
        else:
            records.append(line)
    return records


def keeps_the_law(caught: Caught, place: str) -> bytes:
    """One record between two others, bounded, of printable characters; what it is."""
    first, found, last = caught.records
    assert BEFORE.encode() in first
    assert AFTER.encode() in last
    assert len(found) < 8192
    text = found.decode()
    assert all(line.isprintable() for line in text.split("\n"))
    if caught.as_json:
        assert text.isascii()
        json.loads(text[text.index("{") :])
    if caught.as_json or place == "syslog":
        assert "\n" not in text
    return found


def log_everywhere(directory: Path, act: Callable[[], Any]) -> list[bytes]:
    """Have a record logged into every sink, and see that it keeps the law there."""
    log = logging.getLogger("demyjpy")
    found = []
    for place, as_json in SINKS:
        with sink(place, as_json, directory) as caught:
            log.warning(BEFORE)
            act()
            log.warning(AFTER)
            found.append(keeps_the_law(caught(), place))
    return found
