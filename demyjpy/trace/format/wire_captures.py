"""Captures of the wire, as ``tests/captures`` has them, to traces.

A capture is one session: a line about the scenario, then a line a packet (``dir``, ``hex``, ``t`` in
seconds) or the end of a direction (``event``).
"""

from collections.abc import Iterable, Iterator
from typing import Any

from demyjpy.errors import MilterError, TraceError
from demyjpy.trace.format.converters import WireConverter
from demyjpy.trace.format.json_lines import number_of, parse_line
from demyjpy.trace.format.records import Record

_DIRECTIONS = {"mta": "mta", "milter": "filter"}


def is_capture(line: bytes) -> bool:
    """Whether a line is the first or another one of a capture."""
    try:
        found = parse_line(line)
    except (ValueError, TraceError):
        return False
    return isinstance(found, dict) and ("scenario" in found or found.keys() >= {"dir", "hex"})


def records_of(lines: Iterable[bytes], name: str, *, raw: bool = False) -> Iterator[Record]:
    """The records of a capture; ``name`` is the session's. `TraceError` if it cannot be read."""
    converter = WireConverter(name, raw)
    how, reason, time = "cut", "", 0.0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        packet = _read(line, number)
        if "scenario" in packet:
            continue
        try:
            direction = _DIRECTIONS[packet["dir"]]
            time = _seconds(packet.get("t", time))
            if "hex" in packet:
                yield from converter.take(direction, bytes.fromhex(packet["hex"]), time)
            elif how == "cut":
                how, reason = direction, str(packet["event"])
        except (KeyError, TypeError, ValueError, MilterError) as error:
            raise TraceError(f"line {number}: expected a packet of a capture, got {error!r}") from None
    yield from converter.end(time, how, reason)


def _seconds(value: Any) -> float:
    found = number_of(value)
    if found is None:
        raise TraceError(f"expected seconds from 0 under t, got {value!r:.60}")
    return found


def _read(line: bytes, number: int) -> dict[str, Any]:
    try:
        found = parse_line(line)
    except ValueError as error:
        raise TraceError(f"line {number}: expected JSON, got {error}") from None
    except TraceError as error:
        raise TraceError(f"line {number}: {error}") from None
    if not isinstance(found, dict):
        raise TraceError(f"line {number}: expected an object, got {found!r:.60}")
    return found
