"""Effects are performed here, when the verdict on their message has left.

One for each server of a process. Those of a session are done one after the other, each again and again
until it does not raise, or has been tried often enough. Without ``effects=`` they are kept in memory:
what is left when the process ends is lost. With it they are on the disk before the verdict leaves, and
what is left there is done by the next process (`demyjpy.drivers.effect_journal`).
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import define

from demyjpy.declarations import EFFECT_KEY, Declarations
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.effect_files import (
    DONE,
    FAILED,
    EffectFile,
    FilesInHand,
    KeptEffect,
    LoadedEffect,
)
from demyjpy.drivers.effect_journal import Journal, Keeper
from demyjpy.drivers.effect_lateness import Lateness
from demyjpy.drivers.effect_takeover import Takeover, find_class
from demyjpy.drivers.jobs import LOOK, perform_apart
from demyjpy.drivers.loading import why
from demyjpy.drivers.logtext import told
from demyjpy.drivers.report import Seldom, log
from demyjpy.drivers.resources import Opened
from demyjpy.drivers.side_loop import Loop
from demyjpy.effects import Do, EffectKeeper
from demyjpy.engine.connection import Requested
from demyjpy.engine.effect_values import name_of_class
from demyjpy.engine.owed_effects import messages_in, release_messages
from demyjpy.errors import HandlerError
from demyjpy.questions import performer_of

TRIES: Final = 8
"""How often an effect is tried before it is dropped."""

FIRST_PAUSE: Final = 0.5
"""Seconds before the second try; twice as long before each later one."""

MOST_WAITING: Final = 10_000
"""Effects that are not done yet, in one process; more are dropped, or refused with ``effects=``."""

MOST_HELD: Final = 200
"""Messages that effects in memory hold, in one process; effects with more are dropped."""

_SELDOM: Final = 60.0  # seconds between two lines about the same failure
_PARTING: Final = 1.0  # seconds for who looks for what others have left


@define(eq=False)
class _Waiting:
    """An effect that is not done yet, and the resources of its filter, which stay open for it.

    ``effect`` is None if it is read from its ``file`` when it is done. ``keeper`` has yet to keep it.
    """

    effect: Any
    kind: type[Any] | None
    name: str
    key: str
    session: str
    declared: Declarations
    opened: Opened
    file: EffectFile | None = None
    number: int = 0
    keeper: Keeper | None = None
    held: int = 0
    tries: int = 0
    loaded: LoadedEffect | None = None

    def load(self) -> Any:
        """The effect. One that holds messages is read from its file at each try."""
        if self.effect is not None or self.file is None:
            return self.effect
        self.loaded = self.file.load(self.number, self._find)
        return self.loaded.effect

    def _find(self, name: str) -> type[Any]:
        # a filter that was loaded again has other classes of the same names
        return self.kind if self.kind and name_of_class(self.kind) == name else find_class(name)

    def move_to(self, file: EffectFile, kept: KeptEffect) -> None:
        """It is kept in a file: what it holds of messages is no more needed in memory."""
        self.key, self.file, self.number, self.held = kept.key, file, kept.number, 0
        if messages_in(self.effect):
            release_messages(self.effect)
            self.effect = None

    def unload(self) -> None:
        """A try has ended."""
        if self.loaded is not None:
            self.loaded.release()
            self.loaded = None


class Effects:
    """The effects of a server's sessions.

    ``threads``: how many are performed at once. ``directory``: where they are kept; None for memory.
    """

    def __init__(self, loop: Callable[[], Loop], threads: int, directory: Path | None = None) -> None:
        self._loop, self._threads, self._directory = loop, threads, directory
        self._journal: Journal | None = None
        self._takeover: Takeover | None = None
        self._changed = threading.Condition()
        self._queues: dict[str, deque[_Waiting]] = {}
        """By session, the next one first."""
        self._due: list[tuple[float, int, str]] = []
        """When a session is next; of two the one that was first."""
        self._fresh: deque[_Waiting] = deque()
        """Those that have yet to be kept: no verdict had to wait for that."""
        self._tried: deque[tuple[_Waiting, Future[Any]]] = deque()
        """Tries that have ended, and are not looked at yet."""
        self._count = self._running = self._number = self._held = self._unkept = 0
        self._is_over = self._is_closed = False
        self._thread: threading.Thread | None = None
        self._in_hand = FilesInHand(threads)
        self._seldom = Seldom(_SELDOM)
        self._lateness = Lateness(threads)

    def open(self) -> None:
        """Before something is served. `HandlerError` if the directory cannot be used."""
        if self._directory is not None:
            self._journal = Journal(self._directory, lambda: not self._has_room())
            # what others have left may not take the room of what comes
            has_room = partial(self._has_room, 2)
            self._takeover = Takeover(self._journal, has_room, self._take_over)

    def begin(self, on_connect: Any, opened: Opened) -> None:
        """This filter is served from now on."""
        if self._takeover is not None:
            self._takeover.serve(on_connect, opened)

    def keeper(self, due: tuple[Requested, ...], session: str) -> EffectKeeper:
        """What keeps these effects before the verdict leaves; only with a directory, after `open`."""
        if self._journal is None:
            raise HandlerError("expected the directory of effects= to be open, got none")
        return self._journal.keeper(due, session)

    @property
    def is_busy(self) -> bool:
        """Whether some are to be waited for: all, but those on the disk whose next try is not due."""
        if self._journal is None:
            return bool(self._count)
        with self._changed:
            is_due = bool(self._due) and self._due[0][0] <= time.monotonic()
            return bool(is_due or self._running or self._tried or self._unkept)

    def _has_room(self, parts: int = 1) -> bool:
        """Whether no more wait than may; ``parts``: than that part of it."""
        return self._count < MOST_WAITING // parts

    # ------------------------------------------------------------------------------------- queueing
    def take(self, requests: Iterable[Requested], session: str, opened: Opened) -> None:
        """These are to be done, after those of the same session before them. From any thread."""
        with self._changed:
            for requested in requests:
                if isinstance(requested.request, Do):  # else it is for the log, or for who counts
                    self._take(requested, requested.request.effect, session, opened)
            self._begin()

    def _take(self, requested: Requested, effect: Any, session: str, opened: Opened) -> None:
        handler = requested.handler
        name = f"the effect {type(effect).__name__} of {handler.filter or handler.name}"
        waiting = _Waiting(
            *(effect, type(effect), name, requested.key, session, requested.declared, opened)
        )
        found = None if self._journal is None else self._journal.take(requested)
        if found is not None:
            waiting.move_to(*found)
        else:
            waiting.held = len(messages_in(effect))
            if self._is_over or not self._has_room():
                self._log(waiting, f"is dropped: {self._count} wait already")
                return
            if waiting.held and self._held + waiting.held > MOST_HELD:
                self._log(waiting, f"is dropped: {self._held} messages are held already")
                return
            if self._journal is not None:
                waiting.keeper = self._journal.keeper((requested,), session)
        self._queue(waiting)

    def _take_over(
        self, file: EffectFile, found: list[tuple[KeptEffect, Declarations]], opened: Opened
    ) -> None:
        """Another process has left these."""
        session = f"{file.directory.name}-{file.session}"
        with self._changed:
            for effect, declared in found:
                name = f"the effect {effect.kind} of {effect.whose}"
                waiting = _Waiting(None, None, name, effect.key, session, declared, opened)
                waiting.file, waiting.number = file, effect.number
                self._queue(waiting)
            self._begin()

    def _queue(self, waiting: _Waiting) -> None:
        if self._is_over:  # it is on the disk
            return
        waiting.opened.hold()
        self._count += 1
        self._held += waiting.held
        self._unkept += waiting.keeper is not None
        queue = self._queues.setdefault(waiting.session, deque())
        queue.append(waiting)
        if waiting.keeper is not None:
            self._fresh.append(waiting)
        if len(queue) == 1:
            self._push(waiting.session, time.monotonic())

    # --------------------------------------------------------------------------------------- ending
    def stop(self) -> None:
        """Take over no more of what others have left."""
        if self._takeover is not None:
            self._takeover.stop()

    def wait(self, seconds: float, is_hurried: Callable[[], bool]) -> None:
        """Until none is to be waited for, but no longer than this, or than nobody is in a hurry."""
        end = time.monotonic() + seconds
        while self.is_busy and time.monotonic() < end and not is_hurried():
            time.sleep(LOOK)

    def close(self) -> None:
        """Begin no more. What is left in memory is lost, and the log says how many. Again nothing.

        What is done by then is settled. It may block, as long as a thread needs to notice.
        """
        with self._changed:
            is_over, self._is_over = self._is_over, True
            tried, self._tried = self._tried, deque()
            self._changed.notify_all()
        if is_over:
            return
        for waiting, done in tried:
            self._part(waiting, done)
        self.stop()
        if self._thread is not None:
            self._thread.join(_PARTING)
        if self._takeover is not None:
            self._takeover.wait(_PARTING)
        with self._changed:  # from now on others may do what is in the directory
            self._is_closed = True
            if self._journal is not None:
                self._journal.close()
        lost = self._count if self._journal is None else self._unkept
        if lost:
            log.error("effects that were not done when the milter stopped, and are lost: %d", lost)
        if self._count > lost:
            kept, where = self._count - lost, self._directory
            log.info(
                "effects that were not done when the milter stopped, and are in %s: %d", where, kept
            )

    # ---------------------------------------------------------------------------------- performing
    def _begin(self) -> None:
        """There is something to do."""
        self._changed.notify_all()
        if self._thread is not None or not self._count:
            return
        thread = threading.Thread(target=self._run, name="demyjpy-effects", daemon=True)
        try:
            BIRTHS.start(thread)
        except RuntimeError as error:  # the next that comes tries again
            log.error("effects have to wait: %s", error)
        else:
            self._thread = thread

    def _push(self, session: str, at: float) -> None:
        """The next one of a session is due then, unless it has yet to be kept."""
        queue = self._queues.get(session)
        if queue and queue[0].keeper is None:
            self._number += 1
            heapq.heappush(self._due, (at, self._number, session))

    def _run(self) -> None:
        while True:
            self._lateness.tell(time.monotonic())
            with self._changed:
                if not (self._is_over or self._tried) and (seconds := self._pause()) != 0:
                    self._changed.wait(self._lateness.pause(time.monotonic(), seconds))
                    continue
                if self._is_over:
                    return
                tried = self._tried.popleft() if self._tried else None
                if tried is None:
                    waiting = self._next()
                    self._running += 1
            if tried is not None:
                self._look_at(*tried)
            else:
                self._perform(waiting)

    def _next(self) -> _Waiting:
        """What is begun now: first of all they are kept."""
        if self._fresh:
            return self._fresh.popleft()
        return self._queues[heapq.heappop(self._due)[2]][0]

    def _pause(self) -> float | None:
        """Seconds until one is due; None: until something changes."""
        if not (self._due or self._fresh) or self._running >= self._threads:
            return None
        if self._fresh:
            return 0.0
        return max(0.0, self._due[0][0] - time.monotonic())

    def _perform(self, waiting: _Waiting) -> None:
        """Begin to keep it, or to do it."""
        self._lateness.begin(waiting, waiting.name, time.monotonic())
        future: Future[Any]
        try:
            if waiting.keeper is not None:
                future = perform_apart(waiting.keeper.keep, self._loop(), name="demyjpy-effect")
            else:
                effect = waiting.load()
                if waiting.file is not None:
                    self._in_hand.take(waiting.file)
                performer = performer_of(effect, waiting.declared.asks)
                resources = {**(waiting.opened.of(waiting.declared) or {}), EFFECT_KEY: waiting.key}
                loop, name = self._loop(), "demyjpy-effect"
                future = perform_apart(performer, loop, effect, resources, name=name)
        except Exception as error:  # noqa: BLE001  # its file is damaged, its class has changed, ...
            future = Future()
            future.set_exception(error)
        future.add_done_callback(partial(self._ended, waiting))

    def _ended(self, waiting: _Waiting, done: "Future[Any]") -> None:
        with self._changed:
            if not self._is_over:
                self._tried.append((waiting, done))
                self._changed.notify_all()
                return
        self._part(waiting, done)

    def _part(self, waiting: _Waiting, done: "Future[Any]") -> None:
        """A try has ended while the milter stops: what is done is not left to the next process."""
        with self._changed:
            if not self._is_closed and not _error_of(done):
                if waiting.keeper is not None:
                    self._unkept -= 1
                else:
                    self._settle(waiting, DONE)
                    self._forget(waiting)
        waiting.unload()
        waiting.opened.release()

    def _look_at(self, waiting: _Waiting, done: "Future[Any]") -> None:
        """A try has ended."""
        error = _error_of(done)
        self._lateness.end(waiting)
        waiting.unload()
        if waiting.keeper is not None:
            self._look_at_kept(waiting, waiting.keeper, error)
            return
        waiting.tries += 1
        is_over = not error or waiting.tries >= TRIES
        if error:
            self._log(waiting, f"failed: {error}{self._last_words(waiting) if is_over else ''}", is_over)
        if is_over:
            self._settle(waiting, FAILED if error else DONE)
            if waiting.file is not None and not waiting.file.waiting:
                self._in_hand.lay_down(waiting.file)
        with self._changed:
            self._running -= 1
            if is_over:
                self._forget(waiting)
            pause = 0.0 if is_over else FIRST_PAUSE * 2 ** (waiting.tries - 1)
            self._push(waiting.session, time.monotonic() + pause)  # its next one was not due before
        if is_over:
            waiting.opened.release()

    def _look_at_kept(self, waiting: _Waiting, keeper: Keeper, error: str) -> None:
        """It is on the disk now, or cannot be: then it is tried from memory all the same."""
        if error:
            self._log(waiting, f"cannot be kept, and is in memory only: {error}")
        with self._changed:
            self._running -= 1
            self._unkept -= 1
            waiting.keeper = None
            for file, kept in keeper.take():
                self._held -= waiting.held
                waiting.move_to(file, kept)
            if self._queues[waiting.session][0] is waiting:
                self._push(waiting.session, time.monotonic())

    def _last_words(self, waiting: _Waiting) -> str:
        where = "is dropped" if waiting.file is None else f"is in {self._directory}/failed"
        return f"; it was tried {TRIES} times, and {where}"

    def _settle(self, waiting: _Waiting, what: int) -> None:
        """It is done, or given up."""
        if waiting.file is None or self._journal is None:
            release_messages(waiting.effect)
            return
        try:
            self._journal.settle(waiting.file, waiting.number, what)
        except Exception as error:  # noqa: BLE001  # others have their turn, whatever it is
            said = why(error) if not isinstance(error, OSError) else error
            self._log(waiting, f"cannot be written down as done, and may be done again: {said}")

    def _forget(self, waiting: _Waiting) -> None:
        queue = self._queues[waiting.session]
        queue.popleft()
        self._count -= 1
        self._held -= waiting.held
        if not queue:
            del self._queues[waiting.session]

    def _log(self, waiting: _Waiting, what: str, is_last: bool = False) -> None:
        """One line a cause and minute."""
        cause = f"{waiting.name} {what.partition(':')[0]} {is_last}"
        count = self._seldom.count(cause, time.monotonic())
        if count:
            times = f" ({count} times)" if count > 1 else ""
            with suppress(Exception):  # a filter of the program's logging raises
                log.error("%s %s%s", waiting.name, what, times)


def _error_of(done: "Future[Any]") -> str:
    """What went wrong in a try; empty if nothing did."""
    if done.cancelled():
        return "it was cancelled"
    failure = done.exception()
    return "" if failure is None else told(failure)
