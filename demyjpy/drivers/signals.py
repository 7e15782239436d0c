"""Signals, as what they ask of a driver: to stop, or to stop at once. And how to wait for them."""

import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Self, TypeAlias

Stop: TypeAlias = Callable[[bool], None]
"""Asks a driver to stop; with True at once. It may be called in a signal handler, and more than once."""

Started: TypeAlias = Callable[[Stop], None]
"""What a driver calls when it has begun to serve, with the function that stops it."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""What stops a milter."""

AT_ONCE: Final = signal.SIGQUIT
"""What a parent sends its workers for a second one of `SIGNALS`."""

_DAY: Final = 86_400.0


class Requests:
    """What was asked of a driver; what comes before it has started waits for it."""

    def __init__(self) -> None:
        self._asked: list[bool] = []
        self._stop: Stop | None = None

    @property
    def has_come(self) -> bool:
        """Whether anything was asked."""
        return bool(self._asked)

    def ask(self, at_once: bool) -> None:
        """A request has come."""
        self._asked.append(at_once)
        if self._stop is not None:
            self._stop(at_once)

    def started(self, stop: Stop) -> None:
        """The driver has started."""
        self._stop = stop
        for at_once in tuple(self._asked):
            stop(at_once)


@contextmanager
def obeyed() -> Iterator[Requests]:
    """While the block runs, SIGTERM and SIGINT ask to stop, a second one at once.

    A third one does what it did before: a handler that hangs in the main thread can be ended. In
    other threads than the main one Python allows no handling of signals.
    """
    requests = Requests()
    handled = SIGNALS if _is_main_thread() else ()
    before = {number: signal.getsignal(number) for number in handled}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def obey(*_: object) -> None:
        again = requests.has_come
        requests.ask(again)
        if again:
            restore()

    for number in before:
        signal.signal(number, obey)
    try:
        yield requests
    finally:
        restore()


def obey_parent() -> Requests:
    """In a worker: SIGTERM asks to stop, however often it comes, SIGQUIT to do so at once.

    A supervisor may send SIGTERM to the worker as well as to its parent, and a terminal sends SIGINT
    to both: neither is a second signal.
    """
    requests = Requests()
    signal.signal(signal.SIGTERM, lambda *_: requests.ask(False))
    signal.signal(signal.SIGINT, lambda *_: None)  # the parent says what is to be done
    signal.signal(AT_ONCE, lambda *_: requests.ask(True))
    return requests


class Bell:
    """Where the main thread waits: it rings at every signal, and when it is told to.

    A lock will not do. Python runs the handler of a signal when the main thread runs again, but a
    signal that comes while it is about to fall asleep, or that the system gives to another thread,
    does not wake it up. The byte that each signal writes to a descriptor does.
    """

    def __enter__(self) -> Self:
        self._heard, self._rung = socket.socketpair()
        self._rung.setblocking(False)
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

    def wait(self, seconds: float = math.inf) -> None:
        """Until it has rung since the last wait, or this long."""
        self._heard.settimeout(min(seconds, _DAY))
        with suppress(TimeoutError, BlockingIOError):
            self._heard.recv(4096)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
