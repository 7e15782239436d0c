"""Effects that another process has left in the directory of ``effects=`` are taken over here.

At the start those of the process before, later those of a worker that has died. A thread looks for them,
and again every `LOOK` seconds. Which files there are, and whose, is `demyjpy.drivers.effect_journal`.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from demyjpy.declarations import Declarations
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.effect_files import EffectFile, KeptEffect
from demyjpy.drivers.effect_journal import Journal
from demyjpy.drivers.loading import why
from demyjpy.drivers.report import Seldom, log
from demyjpy.drivers.resources import Opened, leaves_of
from demyjpy.engine.effect_values import UnknownClassError
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry
from demyjpy.questions import performer_of
from demyjpy.registry import Registry

LOOK: Final = 2.0
"""Seconds between two looks for what a process has left that has died."""

_SELDOM: Final = 60.0  # seconds between two lines that say the same


@frozen(eq=False)
class Served:
    """The filter that is served, and what it has open."""

    on_connect: Any
    opened: Opened

    def declared_by(self, effect: KeptEffect) -> Declarations | None:
        """What the filter of an effect declares now; None if that filter is not there."""
        if not leaves_of(self.on_connect):  # a function that makes a filter for each connection
            return Declarations(name=effect.filter)
        parts = as_registry(self.on_connect).parts
        at_place = parts[effect.place : effect.place + 1]
        if effect.filter is not None:
            known = (*at_place, *parts, *leaves_of(self.on_connect))
            return next((one.declarations for one in known if one.name == effect.filter), None)
        able = [one for one in parts if _has_asked(one, effect)]
        found = [one for one in at_place if one in able] or able
        return found[0].declarations if len(found) == 1 else None


def _has_asked(part: Registry, effect: KeptEffect) -> bool:
    """Whether a filter without a name has the handler that has asked for an effect."""
    return part.name is None and any((one.filter or one.name) == effect.whose for one in part.values())


def find_class(name: str) -> type[Any]:
    """A class that is there; `UnknownClassError` if none has this name. Nothing is imported."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise UnknownClassError(f"expected the class {name}, got none")
    return found


class Takeover:
    """Looks for what others have left, from `start` to `stop`.

    ``has_room``: whether more may wait. ``queue`` takes a file all of whose effects can be done, with
    what the filter of each declares.
    """

    def __init__(
        self,
        journal: Journal,
        has_room: Callable[[], bool],
        queue: Callable[[EffectFile, list[tuple[KeptEffect, Declarations]], Opened], None],
    ) -> None:
        self._journal, self._has_room, self._queue = journal, has_room, queue
        self._served: Served | None = None
        self._next: deque[Served] = deque()
        self._look = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None
        self._seldom = Seldom(_SELDOM)

    def serve(self, on_connect: Any, opened: Opened) -> None:
        """This filter is served from now on. What it has open stays so while effects may need it."""
        opened.hold()
        self._next.append(Served(on_connect, opened))
        self._look.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="demyjpy-effects-left", daemon=True)
            try:
                BIRTHS.start(thread)
            except RuntimeError as error:
                log.error("effects of an earlier process have to wait: %s", error)
            else:
                self._thread = thread

    def stop(self) -> None:
        """Look for no more. Again it does nothing."""
        self._is_over = True
        self._look.set()

    def wait(self, seconds: float) -> None:
        """After `stop`: until it has stopped, but no longer than this."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._is_over:
            self._look.clear()
            if self._next:
                self._journal.try_again()
            while self._next:
                self._release()
                self._served = self._next.popleft()
            taken = 0
            try:
                for file in self._journal.left(lambda: not self._is_over and self._has_room()):
                    found = self._able_to_do(file)
                    file.lay_down()
                    if found is not None:
                        taken += len(found[0])
                        self._queue(file, *found)
            except OSError as error:
                self._log("effects of an earlier process have to wait", f": {error}")
            if taken:
                log.info("effects that another process has left, and that are done now: %d", taken)
            self._look.wait(LOOK)
        self._release()

    def _release(self) -> None:
        if self._served is not None:
            self._served.opened.release()

    def _log(self, words: str, more: str = "") -> None:
        """One line a minute for the same words."""
        count = self._seldom.count(words, time.monotonic())
        if count:
            log.error("%s%s%s", words, more, f" ({count} times)" if count > 1 else "")

    def _able_to_do(
        self, file: EffectFile
    ) -> tuple[list[tuple[KeptEffect, Declarations]], Opened] | None:
        """Its effects, if all can be done, and what is open for them; else the file is put off."""
        served = self._served or Served(None, Opened())
        found: list[tuple[KeptEffect, Declarations]] = []
        for effect in file.waiting:
            try:
                found.append((effect, _able(served, file, effect)))
            except Exception as error:  # noqa: BLE001  # the other files have their turn
                said = error if isinstance(error, OSError) else why(error)
                self._log(
                    f"the effect {effect.kind} of {effect.whose} is kept, and not done: {said}",
                    f": serve it again, or remove {self._journal.path_of(file)}"
                    if isinstance(error, _NotServedError)
                    else "",
                )
                self._journal.put_off(file, is_passing=isinstance(error, OSError))
                return None
        return found, served.opened


class _NotServedError(HandlerError):
    """The filter of an effect is not there."""


def _able(served: Served, file: EffectFile, effect: KeptEffect) -> Declarations:
    """What the filter of an effect declares; an error if nobody here can do it."""
    declared = served.declared_by(effect)
    if declared is None:
        name = f"the filter {effect.filter!r}" if effect.filter else f"the filter with {effect.whose}"
        raise _NotServedError(f"{name} is not served")
    loaded = file.load(effect.number, find_class)
    loaded.release()
    if performer_of(loaded.effect, declared.asks) is None:
        raise HandlerError("expected somebody who performs it, got nobody")
    return declared
