"""Lines of a file from outside to JSON values, with bounds: whoever made the file chose what is in it.

A line is judged by what it takes in memory, and a value by how deep it is nested, before anything walks
through it.
"""

import json
from typing import Any, Final

from demyjpy.errors import TraceError

MOST_BYTES: Final = 64 << 20
"""What is kept of one session, in bytes; each list and object in it counts as 64 bytes more."""

DEEPEST: Final = 100
"""Lists and objects within one another; a trace that we write has at most half as many."""

_TOO_DEEP: Final = f"expected at most {DEEPEST} lists and objects within one another, got more"
_CONTAINER: Final = 64  # bytes: an empty dict of CPython 3.11, where the line has two
_LATEST: Final = 253_402_300_799.0  # the last second of the year 9999, the last that datetime knows


def parse_line(line: bytes) -> Any:
    """The JSON value in a line; `ValueError` if it is no JSON, `TraceError` if nested too deep."""
    try:
        found = json.loads(line)
    except RecursionError:
        raise TraceError(_TOO_DEEP) from None
    if line.count(b"[") + line.count(b"{") > DEEPEST and _is_deeper_than(found, DEEPEST):
        raise TraceError(_TOO_DEEP)
    return found


def weight_of(line: bytes) -> int:
    """What a line takes when it is a value, in bytes: `MOST_BYTES` bounds the sum."""
    return len(line) + _CONTAINER * (line.count(b"[") + line.count(b"{"))


def _is_deeper_than(value: Any, most: int) -> bool:
    """Level by level: a function that calls itself would be what the depth is meant for."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def number_of(value: Any, most: float = _LATEST) -> float | None:
    """A number from 0 to ``most``; None for any other value: NaN, infinite, negative, no number."""
    if type(value) not in (int, float) or not 0 <= value <= most:  # NaN is in no range
        return None
    return float(value)


def seconds_of(value: Any) -> float:
    """A duration in seconds; 0 if there is none."""
    return number_of(value) or 0.0
