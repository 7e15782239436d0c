"""The options of `start_milter`, `serve` and `running` for type checkers: a misspelled one is an error.

Types only. Defaults, checks and what each option means are in `demyjpy.drivers.options.ServerOptions`,
which has the same names (`tests/drivers/test_option_types.py`).
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict

from demyjpy.engine.connection import Observer
from demyjpy.engine.limits import Limits
from demyjpy.engine.tape import Watcher
from demyjpy.filter_policy import OnError
from demyjpy.settings.making import Settings

Networks: TypeAlias = str | Iterable[str | IPv4Network | IPv6Network]
"""One network or several; in a text commas stand between them."""
Loop: TypeAlias = Literal["asyncio", "uvloop"]


class CommonOptions(TypedDict, total=False):
    """What all of them take by name only; times in seconds."""

    on_error: OnError
    limits: Limits
    max_connections: int
    max_connections_per_peer: int | None
    when_full: Literal["wait", "tempfail"]
    allow: Networks
    trusted_relays: Networks
    negotiate_timeout: float
    handler_timeout: float
    warn_blocked: float
    idle_timeout: float
    write_timeout: float
    grace: float
    spool: int
    effects: str | Path | None
    blocking_threads: int
    on_lag: Callable[[float], object] | None


class WatchOptions(TypedDict, total=False):
    """Who watches the sessions."""

    observer: Observer | Watcher | None
    watchers: Iterable[Watcher]


class StartOptions(CommonOptions, total=False):
    """Options of `demyjpy.start_milter`, besides those in its signature."""

    loop: Loop


class UnwatchedStartOptions(StartOptions, WatchOptions, total=False):
    """Options of `demyjpy.drivers.start_milter`, besides those in its signature."""


class ServeOptions(CommonOptions, WatchOptions, total=False):
    """Options of `demyjpy.serve`."""

    settings: Settings
    load_timeout: float


class RunningOptions(ServeOptions, total=False):
    """Options of `demyjpy.running`, besides those in its signature."""

    loop: Loop
