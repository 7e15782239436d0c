"""Records sessions between an MTA and a filter from their bytes, as they go by."""

import time
from collections.abc import Iterable
from typing import Protocol

from demyjpy.trace.format.converters import WireConverter
from demyjpy.trace.format.records import Record


class Writer(Protocol):
    """What takes records: a `Tray`, or something in front of it."""

    def write(self, records: Iterable[Record], *, flush: bool = False) -> None:
        """Write records, if that is still possible."""

    def close(self) -> None:
        """Write what is left."""


class WireRecorder:
    """One session between an MTA and a filter, recorded from its bytes."""

    def __init__(
        self, tray: Writer | None, session: str, *, raw: bool = False, milter: str = ""
    ) -> None:
        self._tray = tray
        self.converter = WireConverter(session, raw, milter)

    def take(self, direction: str, data: bytes) -> list[Record]:
        """Bytes from the ``"mta"`` or the ``"filter"``; their records."""
        return self._write(self.converter.take(direction, data, time.time()))

    def end(self, how: str, reason: str = "") -> list[Record]:
        """The end: ``how`` as in `demyjpy.trace.format.records.ended`."""
        return self._write(self.converter.end(time.time(), how, reason), flush=True)

    def close(self) -> None:
        """Write what is left."""
        if self._tray is not None:
            self._tray.close()

    def _write(self, records: Iterable[Record], *, flush: bool = False) -> list[Record]:
        found = list(records)
        if self._tray is not None:
            self._tray.write(found, flush=flush)
        return found
