"""The time in a test: fixed, or what a function says."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from demyjpy.errors import LocalProtocolError, describe

Clock: TypeAlias = datetime | float | Callable[[], datetime | float]
"""A time, as a `datetime` with a time zone or in seconds since 1970; or a function that returns one."""


def wall_of(clock: Clock) -> Callable[[], float]:
    """The clock as the engine wants it: seconds since 1970. `LocalProtocolError` if it is none."""
    if callable(clock):
        return lambda: _seconds(clock())
    seconds = _seconds(clock)
    return lambda: seconds


def _seconds(when: object) -> float:
    if isinstance(when, datetime) and when.tzinfo is not None:
        return when.timestamp()
    if isinstance(when, int | float) and not isinstance(when, bool):
        return float(when)
    got = f"{when!r} without a time zone" if isinstance(when, datetime) else describe(when)
    raise LocalProtocolError(
        "expected the time as a datetime with a time zone or as seconds since 1970, or a function that "
        f"returns one, got {got}"
    )
