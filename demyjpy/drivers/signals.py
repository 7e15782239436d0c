"""Signals, as what they ask of a driver: to stop, or to stop at once. And how to wait for them."""

import math
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final, Self, TypeAlias

from attrs import frozen

Adopt: TypeAlias = Callable[[Any, Callable[[str], None]], None]
"""Takes a filter, and what is to be called when it is in use, or known not to be usable."""


@frozen
class Controls:
    """What may be asked of a driver that serves; from any thread, in signal handlers, more than once.

    ``stop``: with True at once. ``retire``: accept no more, and stop when the last session has ended by
    itself. ``adopt``: a filter for the sessions to come, or the error that says why it cannot run; only
    where the driver works. The function beside it is called there when it is so, with what was wrong, or
    with an empty text. ``soon``: call something where the driver works, as a proof that it does.
    """

    stop: Callable[[bool], None]
    retire: Callable[[], None]
    adopt: Adopt
    soon: Callable[[Callable[[], None]], None]


Started: TypeAlias = Callable[[Controls], None]
"""What a driver calls when it has begun to serve."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""What stops a milter."""

AT_ONCE: Final = signal.SIGQUIT
"""What a parent sends its workers for a second one of `SIGNALS`."""

RETIRE: Final = signal.SIGUSR2
"""What a parent sends a worker whose filter is an old one."""

RELOAD: Final = signal.SIGHUP
"""What asks for the filter to be loaded again."""

_DAY: Final = 86_400.0


@contextmanager
def handling(handlers: Mapping[signal.Signals, Callable[..., None]]) -> Iterator[Callable[[], None]]:
    """While the block runs, signals have these handlers. Gives what puts back those before, any time."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()


class Requests:
    """What was asked of a driver; what comes before it has started waits for it."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        """The requests to stop; True: at once. Two that come together may change places."""
        self._is_retired = False
        self._controls: Controls | None = None

    def ask(self, at_once: bool) -> None:
        """A request has come."""
        self.asked.append(at_once)
        if self._controls is not None:
            self._controls.stop(at_once)

    def retire(self) -> None:
        """No more connections are to be accepted."""
        self._is_retired = True
        if self._controls is not None:
            self._controls.retire()

    def started(self, controls: Controls) -> None:
        """The driver has started."""
        self._controls = controls
        if self._is_retired:
            controls.retire()
        for at_once in tuple(self.asked):
            controls.stop(at_once)


@contextmanager
def obeyed(reload: Callable[[], None] | None = None) -> Iterator[Requests]:
    """While the block runs, SIGTERM and SIGINT ask to stop, a second one at once.

    SIGHUP calls ``reload``, if there is one, and does nothing after a signal to stop: see `_reloading`.

    A third one does what it did before: a handler that hangs in the main thread can be ended. In
    other threads than the main one Python allows no handling of signals.
    """
    requests = Requests()
    numbers = count()
    restores: list[Callable[[], None]] = []  # empty until all signals have these handlers
    handled: dict[signal.Signals, Callable[..., None]] = {}
    if _is_main_thread():
        handled = {number: lambda *_: obey() for number in SIGNALS}
    else:
        reload = None

    def obey() -> None:
        # the next signal may come in the midst of this: to look and to note has to be one step
        again = next(numbers) > 0
        requests.ask(again)
        if again:
            for restore in restores:
                restore()

    with _reloading(reload, requests), handling(handled) as restore:
        restores.append(restore)
        yield requests


@contextmanager
def _reloading(reload: Callable[[], None] | None, requests: Requests) -> Iterator[None]:
    """While the block runs, SIGHUP calls ``reload``, until a signal asks to stop.

    After that it does nothing. If it would end the program by itself, it is ignored also when the block
    has ended: the program still takes time to end, and its exit status must say that it was asked to.
    Only what is ignored stays so to the very end; Python gives up its handlers before (`Py_FinalizeEx`).
    """
    if reload is None:
        yield
        return

    def obey(*_: object) -> None:
        if not requests.asked:
            reload()

    before = signal.signal(RELOAD, obey)
    try:
        yield
    finally:
        is_ending = bool(requests.asked) and before is signal.SIG_DFL
        signal.signal(RELOAD, signal.SIG_IGN if is_ending else before)


def obey_parent() -> Requests:
    """In a worker: SIGTERM asks to stop, however often it comes, SIGQUIT to do so at once.

    SIGUSR2 asks to accept no more.

    A supervisor may send SIGTERM to the worker as well as to its parent, and a terminal sends SIGINT
    to both: neither is a second signal. SIGHUP, too, is for the parent.
    """
    requests = Requests()
    signal.signal(signal.SIGTERM, lambda *_: requests.ask(False))
    signal.signal(signal.SIGINT, lambda *_: None)  # the parent says what is to be done
    signal.signal(AT_ONCE, lambda *_: requests.ask(True))
    signal.signal(RETIRE, lambda *_: requests.retire())
    signal.signal(RELOAD, signal.SIG_IGN)
    return requests


class Bell:
    """Where the main thread waits: it rings at every signal, and when there is something to do.

    A lock will not do. Python runs the handler of a signal when the main thread runs again, but a
    signal that comes while it is about to fall asleep, or that the system gives to another thread,
    does not wake it up. The byte that each signal writes to a descriptor does.
    """

    def __enter__(self) -> Self:
        self._heard, self._rung = socket.socketpair()
        self._rung.setblocking(False)
        self._due: deque[Callable[[], None]] = deque()
        if _is_main_thread():
            self._before = signal.set_wakeup_fd(self._rung.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc: object) -> None:
        if _is_main_thread():
            signal.set_wakeup_fd(self._before)
        self._heard.close()
        self._rung.close()

    def fileno(self) -> int:
        """What can be read when it has rung."""
        return self._heard.fileno()

    def ring(self) -> None:
        """From any thread, and in a signal handler."""
        with suppress(OSError):  # it has rung often enough, or nobody waits any more
            self._rung.send(b"!")

    def soon(self, act: Callable[[], None]) -> None:
        """Have this done by who waits. From any thread, and in a signal handler."""
        self._due.append(act)
        self.ring()

    def do_due(self) -> None:
        """Do what was asked for by `soon`."""
        while self._due:
            self._due.popleft()()

    def wait(self, seconds: float = math.inf) -> None:
        """Until it has rung since the last wait, or this long."""
        self._heard.settimeout(min(seconds, _DAY))
        with suppress(TimeoutError, BlockingIOError):
            self._heard.recv(4096)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
