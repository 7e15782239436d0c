"""What processes send each other besides figures: last errors, and what was negotiated."""

import time
from typing import Any, Final

from demyjpy.actions import Negotiate
from demyjpy.context import get_macro
from demyjpy.drivers.logtext import shown, traceback_of
from demyjpy.engine.connection import Step
from demyjpy.engine.tape import Stretch
from demyjpy.metrics.board import NOTES, Board
from demyjpy.trace.display.wording import flag_words

KEPT: Final = NOTES - 1
"""Errors."""

_LONGEST: Final = 8000  # bytes of a traceback; as JSON they are twice as many at most
_MOST: Final = 10  # errors a second; they show what goes wrong, and are no record of all


class Notes:
    """Puts the last errors of this process on a board, from tapes or as an observer of steps."""

    keeps_bodies: Final = False
    wants_packets: Final = False

    def __init__(self, board: Board) -> None:
        self._board = board
        self._negotiated = ""
        self._repeated: Stretch | None = None
        self._count = 0
        self._times = [0.0] * _MOST

    def read(self, stretch: Stretch) -> None:
        """Note what is worth it: on the hot path nothing fails or is negotiated."""
        if stretch.repeats is not None and stretch.repeats is self._repeated:
            return  # what was negotiated, once more
        self._repeated = stretch.repeats
        for step in stretch.turned or ():
            self(step)

    def __call__(self, step: Step) -> None:
        """Note what is worth it."""
        if step.error is not None:
            self._note(step, step.error, time.time())
        if step.answer and isinstance(step.answer[-1], Negotiate):
            said = step.answer[-1]
            words = f"version {said.version}: {flag_words(said.actions, said.protocol)}"
            if words != self._negotiated:
                self._negotiated = words
                self._board.note(KEPT, words)

    def _note(self, step: Step, error: Exception, now: float) -> None:
        if 0 <= now - self._times[self._count % _MOST] < 1.0:
            return
        self._times[self._count % _MOST] = now
        self._board.note(
            self._count % KEPT,
            {
                "time": now,
                "session": step.session,
                "queue_id": shown(get_macro(step.before, "i") or "")
                if "macros" in step.before
                else None,
                "handler": shown(step.handler.name) if step.handler else "",
                "traceback": traceback_of(error, _LONGEST),
            },
        )
        self._count += 1


def negotiated(board: Board) -> list[str]:
    """What the processes have negotiated, each once."""
    return sorted(set(board.notes([KEPT])))


def last_errors(board: Board) -> list[dict[str, Any]]:
    """The last errors of all processes, the newest first."""
    return sorted(board.notes(range(KEPT)), key=lambda one: -one["time"])[:KEPT]
