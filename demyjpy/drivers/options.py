"""What can be chosen when a milter is started, alike for all drivers, and the session names.

Values only; each driver reads what it needs.
"""

import itertools
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from attrs import field, frozen
from attrs import validators as v

from demyjpy.connection import Observer, OnError, Setup
from demyjpy.limits import Limits
from demyjpy.pipeline import as_on_connect
from demyjpy.registry import Handler

LOOPS: Final = ("asyncio", "uvloop")


def _seconds(value: float) -> float:
    """As much as the system can wait: ``math.inf`` is for ever, nearly."""
    return min(value, threading.TIMEOUT_MAX)


@frozen(kw_only=True)
class Options:
    """Options of `start_milter`, `serve` and `running`; times in seconds.

    ``on_error``: what is answered when a handler fails. ``limits``: how much one peer may send.
    ``connections``: how many at once in each process; more wait in the backlog. ``idle_timeout``:
    without a byte from the MTA (libmilter's 7210: an SMTP client may idle). ``write_timeout``: with
    bytes that the MTA does not take. ``grace``: for messages in flight when the milter stops.
    ``blocking_threads``: for ``blocking=True`` handlers under asyncio. ``loop``: the event loop of the
    asyncio driver, ``"asyncio"`` or ``"uvloop"``, which has to be installed. ``observer``: called with
    every `Step`.
    """

    on_error: OnError = "tempfail"
    limits: Limits = field(factory=Limits, validator=v.instance_of(Limits))
    connections: int = field(default=10_000, validator=[v.instance_of(int), v.ge(1)])
    idle_timeout: float = field(converter=_seconds, default=7210.0, validator=v.gt(0))
    write_timeout: float = field(converter=_seconds, default=300.0, validator=v.gt(0))
    grace: float = field(converter=_seconds, default=30.0, validator=v.ge(0))
    blocking_threads: int = field(default=64, validator=[v.instance_of(int), v.ge(1)])
    loop: str = field(default="asyncio", validator=v.in_(LOOPS))
    observer: Observer | None = None

    def setup(self, on_connect: Any, defers: Callable[[Handler[Any]], bool]) -> Setup:
        """The engine's part of it, checked."""
        return Setup(
            as_on_connect(on_connect),
            self.on_error,
            self.limits,
            self.observer,
            time.perf_counter if self.observer else None,
            defers,
        )


class SessionNames:
    """Names for sessions: a number after a random word, one for each server in each process."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """The next name."""
        return f"{self._start}-{next(self._numbers):x}"
