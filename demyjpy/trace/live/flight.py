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
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from attrs import validators as v

from demyjpy.drivers.dumping import DUMP, obeying
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.connection import Step
from demyjpy.events import Disconnect, EndOfMessage
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import header
from demyjpy.trace.format.writing import version
from demyjpy.trace.live.background_writer import BackgroundWriter, RateLimit
from demyjpy.trace.live.bounded_directory import BoundedDirectory, file_stamp
from demyjpy.trace.live.kept_sessions import KeptSession, OpenSessions
from demyjpy.verdicts import ENDINGS, fate_of, verdicts_in

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

    ``errors``: a handler has failed. ``slower_than``: one has taken longer (seconds).
    ``outcomes``: this became of a message (``"rejected"``, ``"quarantined"`` ...). ``when``: a
    function of a `Step` says so. ``sample``: a share of all sessions, from 0 to 1.
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
        if self.outcomes and verdicts_in(step.answer) and self._has_outcome(step):
            return "outcome"
        return "chosen" if self.when is not None and self.when(step) else None

    def _has_outcome(self, step: Step) -> bool:
        fate = fate_of(step.answer[-1], step.answer)
        is_end = isinstance(step.event, EndOfMessage)
        return fate in self.outcomes and (is_end or not fate.goes_on)


@define
class _Flight(KeptSession):
    """One session in memory, and why it is to be written, if it is."""

    why: str | None = None


class FlightRecorder:
    """An observer that keeps the last sessions in memory; ``flight=`` of `start_milter`.

    ``directory`` is where they are written to. ``sessions`` and ``memory`` (bytes) bound what each
    process keeps, until it is written; one session gets an eighth of the memory at most. ``disk``
    (bytes), ``files`` and ``days`` bound the directory: the oldest files are removed. ``rate``: files a
    minute; further sessions are left out and counted. It may be called from
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
        self._directory = BoundedDirectory(directory, files=files, disk=disk, days=days).prepare()
        self._version = version()
        self._writer = BackgroundWriter("flight", memory)
        self._rate, self._limit, self._seldom = rate, RateLimit(rate), Seldom(60.0)
        self._triggers = triggers or Triggers()
        self._privacy = privacy or Privacy()
        self._most, self._memory = sessions, memory
        self._open = OpenSessions(self._begin)
        self._done: deque[_Flight] = deque()
        self._lock = threading.Lock()
        self.size = 0

    def _begin(self, session: str) -> _Flight:
        is_chosen = random.random() < self._triggers.sample  # noqa: S311  # no secret hangs on it
        return _Flight(StepConverter(session), why="sample" if is_chosen else None)

    def __call__(self, step: Step) -> None:
        """Take a step."""
        now = time.time()
        with self._lock:
            flight = self._open[step.session]
        # without the lock, for it takes long: the steps of one session come one after the other
        records = flight.converter.take(step, now)
        lines = [dump_record(self._privacy.of(one)) for one in records if not flight.is_full]
        with self._lock:
            for line in lines:
                self._keep(flight, line)
            flight.why = flight.why or self._triggers.why(step)
            if isinstance(step.event, Disconnect):
                self._finish(step.session, flight, now)

    def _keep(self, flight: _Flight, line: bytes) -> None:
        self._forget(len(line))
        if len(line) > min(self._memory // 8 - flight.size, self._memory - self.size):
            flight.is_full = True
        if not flight.is_full:
            self._add(flight, line)

    def _add(self, flight: _Flight, line: bytes) -> None:
        flight.add(line)
        self.size += len(line)

    def _forget(self, wanted: int) -> None:
        """Make room in memory: the oldest sessions that have ended go first."""
        while self._done and (self.size + wanted > self._memory or len(self._done) > self._most):
            self.size -= self._done.popleft().size

    def _finish(self, session: str, flight: _Flight, now: float) -> None:
        del self._open[session]
        end = flight.cut(now) if flight.is_full else dump_record(flight.converter.end(now))
        self._add(flight, end)
        if flight.why is None:
            self._done.append(flight)
            self._forget(0)
        elif not self._limit.allows():
            self.size -= flight.size
            if count := self._seldom.count("rate", now):
                words = "flights left out: %d: more than %d a minute are not written"
                log.warning(words, count, self._rate)
        elif not self._writer.put(0, partial(self._write, flight.why, flight.lines, flight.size)):
            self.size -= flight.size
            self._directory.fail("there is no thread to be had")

    # ---------------------------------------------------------------------------- writing out
    def dump(self, why: str = "asked") -> Path | None:
        """Write out all that is in memory, and forget what has ended.

        The file, when it is written; None if there is nothing to write, or if it fails: the log says
        which.
        """
        written: list[Path | None] = []
        with self._lock:
            flights = [*self._done, *self._open.values()]
            # what open sessions have now, and not what they will have
            lines = [line for flight in flights for line in flight.lines]
            if not lines:
                log.info("%s: nothing to write: no session is in memory", why)
                return None
            done = sum(flight.size for flight in self._done)
            self._done.clear()
            is_over = threading.Event()

            def act() -> None:
                try:
                    written.append(self._write(why, lines, done))
                finally:
                    is_over.set()

            if not self._writer.put(0, act):
                self.size -= done
                self._directory.fail("there is no thread to be had")
                return None
        is_over.wait()
        return written[0] if written else None

    def close(self) -> None:
        """Let what is to be written be written, within half a second."""
        self._writer.close()

    def _write(self, why: str, lines: Iterable[bytes], held: int) -> Path | None:
        name = f"{file_stamp(time.time())}-{why}-{secrets.token_hex(4)}.jsonl"
        first = dump_record(header(f"flight: {why}", time.time(), self._version))
        try:
            path = self._directory.write_file(name, [first, *lines])
        finally:
            with self._lock:
                self.size -= held
        if path is not None:
            log.info("%s: written to %s", why, path)
        return path

    def obeying_signal(self) -> AbstractContextManager[None]:
        """While the block runs, `SIGNAL` has all written out; in the main thread only."""
        return obeying(partial(self.dump, "signal"))
