"""The tapes of a server's connections: who reads them, how long they are, what if a reader fails."""

import time
from collections.abc import Sequence
from typing import Final
from weakref import WeakSet

from demyjpy.drivers.logtext import told
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.tape import ENTRY, LONGEST, Stretch, Tape, Watcher

MOST: Final = 64 << 20
"""Bytes of all tapes of a process together, about: what was heard, and not read by the watchers yet."""

_LEAST: Final = 2 * ENTRY


class Tapes:
    """Makes a tape for each connection, if there are watchers."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)
        self._keeps_bodies = any(watcher.keeps_bodies for watcher in watchers)
        self._made: WeakSet[Tape] = WeakSet()
        self._room = LONGEST
        self._seldom = Seldom(60.0)

    def new(self) -> Tape | None:
        """The tape of one more connection; None if nobody watches."""
        if not self._watchers:
            return None
        # all of them together hold no more than `MOST`
        self._room = max(_LEAST, min(LONGEST, MOST // (len(self._made) + 1)))
        tape = Tape(
            self._read,
            time.perf_counter,
            time.time,
            keeps_bodies=self._keeps_bodies,
            share=self._share,
        )
        self._made.add(tape)
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
                        "%s failed, %d times since it was last told: %s; the mail goes on",
                        name,
                        count,
                        told(error),
                        exc_info=error,
                    )
