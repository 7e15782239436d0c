"""What handlers reach outside of a session while they are played: a database, the network, the clock.

Python reports it by audit events and profile functions, in the thread that plays. What a C library does
by itself is not seen. A handler that reaches outside is no function of what it gets: on another day, or
played once more, it may answer otherwise, and what it writes is written again.
"""

import gc
import inspect
import itertools
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any, Final

from attrs import frozen

from demyjpy.context import Context
from demyjpy.handlers import Around, as_registry, merge_handlers, wrap_handler
from demyjpy.registry import Handler, Registry

PROGRAMS: Final = frozenset(
    {
        *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"),
        "subprocess.Popen",
    }
)
NETWORK: Final = frozenset(
    {
        *("socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname"),
        *("socket.getnameinfo", "socket.sendmsg", "socket.sendto"),
    }
)
"""Audit events (https://docs.python.org/3/library/audit_events.html) of what reaches other programs."""

_AUDITED: Final = (
    PROGRAMS
    | NETWORK
    | {
        *("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"),
        "sqlite3.connect",
    }
)

_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
# Where objects live whose methods in C reach outside: what was opened earlier is seen by these.
_MODULES: Final = frozenset(
    {"sqlite3", "_socket", "socket", "_ssl", "_dbm", "_gdbm", "psycopg2.extensions"}
)

# Functions and methods that give something else each time, and leave nothing behind.
_CHANCE: Final = frozenset(
    {
        *(
            ("time", name)
            for name in ("time", "time_ns", "monotonic", "perf_counter", "localtime", "gmtime")
        ),
        *(("datetime", name) for name in ("now", "utcnow", "today")),
        *(
            ("random", "random"),
            ("_random", "random"),
            ("_random", "getrandbits"),
            ("random", "getrandbits"),
        ),
        *(("posix", "urandom"), ("posix", "getpid")),
    }
)


@frozen
class OutsideCall:
    """A handler has reached outside. ``call`` names what it called, as Python does.

    ``is_chance``: it asked for the time or for chance only, which harms nobody.
    """

    handler: str
    event: str
    call: str
    is_chance: bool = False


class ReachedError(OSError):
    """A call that was stopped, because it would have reached outside."""


def with_each_handler(ctx: Context, wrapped: Callable[[int, Handler[Any]], Handler[Any]]) -> Context:
    """A new connection's context, with something around each of its handlers.

    ``wrapped`` gets the number of the filter, and a handler. What answers the negotiation, and what
    keeps macros, stays as it is.
    """
    numbers = itertools.count()

    def of_leaf(leaf: Registry) -> Registry:
        if not leaf:
            return leaf  # it asks for macros at most
        number = next(numbers)
        handlers = {
            event: leaf[event] if event in ("options", "define_macros") else wrapped(number, leaf[event])
            for event in leaf
        }
        return Registry(handlers, leaf.declarations)

    leaves = as_registry(ctx["handlers"]).leaves
    return ctx.set("handlers", merge_handlers(*map(of_leaf, leaves)))


class OutsideWatch:
    """Sees what the handlers of one filter reach. ``found`` gets each kind of call once.

    ``stops``: a call is stopped before it happens, unless it only asks for the time or for chance; the
    handler gets a `ReachedError`.
    """

    def __init__(self, found: Callable[[OutsideCall], object], *, stops: bool = False) -> None:
        self._found, self._stops = found, stops
        self._known: set[OutsideCall] = set()
        self._running: Handler[Any] | None = None

    def watched(self, ctx: Context) -> Context:
        """A new connection's context, with handlers that are watched."""
        _listen()
        return with_each_handler(ctx, lambda _, handler: self._wrapped(handler))

    def _wrapped(self, handler: Handler[Any]) -> Handler[Any]:
        def around(event: Any, ctx: Context) -> Around:
            self._running, _HEARD.watch = handler, self
            before = sys.getprofile()
            sys.setprofile(self._profile)
            try:
                return (yield ctx)
            finally:
                sys.setprofile(before)
                self._running = _HEARD.watch = None

        return wrap_handler(handler, around)

    def _profile(self, frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or frame.f_globals.get("__name__", "").startswith(_OWN):
            return
        found = _place_of(function)
        if (found in _CHANCE or found[0] in _MODULES) and not _is_in_collection(frame):
            self.reach(".".join(found), is_chance=found in _CHANCE)

    def reach(self, call: str, *, is_chance: bool = False) -> None:
        """The handler that runs calls this."""
        if self._running is None:
            return
        reach = OutsideCall(self._running.name, self._running.event, call, is_chance)
        if reach not in self._known:
            self._known.add(reach)
            self._found(reach)
        if self._stops and not is_chance:
            raise ReachedError(f"{call} is not played: it would reach outside of the session")


# Modules whose own calls are not the handler's: the time of a log record, the event loop.
_OWN: Final = ("demyjpy.", "logging", "asyncio", "threading", "selectors")


def _is_in_collection(frame: FrameType | None) -> bool:
    """Whether this is at work for a garbage collection, which may begin in any handler."""
    codes = {getattr(one, "__code__", None) for one in gc.callbacks}
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return frame is not None


def _place_of(function: Any) -> tuple[str, str]:
    """Module and name of a function in C, or of the class whose method it is."""
    name = getattr(function, "__name__", "")
    owner = getattr(function, "__self__", None)
    if owner is None or inspect.ismodule(owner):
        return getattr(owner, "__name__", None) or getattr(function, "__module__", None) or "", name
    return (owner if isinstance(owner, type) else type(owner)).__module__, name


# Which watch the handler of this thread is under; audit hooks are the process' own, and stay.
_HEARD: Final = threading.local()


@cache
def _listen() -> None:
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    watch: OutsideWatch | None = getattr(_HEARD, "watch", None)
    if watch is None:
        return
    if event in _AUDITED:
        watch.reach(event)
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
        watch.reach("open, to write")
