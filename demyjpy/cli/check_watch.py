"""What is seen of handlers while they run: what they read, queue, call and return.

Around each handler of a filter stands one of ours. What waits for the world (sleep, network, other
programs) is stopped before it happens, if Python reports it. Files, and what does its waiting in C,
are not seen. Which sessions are played is `demyjpy.cli.check_play`'s.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType
from typing import Any, Final, TypeAlias

from attrs import define, evolve, field
from pyrsistent import PMap

from demyjpy.actions import Modification
from demyjpy.codec import action_row
from demyjpy.context import Context, send_action, take_actions
from demyjpy.engine.connection import Step
from demyjpy.engine.macros import Macros
from demyjpy.errors import HandlerError
from demyjpy.handlers import Around, wrap_handler
from demyjpy.questions import Ask
from demyjpy.registry import Handler
from demyjpy.trace.display.wording import verdict_words
from demyjpy.trace.replay.outside_calls import NETWORK, PROGRAMS, with_each_handler
from demyjpy.verdicts import decides, is_verdict
from demyjpy.wishes import Wish

LONGEST: Final = 20.0
"""Seconds; no session is begun after them, and none goes on."""

_WAITING: Final = PROGRAMS | NETWORK | {"builtins.input", "time.sleep"}
"""Audit events (https://docs.python.org/3/library/audit_events.html) of what may take long."""
_FINE_IN_ASYNC: Final = frozenset(
    {"socket.connect", "socket.sendmsg", "socket.sendto", "subprocess.Popen"}
)
"""What asyncio calls itself, for a connection or a program that is awaited."""
_SLEEP: Final = asyncio.sleep.__code__
_SEND_ACTION: Final = getattr(send_action, "__code__", None)  # the compiled engine's has none

Key: TypeAlias = tuple[int, str]
"""The number of the filter, and the event."""


class StoppedError(OSError):
    """A call of a handler's that would have waited for the world."""


class OutOfTimeError(BaseException):
    """The time for playing is over. No `Exception`, so that handlers do not catch it by the way."""


@define(unsafe_hash=True)
class _SeenMacros(Macros):
    """Macros that keep the names that were asked for."""

    asked: set[str] = field(factory=set, eq=False)

    def get(self, name: str) -> str | None:
        self.asked.add(name)
        return super().get(name)


def _seen(macros: Macros, asked: set[str]) -> _SeenMacros:
    return _SeenMacros(macros.slots, macros.fresh, macros.moment, asked)


@define
class Seen:
    """What was seen of one handler."""

    handler: Handler[Any]
    runs: int = 0
    ends: dict[str, int] = field(factory=dict)
    """Verdicts that end a message, in words, and how often."""
    queued: set[str] = field(factory=set)
    kept: set[str] = field(factory=set)
    """The classes of actions that it queued, or ``become``."""
    asks: set[str] = field(factory=set)
    """The keys under which it asked questions with ``ask``."""
    wished: set[str] = field(factory=set)
    """The actions that its wishes, and its edits beside them, need."""
    dropped: set[str] = field(factory=set)
    """Those of actions that it asked for in a context that it did not return."""
    macros: set[str] = field(factory=set)
    waits: set[str] = field(factory=set)
    stops: set[str] = field(factory=set)
    """Calls at which it was stopped. What fails after one may be no failure of its own."""
    failure: str = ""


@define
class Watch:
    """Sees what handlers do, one at a time; made for one `play`.

    ``is_beyond``: message handlers get each message as they get one above their limit.
    """

    is_beyond: bool = False
    thread: int = field(factory=threading.get_ident)
    seen: dict[Key, Seen] = field(factory=dict)
    known: dict[Any, Seen] = field(factory=dict)
    """By the function that stands around the filter's own."""
    asked: list[Any] = field(factory=list)
    """Actions given to ``send_action`` by the one that runs."""
    running: Seen | None = None
    since: float = 0.0
    """When the one that runs has begun, by `time.monotonic`."""
    held_up: Seen | None = None
    """The one that ran when the time was over."""

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: Python is about to do this."""
        if self.running is None or event not in _WAITING:
            return
        is_its_own = threading.get_ident() == self.thread
        if is_its_own and not (self.running.handler.is_async and event in _FINE_IN_ASYNC):
            self.running.waits.add(event)
        raise self._stopped(self.running, event)

    def profile(self, frame: FrameType, event: str, function: Any) -> None:
        """A profile function: before Python 3.13 ``time.sleep`` is no audit event.

        And ``asyncio.sleep`` is never one. It does not block, so it is stopped, but no problem.
        """
        if event == "c_call" and function is time.sleep:
            self.hear("time.sleep", ())
        elif self.running is not None and event == "call" and _is_sleep(frame):
            raise self._stopped(self.running, "asyncio.sleep")
        elif event == "call" and frame.f_code is _SEND_ACTION:
            self.asked += frame.f_locals["actions"]

    def _stopped(self, seen: Seen, call: str) -> StoppedError:
        seen.stops.add(call)
        return StoppedError(f"{call} is not played: demyjpy check --play stops what would wait")

    def ring(self, *_: object) -> None:
        """A signal handler: the time is over, and whatever handler runs is stopped."""
        if self.running is not None:
            seen = self.held_up = self.running
            taken = time.monotonic() - self.since
            if taken > LONGEST / 2:  # else it is the others that have used up the time
                seen.failure = seen.failure or f"it had not ended after {taken:.1f} s"
            where = f"{seen.handler.name} at {seen.handler.event}"
            raise OutOfTimeError(f"demyjpy check --play has no more time, and stops {where}")

    def _begin(self, seen: Seen) -> None:
        self.running = seen
        self.since = time.monotonic()
        self.asked.clear()
        seen.runs += 1
        sys.setprofile(self.profile)

    def end(self) -> None:
        """No handler runs any more."""
        sys.setprofile(None)
        self.running = None

    def watched(self, ctx: Context) -> Context:
        """A new connection's context with handlers that are seen."""
        return with_each_handler(ctx, self._wrapped)

    def _wrapped(self, number: int, handler: Handler[Any]) -> Handler[Any]:
        key = (number, handler.event)
        seen = self.seen.setdefault(key, Seen(handler))

        def around(event: Any, ctx: Context) -> Around:
            if self.held_up is not None:
                return ctx  # the time is over: what is left of this session is not played
            macros = ctx["macros"]
            self._begin(seen)
            try:
                outcome = yield ctx.set("macros", _seen(macros, seen.macros))
            except (Exception, SystemExit) as error:
                raise self._failed(seen, error) from error
            except GeneratorExit:  # it was the turn of its asking=
                if self.running is seen:
                    self.end()
                    seen.runs -= 1
                raise
            return self._ended(seen, outcome, macros)

        limited = evolve(handler, limit=1) if self.is_beyond and takes_headers(handler) else handler
        wrapped = wrap_handler(limited, around)
        self.known[wrapped.function] = seen
        return wrapped

    def judge(self, steps: Iterable[Step]) -> None:
        """Take what the engine found wrong with what handlers returned, such as an illegal plan."""
        for step in steps:
            seen = self._seen_in(step.handler) if step.handler else None
            if seen is not None and "become" in seen.kept:
                edits = (one for one in step.actions if isinstance(one, Modification))
                seen.wished |= {action_row(one).permission for one in edits}
            if seen is not None and step.error is not None and not seen.stops:
                seen.failure = seen.failure or f"{type(step.error).__name__}: {step.error}"

    def _seen_in(self, handler: Handler[Any]) -> Seen | None:
        """What was seen of a handler of the engine's, which in a chain has one of ours inside."""
        function: Any = handler.function
        while function is not None and function not in self.known:
            function = getattr(function, "__wrapped__", None)
        return self.known.get(function)

    def _failed(self, seen: Seen, error: BaseException) -> HandlerError:
        self.end()
        words = f"{type(error).__name__}: {error}"
        if not isinstance(error, StoppedError) and not seen.stops:
            seen.failure = seen.failure or words
        return HandlerError(words)

    def _ended(self, seen: Seen, after: Context, macros: Macros) -> Context:
        self.end()
        if not isinstance(after, PMap):
            seen.failure = seen.failure or f"no context came back, but {after!r:.60}"
            return after
        queued = take_actions(after)[0]
        kept = set(map(id, queued))
        seen.dropped |= {_name_of(one) for one in self.asked if id(one) not in kept}
        seen.kept |= {_name_of(one) for one in queued}
        seen.asks |= {one.key for one in queued if isinstance(one, Ask)}
        for action in queued:
            if isinstance(action, Modification):
                seen.queued.add(action_row(action).permission)
            elif is_verdict(action) and decides(action):
                words = verdict_words(action)
                seen.ends[words] = seen.ends.get(words, 0) + 1
        return after.set("macros", macros)


def takes_headers(handler: Handler[Any]) -> bool:
    """Whether it is a message handler that gets a message above its limit without the body."""
    return handler.event == "message" and handler.beyond == "headers"


def _name_of(action: Any) -> str:
    return "become" if isinstance(action, Wish) else type(action).__name__


def _is_sleep(frame: FrameType) -> bool:
    """Whether this is ``asyncio.sleep``, and not only to let others run, which is ``sleep(0)``."""
    return frame.f_code is _SLEEP and frame.f_locals["delay"] > 0
