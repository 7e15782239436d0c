"""Effects are performed here, when the verdict on their message has left.

One for each server of a process. Those of a session are done one after the other, each again and again
until it does not raise, or has been tried often enough. They are kept in memory: what is left when the
process ends is lost.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

from attrs import define

from demyjpy.declarations import EFFECT_KEY
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.jobs import LOOK, perform_apart
from demyjpy.drivers.loading import why
from demyjpy.drivers.report import Seldom, log
from demyjpy.drivers.resources import Opened
from demyjpy.drivers.side_loop import Loop
from demyjpy.effects import Do
from demyjpy.engine.connection import Requested
from demyjpy.questions import performer_of
from demyjpy.registry import Handler

TRIES: Final = 8
"""How often an effect is tried before it is dropped."""

FIRST_PAUSE: Final = 0.5
"""Seconds before the second try; twice as long before each later one."""

MOST_WAITING: Final = 10_000
"""Effects that are not done yet, in one process; more are dropped."""

_SELDOM: Final = 60.0  # seconds between two lines about the same failure


@define(eq=False)
class _Waiting:
    """An effect that is not done yet, and the resources of its filter, which stay open for it."""

    requested: Requested
    session: str
    opened: Opened
    tries: int = 0

    @property
    def effect(self) -> Any:
        request = self.requested.request
        return request.effect if isinstance(request, Do) else request

    @property
    def name(self) -> str:
        whose = _whose(self.requested.handler)
        return f"the effect {type(self.effect).__name__} of {whose}"


def _whose(handler: Handler[Any]) -> str:
    return handler.filter or handler.name


class Effects:
    """The effects of a server's sessions. ``threads``: how many are performed at once."""

    def __init__(self, loop: Callable[[], Loop], threads: int) -> None:
        self._loop, self._threads = loop, threads
        self._changed = threading.Condition()
        self._queues: dict[str, deque[_Waiting]] = {}
        """By session, the next one first."""
        self._due: list[tuple[float, int, str]] = []
        """When a session is next; of two the one that was first."""
        self._count = self._running = self._number = 0
        self._is_over = self._has_begun = False
        self._seldom = Seldom(_SELDOM)

    @property
    def is_busy(self) -> bool:
        """Whether some are not done yet."""
        return bool(self._count)

    def take(self, requests: Iterable[Requested], session: str, opened: Opened) -> None:
        """These are to be done, after those of the same session before them. From any thread."""
        with self._changed:
            for requested in requests:
                if not isinstance(requested.request, Do):
                    continue  # for the log, or for who counts
                waiting = _Waiting(requested, session, opened)
                if self._is_over or self._count >= MOST_WAITING:
                    self._log(waiting, f"is dropped: {self._count} wait already")
                    continue
                opened.hold()
                self._count += 1
                queue = self._queues.setdefault(session, deque())
                queue.append(waiting)
                if len(queue) == 1:
                    self._push(session, time.monotonic())
            self._begin()

    def wait(self, seconds: float, is_hurried: Callable[[], bool]) -> None:
        """Until all are done, but no longer than this, or than nobody is in a hurry."""
        end = time.monotonic() + seconds
        while self.is_busy and time.monotonic() < end and not is_hurried():
            time.sleep(LOOK)

    def close(self) -> None:
        """Begin no more. What is left is lost, and the log says how many. Again it does nothing."""
        with self._changed:
            is_over, self._is_over = self._is_over, True
            self._changed.notify_all()
        if self._count and not is_over:
            log.error(
                "effects that were not done when the milter stopped, and are lost: %d", self._count
            )

    # ---------------------------------------------------------------------------------- performing
    def _begin(self) -> None:
        """There is something to do."""
        self._changed.notify_all()
        if self._has_begun or not self._count:
            return
        try:
            BIRTHS.start(threading.Thread(target=self._run, name="demyjpy-effects", daemon=True))
            self._has_begun = True
        except RuntimeError as error:  # the next that comes tries again
            log.error("effects have to wait: %s", error)

    def _push(self, session: str, at: float) -> None:
        self._number += 1
        heapq.heappush(self._due, (at, self._number, session))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_over and (seconds := self._pause()) != 0:
                    self._changed.wait(seconds)
                if self._is_over:
                    return
                session = heapq.heappop(self._due)[2]
                waiting = self._queues[session][0]
                self._running += 1
            self._perform(waiting)

    def _pause(self) -> float | None:
        """Seconds until one is due; None: until something changes."""
        if not self._due or self._running >= self._threads:
            return None
        return max(0.0, self._due[0][0] - time.monotonic())

    def _perform(self, waiting: _Waiting) -> None:
        requested, effect = waiting.requested, waiting.effect
        performer = performer_of(effect, requested.declared.asks)
        resources = {**(waiting.opened.of(requested.declared) or {}), EFFECT_KEY: requested.key}
        future = perform_apart(performer, self._loop(), effect, resources, name="demyjpy-effect")
        future.add_done_callback(lambda done: self._ended(waiting, done))

    def _ended(self, waiting: _Waiting, done: "Future[Any]") -> None:
        error = "it was cancelled"
        if not done.cancelled():
            failure = done.exception()
            error = "" if failure is None else why(failure)
        waiting.tries += 1
        pause = FIRST_PAUSE * 2 ** (waiting.tries - 1)
        with self._changed:
            self._running -= 1
            is_over = not error or waiting.tries >= TRIES or self._is_over
            if error and not self._is_over:
                again = f"; it was tried {TRIES} times, and is dropped"
                self._log(waiting, f"failed: {error}{again if is_over else ''}")
            if is_over:
                pause = 0.0
                self._forget(waiting)
            if waiting.session in self._queues:  # until then its next one was not due
                self._push(waiting.session, time.monotonic() + pause)
            self._changed.notify_all()
        if is_over:
            waiting.opened.release()

    def _forget(self, waiting: _Waiting) -> None:
        queue = self._queues[waiting.session]
        queue.popleft()
        self._count -= 1
        if not queue:
            del self._queues[waiting.session]

    def _log(self, waiting: _Waiting, what: str) -> None:
        """One line a cause and minute."""
        cause = f"{waiting.name} {what.partition(':')[0]} {what.endswith('dropped')}"
        count = self._seldom.count(cause, time.monotonic())
        if count:
            times = f" ({count} times)" if count > 1 else ""
            log.error("%s %s%s", waiting.name, what, times)
