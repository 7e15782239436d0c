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
from typing import Any, Final

from attrs import field, frozen

from demyjpy.codec import name_of
from demyjpy.context import Context, new_context
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.connection import Step
from demyjpy.errors import TraceError
from demyjpy.events import Disconnect
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.files import damages, open_to_read, read_lines
from demyjpy.trace.format.json_bytes import dump_optional, dump_text, load_optional, load_text
from demyjpy.trace.format.json_context import apply_changes, changes
from demyjpy.trace.format.json_lines import parse_line, seconds_of
from demyjpy.trace.format.reading import dump_record, load
from demyjpy.trace.format.records import Record, header, queue_id_in
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.format.writing import version
from demyjpy.trace.live.background_writer import BackgroundWriter, RateLimit
from demyjpy.trace.live.bounded_directory import BoundedDirectory, file_stamp
from demyjpy.trace.live.kept_sessions import KeptSession, OpenSessions

_LONGEST: Final = 8 << 20  # bytes of one session that are kept

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


class CapsuleMaker:
    """An observer that writes a capsule for each failure of a handler; ``capsules=`` of `start_milter`.

    ``most`` and ``disk`` (bytes) bound the files: the oldest are removed. ``memory``: bytes of sessions
    that are kept, and wait to be written; one gets half of it at most. ``rate``: files a minute;
    ``same``: files an hour for one failure (event, handler, class of the error, place). Other failures
    are counted. A thread writes. It may be called from any thread; a disk that fails is one line in the
    log.
    """

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
        self._memory = memory
        self._writer = BackgroundWriter("capsules", memory)
        self._limit, self._seldom = RateLimit(rate), Seldom(60.0)
        self._same = same
        self._kinds: dict[tuple[str, ...], RateLimit] = {}
        self._sessions = OpenSessions(lambda name: KeptSession(StepConverter(name)))
        self._lock = threading.Lock()
        self._count = 0
        self.size = 0
        """Bytes of sessions that are kept."""

    def __call__(self, step: Step) -> None:
        """Take a step."""
        now = time.time()
        with self._lock:
            session = self._sessions[step.session]
            if not session.is_full:
                for record in session.converter.take(step, now):
                    self._keep(session, dump_record(record), now)
            if step.error is not None and step.handler is not None:
                self._take_failure(step, step.error, session, now)
            if isinstance(step.event, Disconnect):
                del self._sessions[step.session]
                self.size -= session.size

    def close(self) -> None:
        """Let what is to be written be written, within half a second."""
        self._writer.close()

    def _keep(self, session: KeptSession, line: bytes, now: float) -> None:
        if session.is_full:
            return
        room = min(_LONGEST, self._memory // 2) - session.size
        if len(line) > min(room, self._memory - self.size - self._writer.size):
            session.is_full, line = True, session.cut(now)
            session.converter = StepConverter("")  # it holds what was said last
        session.add(line)
        self.size += len(line)

    def _take_failure(self, step: Step, error: Exception, session: KeptSession, now: float) -> None:
        kind = self._limit_of(step, error)
        if kind.allows() and self._limit.allows():
            about = {**_about(step, error), "versions": self._versions}
            first = dump_record({**header("capsule", now, self._by), "capsule": about})
            lines = [first, *session.lines]
            write = partial(self._write, step.session, kind, lines, now)
            if self._writer.put(sum(map(len, lines)), write):
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

    def _write(self, session: str, kind: RateLimit, lines: list[bytes], now: float) -> None:
        self._count += 1
        name = f"{file_stamp(now)}-{session}-{self._count}.capsule.jsonl"
        path = self._directory.write_file(name, lines)
        if path is not None:
            log.info("capsule written: %s", path)
            return
        with self._lock:
            kind.give_back()


def _about(step: Step, error: Exception) -> Record:
    """What a capsule tells besides the session."""
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
