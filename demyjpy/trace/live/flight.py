"""The flight recorder: the last sessions in memory, written out when something happens.

Nothing goes to disk until then, and then a thread writes. `demyjpy.trace.format.privacy` decides what
is kept of a mail. Memory and disk are bounded in bytes, files in number, and in a minute; a disk that
fails is one line in the log.
"""

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from attrs import validators as v

from demyjpy.drivers.dumping import DUMP, obeying
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.connection import Step
from demyjpy.errors import TraceError
from demyjpy.events import Disconnect
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.files import open_to_write
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import ended, header
from demyjpy.trace.live.background_writer import BackgroundWriter, RateLimit
from demyjpy.trace.live.bounded_directory import BoundedDirectory
from demyjpy.trace.live.recording import Tray, version
from demyjpy.verdicts import ENDINGS, fate_of

SIGNAL: Final = DUMP
"""What has everything in memory written out."""

SESSIONS: Final = 100
MEMORY: Final = 8 << 20
DISK: Final = 64 << 20
FILES: Final = 1000
DAYS: Final = 7.0
RATE: Final = 60


def _outcomes(given: Iterable[str]) -> frozenset[str]:
    return frozenset((given,) if isinstance(given, str) else given)


@frozen(kw_only=True)
class Triggers:
    """When a session is written out, at its end.

    ``errors``: a handler has failed. ``slower_than``: one has taken longer than so many seconds.
    ``outcomes``: a message came to one of these (``"rejected"``, ``"quarantined"`` ...). ``when``: a
    function of a `Step` says so. ``sample``: so large a share of all sessions, from 0 to 1.
    """

    errors: bool = True
    slower_than: float | None = 10.0
    outcomes: frozenset[str] = field(
        default=frozenset(), converter=_outcomes, validator=v.deep_iterable(v.in_(ENDINGS))
    )
    when: Callable[[Step], bool] | None = None
    sample: float = field(default=0.0, validator=[v.ge(0), v.le(1)])

    def why(self, step: Step) -> str | None:
        """Why a session with this step is written out, in a word; None if it is not because of it."""
        if self.errors and step.error is not None:
            return "error"
        if self.slower_than is not None and (step.duration or 0.0) > self.slower_than:
            return "slow"
        if self.outcomes and step.answer and self._has_outcome(step):
            return "outcome"
        return "chosen" if self.when is not None and self.when(step) else None

    def _has_outcome(self, step: Step) -> bool:
        fate = fate_of(step.answer[-1], step.answer)
        is_end = type(step.event).__name__ == "EndOfMessage"
        return fate in self.outcomes and (is_end or not fate.goes_on)


@define
class _Flight:
    """One session in memory: its lines, and why it is to be written, if it is."""

    tape: StepConverter
    lines: list[bytes] = field(factory=list)
    size: int = 0
    why: str | None = None
    is_full: bool = False


class FlightRecorder:
    """An observer that keeps the last sessions in memory; ``flight=`` of `start_milter`.

    ``directory`` is where they are written to. ``sessions`` and ``memory`` (bytes) bound what each
    process keeps, until it is written; one session gets an eighth of the memory at most. ``disk``
    (bytes), ``files`` and ``days`` bound the directory: the oldest files are removed. ``rate``: so many
    files a minute; what more sessions would be written is left out and counted. It may be called from
    any thread.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        triggers: Triggers | None = None,
        privacy: Privacy | None = None,
        sessions: int = SESSIONS,
        memory: int = MEMORY,
        disk: int = DISK,
        files: int = FILES,
        days: float = DAYS,
        rate: int = RATE,
    ) -> None:
        self._directory = Path(directory)
        self._version = version()
        self._shelf = BoundedDirectory(self._directory, files=files, disk=disk, days=days)
        self._desk = BackgroundWriter("flight", memory)
        self._rate, self._pace, self._seldom = rate, RateLimit(rate), Seldom(60.0)
        Tray(self._directory, "flight").prepare()
        self._triggers = triggers or Triggers()
        self._privacy = privacy or Privacy()
        self._most, self._memory = sessions, memory
        self._open: dict[str, _Flight] = {}
        self._done: deque[_Flight] = deque()
        self._lock = threading.Lock()
        self._has_failed = False
        self.size = 0

    def __call__(self, step: Step) -> None:
        """Take a step."""
        now = time.time()
        with self._lock:
            flight = self._open.get(step.session)
            if flight is None:
                flight = self._open[step.session] = _Flight(StepConverter(step.session))
                if random.random() < self._triggers.sample:  # noqa: S311  # no secret hangs on it
                    flight.why = "sample"
        # without the lock, for it takes long: the steps of one session come one after the other
        records = flight.tape.take(step, now)
        lines = [dump_record(self._privacy.of(one)) for one in records if not flight.is_full]
        with self._lock:
            for line in lines:
                self._keep(flight, line)
            flight.why = flight.why or self._triggers.why(step)
            if isinstance(step.event, Disconnect):
                self._finish(step.session, flight, now)

    def _keep(self, flight: _Flight, line: bytes) -> None:
        self._forget(len(line))
        is_too_much = flight.size + len(line) > self._memory // 8 or self.size + len(line) > self._memory
        if flight.is_full or is_too_much:
            flight.is_full = True
            return
        self._add(flight, line)

    def _add(self, flight: _Flight, line: bytes) -> None:
        flight.lines.append(line)
        flight.size += len(line)
        self.size += len(line)

    def _forget(self, wanted: int) -> None:
        """Make room in memory: the oldest sessions that have ended go first."""
        while self._done and (self.size + wanted > self._memory or len(self._done) > self._most):
            self.size -= self._done.popleft().size

    def _finish(self, session: str, flight: _Flight, now: float) -> None:
        del self._open[session]
        self._add(flight, dump_record(_end_of(flight, now)))
        if flight.why is None:
            self._done.append(flight)
            self._forget(0)
        elif not self._pace.allows():
            self.size -= flight.size
            count = self._seldom.count("rate", now)
            if count:
                log.warning(
                    "flights left out: %d: more than %d a minute are not written", count, self._rate
                )
        elif not self._desk.put(0, partial(self._write, flight.why, [flight], flight.size)):
            self.size -= flight.size
            self._fail("there is no thread to be had")

    # ---------------------------------------------------------------------------- writing out
    def dump(self, why: str = "asked") -> Path | None:
        """Write out all that is in memory, and forget what has ended.

        The file, when it is written; None if there is nothing to write, or if it fails: the log says
        which.
        """
        written: list[Path | None] = []
        with self._lock:
            flights = [*self._done, *self._open.values()]
            if not any(flight.lines for flight in flights):
                log.info("%s: nothing to write: no session is in memory", why)
                return None
            done = sum(flight.size for flight in self._done)
            self._done.clear()
            # what open sessions have now, and not what they will have
            now = [_Flight(flight.tape, flight.lines.copy()) for flight in flights]
            is_over = threading.Event()

            def act() -> None:
                try:
                    written.append(self._write(why, now, done))
                finally:
                    is_over.set()

            if not self._desk.put(0, act):
                self.size -= done
                self._fail("there is no thread to be had")
                return None
        is_over.wait()
        return written[0] if written else None

    def close(self) -> None:
        """Let what is to be written be written, within half a second."""
        self._desk.close()

    def _write(self, why: str, flights: Iterable[_Flight], held: int) -> Path | None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._directory / f"{stamp}-{why}-{secrets.token_hex(4)}.jsonl"
        part = path.with_suffix(".jsonl.part")  # whoever sees the file sees all of it
        try:
            first = dump_record(header(f"flight: {why}", time.time(), self._version))
            lines = [first, *(line for flight in flights for line in flight.lines)]
            size = sum(map(len, lines))
            self._shelf.make_room(size)
            with open_to_write(part) as stream:
                stream.writelines(lines)
            part.rename(path)
        except (OSError, TraceError) as error:
            self._fail((error.strerror if isinstance(error, OSError) else None) or error)
            with suppress(OSError):
                part.unlink()
            return None
        finally:
            with self._lock:
                self.size -= held
        self._shelf.add(path.name, size)
        if self._has_failed:
            self._has_failed = False
            log.info("it is written again to %s", self._directory)
        log.info("%s: written to %s", why, path)
        return path

    def _fail(self, error: object) -> None:
        if not self._has_failed:
            self._has_failed = True
            log.error("cannot write to %s: %s; the mail goes on", self._directory, error)

    def obeying_signal(self) -> AbstractContextManager[None]:
        """While the block runs, `SIGNAL` has all written out; in the main thread only."""
        return obeying(partial(self.dump, "signal"))


def _end_of(flight: _Flight, now: float) -> dict[str, Any]:
    if flight.is_full:
        return ended(flight.tape.session, now, "cut", "it was too long to be kept")
    return flight.tape.end(now)
