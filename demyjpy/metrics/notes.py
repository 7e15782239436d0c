"""What processes tell each other besides figures: last errors, and what was negotiated. Small files."""

import json
import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from demyjpy.actions import Negotiate
from demyjpy.connection import Step
from demyjpy.context import get_macro
from demyjpy.drivers.logtext import traceback_of
from demyjpy.trace.words import flag_words

KEPT: Final = 10
_LONGEST: Final = 8000  # bytes of a traceback


class Notes:
    """An observer that keeps the last errors of this process in a file of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._errors: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._negotiated = ""

    def __call__(self, step: Step) -> None:
        """Note what is worth it."""
        if step.error is not None:
            handler = step.handler.name if step.handler else ""
            self._errors.append(
                {
                    "time": time.time(),
                    "session": step.session,
                    "queue_id": get_macro(step.before, "i") if "macros" in step.before else None,
                    "handler": handler,
                    "traceback": traceback_of(step.error, _LONGEST),
                }
            )
            self._write("errors", list(self._errors))
        if step.answer and isinstance(step.answer[-1], Negotiate):
            said = step.answer[-1]
            words = f"version {said.version}: {flag_words(said.actions, said.protocol)}"
            if words != self._negotiated:
                self._negotiated = words
                self._write("negotiated", words)

    def _write(self, kind: str, what: Any) -> None:
        path = self._directory / f"{kind}-{os.getpid()}.json"
        with suppress(OSError):  # figures are not worth a message
            new = path.with_suffix(".new")
            new.write_text(json.dumps(what), encoding="utf-8")
            new.replace(path)


def read_notes(directory: Path, kind: str) -> list[Any]:
    """What all processes have noted."""
    found = []
    for path in sorted(directory.glob(f"{kind}-*.json")):
        with suppress(OSError, ValueError):
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def last_errors(directory: Path) -> list[dict[str, Any]]:
    """The last errors of all processes, the newest first."""
    every = [one for found in read_notes(directory, "errors") for one in found]
    return sorted(every, key=lambda one: -one["time"])[:KEPT]
