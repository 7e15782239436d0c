"""Recorders: sessions on their way into a directory of traces (`Recorder`), and the directory (`Tray`).

A recorder never harms what it records: it keeps what waits in bounded memory, and a thread writes.
Whatever goes wrong with a file is logged once, and another one is begun when that is possible. A session
of which something is lost ends there in the trace: no reader takes what is left for the whole.
"""

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Self

from attrs import define, frozen

from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.connection import Step
from demyjpy.engine.playback import Player, Stage
from demyjpy.engine.tape import Stretch
from demyjpy.errors import TraceError
from demyjpy.events import Disconnect, EndOfMessage
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.files import open_to_write
from demyjpy.trace.format.plain_lines import PlainLines
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import Record, ended, header
from demyjpy.trace.format.writing import version
from demyjpy.trace.live.background_writer import BackgroundWriter
from demyjpy.trace.live.bounded_directory import BoundedDirectory, file_stamp, reason_of
from demyjpy.trace.live.kept_sessions import OpenSessions, weight_of_contexts, weight_of_outcomes
from demyjpy.trace.live.shared_memory import RESERVE, SHARED

SUFFIX: Final = ".jsonl"
MEMORY: Final = 16 << 20  # bytes that may wait to be written
FILES: Final = 10_000  # files that a directory may hold
DISK: Final = 10 << 30  # bytes that a directory may hold
RETRY: Final = 5.0  # seconds until it is tried again to write
_HELD: Final = 64 << 10  # bytes that are handed over though nothing has ended
_ENTRY: Final = 64  # bytes of what was heard at once, besides its own
_TURN: Final = 0.001  # seconds that the thread gets for itself when it does not keep up
_LAG: Final = 0.02  # seconds: the thread does at once what has come meanwhile


@frozen
class Line:
    """A record as it stands in a file."""

    session: str
    is_end: bool
    data: bytes


def line_of(record: Record) -> Line:
    """A record, dumped."""
    return Line(record.get("session", ""), record.get("direction") == "end", dump_record(record))


class Tray:
    """A directory of traces, into which each process writes a file of its own, made when needed.

    The directory is made for its owner only if there is none. If nothing can be written, or the
    directory has as many ``files`` or bytes (``disk``) as it may have, that is logged once; what comes
    for some seconds is not written, and then another file is begun. ``is_well`` says whether the last
    attempt went well. Sessions of which something was not written are not gone on with.
    """

    def __init__(
        self,
        directory: str | Path,
        by: str,
        suffix: str = SUFFIX,
        *,
        files: int = FILES,
        disk: int = DISK,
    ) -> None:
        self._directory = BoundedDirectory(directory, files=files, disk=disk)
        self._by, self._suffix = by, suffix
        self._stream: BinaryIO | None = None
        self._inherited: BinaryIO | None = None
        self._process = 0
        self._again = 0.0  # before this time it is not tried again
        self._whole = 0  # bytes of the file that are surely there
        self._sessions: set[str] = set()  # those that are in the file, and have not ended
        self._lost: set[str] = set()
        self.is_well = True
        self.path: Path | None = None

    def prepare(self) -> Self:
        """Make the directory, and see that files can be made in it; `TraceError` if they cannot."""
        self._directory.prepare()
        return self

    def write(self, records: Iterable[Record], *, flush: bool = False) -> None:
        """Write records, if that is possible."""
        self.write_lines(map(line_of, records), flush=flush)

    def write_lines(self, lines: Iterable[Line], *, flush: bool = False) -> None:
        """Write records that were dumped, if that is possible."""
        if self._process != os.getpid():
            self._inherited = self._stream  # closing it would write what its owner writes
            self._process, self._stream, self._again = os.getpid(), None, 0.0
            self._sessions, self._lost = set(), set()
        found = list(lines)
        if time.monotonic() < self._again:
            self._lose(found)
            return
        try:
            data = b"".join(line.data for line in found if line.session not in self._lost)
            stream = self._open(len(data))
            stream.write(data)
            if flush:
                stream.flush()
        except (OSError, ValueError, TraceError) as error:
            self._lose(found)
            self._fail(error)
        else:
            self._directory.grow(len(data))
            self._note(found, stream.tell() if flush else None)

    def _open(self, size: int) -> BinaryIO:
        if self._stream is not None and not self._is_there(self._stream):
            raise TraceError(f"{self.path} is gone")
        if self._stream is None:
            self._directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._directory.has_room(size, files=self._stream is None):
            raise TraceError("it has as many files or bytes as it may have")
        if self._stream is None:
            name = f"{file_stamp(time.time())}-{self._process}-{secrets.token_hex(3)}{self._suffix}"
            self.path = self._directory.path / name
            self._stream = open_to_write(self.path)
            self._directory.add(name, 0)
            self._whole = 0
            self._stream.write(dump_record(header(self._by, time.time(), version())))
        return self._stream

    def _is_there(self, stream: BinaryIO) -> bool:
        """Whether what is written can be found again; who removes a directory takes the file along."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(stream.fileno()), self._path.stat())
        return False

    @property
    def _path(self) -> Path:
        return self.path or self._directory.path

    def _note(self, lines: Iterable[Line], whole: int | None) -> None:
        """These were written."""
        self._whole = self._whole if whole is None else whole
        for line in lines:
            if line.is_end:
                self._sessions.discard(line.session)
                self._lost.discard(line.session)
            elif line.session not in self._lost:
                self._sessions.add(line.session)
        if not self.is_well:
            self.is_well = True
            log.info("recording in %s again, in a new file", self._directory.path)

    def _lose(self, lines: Iterable[Line]) -> None:
        """These were not written: of their sessions no more is."""
        for line in lines:
            (self._lost.discard if line.is_end else self._lost.add)(line.session)
            self._sessions.discard(line.session)

    def _fail(self, error: Exception) -> None:
        self._again = time.monotonic() + RETRY
        self._lost |= self._sessions
        self._sessions = set()
        self._drop()
        if self.is_well:
            self.is_well = False
            log.error(
                "recording in %s has ended for now: %s; the mail goes on, and it is tried again every "
                "%.0f s",
                self._directory.path,
                reason_of(error),
                RETRY,
            )

    def _drop(self) -> None:
        """Leave the file: what is in it, as far as it is whole."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        with suppress(OSError, ValueError):  # it tries to write what was not written
            stream.close()
        with suppress(OSError):
            if self._whole == 0:
                self._path.unlink()
            elif self._suffix == SUFFIX:
                os.truncate(self._path, self._whole)

    def close(self) -> None:
        """Write what is left."""
        if self._stream is not None and self._process == os.getpid():
            with suppress(OSError):
                self._stream.close()
            self._stream = None


@define
class _RecordedSession:
    """A session that is being recorded, or no more, for something of it is lost."""

    converter: StepConverter
    is_lost: bool = False


@define
class _PlayedSession:
    """A session that comes from a tape, or comes no more (no ``player``): it could not be played."""

    converter: StepConverter
    player: Player | None


class Recorder:
    """Records every session: ``start_milter(..., observer=Recorder("traces"))``.

    It reads the tape: a thread makes the records from that, and writes them. Called with steps, it is an
    observer that records the same, and makes the records at once.

    ``raw``: packets, too. ``memory``: bytes that may wait to be written; if the thread or the disk does
    not keep up, sessions are cut, and say so. ``files`` and ``disk`` (bytes): what the directory may
    hold; when it is full, nothing is recorded until there is room. Each process writes one file in the
    directory, by a thread of its own. It may be called from any thread.
    """

    keeps_bodies = True

    def __init__(
        self,
        directory: str | Path,
        *,
        raw: bool = False,
        by: str = "demyjpy",
        memory: int = MEMORY,
        files: int = FILES,
        disk: int = DISK,
    ) -> None:
        self._tray = Tray(directory, by, files=files, disk=disk).prepare()
        self.memory, self._raw = memory, raw
        self._writer = BackgroundWriter("recorder", memory, lag=_LAG)
        self._begun: set[str] = set()  # sessions of which something is recorded
        self._cut: set[str] = set()  # sessions of which no more is played
        self._begin_in_process()
        self._sessions = OpenSessions(lambda name: _RecordedSession(StepConverter(name, raw)))
        self._lines: list[Line] = []
        self._size = 0
        self._seldom = Seldom(60.0)
        self._lock = threading.Lock()
        SHARED.join(self)

    @property
    def held(self) -> int:
        """Bytes that it holds now."""
        return self._size + self._writer.size + self._ready_size

    def _begin_in_process(self) -> None:
        """What only the thread touches. A child has none of its parent's sessions."""
        self._process = os.getpid()
        self._stage, self._plain = Stage(), PlainLines(self._raw)
        self._played: dict[str, _PlayedSession] = {}
        self._ready: list[Line] = []
        self._ready_size = 0
        self._is_writing = False  # who serves mail looks at it, too

    # ------------------------------------------------------------------------------ from the tape
    def read(self, stretch: Stretch) -> None:
        """Hand a stretch to the thread; if too much waits there, its session is cut."""
        name = stretch.session
        if name in self._cut:
            if stretch.is_over:
                self._cut.discard(name)
            return
        if stretch.turned is not None:  # they are made again
            stretch = stretch._replace(turned=())
        size = _size_of(stretch)
        waits = self._writer.size + size
        is_late = waits > self.memory or (waits > self.memory // RESERVE and size > SHARED.room())
        is_taken = True
        if not is_late:
            is_taken = self._writer.put(size, partial(self._take, stretch), always=True)
            self._begun.add(name)
        elif name in self._begun:  # of a session of which nothing is recorded there is no end either
            end = partial(self._end_early, name, time.time())
            is_taken = self._writer.put(0, end, always=True)
        if stretch.is_over or is_late or not is_taken:
            self._begun.discard(name)
        if is_late or not is_taken:
            if not stretch.is_over:
                self._cut.add(name)
            self._tell_cut(is_taken)
        elif self._writer.size > self.memory // 4 and not self._is_writing and not _has_loop():
            time.sleep(_TURN)  # else a busy server leaves the thread no time, and sessions would be cut

    def _tell_cut(self, has_thread: bool) -> None:
        with self._lock:
            count = self._seldom.count("cut" if has_thread else "thread", time.time())
        if count and has_thread:
            log.warning("the recording does not keep up: sessions cut: %d", count)
        elif count:
            log.error("cannot record: no thread can be started; the mail goes on")

    def _take(self, stretch: Stretch) -> None:
        """In the thread: a stretch to lines, and all lines to the disk if nothing more waits."""
        if self._process != os.getpid():
            self._begin_in_process()
        name = stretch.session
        session = self._played.get(name)
        if session is None:
            session = _PlayedSession(StepConverter(name, self._raw), Player(stretch.opened))
            self._played[name] = session
        if session.player is not None:
            try:
                lines = self._play(session, session.player, stretch)
            except Exception as error:  # noqa: BLE001  # whatever it is, the others are recorded
                lines = [line_of(ended(name, time.time(), "cut", "its tape could not be played"))]
                session.player = None
                log.error("session %s: its recording is cut: %s", name, type(error).__name__)
            self._make_ready(lines)
        if stretch.is_over:
            del self._played[name]
        self._write_ready()

    def _play(self, session: _PlayedSession, player: Player, stretch: Stretch) -> list[Line]:
        played = player.play_quickly(stretch, self._stage)
        lines: list[Line] = []
        if played.reads:
            lines.append(Line(stretch.session, False, self._plain.of(session.converter, played)))
        for step, at in played.steps:
            lines += map(line_of, session.converter.take(step, at))
            if isinstance(step.event, Disconnect):
                lines.append(line_of(session.converter.end(at)))
                session.converter = StepConverter(stretch.session, self._raw)
        return lines

    def _end_early(self, name: str, now: float) -> None:
        """In the thread: a session of which nothing more comes; something has come before."""
        self._played.pop(name, None)
        self._make_ready([line_of(ended(name, now, "cut", "the disk did not keep up"))])
        self._write_ready()

    def _make_ready(self, lines: list[Line]) -> None:
        self._ready += lines
        self._ready_size += sum([len(line.data) for line in lines])

    def _write_ready(self) -> None:
        if self._writer.waiting > 1 and self._ready_size <= _HELD:  # this one waits until it is done
            return
        lines, self._ready, self._ready_size = self._ready, [], 0
        if not lines:
            return
        self._is_writing = True
        try:
            self._tray.write_lines(lines, flush=True)
        finally:
            self._is_writing = False

    # ------------------------------------------------------------------------------- from steps
    def __call__(self, step: Step) -> None:
        """Take a step."""
        now = time.time()
        with self._lock:
            session = self._sessions[step.session]
        is_over = isinstance(step.event, Disconnect)
        # without the lock, because it takes long: the steps of one session come one after the other
        records = [] if session.is_lost else list(session.converter.take(step, now))
        lines = list(map(line_of, [*records, session.converter.end(now)] if is_over else records))
        with self._lock:
            if not session.is_lost:
                self._keep(session, lines, now)
            if is_over:
                del self._sessions[step.session]
            if is_over or isinstance(step.said, EndOfMessage) or self._size > _HELD:
                self._hand_over()

    def _keep(self, session: _RecordedSession, lines: Iterable[Line], now: float) -> None:
        for line in lines:
            if self._size + self._writer.size + len(line.data) > self.memory:
                session.is_lost = True
                session.converter = StepConverter("")  # it holds what was said last
                self._add(line_of(ended(line.session, now, "cut", "the disk did not keep up")))
                if count := self._seldom.count("cut", now):
                    log.warning("the recording does not keep up: sessions cut: %d", count)
                return
            self._add(line)

    def _add(self, line: Line) -> None:
        self._lines.append(line)
        self._size += len(line.data)

    def _hand_over(self) -> None:
        lines, size = self._lines, self._size
        self._lines, self._size = [], 0
        write = partial(self._tray.write_lines, lines, flush=True)
        if lines and not self._writer.put(size, write, always=True):
            for session in {line.session for line in lines} & self._sessions.keys():
                self._sessions[session].is_lost = True
            if self._seldom.count("thread", time.time()):
                log.error("cannot record: no thread can be started; the mail goes on")

    def close(self) -> None:
        """Write what is left, within 2 s; sessions that go on have no end in the trace."""
        with self._lock:
            self._hand_over()
        if self._writer.close():
            self._tray.close()


def _has_loop() -> bool:
    """Whether this thread serves all sessions, none of which may wait for a recording."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _size_of(stretch: Stretch) -> int:
    """Bytes that wait with a stretch, about."""
    heard, results = stretch.heard, stretch.results.values()
    size = _ENTRY * (1 + len(heard)) + weight_of_outcomes(stretch) + weight_of_contexts(results)
    return size + sum([len(one) for one in heard if isinstance(one, bytes)])
