"""What a filter does when sessions are played at it: `demyjpy check --play`.

The classic sessions of `demyjpy.testing.strategies`, then generated ones, in memory, as Postfix and
Sendmail would. Around each handler it is seen what it reads, queues and calls. What waits for the
world (sleep, network, other programs) is stopped where Python tells of it, before it happens; whatever
else takes too long, by an alarm. Files, and what does its waiting in C, are not seen.
"""

import asyncio
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TypeAlias, get_args

from attrs import define, evolve, field, frozen
from hypothesis import HealthCheck, Phase, given, seed, settings
from pyrsistent import PMap

from demyjpy import actions as act
from demyjpy.actions import Modification
from demyjpy.cli.checking import Report
from demyjpy.cli.loading import Loaded
from demyjpy.codec import action_row
from demyjpy.connection import Setup
from demyjpy.context import Context, take_actions
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry, is_verdict, merge_handlers
from demyjpy.macros import Macros
from demyjpy.negotiation import ACTION_FLAGS
from demyjpy.pipeline import as_on_connect
from demyjpy.registry import Handler, Registry
from demyjpy.testing.run import play_script, profiles_of
from demyjpy.testing.script import Script
from demyjpy.testing.strategies import sessions, words_of
from demyjpy.testing.strategies.classics import classics
from demyjpy.trace.besides import wrap
from demyjpy.trace.words import plural, shorten, verdict_words
from demyjpy.wire.fields import spell_macro

_ORDER: Final = (
    "connect",
    "hello",
    "mail",
    "recipient",
    "data",
    "header",
    "end_of_headers",
    "body",
    "end_of_message",
)
_WAITING: Final = frozenset(
    {
        "builtins.input",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendmsg",
        "socket.sendto",
        "subprocess.Popen",
        "time.sleep",
    }
)
"""Audit events (https://docs.python.org/3/library/audit_events.html) of what may take long."""
_FINE_IN_ASYNC: Final = frozenset(
    {"socket.connect", "socket.sendmsg", "socket.sendto", "subprocess.Popen"}
)
"""What asyncio calls itself, for a connection or a program that is awaited."""
_SLEEP: Final = asyncio.sleep.__code__
_NAMES: Final = {flag: name for name, flag in ACTION_FLAGS.items()}
_MODIFICATIONS: Final = get_args(Modification)
_GENERATED: Final = 60
_LONGEST: Final = 20.0  # seconds; no session is begun after them, and none goes on
_AGAIN: Final = 0.5  # seconds between further alarms, for a handler that catches anything

_Key: TypeAlias = tuple[int, str]  # the number of the filter, and the event


class StoppedError(OSError):
    """A call of a handler's that would have waited for the world."""


class OutOfTimeError(BaseException):
    """The time for playing is over. No `Exception`, so that handlers do not catch it by the way."""


@frozen
class _SeenMacros(Macros):
    """Macros that keep the names that were asked for."""

    asked: set[str] = field(factory=set, eq=False)

    def get(self, name: str) -> str | None:
        self.asked.add(name)
        return super().get(name)


@define
class _Seen:
    """What was seen of one handler."""

    handler: Handler[Any]
    runs: int = 0
    ends: dict[str, int] = field(factory=dict)
    """Verdicts that end a message, in words, and how often."""
    queued: set[str] = field(factory=set)
    macros: set[str] = field(factory=set)
    waits: set[str] = field(factory=set)
    was_stopped: bool = False
    """Whether something that it called was: what fails then may be no failure of its own."""
    failure: str = ""


@define
class _Watch:
    """Sees what handlers do, one at a time; made for one `play`."""

    thread: int = field(factory=threading.get_ident)
    seen: dict[_Key, _Seen] = field(factory=dict)
    running: _Seen | None = None
    since: float = 0.0
    """When the one that runs has begun, by `time.monotonic`."""
    held_up: _Seen | None = None
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

    def _stopped(self, seen: _Seen, call: str) -> StoppedError:
        seen.was_stopped = True
        return StoppedError(f"{call} is not played: demyjpy check --play stops what would wait")

    def ring(self, *_: object) -> None:
        """A signal handler: the time is over, and whatever handler runs is stopped."""
        if self.running is not None:
            seen = self.held_up = self.running
            taken = time.monotonic() - self.since
            if taken > _LONGEST / 2:  # else it is the others that have used up the time
                seen.failure = seen.failure or f"it had not ended after {taken:.1f} s"
            where = f"{seen.handler.name} at {seen.handler.event}"
            raise OutOfTimeError(f"demyjpy check --play has no more time, and stops {where}")

    def _begin(self, seen: _Seen) -> None:
        self.running = seen
        self.since = time.monotonic()
        seen.runs += 1
        sys.setprofile(self.profile)

    def end(self) -> None:
        """No handler runs any more."""
        sys.setprofile(None)
        self.running = None

    def watched(self, ctx: Context) -> Context:
        """A new connection's context with handlers that are seen."""
        parts = as_registry(ctx["handlers"]).parts
        return ctx.set("handlers", merge_handlers(*map(self._part, range(len(parts)), parts)))

    def _part(self, number: int, part: Registry) -> Registry:
        handlers = {event: self._wrapped((number, event), part[event]) for event in part}
        return Registry(handlers, evolve(part.declarations, state={}))

    def _wrapped(self, key: _Key, handler: Handler[Any]) -> Handler[Any]:
        if handler.event in ("options", "define_macros"):
            return handler  # they work on macros themselves
        seen = self.seen.setdefault(key, _Seen(handler))

        def around(event: Any, ctx: Context, _: Callable[[], Any]) -> Any:
            if self.held_up is not None:
                return ctx  # the time is over: what is left of this session is not played
            macros = ctx["macros"]
            shown = ctx.set("macros", _SeenMacros(macros.slots, macros.fresh, seen.macros))
            self._begin(seen)
            try:
                outcome = handler.function(event, shown)
            except (Exception, SystemExit) as error:
                raise self._failed(seen, error) from error
            if inspect.isawaitable(outcome):
                return self._awaited(seen, outcome, macros)
            return self._ended(seen, outcome, macros)

        return wrap(handler, around)

    async def _awaited(self, seen: _Seen, outcome: Awaitable[Any], macros: Macros) -> Any:
        try:
            found = await outcome
        except (Exception, SystemExit) as error:
            raise self._failed(seen, error) from error
        return self._ended(seen, found, macros)

    def _failed(self, seen: _Seen, error: BaseException) -> HandlerError:
        self.end()
        words = f"{type(error).__name__}: {error}"
        if not isinstance(error, StoppedError) and not seen.was_stopped:
            seen.failure = seen.failure or words
        return HandlerError(words)

    def _ended(self, seen: _Seen, outcome: Any, macros: Macros) -> Any:
        self.end()
        if not isinstance(outcome, PMap):
            seen.failure = seen.failure or f"no context came back, but {outcome!r:.60}"
            return outcome
        after: Context = outcome
        for action in take_actions(after)[0]:
            if is_verdict(action):
                if not isinstance(action, act.Continue | act.Skip):
                    words = verdict_words(action)
                    seen.ends[words] = seen.ends.get(words, 0) + 1
            elif isinstance(action, _MODIFICATIONS):
                seen.queued.add(_NAMES[action_row(action).needs])
        return after.set("macros", macros)


def _is_sleep(frame: FrameType) -> bool:
    """Whether this is ``asyncio.sleep``, and not only to let others run, which is ``sleep(0)``."""
    return frame.f_code is _SLEEP and frame.f_locals["delay"] > 0


def play(report: Report, loaded: Loaded, driver: str) -> Report:
    """The report, and what is seen when sessions are played at the filter."""
    watch = _Watch()
    on_connect = as_on_connect(loaded.on_connect)
    setup = Setup(
        lambda ctx: watch.watched(on_connect(ctx)),
        on_error=lambda error, event, ctx: ctx,  # go on, so that the others are seen, too
        defers=lambda handler: handler.is_async,
    )
    sys.addaudithook(watch.hear)  # it stays, and does nothing but while a handler runs
    with _alarm(watch), _kept_alive():
        count, is_whole = _play_all(setup, words_of(loaded.on_connect), watch)
    problems = (*report.problems, *_problems(watch, report, driver))
    notes = (*report.notes, *_notes(watch, report, count), _played(count, is_whole, watch.held_up))
    return evolve(report, problems=problems, notes=notes)


@contextmanager
def _alarm(watch: _Watch) -> Iterator[None]:
    """Stop the handler that runs when the time is over; only the main thread can have that done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, watch.ring)
    signal.setitimer(signal.ITIMER_REAL, max(_LONGEST, 0.01), _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _kept_alive() -> Iterator[None]:
    """A handler that ends its process would end the check as well, with a status of its own choice."""

    def refuse(status: int) -> None:
        raise SystemExit(f"os._exit({status}) would end the milter at once")

    before = os._exit
    os._exit = refuse  # type: ignore[assignment]  # it does not return either
    try:
        yield
    finally:
        os._exit = before


def _played(count: int, is_whole: bool, held_up: _Seen | None) -> str:
    if is_whole:
        return f"--play: {_sessions(count)} played"
    where = "" if held_up is None else f", in {held_up.handler.name} at {held_up.handler.event}"
    return f"--play: time ran out after {plural(count, 'session')}{where}: too few to say much"


def _sessions(count: int) -> str:
    return f"{plural(count, 'session')} {'was' if count == 1 else 'were'}"


def _play_all(setup: Setup, words: tuple[str, ...], watch: _Watch) -> tuple[int, bool]:
    """How many sessions were played to their end, and whether these are all."""
    end = time.monotonic() + _LONGEST
    count = 0
    is_whole = True

    def play_one(script: Script) -> None:
        nonlocal count, is_whole
        if time.monotonic() >= end:
            is_whole = False
            return
        with suppress(OutOfTimeError):  # while an async handler waits, it is raised in the loop
            for profile in profiles_of(None):
                play_script(setup, script, profile)
        if watch.held_up is None:
            count += 1
        else:
            watch.end()
            is_whole = False

    for example in classics(words):
        play_one(example.script)
    alike = settings(
        max_examples=_GENERATED,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    seed(0)(alike(given(sessions(words=words))(play_one)))()
    return count, is_whole


# ---------------------------------------------------------------------------------- what was seen
def _problems(watch: _Watch, report: Report, driver: str) -> Iterator[str]:
    declared = {*report.actions, *report.optional_actions}
    for key, seen in sorted(watch.seen.items(), key=_place):
        who = f"{key[1]}: {seen.handler.name}"
        for name in sorted(seen.queued - declared):
            yield f"{who} queues {name}, which is not declared: add it to actions="
        if driver == "asyncio" and not seen.handler.blocking:
            for event in sorted(seen.waits):
                yield f"{who} may block: it calls {event}; declare blocking=True, or await it"
        if seen.failure and not seen.queued - declared:
            yield f"{who} fails: {shorten(seen.failure)}"


def _place(item: tuple[_Key, _Seen]) -> tuple[int, int]:
    number, event = item[0]
    return (_ORDER.index(event) if event in _ORDER else len(_ORDER), number)


def _never(watch: _Watch, key: _Key, count: int) -> Iterator[str]:
    """Why a handler has not run, if one before it ended each message that was played.

    A note, no problem: messages that it does not end may exist, and were not played.
    """
    who = f"{key[1]}: {watch.seen[key].handler.name}"
    for other, seen in watch.seen.items():
        verdicts = " or ".join(sorted(seen.ends))
        always = seen.runs and sum(seen.ends.values()) == seen.runs
        is_felt = other[0] == key[0] or "accept" not in seen.ends
        if always and is_felt and _place((other, seen))[0] < _place((key, seen))[0] < len(_ORDER):
            yield (
                f"{who} did not run in the {plural(count, 'session')} played: {seen.handler.name} at "
                f"{other[1]} said {verdicts} each time"
            )
            return


def _notes(watch: _Watch, report: Report, count: int) -> Iterator[str]:
    for key, seen in sorted(watch.seen.items(), key=_place):
        if not seen.runs:
            yield from _never(watch, key, count)
        event = key[1]
        until = _ORDER[: _ORDER.index(event) + 1] if event in _ORDER else _ORDER
        asked = {name for one in until for name in report.macros.get(one, ())}
        read = {spell_macro(name) for name in seen.macros} - asked
        if read:
            yield (
                f"{event}: {seen.handler.name} reads {' '.join(sorted(read))}, not asked for with "
                "macros=: it is there only where the MTA sends it anyway"
            )
