"""Scripts of pymilter's: run as the main program up to ``Milter.runmilter``, whose filter is taken over.

The script has a thread of its own, which stands still in ``runmilter`` while its filter is served: so
all that the script has opened stays open. Whoever served it lets it go on.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

from demyjpy.cli.fresh_source import FreshSource
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.loading import why
from demyjpy.drivers.report import log
from demyjpy.errors import MilterError
from demyjpy.pymilter.base import Milter
from demyjpy.pymilter.installing import install
from demyjpy.pymilter.registration import REGISTRATION, Registered
from demyjpy.registry import Registry

PATIENCE: Final = 5.0
"""Seconds that a script has to end after its ``runmilter`` has returned."""

_LOST: Final = 2
"""The exit status of a process of the script's own that calls ``runmilter``: nobody serves it there."""


class ScriptError(MilterError):
    """A script whose filter cannot be served, though nothing failed."""


class _BackgroundError(BaseException):
    """Raised where the script ends its first process; no ``except Exception`` of its catches it."""


class Script:
    """A script that runs, or stands still in ``runmilter``."""

    def __init__(self, path: str, arguments: Sequence[str]) -> None:
        self._path, self._arguments = path, tuple(arguments)
        self._found: Registered | None = None
        self._error: BaseException | None = None
        self._process, self._has_forked = os.getpid(), False
        self._is_there, self._may_go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="demyjpy-script", daemon=True)

    @property
    def address(self) -> str:
        """Where the script wants to listen."""
        return "" if self._found is None else self._found.address

    def start(self) -> Registry:
        """Run it up to ``runmilter``; the filter, what the script has raised, or `ScriptError`."""
        vars(install())["factory"] = Milter  # a script before it may have set another
        with (
            _signals_left_alone(self._thread),
            self._forks_watched(),
            REGISTRATION.taking(self._take) as said,
        ):
            BIRTHS.start(self._thread)
            self._is_there.wait()
        if self._found is not None:
            return self._found.registry
        has_ended = self._error is None or status_of(self._error) == 0
        if self._has_forked and (has_ended or isinstance(self._error, _BackgroundError)):
            raise ScriptError(
                f"{self._path} went into the background: expected it to stay in the foreground; give it "
                "its option for that"
            )
        if self._error is not None:
            raise self._error
        if said.failed:
            raise ScriptError(
                f"{self._path} ended, for its call of Milter.runmilter failed: {said.failed}"
            )
        raise ScriptError(
            f"{self._path} ended without a call of Milter.runmilter: expected a script of pymilter's, "
            "which calls it when it is run as the main program"
        )

    def finish(self, patience: float = PATIENCE) -> int:
        """``runmilter`` returns: let it do what it does then, and wait for that for a time.

        The exit status that it gives to `sys.exit` then, 0 if it does not call that.
        """
        self._may_go_on.set()
        self._thread.join(patience)
        return status_of(self._error) or 0

    def _take(self, found: Registered) -> None:
        if os.getpid() != self._process:  # `start` waits in another one, and says what is wrong
            os._exit(_LOST)
        self._found = found
        self._is_there.set()
        self._may_go_on.wait()

    @contextmanager
    def _forks_watched(self) -> Iterator[None]:
        """While the block runs, it is known whether the script forks.

        If it goes into the background it forks, and ends its first process, which is this one, by
        `os._exit`: after a fork that ends its thread only.
        """
        fork, end = os.fork, os._exit

        def is_here() -> bool:
            return os.getpid() == self._process and threading.current_thread() is self._thread

        def watched_fork() -> int:
            child = fork()
            self._has_forked |= is_here()
            return child

        def watched_exit(status: int) -> NoReturn:
            if self._has_forked and is_here():
                raise _BackgroundError
            end(status)

        os.fork, os._exit = watched_fork, watched_exit
        try:
            yield
        finally:
            os.fork, os._exit = fork, end

    def _run(self) -> None:
        try:
            run_as_main(self._path, self._arguments)
        except BaseException as error:  # noqa: BLE001  # whatever a script raises
            self._error = error
            is_silent = isinstance(error, SystemExit) and not isinstance(error.code, str)
            if self._found is not None and not is_silent:
                log.warning("%s failed after its runmilter had returned: %s", self._path, why(error))
        finally:
            self._is_there.set()


def status_of(error: BaseException | None) -> int | None:
    """The exit status of a program that ends by this `SystemExit`; None for anything else."""
    if not isinstance(error, SystemExit):
        return None
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


def run_as_main(path: str, arguments: Sequence[str]) -> None:
    """Run a file as Python runs its main program: as ``__main__``, with ``sys.argv``."""
    place = str(Path(path).absolute())
    loader = FreshSource("__main__", place)
    module = ModuleType("__main__")
    module.__file__ = place
    module.__loader__ = loader
    sys.modules["__main__"] = module
    sys.argv = [path, *arguments]
    exec(loader.get_code("__main__"), module.__dict__)  # noqa: S102  # nosec B102  # that is what a script is for


@contextmanager
def _signals_left_alone(thread: threading.Thread) -> Iterator[None]:
    """While the block runs, the thread's calls of `signal.signal` do nothing.

    Python calls handlers of signals in its main thread only. Under pymilter that waits in libmilter,
    which handles the signals itself: a script's handlers are never called.
    """
    real = signal.signal

    def set_handler(signalnum: Any, handler: Any) -> Any:
        if threading.current_thread() is thread:
            return signal.getsignal(signalnum)
        return real(signalnum, handler)

    signal.signal = set_handler
    try:
        yield
    finally:
        signal.signal = real
