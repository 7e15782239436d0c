"""The flight recorder: the last sessions in memory, written out when something happens.

Nothing goes to disk until then. What is kept of a mail is `demyjpy.trace.privacy`'s; memory and disk are
bounded in bytes, and a disk that fails is one line in the log.
"""

import random
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from attrs import validators as v

from demyjpy.connection import Step
from demyjpy.drivers.report import log
from demyjpy.events import Disconnect
from demyjpy.trace.files import open_to_write
from demyjpy.trace.privacy import Privacy
from demyjpy.trace.reading import dump_record
from demyjpy.trace.records import ended, header
from demyjpy.trace.tapes import StepTape
from demyjpy.trace.writing import Tray, version
from demyjpy.verdicts import ENDINGS, fate_of

SIGNAL: Final = signal.SIGUSR1
"""What has everything in memory written out."""


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

    tape: StepTape
    lines: list[bytes] = field(factory=list)
    size: int = 0
    why: str | None = None
    is_full: bool = False


class FlightRecorder:
    """An observer that keeps the last sessions in memory; ``flight=`` of `start_milter`.

    ``directory`` is where they are written to. ``sessions`` and ``memory`` (bytes) bound what each
    process keeps; one session gets an eighth of the memory at most. ``disk`` (bytes) and ``days`` bound
    the directory: the oldest files are removed. It may be called from any thread.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        triggers: Triggers | None = None,
        privacy: Privacy | None = None,
        sessions: int = 100,
        memory: int = 8 << 20,
        disk: int = 64 << 20,
        days: float = 7.0,
    ) -> None:
        self._directory = Path(directory)
        Tray(self._directory, "flight").prepare()
        self._triggers = triggers or Triggers()
        self._privacy = privacy or Privacy()
        self._most, self._memory, self._disk, self._days = sessions, memory, disk, days
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
                flight = self._open[step.session] = _Flight(StepTape(step.session))
                if random.random() < self._triggers.sample:  # noqa: S311  # no secret hangs on it
                    flight.why = "sample"
            for record in flight.tape.take(step, now):
                self._keep(flight, dump_record(self._privacy.of(record)))
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
        if flight.why is not None:
            self.size -= flight.size
            self._write(flight.why, [flight])
        else:
            self._done.append(flight)
            self._forget(0)

    # ---------------------------------------------------------------------------- writing out
    def dump(self, why: str = "asked") -> Path | None:
        """Write out all that is in memory, and forget what has ended.

        The file; None if there is nothing to write, or if it fails: the log says which.
        """
        with self._lock:
            flights = [*self._done, *self._open.values()]
            if not any(flight.lines for flight in flights):
                log.info("%s: nothing to write: no session is in memory", why)
                return None
            self.size -= sum(flight.size for flight in self._done)
            self._done.clear()
            return self._write(why, flights)

    def _write(self, why: str, flights: Iterable[_Flight]) -> Path | None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self._directory / f"{stamp}-{why}-{secrets.token_hex(4)}.jsonl"
        part = path.with_suffix(".jsonl.part")  # whoever sees the file sees all of it
        try:
            lines = [line for flight in flights for line in flight.lines]
            self._make_room(sum(map(len, lines)))
            with open_to_write(part) as stream:
                stream.write(dump_record(header(f"flight: {why}", time.time(), version())))
                stream.writelines(lines)
            part.rename(path)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                log.error("cannot write to %s: %s; the mail goes on", self._directory, error)
            with suppress(OSError):
                part.unlink()
            return None
        self._has_failed = False
        log.info("%s: written to %s", why, path)
        return path

    def _make_room(self, wanted: int) -> None:
        """Remove files that are too old, and the oldest until there is room."""
        found = sorted((path.stat().st_mtime, path) for path in self._directory.glob("*.jsonl*"))
        total = wanted + sum(path.stat().st_size for _, path in found)
        oldest = time.time() - self._days * 86_400
        for modified, path in found:
            if modified < oldest or total > self._disk:
                total -= path.stat().st_size
                path.unlink()

    @contextmanager
    def obeying_signal(self) -> Iterator[None]:
        """While the block runs, `SIGNAL` has all written out; in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def obey(*_: Any) -> None:
            # not here: what was interrupted may hold the lock
            threading.Thread(target=self.dump, args=("signal",), name="demyjpy-dump").start()

        before = signal.signal(SIGNAL, obey)
        try:
            yield
        finally:
            signal.signal(SIGNAL, before)


def _end_of(flight: _Flight, now: float) -> dict[str, Any]:
    if flight.is_full:
        return ended(flight.tape.session, now, "cut", "it was too long to be kept")
    return flight.tape.end(now)
