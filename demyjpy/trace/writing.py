"""Traces to files: `write` for sessions that are there, `Recorder` for those that go on.

A recorder never harms what it records: whatever goes wrong with its file is logged once, and nothing
more is recorded by this process.
"""

import os
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self

from demyjpy.connection import Step
from demyjpy.drivers.report import log
from demyjpy.errors import TraceError
from demyjpy.events import Disconnect, EndOfMessage
from demyjpy.trace.files import open_to_replace, open_to_write
from demyjpy.trace.reading import dump_record
from demyjpy.trace.records import Record, header
from demyjpy.trace.session import Trace
from demyjpy.trace.tapes import StepTape, WireTape

SUFFIX: Final = ".jsonl"


def version() -> str:
    """The installed version of demyjpy, for headers; empty where it is not installed."""
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


class Tray:
    """A directory of traces, into which each process writes a file of its own, made when needed.

    The directory is made for its owner only if there is none. After the first `OSError`, which is
    logged, nothing more is written; `is_well` says whether that has happened.
    """

    def __init__(self, directory: str | Path, by: str, suffix: str = SUFFIX) -> None:
        self._directory = Path(directory)
        self._by = by
        self._suffix = suffix
        self._stream: BinaryIO | None = None
        self._process = 0
        self.is_well = True
        self.path: Path | None = None

    def prepare(self) -> Self:
        """Make the directory, and see that files can be made in it; `TraceError` if they cannot."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self._directory / f".probe-{secrets.token_hex(4)}"
            probe.touch(0o600)
            probe.unlink()
        except OSError as error:
            raise TraceError(f"cannot record in {self._directory}: {error.strerror or error}") from error
        return self

    def write(self, records: Iterable[Record], *, flush: bool = False) -> None:
        """Write records, if that is still possible."""
        if not self.is_well:
            return
        try:
            stream = self._open()
            stream.writelines(map(dump_record, records))
            if flush:
                stream.flush()
        except (OSError, ValueError, TraceError) as error:
            self.is_well = False
            log.error("recording in %s has ended: %s; the mail goes on", self._directory, error)

    def _open(self) -> BinaryIO:
        if self._stream is None or self._process != os.getpid():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._process = os.getpid()
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            name = f"{stamp}-{self._process}-{secrets.token_hex(3)}{self._suffix}"
            self.path = self._directory / name
            self._stream = open_to_write(self.path)
            self._stream.write(dump_record(header(self._by, time.time(), version())))
        return self._stream

    def close(self) -> None:
        """Write what is left."""
        if self._stream is not None and self._process == os.getpid():
            with suppress(OSError):
                self._stream.close()
            self._stream = None


class Recorder:
    """An observer that records every session: ``start_milter(..., observer=Recorder("traces"))``.

    ``raw``: packets, too. Each process writes one file in the directory. It may be called from any
    thread.
    """

    def __init__(self, directory: str | Path, *, raw: bool = False, by: str = "demyjpy") -> None:
        self._tray = Tray(directory, by).prepare()
        self._raw = raw
        self._tapes: dict[str, StepTape] = {}
        self._lock = threading.Lock()

    def __call__(self, step: Step) -> None:
        """Take a step."""
        if not self._tray.is_well:
            return
        now = time.time()
        with self._lock:
            tape = self._tapes.get(step.session)
            if tape is None:
                tape = self._tapes[step.session] = StepTape(step.session, self._raw)
            records = list(tape.take(step, now))
            is_over = isinstance(step.event, Disconnect)
            if is_over:
                del self._tapes[step.session]
                records.append(tape.end(now))
            self._tray.write(records, flush=is_over or isinstance(step.event, EndOfMessage))

    def close(self) -> None:
        """Write what is left; sessions that go on have no end in the trace."""
        self._tray.close()


class Writer(Protocol):
    """What takes records: a `Tray`, or something in front of it."""

    def write(self, records: Iterable[Record], *, flush: bool = False) -> None:
        """Write records, if that is still possible."""

    def close(self) -> None:
        """Write what is left."""


class WireRecorder:
    """One session between an MTA and a filter, recorded from its bytes."""

    def __init__(
        self, tray: Writer | None, session: str, *, raw: bool = False, milter: str = ""
    ) -> None:
        self._tray = tray
        self.tape = WireTape(session, raw, milter)

    def take(self, direction: str, data: bytes) -> list[Record]:
        """Bytes from the ``"mta"`` or the ``"filter"``; their records."""
        return self._write(self.tape.take(direction, data, time.time()))

    def end(self, how: str, reason: str = "") -> list[Record]:
        """The end: ``how`` as in `demyjpy.trace.records.ended`."""
        return self._write(self.tape.end(time.time(), how, reason), flush=True)

    def close(self) -> None:
        """Write what is left."""
        if self._tray is not None:
            self._tray.close()

    def _write(self, records: Iterable[Record], *, flush: bool = False) -> list[Record]:
        found = list(records)
        if self._tray is not None:
            self._tray.write(found, flush=flush)
        return found
