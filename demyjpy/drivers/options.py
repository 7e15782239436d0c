"""What a caller may choose when a milter is started, for all drivers, and the names of sessions.

Values only; each driver reads what it needs.
"""

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import signature
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from attrs import converters, field, fields_dict, frozen
from attrs import validators as v

from demyjpy.context import check_mapping
from demyjpy.drivers.spool import KEPT_IN_MEMORY, SpoolFile
from demyjpy.effects import EffectKeeper
from demyjpy.engine.connection import Call, Observer, Requested, Setup
from demyjpy.engine.limits import Budget, Limits
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.engine.stock import Spooling
from demyjpy.engine.tape import Watcher
from demyjpy.errors import DeadlineError
from demyjpy.filter_policy import OnError
from demyjpy.known_facts import as_networks
from demyjpy.questions import Outcome
from demyjpy.registry import Handler

LOOPS: Final = ("asyncio", "uvloop")

_TIME: Final = "a number of seconds above 0"
_COUNT: Final = "a whole number from 1"
_NETWORKS: Final = 'networks such as ["192.0.2.0/24"]'
_EXPECTED: Final[Mapping[str, str]] = {
    "limits": "Limits(...)",
    "max_connections": _COUNT,
    "max_connections_per_peer": f"{_COUNT}, or None",
    "when_full": "'wait' or 'tempfail'",
    "allow": _NETWORKS,
    "trusted_relays": _NETWORKS,
    "negotiate_timeout": _TIME,
    "handler_timeout": _TIME,
    "warn_blocked": _TIME,
    "idle_timeout": _TIME,
    "write_timeout": _TIME,
    "grace": "a number of seconds from 0",
    "spool": "a whole number from 0",
    "effects": "a directory, or None",
    "load_timeout": _TIME,
    "blocking_threads": _COUNT,
    "loop": " or ".join(map(repr, LOOPS)),
    "watchers": "a sequence of watchers",
}
"""What an option has to be whose validator or converter may refuse it."""


def _seconds(value: float) -> float:
    """As much as the system can wait: ``math.inf`` is for ever, nearly."""
    return min(value, threading.TIMEOUT_MAX)


def _settings(given: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A map that nobody can change; an empty one for None."""
    return MappingProxyType(dict(check_mapping("settings=", {} if given is None else given)))


@frozen(kw_only=True)
class ServerOptions:
    """Options of `start_milter`, `serve` and `running`; times in seconds.

    - ``on_error``: the answer when a handler fails.
    - ``limits``: how much one peer may send.
    - ``max_connections``: connections at once in each process. More wait in the backlog, or get a
      temporary failure at once, as ``when_full`` says.
    - ``max_connections_per_peer``: how many of these from one IP address. More get a temporary failure.
    - ``allow``: the networks that TCP peers may come from; all if there are none.
    - ``trusted_relays``: the networks of relays whose ``Received`` fields are believed when a filter
      reads ``facts(ctx).origin_client``.
    - ``idle_timeout``: without a byte from the MTA (libmilter's MI_TIMEOUT, 7210: an SMTP client may
      idle).
    - ``negotiate_timeout``: from the connection to the end of the negotiation.
    - ``write_timeout``: with bytes that the MTA does not take.
    - ``handler_timeout``: for one call of a handler that runs apart and has no ``timeout=`` of its own.
    - ``warn_blocked``: how long a handler may block the event loop before the log names it.
    - ``grace``: for messages in flight when the milter stops.
    - ``spool``: the bytes of a message's body that are kept in memory. A larger body lies in a file
      without a name in the directory of TMPDIR. 0: each body lies in a file.
    - ``effects``: the directory in which effects are kept until they are done; None for memory, which
      the process loses when it ends.
    - ``settings``: for a filter that is a function of its settings, and for the functions in
      ``resources=``; a map. For `ServerOptions` itself also the name of a TOML file
      (`demyjpy.settings.making.settle`).
    - ``load_timeout``: for opening these resources.
    - ``blocking_threads``: for ``blocking=True`` handlers under asyncio.
    - ``loop``: the event loop of the asyncio driver, ``"asyncio"`` or ``"uvloop"``, which must be
      installed.
    - ``observer``: called with every `Step`, which sends each connection the long way, unless it is one
      of the ``watchers``.
    - ``watchers``: read the tapes of the connections, which costs little
      (`demyjpy.engine.tape.Watcher`).
    - ``on_lag``: called twice a second with the delay of the event loop, in seconds.
    """

    on_error: OnError = "tempfail"
    limits: Limits = field(factory=Limits, validator=v.instance_of(Limits))
    max_connections: int = field(default=10_000, validator=[v.instance_of(int), v.ge(1)])
    max_connections_per_peer: int | None = field(
        default=None, validator=v.optional([v.instance_of(int), v.ge(1)])
    )
    when_full: Literal["wait", "tempfail"] = field(default="wait", validator=v.in_(("wait", "tempfail")))
    allow: tuple[IPv4Network | IPv6Network, ...] = field(converter=as_networks, default=())
    trusted_relays: tuple[IPv4Network | IPv6Network, ...] = field(converter=as_networks, default=())
    negotiate_timeout: float = field(converter=_seconds, default=60.0, validator=v.gt(0))
    handler_timeout: float = field(converter=_seconds, default=600.0, validator=v.gt(0))
    warn_blocked: float = field(converter=_seconds, default=0.2, validator=v.gt(0))
    idle_timeout: float = field(converter=_seconds, default=7210.0, validator=v.gt(0))
    write_timeout: float = field(converter=_seconds, default=300.0, validator=v.gt(0))
    grace: float = field(converter=_seconds, default=30.0, validator=v.ge(0))
    spool: int = field(default=KEPT_IN_MEMORY, validator=[v.instance_of(int), v.ge(0)])
    effects: Path | None = field(default=None, converter=converters.optional(Path))
    settings: Mapping[str, Any] = field(factory=dict, converter=_settings, repr=False)
    load_timeout: float = field(converter=_seconds, default=30.0, validator=v.gt(0))
    blocking_threads: int = field(default=64, validator=[v.instance_of(int), v.ge(1)])
    loop: str = field(default="asyncio", validator=v.in_(LOOPS))
    observer: Observer | Watcher | None = None
    watchers: tuple[Watcher, ...] = field(default=(), converter=tuple)
    on_lag: Callable[[float], object] | None = None

    @property
    def sweep_period(self) -> float:
        """How often it is looked whether a connection has had its time."""
        return min(30.0, self.idle_timeout / 4, self.write_timeout / 4, self.negotiate_timeout / 4)

    @property
    def readers(self) -> tuple[Watcher, ...]:
        """Who reads tapes."""
        return (*self.watchers, *([self.observer] if isinstance(self.observer, Watcher) else []))

    def time_for(self, call: Call) -> float:
        """The most seconds that this call of a handler may take."""
        return self.handler_timeout if call.timeout is None else _seconds(call.timeout)

    def late(self, call: Call, left: str) -> DeadlineError:
        """What is said of a handler that took longer; ``left``: what became of it."""
        option = "handler_timeout=" if call.timeout is None else "timeout="
        return DeadlineError(call.handler.name, self.time_for(call), left, option)

    def setup(
        self,
        on_connect: Any,
        defers: Callable[[Handler[Any]], bool],
        budget: Budget | None = None,
        *,
        defers_ends: bool = False,
        known_answer: Callable[[Asked], Outcome | None] = lambda asked: None,
        keep_effects: Callable[[tuple[Requested, ...], str], EffectKeeper] | None = None,
    ) -> Setup:
        """The engine's part of it, checked; what else it takes is the driver's."""
        return Setup(
            as_on_connect(on_connect),
            self.on_error,
            self.limits,
            None if isinstance(self.observer, Watcher) else self.observer,
            time.perf_counter if self.observer or self.watchers else None,
            defers,
            budget,
            defers_ends=defers_ends,
            spool=Spooling(self.spool, SpoolFile.open),
            known_answer=known_answer,
            wall=time.time,
            keep_effects=None if self.effects is None else keep_effects,
            trusted_relays=self.trusted_relays,
        )


def make_options(who: Callable[..., Any], options: Mapping[str, Any]) -> ServerOptions:
    """The options of a call of ``who``; `TypeError` names the first that it does not have.

    A value that is wrong is a `TypeError` or `ValueError` that says what was expected.
    """
    refuse_unknown(who, options)
    for name in _EXPECTED.keys() & options.keys():
        _refuse_wrong(who, name, options[name])
    return ServerOptions(**options)


def _refuse_wrong(who: Callable[..., Any], name: str, value: Any) -> None:
    """The error of a single option, in the words of whoever gave it."""
    try:
        ServerOptions(**{name: value})
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        said = f"{who.__name__}: expected {name}= to be {_EXPECTED[name]}, got {value!r:.100}"
        raise kind(said) from None


def refuse_unknown(who: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """`TypeError` for the first option that ``who`` does not have."""
    own = [name for name, one in signature(who).parameters.items() if one.kind is not one.VAR_KEYWORD]
    known = [*own, *fields_dict(ServerOptions)]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]}=?" if near else ""
            raise TypeError(f"{who.__name__}: expected one of its options, got {name}={meant}")


class SessionNames:
    """Names for sessions: a number after a random word, one for each server in each process."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """The next name."""
        return f"{self._start}-{next(self._numbers):x}"
