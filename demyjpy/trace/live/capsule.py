"""Crash capsules: when a handler fails, one file with all that it takes to see it fail again.

A capsule is a trace whose header has more in it (``capsule``): the traceback, the context before,
versions. So whatever reads traces reads capsules.
"""

import inspect
import platform
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from sys import getsizeof
from typing import Any, Final

from attrs import define, field, frozen

from demyjpy.codec import name_of
from demyjpy.context import Context, new_context
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.connection import Step
from demyjpy.engine.tape import Stretch
from demyjpy.errors import TraceError
from demyjpy.events import Disconnect
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.files import damages, open_to_read, read_lines
from demyjpy.trace.format.json_context import apply_changes, changes
from demyjpy.trace.format.json_lines import parse_line, seconds_of
from demyjpy.trace.format.reading import dump_record, load
from demyjpy.trace.format.records import Record, header, queue_id_in
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.format.writing import version
from demyjpy.trace.live.background_writer import BackgroundWriter, RateLimit
from demyjpy.trace.live.bounded_directory import BoundedDirectory, file_stamp
from demyjpy.trace.live.kept_sessions import (
    KeptSession,
    OpenSessions,
    is_failure,
    records_of,
    weight_of_outcomes,
)
from demyjpy.trace.live.shared_memory import RESERVE, SHARED
from demyjpy.wire.json_bytes import dump_optional, dump_text, load_optional, load_text

_LONGEST: Final = 8 << 20  # bytes of one session that are kept
_RECENT: Final = 2  # stretches whose contexts are kept

MEMORY: Final = 16 << 20
FILES: Final = 100
DISK: Final = 256 << 20
RATE: Final = 30
SAME: Final = 5
AGAIN: Final = 3600.0  # seconds until a failure that was written `SAME` times is written again

_MOST_KINDS: Final = 1000  # of failures that are counted by themselves


@frozen
class Capsule:
    """A handler's failure, and the session up to it.

    ``error`` is the class of the exception; ``ctx`` the context that the handler got, as far as a trace
    keeps it; ``file`` where the handler is; ``versions`` those of Python and of the libraries.
    """

    event: str
    handler: str
    file: str
    error: str
    text: str
    traceback: str
    queue_id: str | None
    time: float
    ctx: Context = field(repr=False)
    versions: dict[str, str] = field(repr=False)
    trace: Trace = field(repr=False)


@define
class _Tape:
    """The tape of one session, until it is too long (``is_full``).

    Of the message that is open it has the contexts, too, but in no more than `_RECENT` stretches; the
    first ``ended`` stretches have none.
    """

    stretches: list[Stretch] = field(factory=list)
    ended: int = 0
    size: int = 0
    is_full: bool = False

    def outline(self, kept: int = 0) -> None:
        """The contexts go, but those of the last ``kept`` stretches."""
        stretches = self.stretches
        end = max(self.ended, len(stretches) - kept)
        for place in range(self.ended, end):
            stretches[place] = stretches[place].outline()
        self.ended = end


class CapsuleMaker:
    """A watcher that writes a capsule for each failure of a handler; ``capsules=`` of `start_milter`.

    ``most`` and ``disk`` (bytes) bound the files: the oldest are removed. ``memory``: bytes of sessions
    that are kept, and wait to be written; one gets half of it at most. ``rate``: files a minute;
    ``same``: files an hour for one failure (event, handler, class of the error, place). Other failures
    are counted. A thread writes. It may be called from any thread; a disk that fails is one line in the
    log.

    It reads tapes, which costs next to nothing: a session is decoded if a handler has failed in it.
    Called with steps it does the same, at the price of steps.
    """

    keeps_bodies = True

    def __init__(
        self,
        directory: str | Path,
        *,
        most: int = FILES,
        disk: int = DISK,
        memory: int = MEMORY,
        rate: int = RATE,
        same: int = SAME,
    ) -> None:
        self._directory = BoundedDirectory(directory, files=most, disk=disk).prepare()
        self._by, self._versions = version(), versions()
        self.memory = memory
        self._writer = BackgroundWriter("capsules", memory)
        self._limit, self._seldom = RateLimit(rate), Seldom(60.0)
        self._same = same
        self._kinds: dict[tuple[str, ...], RateLimit] = {}
        self._sessions = OpenSessions(lambda name: KeptSession(StepConverter(name)))
        self._tapes: dict[str, _Tape] = {}
        self._lock = threading.Lock()
        self._count = 0
        self.size = 0
        """Bytes of sessions that are kept."""
        SHARED.join(self)

    @property
    def held(self) -> int:
        """Bytes that it holds now."""
        return self.size + self._writer.size

    # ------------------------------------------------------------------------------------- tapes
    def read(self, stretch: Stretch) -> None:
        """Take a stretch of a tape."""
        name = stretch.session
        tape = self._tapes.get(name)
        if tape is None:
            tape = self._tapes[name] = _Tape()
        if not tape.is_full:
            size = sum(map(getsizeof, stretch.heard)) + weight_of_outcomes(stretch)
            with self._lock:
                self._keep_stretch(tape, stretch, size)
        if stretch.turned and any(map(is_failure, stretch.turned)):
            failed = [step for step in stretch.steps or () if is_failure(step)]
            for number, step in enumerate(failed, 1):
                self._take_failed(step, stretch, tape, number)
        tape.outline(_RECENT if stretch.is_open else 0)
        if stretch.is_over:
            with self._lock:
                del self._tapes[name]
                self.size -= tape.size

    def _keep_stretch(self, tape: _Tape, stretch: Stretch, size: int) -> None:
        if size > self._room_beside(tape.size):
            tape.is_full = True
            return
        tape.stretches.append(stretch)
        tape.size += size
        self.size += size

    def _take_failed(self, step: Step, stretch: Stretch, tape: _Tape, number: int) -> None:
        """A step has failed, the first of this stretch, or the second ...: the capsule ends with it."""
        records = records_of(
            stretch.opened,
            tuple(tape.stretches),
            failed=(stretch, number),
            is_full=tape.is_full,
        )
        with self._lock:
            self._take_failure(step, map(dump_record, records), tape.size, time.time())

    # ------------------------------------------------------------------------------------- steps
    def __call__(self, step: Step) -> None:
        """Take a step."""
        now = time.time()
        with self._lock:
            session = self._sessions[step.session]
            if not session.is_full:
                for record in session.converter.take(step, now):
                    self._keep(session, dump_record(record), now)
            if is_failure(step):
                self._take_failure(step, session.lines(), session.size, now)
            if isinstance(step.event, Disconnect):
                del self._sessions[step.session]
                self.size -= session.size

    def close(self) -> None:
        """Let what is to be written be written; see `BackgroundWriter.close`."""
        self._writer.close()

    def _room_beside(self, size: int) -> int:
        """The bytes that a session of this size may still have."""
        mine = min(_LONGEST, self.memory // 2) - size
        held = self.held
        if held > self.memory // RESERVE:
            mine = min(mine, SHARED.room())
        return min(mine, self.memory - held)

    def _keep(self, session: KeptSession, line: bytes, now: float) -> None:
        if session.is_full:
            return
        if len(line) > self._room_beside(session.size):
            session.is_full, line = True, session.cut(now)
            session.converter = StepConverter("")  # it holds what was said last
        session.add(line)
        self.size += len(line)

    def _take_failure(self, step: Step, lines: Iterable[bytes], size: int, now: float) -> None:
        error: Any = step.error
        kind = self._limit_of(step, error)
        if kind.allows() and self._limit.allows():
            about = {**_about(step, error), "versions": self._versions}
            first = dump_record({**header("capsule", now, self._by), "capsule": about})
            write = partial(self._write, step.session, kind, first, lines, now)
            if self._writer.put(len(first) + size, write):
                return
        if count := self._seldom.count("left out", now):
            log.warning("capsules left out: %d: too many, or too many of the same failure", count)

    def _limit_of(self, step: Step, error: Exception) -> RateLimit:
        place = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            place = f"{frame.f_code.co_filename}:{line}"
        handler = "" if step.handler is None else step.handler.name
        kind = (name_of(step.event), handler, type(error).__name__, place)
        if kind not in self._kinds:
            while len(self._kinds) >= _MOST_KINDS:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[kind] = RateLimit(self._same, AGAIN)
        return self._kinds[kind]

    def _write(
        self, session: str, kind: RateLimit, first: bytes, lines: Iterable[bytes], now: float
    ) -> None:
        self._count += 1
        name = f"{file_stamp(now)}-{session}-{self._count}.capsule.jsonl"
        path = self._directory.write_file(name, [first, *lines])
        if path is not None:
            log.info("capsule written: %s", path)
            return
        with self._lock:
            kind.give_back()


def _about(step: Step, error: Exception) -> Record:
    """What a capsule has besides the session."""
    handler = step.handler
    code = None if handler is None else getattr(inspect.unwrap(handler.function), "__code__", None)
    return {
        "event": name_of(step.event),
        "handler": "" if handler is None else dump_text(handler.name),
        "file": "" if code is None else dump_text(code.co_filename),
        "error": type(error).__name__,
        "text": dump_text(_text(lambda: str(error))),
        "traceback": dump_text(_text(lambda: "".join(traceback.format_exception(error)))),
        "queue_id": dump_optional(queue_id_in(step.before)),
        "context": changes(new_context(), step.before),
    }


def _text(make: Any) -> str:
    try:
        return str(make())
    except Exception as problem:  # noqa: BLE001  # the exception is the user's
        return f"<{type(problem).__name__}>"


def versions() -> dict[str, str]:
    """Python, the system, and the libraries."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in ("demyjpy", "attrs", "pyrsistent"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def load_capsule(path: str | Path) -> Capsule:
    """A capsule from its file; `OSError` or `TraceError` if it is none."""
    with open_to_read(path) as stream:
        try:
            first = parse_line(next(read_lines(stream), b""))
        except ValueError:
            raise _no_capsule(path, "a file that is no JSON") from None
        except TraceError as error:
            raise _no_capsule(path, f"one that is damaged ({error})") from None
        except damages():
            raise _no_capsule(path, "a compressed file that is damaged") from None
    if not isinstance(first, dict) or "capsule" not in first:
        is_trace = isinstance(first, dict) and "trace" in first
        raise _no_capsule(path, "a trace: try demyjpy explain" if is_trace else "other JSON")
    try:
        about = first["capsule"]
        found = {
            key: load_text(about[key])
            for key in ("event", "handler", "file", "error", "text", "traceback")
        }
        ctx = apply_changes(new_context(), about["context"])
        queue_id = load_optional(about["queue_id"])
        made = seconds_of(first.get("time"))
        known = {name: load_text(one) for name, one in about.get("versions", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_capsule(path, f"one that is damaged ({error!r:.80})") from None
    traces = load(path)
    if not traces:
        raise TraceError(f"expected a session in {path}, got none")
    return Capsule(**found, queue_id=queue_id, time=made, ctx=ctx, versions=known, trace=traces[0])


def _no_capsule(path: str | Path, what: str) -> TraceError:
    return TraceError(f"expected a capsule (demyjpy run --capsules writes them) in {path}, got {what}")


def has_failed_again(capsule: Capsule, steps: Iterable[Step]) -> bool:
    """Whether among these steps there is the same failure: handler, event, class of the error."""
    return any(
        step.error is not None
        and step.handler is not None
        and (type(step.error).__name__, name_of(step.event)) == (capsule.error, capsule.event)
        for step in steps
    )
