"""The flight recorder: the last sessions in memory, written out when something happens.

Nothing goes to disk until then, and then a thread writes. `demyjpy.trace.format.privacy` decides what
is kept of a mail, in memory as on disk. Memory and disk are bounded in bytes, files in number, and in a
minute; a disk that fails is one line in the log.
"""

import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain
from math import isnan
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from attrs import validators as v

from demyjpy.drivers.dumping import DUMP, obeying
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.connection import Step
from demyjpy.engine.open_questions import Learned
from demyjpy.engine.playback import Player
from demyjpy.engine.tape import Stretch
from demyjpy.events import Disconnect, EndOfMessage
from demyjpy.trace.format.converters import StepConverter
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.reading import dump_record
from demyjpy.trace.format.records import header
from demyjpy.trace.format.scrubbing import Scrubber
from demyjpy.trace.format.writing import version
from demyjpy.trace.live.background_writer import BackgroundWriter, RateLimit
from demyjpy.trace.live.bounded_directory import BoundedDirectory, file_stamp
from demyjpy.trace.live.kept_sessions import KeptSession, KeptTape, keep_stretch
from demyjpy.trace.live.shared_memory import RESERVE, SHARED
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


def _slowest(stretch: Stretch) -> float:
    """The longest that a handler took (seconds); 0 if none of them was timed."""
    took: Iterable[float] = stretch.took
    if stretch.turned is not None:  # how long an answer takes is no matter of a handler
        results = stretch.results
        took = [
            one
            for at, one in enumerate(took)
            if not (isnan(one) or isinstance(results.get(at), Learned))
        ]
    return max(took, default=0.0)


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
        found = self._why(step)
        if found is None and self.when is not None and self.when(step):
            return "chosen"
        return found

    def _why(self, step: Step) -> str | None:
        if self.errors and step.error is not None:
            return "error"
        if self.slower_than is not None and (step.duration or 0.0) > self.slower_than:
            return "slow"
        if self.outcomes and verdicts_in(step.answer) and self._has_outcome(step):
            return "outcome"
        return None

    def _has_outcome(self, step: Step) -> bool:
        fate = fate_of(step.answer[-1], step.answer)
        is_end = isinstance(step.said, EndOfMessage)
        return fate in self.outcomes and (is_end or not fate.goes_on)

    def why_of(self, stretch: Stretch) -> str | None:
        """The same for a stretch of a tape, as it is: ``when`` is not asked."""
        if stretch.turned is not None:
            found = next(filter(None, map(self._why, stretch.turned)), None)
            if found is not None:
                return found
        if self.slower_than is not None and _slowest(stretch) > self.slower_than:
            return "slow"
        if self.outcomes and stretch.turned is None and stretch.answer:
            return "outcome" if fate_of(stretch.answer[-1], stretch.answer) in self.outcomes else None
        return None


@define
class _Flight:
    """One session in memory, and why it is to be written, if it is.

    ``player``: of the steps that ``when`` is asked about.
    """

    kept: KeptSession | KeptTape
    why: str | None
    player: Player | None = None


class FlightRecorder:
    """A watcher that keeps the last sessions in memory; ``flight=`` of `start_milter`.

    ``directory`` is where they are written to. ``sessions`` and ``memory`` (bytes) bound what each
    process keeps, until it is written; one session gets an eighth of the memory at most. ``disk``
    (bytes), ``files`` and ``days`` bound the directory: the oldest files are removed. ``rate``: files a
    minute; further sessions are left out and counted. It may be called from any thread.

    It reads tapes, which costs little: what was said is kept as bytes, less what `Privacy` forbids, and
    is decoded when it is written. Called with steps it does the same, at the price of steps.
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
        self._scrubber = Scrubber(self._privacy)
        self._most, self.memory, self._reserve = sessions, memory, memory // RESERVE
        self._open: dict[str, _Flight] = {}
        self._done: deque[_Flight] = deque()
        self._usual: tuple[Any, ...] = ()  # the handlers of the last stretch, of any session
        self._packed: tuple[Stretch, bytes] | None = None  # what was negotiated, and what is kept of it
        self._lock = threading.Lock()
        self.size = 0
        self.keeps_bodies = self._privacy.keeps_bodies or self._triggers.when is not None
        """Whether it wants the bytes of bodies on tapes."""
        SHARED.join(self)

    @property
    def held(self) -> int:
        """Bytes that it holds now."""
        return self.size

    def _begin(self, session: str, kept: KeptSession | KeptTape) -> _Flight:
        is_chosen = random.random() < self._triggers.sample  # noqa: S311  # no secret hangs on it
        flight = _Flight(kept, "sample" if is_chosen else None)
        with self._lock:
            self._open[session] = flight
        return flight

    # ------------------------------------------------------------------------------------- tapes
    def read(self, stretch: Stretch) -> None:
        """Take a stretch of a tape."""
        session, triggers = stretch.opened.session, self._triggers
        flight = self._open.get(session)
        if flight is None:
            flight = self._begin(session, KeptTape(stretch.opened, self._scrubber))
        tape: Any = flight.kept
        found = triggers.why_of(stretch)
        why = flight.why or found
        if not tape.is_full:
            kept = keep_stretch(
                stretch,
                self._scrubber,
                keeps_contexts=found == "error" and self._privacy.keeps_all,
                usual=self._usual,
                packed=None if stretch.repeats is None else self._pack_once(stretch.repeats),
            )
            if kept.handlers:
                self._usual = kept.handlers
            size = kept.size
            with self._lock:
                if self._has_room(tape, size):
                    tape.add(kept, size)
                    self.size += size
        try:
            if triggers.when is not None and flight.why is None:
                why = self._ask_when(flight, stretch)
        finally:
            flight.why = why
            if stretch.is_over:
                tape.is_over = True
                with self._lock:
                    self._finish(session, flight, time.time())

    def _pack_once(self, stretch: Stretch) -> bytes:
        """What is kept of what was heard in a stretch that is repeated."""
        known = self._packed
        if known is None or known[0] is not stretch:
            known = self._packed = stretch, b"".join(self._scrubber.pack(stretch.heard))
        return known[1]

    def _ask_when(self, flight: _Flight, stretch: Stretch) -> str | None:
        """Why a session is written, if ``when`` has a say in it: for that, it is played."""
        flight.player = flight.player or Player(stretch.opened)
        steps = flight.player.play(stretch)
        return next(filter(None, (self._triggers.why(step) for step, _ in steps)), None)

    # ------------------------------------------------------------------------------------- steps
    def __call__(self, step: Step) -> None:
        """Take a step."""
        now = time.time()
        flight = self._open.get(step.session)
        if flight is None:
            flight = self._begin(step.session, KeptSession(StepConverter(step.session)))
        session: Any = flight.kept
        # without the lock, because it takes long: the steps of one session come one after the other
        records = session.converter.take(step, now)
        lines = [dump_record(self._privacy.of(one)) for one in records if not session.is_full]
        is_over = isinstance(step.event, Disconnect)
        with self._lock:
            for line in lines:
                if self._has_room(session, len(line)):
                    self._add(session, line)
            flight.why = flight.why or self._triggers.why(step)
            if is_over:
                end = session.cut(now) if session.is_full else dump_record(session.converter.end(now))
                self._add(session, end)
                self._finish(step.session, flight, now)

    def _add(self, session: KeptSession, line: bytes) -> None:
        session.add(line)
        self.size += len(line)

    # ------------------------------------------------------------------------------------ memory
    def _has_room(self, kept: KeptSession | KeptTape, size: int) -> bool:
        """Whether so many bytes more may be kept of a session. If not, it is full."""
        if self._done:
            self._forget(size)
        if size > self.memory // 8 - kept.size or self._is_short_of(size):
            kept.is_full = True
        return not kept.is_full

    def _is_short_of(self, wanted: int) -> bool:
        """Whether there is no room for so many bytes, here or beside what other observers hold."""
        size = self.size + wanted
        return size > self._reserve and (size > self.memory or wanted > SHARED.room())

    def _forget(self, wanted: int) -> None:
        """Make room in memory: the oldest sessions that have ended go first."""
        while self._done and (len(self._done) > self._most or self._is_short_of(wanted)):
            self.size -= self._done.popleft().kept.size

    def _finish(self, session: str, flight: _Flight, now: float) -> None:
        del self._open[session]
        flight.player = None
        kept = flight.kept
        if flight.why is None:
            self._done.append(flight)
            self._forget(0)
        elif not self._limit.allows():
            self.size -= kept.size
            if count := self._seldom.count("rate", now):
                words = "flights left out: %d: more than %d a minute are not written"
                log.warning(words, count, self._rate)
        elif not self._writer.put(0, partial(self._write, flight.why, kept.lines(), kept.size)):
            self.size -= kept.size
            self._directory.fail("no thread can be started")

    # ---------------------------------------------------------------------------- writing out
    def dump(self, why: str = "asked") -> Path | None:
        """Write out all that is in memory, and forget what has ended.

        The file, when it is written; None if there is nothing to write, or if it fails: the log says
        which.
        """
        written: list[Path | None] = []
        with self._lock:
            kept = [flight.kept for flight in (*self._done, *self._open.values())]
            if not any(one.size for one in kept):
                log.info("%s: nothing to write: no session is in memory", why)
                return None
            # what open sessions have now, and not what they will have
            lines = chain.from_iterable([one.lines() for one in kept])
            done = sum(flight.kept.size for flight in self._done)
            self._done.clear()
            is_over = threading.Event()

            def act() -> None:
                try:
                    written.append(self._write(why, lines, done))
                finally:
                    is_over.set()

            if not self._writer.put(0, act):
                self.size -= done
                self._directory.fail("no thread can be started")
                return None
        is_over.wait()
        return written[0] if written else None

    def close(self) -> None:
        """Let what is to be written be written; see `BackgroundWriter.close`."""
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
