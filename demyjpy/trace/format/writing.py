"""Traces to files: `write` is for sessions that have ended; `demyjpy.trace.live` records the others."""

import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from demyjpy.trace.format.files import open_to_replace
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import header
from demyjpy.trace.format.trace import Trace


def version() -> str:
    """The installed version of demyjpy, for headers; empty if it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("demyjpy")
    return ""


def write(path: str | Path, traces: Iterable[Trace], by: str = "demyjpy.trace") -> int:
    """Write sessions to a file, compressed as its name says; how many.

    It takes the place of what is there when all is written. `OSError` if that fails.
    """
    count = 0
    with open_to_replace(Path(path)) as stream:
        stream.write(dump_record(header(by, time.time(), version())))
        for trace in traces:
            stream.writelines(dump_record(record) for record in trace.records)
            count += 1
    return count
