"""Scripts of pymilter's: run as the main program up to ``Milter.runmilter``, whose filter is taken over.

The script has a thread of its own, which stands still in ``runmilter`` while its filter is served: so
all that the script has opened stays open. Whoever served it lets it go on.
"""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

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


class ScriptError(MilterError):
    """A script that ended before it called ``runmilter``."""


class Script:
    """A script that runs, or stands still in ``runmilter``."""

    def __init__(self, path: str, arguments: Sequence[str]) -> None:
        self._path, self._arguments = path, tuple(arguments)
        self._found: Registered | None = None
        self._error: BaseException | None = None
        self._is_there, self._may_go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="demyjpy-script", daemon=True)

    @property
    def address(self) -> str:
        """Where the script wants to listen."""
        return "" if self._found is None else self._found.address

    def start(self) -> Registry:
        """Run it up to ``runmilter``; the filter, what the script has raised, or `ScriptError`."""
        vars(install())["factory"] = Milter  # a script before it may have set another
        with _signals_left_alone(self._thread), REGISTRATION.taking(self._take):
            BIRTHS.start(self._thread)
            self._is_there.wait()
        if self._found is not None:
            return self._found.registry
        if self._error is not None:
            raise self._error
        raise ScriptError("its end: expected it to call Milter.runmilter(...)")

    def finish(self, patience: float = PATIENCE) -> None:
        """``runmilter`` returns: let it do what it does then, and wait for that for a time."""
        self._may_go_on.set()
        self._thread.join(patience)

    def _take(self, found: Registered) -> None:
        self._found = found
        self._is_there.set()
        self._may_go_on.wait()

    def _run(self) -> None:
        try:
            run_as_main(self._path, self._arguments)
        except BaseException as error:  # noqa: BLE001  # whatever a script raises
            self._error = error
            if self._found is not None and not isinstance(error, SystemExit):
                log.warning("%s failed after its runmilter had returned: %s", self._path, why(error))
        finally:
            self._is_there.set()


def run_as_main(path: str, arguments: Sequence[str]) -> None:
    """Run a file as Python runs its main program: as ``__main__``, with ``sys.argv``."""
    place = str(Path(path).absolute())
    loader = SourceFileLoader("__main__", place)
    # not `get_code`, whose cache takes a script of the same size and second for the one before
    code = loader.source_to_code(loader.get_data(place), place)
    module = ModuleType("__main__")
    module.__file__ = place
    module.__loader__ = loader
    sys.modules["__main__"] = module
    sys.argv = [path, *arguments]
    exec(code, module.__dict__)  # noqa: S102  # nosec B102  # that is what a script is for


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
