"""Which effects take long: while one is performed, one line a minute says so.

An effect has no time limit, for what a thread does cannot be ended. But each takes one of few places, so
somebody has to hear of one that hangs. Used by one thread; nothing here performs or ends an effect.
"""

from contextlib import suppress
from typing import Final

from demyjpy.drivers.report import log

LATE: Final = 60.0
"""Seconds after which an effect is late, and between two lines that say so."""


class Lateness:
    """What is performed now, and since when. Times are in seconds."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._begun: dict[object, tuple[float, str]] = {}
        """When, and its name; the first one first."""
        self._silent_until = 0.0

    def begin(self, which: object, name: str, now: float) -> None:
        """It is performed from now on."""
        self._begun[which] = (now, name)

    def end(self, which: object) -> None:
        """It is not performed any more."""
        del self._begun[which]

    def pause(self, now: float, most: float | None) -> float | None:
        """Seconds until there is something to say, no more than ``most``; None: nobody has to wait."""
        if not self._begun:
            return most
        left = self._left(now)
        return left if most is None else min(left, most)

    def _left(self, now: float) -> float:
        begun, _ = next(iter(self._begun.values()))
        return max(0.0, begun + LATE - now, self._silent_until - now)

    def tell(self, now: float) -> None:
        """Name the one that has run for longest, if that is too long; once a minute."""
        if not self._begun or self._left(now):
            return
        self._silent_until = now + LATE
        begun, name = next(iter(self._begun.values()))
        late = sum(now - one >= LATE for one, _ in self._begun.values())
        with suppress(Exception):  # a filter of the program's logging raises
            log.warning(
                "%s has run for %d s; effects that have run for more than %d s: %d; at most %d run at "
                "once: give perform a time limit",
                *(name, now - begun, LATE, late, self._places),
            )
