"""Jobs: what a filter does again and again, whatever mail comes.

``every={3600: Expire(days=36)}`` declares them. Of all workers one does them, as `demyjpy.drivers.roles`
says. A job runs in a thread, or in the loop if its ``perform`` is async, and never twice at once.
"""

import inspect
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from attrs import define

from demyjpy.declarations import Declarations
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.loading import why
from demyjpy.drivers.report import UNFINISHED, Seldom, log
from demyjpy.drivers.resources import NOTHING_OPEN, Opened, leaves_of
from demyjpy.drivers.roles import Role
from demyjpy.drivers.side_loop import Loop
from demyjpy.errors import HandlerError
from demyjpy.registry import name_of_filter

_SELDOM: Final = 60.0  # seconds between two lines about the same failure
LOOK: Final = 0.02
"""Seconds between two looks whether what runs has ended."""
_LONGEST_WAIT: Final = 86_400.0


def is_async(perform: Callable[..., Any]) -> bool:
    """Whether this is ``async``: a function, or an object that is called."""
    call = getattr(perform, "__call__", None)  # noqa: B004  # an object's async __call__
    return inspect.iscoroutinefunction(perform) or inspect.iscoroutinefunction(call)


def perform_apart(perform: Any, loop: Loop, *arguments: Any, name: str = "demyjpy-job") -> "Future[Any]":
    """Begin to perform something: in the loop if it is async, else in a thread of its own.

    What stands in the way is in the future, too.
    """
    try:
        if is_async(perform):
            return loop.submit(perform(*arguments))
        future: Future[Any] = Future()

        future.set_running_or_notify_cancel()  # a thread cannot be cancelled

        def run() -> None:
            try:
                future.set_result(_done(perform(*arguments)))
            except BaseException as error:  # noqa: BLE001  # it is the user's code
                future.set_exception(error)

        BIRTHS.start(threading.Thread(target=run, name=name, daemon=True))
    except Exception as error:  # noqa: BLE001  # no thread, or an async one takes no such arguments
        future = Future()
        future.set_exception(error)
    return future


def _done(found: Any) -> Any:
    """What a plain one returned; nothing is done yet if that has to be awaited."""
    if not isinstance(found, Awaitable):
        return found
    if inspect.iscoroutine(found):
        found.close()
    raise HandlerError("expected a plain perform to have done it, got an awaitable: use async def")


@define(eq=False)
class _Due:
    """A job and when it is next due; ``running``: what still runs of it."""

    seconds: float
    job: Any
    filter: str
    part: Declarations
    at: float
    running: "Future[Any] | None" = None

    @property
    def name(self) -> str:
        return f"the job {type(self.job).__name__} of {self.filter}"


class Jobs:
    """The jobs of one filter, from `start` to `stop`. Times are in seconds."""

    def __init__(self, on_connect: Any, opened: Opened, role: Role, loop: Loop) -> None:
        now = time.monotonic()
        self._all = [
            _Due(seconds, job, name_of_filter(leaf), leaf.declarations, now + seconds)
            for leaf in leaves_of(on_connect)
            for seconds, job in leaf.declarations.every.items()
        ]
        self._opened, self._role, self._loop = opened, role, loop
        self._over = threading.Event()
        self._seldom = Seldom(_SELDOM)

    def start(self) -> None:
        """From now on they are done. Their resources stay open until the last has ended."""
        if not self._all:
            return
        self._opened.hold()
        try:
            BIRTHS.start(threading.Thread(target=self._run, name="demyjpy-jobs", daemon=True))
        except RuntimeError as error:
            log.error("no jobs run: %s", error)
            self._opened.release()

    def stop(self) -> None:
        """Begin no more of them. Those that run go on: see `is_busy` and `cancel`."""
        self._over.set()

    @property
    def is_busy(self) -> bool:
        """Whether one runs."""
        return any(one.running is not None and not one.running.done() for one in self._all)

    def wait(self, seconds: float, is_hurried: Callable[[], bool]) -> None:
        """Until none runs, but no longer than this, or than nobody is in a hurry."""
        end = time.monotonic() + seconds
        while self.is_busy and time.monotonic() < end and not is_hurried():
            time.sleep(LOOK)

    def cancel(self) -> None:
        """Those that run are waited for no more; the log names them."""
        for one in self._all:
            if one.running is not None and not one.running.done():
                one.running.cancel()
                log.warning("%s: %s", one.name, UNFINISHED)
                one.running = None

    def _run(self) -> None:
        while not self._over.wait(min(self._left_until_due(), _LONGEST_WAIT)):
            for one in self._all:
                if one.at <= time.monotonic():
                    self._do(one)
        while self.is_busy:
            time.sleep(LOOK)
        self._role.leave(self)
        self._opened.release()

    def _left_until_due(self) -> float:
        return max(0.0, min(one.at for one in self._all) - time.monotonic())

    def _do(self, one: _Due) -> None:
        missed = math.floor((time.monotonic() - one.at) / one.seconds)
        one.at += one.seconds * (missed + 1)  # what was missed is not made up for
        if (one.running is not None and not one.running.done()) or not self._role.take(self):
            return
        resources: Mapping[str, Any] = self._opened.of(one.part) or NOTHING_OPEN
        one.running = perform_apart(one.job.perform, self._loop, resources)
        one.running.add_done_callback(lambda future: self._ended(one, future))

    def _ended(self, one: _Due, future: "Future[Any]") -> None:
        error = None if future.cancelled() else future.exception()
        if error is None:
            return
        count = self._seldom.count(f"{one.name}: {type(error).__name__}", time.monotonic())
        if count:
            times = f" ({count} times)" if count > 1 else ""
            log.error("%s failed%s: %s", one.name, times, why(error))
