"""Crash capsules: when a handler fails, one file with all that it takes to see it fail again.

A capsule is a trace whose header has more in it (``capsule``): the traceback, the context before,
versions. So whatever reads traces reads capsules.
"""

import platform
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from demyjpy.connection import Step
from demyjpy.context import Context, new_context
from demyjpy.drivers.report import log
from demyjpy.errors import TraceError
from demyjpy.events import Disconnect
from demyjpy.macros import Macros
from demyjpy.trace.fields import name_of
from demyjpy.trace.files import damages, open_to_read, open_to_write, read_lines
from demyjpy.trace.octets import dump_text, load_text
from demyjpy.trace.parsing import parse_line, seconds_of
from demyjpy.trace.reading import dump_record, load
from demyjpy.trace.records import Record, header
from demyjpy.trace.session import Trace
from demyjpy.trace.tapes import StepTape
from demyjpy.trace.values import apply_changes, changes
from demyjpy.trace.writing import Tray, version

_LONGEST: Final = 8 << 20  # bytes of one session that are kept


@frozen
class Capsule:
    """A handler's failure, and the session up to it.

    ``ctx`` is the context that the handler got, as far as a trace keeps it; ``file`` where the handler
    is; ``versions`` those of Python and of the libraries.
    """

    event: str
    handler: str
    file: str
    error: str
    """Its class."""
    text: str
    traceback: str
    queue_id: str | None
    time: float
    ctx: Context = field(repr=False)
    versions: dict[str, str] = field(repr=False)
    trace: Trace = field(repr=False)


@define
class _Session:
    tape: StepTape
    lines: list[bytes] = field(factory=list)
    size: int = 0


class CapsuleMaker:
    """An observer that writes a capsule for each failure of a handler; ``capsules=`` of `start_milter`.

    ``most`` bounds the files: the oldest are removed. It may be called from any thread; a disk that
    fails is one line in the log.
    """

    def __init__(self, directory: str | Path, *, most: int = 100) -> None:
        self._directory = Path(directory)
        Tray(self._directory, "capsule").prepare()
        self._most = most
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._has_failed = False

    def __call__(self, step: Step) -> None:
        """Take a step."""
        now = time.time()
        with self._lock:
            session = self._sessions.get(step.session)
            if session is None:
                session = self._sessions[step.session] = _Session(StepTape(step.session))
            for record in session.tape.take(step, now):
                line = dump_record(record)
                if session.size + len(line) <= _LONGEST:
                    session.lines.append(line)
                    session.size += len(line)
            if step.error is not None and step.handler is not None:
                self._write(step, step.error, session, now)
            if isinstance(step.event, Disconnect):
                del self._sessions[step.session]

    def _write(self, step: Step, error: Exception, session: _Session, now: float) -> None:
        self._count += 1
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        path = self._directory / f"{stamp}-{step.session}-{self._count}.capsule.jsonl"
        try:
            with open_to_write(path) as stream:
                first = {**header("capsule", now, version()), "capsule": _about(step, error)}
                stream.write(dump_record(first))
                stream.writelines(session.lines)
            for old in sorted(self._directory.glob("*.capsule.jsonl"))[: -self._most]:
                old.unlink()
        except OSError as problem:
            if not self._has_failed:
                self._has_failed = True
                log.error("cannot write to %s: %s; the mail goes on", self._directory, problem)
            with suppress(OSError):
                path.unlink()
        else:
            self._has_failed = False
            log.info("capsule written: %s", path)


def _about(step: Step, error: Exception) -> Record:
    """What a capsule tells besides the session."""
    handler = step.handler
    code = None if handler is None else getattr(_innermost(handler.function), "__code__", None)
    macros = step.before.get("macros")
    queue_id = macros.get("i") if isinstance(macros, Macros) else None
    return {
        "event": name_of(step.event),
        "handler": "" if handler is None else dump_text(handler.name),
        "file": "" if code is None else dump_text(code.co_filename),
        "error": type(error).__name__,
        "text": dump_text(_text(lambda: str(error))),
        "traceback": dump_text(_text(lambda: "".join(traceback.format_exception(error)))),
        "queue_id": None if queue_id is None else dump_text(queue_id),
        "context": changes(new_context(), step.before),
        "versions": versions(),
    }


def _innermost(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def _text(make: Any) -> str:
    try:
        found: str = make()
    except Exception as problem:  # noqa: BLE001  # the exception is the user's
        return f"<{type(problem).__name__}>"
    return found


def versions() -> dict[str, str]:
    """Python, the system, and the libraries."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in ("demyjpy", "attrs", "pyrsistent"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def load_capsule(path: str | Path) -> Capsule:
    """A capsule from its file; `OSError` or `TraceError` where it is none."""
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
        queue_id = None if about["queue_id"] is None else load_text(about["queue_id"])
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


def has_failed_alike(capsule: Capsule, steps: Iterable[Step]) -> bool:
    """Whether among these steps there is the same failure: handler, event, class of the error."""
    return any(
        step.error is not None
        and step.handler is not None
        and (type(step.error).__name__, name_of(step.event)) == (capsule.error, capsule.event)
        for step in steps
    )
