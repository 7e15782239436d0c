"""Asks servers for a client: a place for each question, a time limit, a circuit breaker a server.

How a question is put to a server is known by the client. Call all of this in the loop that performs.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from demyjpy.drivers.asker import CANCELLED_LATE
from demyjpy.drivers.breaker_log import BREAKERS, Change
from demyjpy.drivers.report import log
from demyjpy.errors import HandlerError, MilterError, describe
from demyjpy.lookups.breaker import MOST_FAILURES, PAUSE, Breaker
from demyjpy.lookups.places import Places
from demyjpy.questions import check_seconds
from demyjpy.shown import safe

T = TypeVar("T")

TIMEOUT: Final = 3.0
"""Seconds for one question, once it has a place: less than the 5 s that a handler waits by default."""

MOST_SERVERS: Final = 1_000
"""Servers of a client of which something is known; the one that was asked least lately goes first."""

_LONGEST_CAUSE: Final = 200


class UnansweredError(MilterError):
    """The server did not answer: it cannot be reached, is late, or says that it cannot answer now.

    It counts for the circuit breaker.
    """


class RefusedError(MilterError):
    """The server answered that it does not do this. Asking another question may well work."""


class Guard:
    """Asks the servers of one client; ``what`` names the client in errors, log and metrics.

    ``places``: questions that are asked at once; others wait their turn. ``timeout``: seconds for each.
    ``most_failures`` and ``pause``: see `demyjpy.lookups.breaker.Breaker`. ``finishes``: what was begun
    has its ``timeout``, also if nobody waits any longer; for a client to which stopping it costs a
    connection: a server that is only slow would have to make new ones as well. ``clock`` gives seconds.
    """

    def __init__(
        self,
        what: str,
        *,
        places: int,
        timeout: float = TIMEOUT,
        most_failures: int = MOST_FAILURES,
        pause: float = PAUSE,
        finishes: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.timeout = check_seconds("timeout=", timeout)
        self._places = Places(_count("pool=", places))
        self._finishes = finishes
        self._new = Breaker(_count("most_failures=", most_failures), pause)
        self._clock = clock
        self._breakers: OrderedDict[str, Breaker] = OrderedDict()
        self._causes: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._suspects: set[str] = set()
        """Servers that are just asked whether they are alive."""

    async def ask(
        self,
        server: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        is_alive: Callable[[], Awaitable[object]] | None = None,
        seconds: float | None = None,
    ) -> T:
        """What ``work`` returns, if the server is asked and answers in time.

        ``seconds``: the time limit, in place of that of the client.
        ``is_alive``: asks the server something that it always answers. Then no question whose answer a
        stranger can hold up opens the breaker by itself.

        `UnansweredError` if there is no answer, or the breaker is open. What else ``work`` raises goes
        on; a `RefusedError` is an answer of the server.
        """
        if self._of(server).admit(self._clock()) is None:
            raise self._unasked(server)  # those who hold places may take long to be stopped
        await self._places.take(server)
        try:
            task, is_probe = self._begin(server, work)
        except BaseException:
            self._places.give_back()
            raise
        task.add_done_callback(lambda done: self._places.give_back())  # not before it has really ended
        limit = self.timeout if seconds is None else seconds
        watching = self._watch(server, task, is_alive, limit, is_probe=is_probe)
        if not self._finishes:
            return await watching
        watcher = asyncio.get_running_loop().create_task(watching)
        self._keep(watcher)
        return await asyncio.shield(watcher)

    async def watch(self, server: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `ask`, for work that asks in this way itself: it takes no place."""
        task, is_probe = self._begin(server, work)
        return await self._watch(server, task, None, self.timeout, is_probe=is_probe)

    def close(self) -> None:
        """Stop what is still on its way, and forget what is known."""
        for task in tuple(self._tasks):
            task.cancel()
        for server in tuple(self._breakers):
            self._drop(server)

    # -------------------------------------------------------------------------------- one question
    def _begin(
        self, server: str, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple["asyncio.Task[T]", bool]:
        """Begin, as a task of its own: some libraries take long to be cancelled, and nobody waits.

        And whether it is the probe.
        """
        before = self._of(server)
        breaker = before.admit(self._clock())
        if breaker is None:
            raise self._unasked(server)
        self._set(server, breaker)
        task = asyncio.get_running_loop().create_task(work())
        self._keep(task)
        return task, breaker is not before

    def _unasked(self, server: str) -> UnansweredError:
        now, breaker = self._clock(), self._of(server)
        seconds = max(0.0, (breaker.asked_again_at or now) - now)
        return UnansweredError(
            f"{self.what} {server} was not asked: it did not answer {breaker.failures} times in a row, "
            f"the last time: {self._causes.get(server, '')}; it is asked again in {seconds:.0f} s"
        )

    async def _watch(
        self,
        server: str,
        task: "asyncio.Task[T]",
        is_alive: Callable[[], Awaitable[object]] | None,
        seconds: float,
        *,
        is_probe: bool,
    ) -> T:
        failure = None
        change: Callable[[Breaker], Breaker] = partial(Breaker.give_up, is_probe=is_probe)
        try:
            found = await _result(task, seconds)
            change = Breaker.succeed
        except RefusedError as error:
            change = Breaker.succeed
            raise RefusedError(f"{self.what} {server}: {error}") from error
        except asyncio.CancelledError as error:
            failure = "nobody waited any longer" if CANCELLED_LATE in error.args else None
            raise
        except (UnansweredError, OSError, EOFError) as error:
            failure = str(error) or type(error).__name__
            raise UnansweredError(f"{self.what} {server}: {failure}") from error
        finally:
            if failure is None:
                self._set(server, change(self._of(server)))
            else:
                self._fail(server, failure, is_alive, is_probe=is_probe)
        return found

    def _fail(
        self,
        server: str,
        why: str,
        is_alive: Callable[[], Awaitable[object]] | None,
        *,
        is_probe: bool,
    ) -> None:
        before = self._of(server)
        if before.is_open and not is_probe:
            return
        self._causes[server] = why[:_LONGEST_CAUSE]
        if is_alive is None or not before.is_suspect:
            self._set(server, before.fail(self._clock(), is_probe=is_probe))
        elif server not in self._suspects:
            self._suspects.add(server)
            self._keep(asyncio.ensure_future(self._judge(server, is_alive, is_probe=is_probe)))

    async def _judge(
        self, server: str, is_alive: Callable[[], Awaitable[object]], *, is_probe: bool
    ) -> None:
        """Whether it does not answer at all; nobody waits for this."""
        change: Callable[[Breaker], Breaker] = partial(Breaker.give_up, is_probe=is_probe)
        try:
            async with asyncio.timeout(self.timeout):
                await is_alive()
            change = Breaker.succeed
        except RefusedError:
            change = Breaker.succeed
        except (UnansweredError, OSError, EOFError):
            change = partial(Breaker.fail, now=self._clock(), is_probe=is_probe)
        finally:
            self._suspects.discard(server)
            self._set(server, change(self._of(server)))

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # now it counts as seen: nobody may have waited for it

    # --------------------------------------------------------------------------- what is known
    def _of(self, server: str) -> Breaker:
        return self._breakers.get(server, self._new)

    def _set(self, server: str, breaker: Breaker) -> None:
        before = self._of(server)
        if breaker == before:
            return
        if breaker.is_open and not before.is_open:
            BREAKERS.add(Change(self.what, safe(server), is_open=True))
            log.warning(
                "%s %s does not answer, and is asked only every %g s; the last time: %s",
                *(self.what, server, breaker.pause, self._causes.get(server, "")),
            )
        elif before.is_open and not breaker.is_open:
            log.warning("%s %s answers again", self.what, server)
        if breaker == self._new:
            self._drop(server)
            return
        self._breakers[server] = breaker
        self._breakers.move_to_end(server)
        if breaker.admit(self._clock()) is None:
            self._places.send_away(server, lambda: self._unasked(server))
        if len(self._breakers) > MOST_SERVERS:
            self._drop(next(iter(self._breakers)))

    def _drop(self, server: str) -> None:
        """Nothing is known of it any more."""
        if self._breakers.pop(server, self._new).is_open:
            BREAKERS.add(Change(self.what, safe(server), is_open=False))
        self._causes.pop(server, None)


async def _result(task: "asyncio.Task[T]", seconds: float) -> T:
    try:
        await asyncio.wait((task,), timeout=seconds)
    finally:
        task.cancel()  # which does nothing if it is done
    if not task.done():
        raise UnansweredError(f"no answer within {seconds:g} s")
    if task.cancelled():
        raise UnansweredError("it was stopped")
    return task.result()


def _count(option: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise HandlerError(f"expected {option} as a number, 1 or more, got {describe(value)}")
    return value
