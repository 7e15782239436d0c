"""Notices a plain handler that blocks the event loop, and names it: every connection waits for it.

A thread looks at what the loop's thread is doing, now and then; nothing is done on a message's way.
The loop itself reports how late it is.
"""

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.report import Seldom, log

_CALLERS: Final = frozenset(
    {
        *("demyjpy.engine.hot_path", "demyjpy.engine.handling", "demyjpy.engine.pipeline"),
        "demyjpy.engine.filter_view",
        "demyjpy.drivers.aio_session",
        *("demyjpy.wrapping", "demyjpy.scoping"),
        *("demyjpy.merging", "demyjpy.conditions"),  # these call what they wrap
        *("demyjpy.pymilter.filters", "demyjpy.pymilter.decorators"),
    }
)
"""The modules that call handlers. In a compiled engine some of them have no frames, others do."""

_HANGS: Final = sys.version_info < (3, 11, 9)
"""CPython holds a lock of the interpreter while it looks at what threads are at. If a garbage collection
lets another thread run meanwhile, and that one starts or ends a thread, all hangs (gh-106883)."""

_GUARD: Final = threading.Lock()
os.register_at_fork(before=_GUARD.acquire, after_in_parent=_GUARD.release, after_in_child=_GUARD.release)

_OURS: Final = "demyjpy."

_PULSE: Final = 0.5  # seconds between two looks at how late the loop is


class LoopWatch:
    """Watches the loop that runs in the thread where it is started.

    ``call_soon`` is the loop's ``call_soon_threadsafe``; ``limit``: seconds that a call may take.
    """

    def __init__(self, call_soon: Callable[..., Any], limit: float) -> None:
        self._call_soon, self._limit = call_soon, limit
        self._loop_thread = threading.get_ident()
        self._stopped, self._answered = threading.Event(), threading.Event()
        self._seldom = Seldom(60.0)
        self._thread = threading.Thread(target=self._run, name="demyjpy-watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        BIRTHS.start(self._thread)

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._answered.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._limit / 4
        while not self._stopped.wait(pause):
            call = self._running_call()
            if call is None:
                continue
            # the same call after the time, and the loop has done nothing else meanwhile
            if not self._is_answered() and self._running_call() is call:
                self._report(call)
            del call  # or what it holds would be kept

    def _is_answered(self) -> bool:
        """Whether the loop does something within the limit, or nobody looks any more."""
        self._answered.clear()
        if self._stopped.is_set():
            return True
        try:
            self._call_soon(self._answered.set)
        except RuntimeError:  # the loop was closed, and nobody had the time to say so here
            self._stopped.set()
            return True
        return self._answered.wait(self._limit)

    def _running_call(self) -> FrameType | None:
        return call_of(current_frame(self._loop_thread))

    def _report(self, call: FrameType) -> None:
        name = f"{call.f_globals.get('__name__')}.{call.f_code.co_qualname}"
        if self._seldom.count(name, time.monotonic()):
            log.warning(
                "%s (%s:%s) has blocked the event loop for %g s: all connections wait. Register it with "
                'blocking=True, or use driver="threads"',
                name,
                call.f_code.co_filename,
                call.f_lineno,
                self._limit,
            )


def current_frame(thread: int) -> FrameType | None:
    """What a thread is at; None if there is no such thread. See `_HANGS` for garbage collection."""
    with _GUARD:  # or another watch takes this for the program's wish, and looks after it has ended
        collects = _HANGS and gc.isenabled()
        if collects:
            gc.disable()
        try:
            return sys._current_frames().get(thread)  # noqa: SLF001  # there is no other
        finally:
            if collects:
                gc.enable()


def call_of(frame: FrameType | None) -> FrameType | None:
    """The handler's frame in a stack of which this is the innermost one; None if none is called.

    The thread of the stack goes on meanwhile: a frame whose function returns has no caller any more.
    """
    while frame is not None:
        caller = frame.f_back
        if caller is None:
            return None
        is_call = caller.f_globals.get("__name__") in _CALLERS
        if is_call and not str(frame.f_globals.get("__name__")).startswith(_OURS):
            return frame
        frame = caller
    return None


class Pulse:
    """Reports how late a loop does what is due, in seconds: all connections wait as long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[float], object]) -> None:
        self._loop, self._tell = loop, tell
        self._wait()

    def stop(self) -> None:
        """Report no more."""
        self._timer.cancel()

    def _wait(self) -> None:
        due = self._loop.time() + _PULSE
        self._timer = self._loop.call_at(due, self._beat, due)

    def _beat(self, due: float) -> None:
        self._wait()
        self._tell(max(0.0, self._loop.time() - due))  # a timer may ring a little early
