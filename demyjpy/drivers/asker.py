"""Questions are performed here: in the event loop, or in threads for performers that may block.

One for each server of a process. Equal pure questions in flight are performed once, and their answers
are remembered if they say so. What it knows of a filter are its performers and resources.
"""

import asyncio
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeAlias

from demyjpy.declarations import Declarations
from demyjpy.drivers.jobs import is_async
from demyjpy.drivers.logtext import shown
from demyjpy.drivers.pool import Pool
from demyjpy.drivers.report import Seldom, log
from demyjpy.engine.open_questions import Asked
from demyjpy.errors import describe
from demyjpy.message import Message
from demyjpy.questions import (
    LATE,
    Answered,
    Failed,
    Late,
    Outcome,
    Performer,
    as_answer,
    fault_of,
    values_of,
)
from demyjpy.questions import performer_of as performer_for

Tell: TypeAlias = Callable[[Outcome, float], None]
"""Takes what became of a question, and the seconds that it took."""

Cancel: TypeAlias = Callable[[], None]
"""Nobody wants the answer any more. Saying it again, or too late, does nothing."""

MOST_REMEMBERED: Final = 10_000
"""Answers that are remembered; the oldest goes first."""

LARGEST_REMEMBERED: Final = 10_000
"""Characters and bytes of an answer that is remembered."""

CANCELLED_LATE: Final = "late"
"""What the cancellation of an async performer says if nobody waits any longer because it is late.

If it says nothing, nobody wants the answer any more, and the performer was not slow.
"""

_MINUTE: Final = 60.0
_MOST_CAUSES: Final = 1_000
_LONGEST_WHY: Final = 200


class _Key:
    """A pure question of a filter, to be found again; how it compares is up to the user's class."""

    __slots__ = ("_hash", "declared", "question")

    def __init__(self, asked: Asked) -> None:
        self.declared, self.question = asked.declared, asked.question
        self._hash = hash((type(self.question), self.question))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Key) or self.declared is not other.declared:
            return False
        try:
            return type(self.question) is type(other.question) and self.question == other.question
        except Exception:  # noqa: BLE001  # the user's own
            return False


class _Flight:
    """One question on its way for all who wait for it."""

    __slots__ = ("asked", "begun", "errands", "key", "stop")

    def __init__(self, asked: Asked, key: _Key | None) -> None:
        self.asked, self.key = asked, key
        self.errands: dict[_Errand, None] = {}  # in the order in which they came
        self.stop: Callable[[str | None], object] = lambda why: None
        self.begun = monotonic()


class _Errand:
    """One who waits for a question, with a deadline of his own."""

    __slots__ = ("_tell", "begun", "flight", "is_over", "timer")

    def __init__(self, flight: _Flight, tell: Tell) -> None:
        self.flight, self._tell = flight, tell
        self.begun = monotonic()
        self.timer: asyncio.TimerHandle | None = None
        self.is_over = False

    def tell(self, outcome: Outcome) -> None:
        if not self.is_over:
            self._tell(outcome, monotonic() - self.begun)


class Asker:
    """Performs the questions of a server's sessions.

    ``loop`` gives the event loop that it works in, and begins that if need be. ``resources_of`` gives a
    filter's resources for its performers; ``threads`` is how many performers that block run at once.
    Unless something else is said, call it in the thread of its loop.
    """

    def __init__(
        self,
        loop: Callable[[], asyncio.AbstractEventLoop],
        resources_of: Callable[[Declarations], Mapping[str, Any]] = lambda declared: {},
        threads: int = 64,
    ) -> None:
        self._loop = loop
        self._resources_of = resources_of
        self._pool = Pool(threads)
        self._flights: dict[_Key, _Flight] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._remembered: OrderedDict[_Key, tuple[float, Outcome]] = OrderedDict()
        self._seldom = Seldom(_MINUTE)
        self._causes: set[str] = set()
        self._is_closed = False

    def close(self) -> None:
        """Stop what is on its way; nobody gets an answer."""
        self._is_closed = True
        for task in tuple(self._tasks):
            task.cancel()
        self._pool.close()

    # ------------------------------------------------------------------------------- answers known
    def known_answer(self, asked: Asked) -> Outcome | None:
        """The answer to a question that need not be performed; None if it must be. From any thread."""
        question = asked.question
        fault = fault_of(question)
        if fault is not None:
            outcome = Failed(f"{_called(asked)} cannot be asked: {fault}")
            self._report(asked, outcome)
            return outcome
        if not _is_pure(question) or not getattr(type(question), "remember_for", 0.0):
            return None
        found = self._remembered.get(_Key(asked))
        return None if found is None or found[0] < monotonic() else found[1]

    def _remember(self, flight: _Flight, outcome: Outcome) -> None:
        question, key = flight.asked.question, flight.key
        seconds = getattr(type(question), "remember_for", 0)
        if not seconds or key is None or not isinstance(outcome, Answered):
            return
        if max(_size(outcome.value), sum(map(_size, values_of(question)))) > LARGEST_REMEMBERED:
            return
        self._remembered.pop(key, None)
        self._remembered[key] = monotonic() + seconds, outcome
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    # ---------------------------------------------------------------------------------- performing
    def begin(self, asked: Asked, tell: Tell) -> Cancel:
        """Perform a question. ``tell`` is called once, in the loop, unless it is cancelled before."""
        loop = self._loop()
        performer = performer_for(asked.question, asked.declared.asks)
        key = _Key(asked) if _is_pure(asked.question) else None
        flight = None if key is None else self._flights.get(key)
        if flight is None:
            flight = _Flight(asked, key)
            if key is not None:
                self._flights[key] = flight
            self._perform(flight, performer)
        errand = _Errand(flight, tell)
        flight.errands[errand] = None
        errand.timer = loop.call_later(asked.within, self._be_late, errand, asked)
        return lambda: self._cancel(errand)

    def begin_from_thread(self, asked: Asked, tell: Tell) -> Cancel:
        """As `begin`, from any thread; ``tell`` is called in the loop's thread, or at once."""
        begun: list[Cancel] = []
        try:
            loop = self._loop()
            loop.call_soon_threadsafe(lambda: begun.append(self.begin(asked, tell)))
        except RuntimeError as error:  # there is no thread for it, or it has ended
            tell(Failed(f"nobody can ask any more: {error}"), 0.0)
            return lambda: None

        def stop() -> None:
            for leave in begun:
                leave()

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop has ended, and all that was in it
                loop.call_soon_threadsafe(stop)

        return cancel

    def _perform(self, flight: _Flight, performer: Performer | None) -> None:
        asked, loop = flight.asked, self._loop()
        if performer is None:
            kind = type(asked.question).__qualname__
            self._land_soon(
                flight,
                f"nobody answers it: give {kind} a perform(self, resources), or declare "
                f"asks={{{kind}: performer}}",
            )
            return
        resources = self._resources_of(asked.declared)
        future: asyncio.Future[Any]
        if is_async(performer):
            future = loop.create_task(_perform_async(performer, asked.question, resources))
            flight.stop = future.cancel
        else:
            try:
                running = self._pool.submit(
                    lambda question: _perform_plain(performer, question, resources), asked.question
                )
            except RuntimeError as error:
                self._land_soon(flight, f"there is no thread for it: {error}")
                return
            future = loop.create_future()
            running.add_done_callback(lambda done: _pass_on(loop, future, done))
            flight.stop = lambda why: self._pool.leave(running)
        self._tasks.add(future)
        future.add_done_callback(lambda done: self._land(flight, done))

    def _land_soon(self, flight: _Flight, why: str) -> None:
        self._loop().call_soon(self._settle, flight, Failed(why))

    def _land(self, flight: _Flight, done: "asyncio.Future[Any]") -> None:
        self._tasks.discard(done)
        if not done.cancelled():
            self._settle(flight, done.result())
        elif not self._is_closed:
            self._settle(flight, Failed("it was cancelled"))  # by itself, or nobody gets the answer

    def _settle(self, flight: _Flight, outcome: Outcome) -> None:
        """It has landed: all who wait get the answer."""
        self._remember(flight, outcome)
        self._forget(flight)
        errands = tuple(flight.errands)
        flight.errands.clear()
        if errands and not isinstance(outcome, Answered):
            self._report(flight.asked, outcome)
        for errand in errands:
            _stop_timer(errand)
            self._loop().call_soon(errand.tell, outcome)  # who breaks then harms no other

    def _be_late(self, errand: _Errand, asked: Asked) -> None:
        self._leave(errand, CANCELLED_LATE)
        self._report(asked, LATE)
        errand.tell(LATE)

    def _cancel(self, errand: _Errand) -> None:
        errand.is_over = True
        self._leave(errand)

    def _leave(self, errand: _Errand, why: str | None = None) -> None:
        """He waits no more; if nobody does, what is on its way is stopped."""
        _stop_timer(errand)
        flight = errand.flight
        if errand in flight.errands:
            del flight.errands[errand]
            if not flight.errands:
                self._forget(flight)
                flight.stop(why)

    def _forget(self, flight: _Flight) -> None:
        if flight.key is not None and self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _report(self, asked: Asked, outcome: Outcome) -> None:
        """One line a cause and minute: a cause is a filter, a class of questions, and an outcome."""
        late = f"no answer within {asked.within:g} s"
        why = late if isinstance(outcome, Late) else getattr(outcome, "error", describe(outcome))
        cause = f"{asked.name}: {_called(asked)}: {type(outcome).__name__}"
        if cause not in self._causes and len(self._causes) >= _MOST_CAUSES:
            cause = ""
        self._causes.add(cause)
        count = self._seldom.count(cause, monotonic())
        if count:
            times = f" ({count} times since it was logged last)" if count > 1 else ""
            log.warning("%s: %s: %s%s", asked.name, _called(asked), shown(why[:_LONGEST_WHY]), times)


def _called(asked: Asked) -> str:
    """A question as logs call it: they hold nothing of a mail, as a key or its fields may."""
    return f"question {type(asked.question).__qualname__}"


def _is_pure(question: Any) -> bool:
    return bool(getattr(type(question), "pure", False))


def _pass_on(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", done: "Future[Any]"
) -> None:
    """What a thread has found out, to the loop; if that has ended, nobody wants it."""

    def land() -> None:
        if not future.done():
            future.set_result(Failed("it did not run") if done.cancelled() else done.result())

    with suppress(RuntimeError):
        loop.call_soon_threadsafe(land)


def _failed(error: BaseException) -> Outcome:
    return Failed(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _perform_plain(performer: Performer, question: Any, resources: Mapping[str, Any]) -> Outcome:
    try:
        found = performer(question, resources)
        if isinstance(found, Awaitable):
            if inspect.iscoroutine(found):
                found.close()
            return Failed("expected an answer from a plain performer, got an awaitable: use async def")
        return as_answer(found)
    except BaseException as error:  # noqa: BLE001  # whatever it raises is its failure
        return _failed(error)


async def _perform_async(performer: Performer, question: Any, resources: Mapping[str, Any]) -> Outcome:
    try:
        return as_answer(await performer(question, resources))
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  # as above
        return _failed(error)


def _stop_timer(errand: _Errand) -> None:
    if errand.timer is not None:
        errand.timer.cancel()
        errand.timer = None


def _size(value: Any) -> int:
    """Characters and bytes in an answer, or in a field of a question; one for any other value."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Message):
        return LARGEST_REMEMBERED + 1
    if isinstance(value, Mapping):
        return sum(len(key) + _size(one) for key, one in value.items())
    if isinstance(value, tuple | frozenset):
        return 1 + sum(map(_size, value))
    return 1


class Errands:
    """The questions of one connection that are on their way.

    ``begin`` performs one; ``tell`` takes the number of a question, what became of it, and seconds.
    """

    __slots__ = ("_begin", "_running", "_tell")

    def __init__(
        self,
        begin: Callable[[Asked, Tell], Cancel],
        tell: Callable[[int, Outcome, float], None],
    ) -> None:
        self._begin, self._tell = begin, tell
        self._running: dict[int, Cancel] = {}

    def follow(self, wanted: Mapping[int, Asked]) -> None:
        """Begin what is wanted now, and stop what is not wanted any more."""
        running = self._running
        for number in [one for one in running if one not in wanted]:
            running.pop(number)()
        for number, asked in wanted.items():
            if number not in running:
                running[number] = self._begin(asked, self._teller(number))

    def _teller(self, number: int) -> Tell:
        return lambda outcome, seconds: self._tell(number, outcome, seconds)
