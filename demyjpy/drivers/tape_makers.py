"""The tapes of a server's connections: who reads them, how long they are, what if a reader fails."""

import time
from collections.abc import Callable, Sequence
from typing import Final
from weakref import ref

from demyjpy.drivers.logtext import told
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.tape import ENTRY, LONGEST, Stretch, Tape, Watcher

MOST: Final = 64 << 20
"""Bytes of all tapes of a process together, about: what was heard, and not read by the watchers yet."""

_LEAST: Final = 2 * ENTRY


class Tapes:
    """Makes a tape for each connection, if there are watchers. ``clock`` times handlers."""

    def __init__(
        self, watchers: Sequence[Watcher], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._watchers, self._clock = tuple(watchers), clock
        self._keeps_bodies = any(watcher.keeps_bodies for watcher in watchers)
        self._keeps_packets = any(getattr(one, "wants_packets", True) for one in watchers)
        self._made: set[ref[Tape]] = set()
        self._room = LONGEST
        self._seldom = Seldom(60.0)

    def new(self) -> Tape | None:
        """The tape of one more connection; None if nobody watches."""
        if not self._watchers:
            return None
        count = len(self._made) + 1
        # all of them together hold no more than `MOST`
        self._room = LONGEST if count * LONGEST <= MOST else max(_LEAST, MOST // count)
        tape = Tape(
            self._read,
            self._clock,
            time.time,
            keeps_bodies=self._keeps_bodies,
            keeps_packets=self._keeps_packets,
            share=self._share,
        )
        self._made.add(ref(tape, self._made.discard))
        return tape

    def _share(self) -> int:
        """Bytes that one tape may hold."""
        return self._room

    def _read(self, stretch: Stretch) -> None:
        """Give a stretch to all watchers: whatever one of them raises, the mail goes on."""
        for watcher in self._watchers:
            try:
                watcher.read(stretch)
            except BaseException as error:  # noqa: BLE001  # whatever it raises is its failure
                name = type(watcher).__name__
                if count := self._seldom.count(name, time.monotonic()):
                    log.error(
                        "%s failed, %d times since this was last logged: %s; the mail goes on",
                        name,
                        count,
                        told(error),
                        exc_info=error,
                    )
