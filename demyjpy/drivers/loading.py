"""Loading a filter again in the process that serves, which goes on serving meanwhile.

It is done in a thread, with a deadline. A thread cannot be ended, and one that hangs in an import keeps
others from importing the same. So a process of its own tries first, if there is a command for that.
"""

import math
import os
import re
import signal
import subprocess  # nosec B404  # for a trial in a process of its own
import sysconfig
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from demyjpy.drivers.births import BIRTHS
from demyjpy.errors import MilterError

_PACKAGE: Final = str(Path(__file__).parent.parent)
_LIBRARY: Final = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib"))
_FRAME: Final = re.compile(r'File "(.*)", line (\d+) in (.*)')
LOADED: Final = "loaded"
"""What a process that tries says if all is well: a filter may end it, with whatever status."""
_LATER: Final = 5.0
"""Seconds after its deadline at which a process that has not ended itself is killed.

It counts from when it runs, some time after its start if the machine is busy, and knows where it was.
"""


@frozen
class Reload:
    """How a filter is loaded again: ``load`` gives it, or raises.

    ``probe`` is a command that says `LOADED` on its standard output, and ends with status 0, if the
    filter can be loaded, and else says why. ``give_up`` is called when ``load`` is waited for no more.
    """

    load: Callable[[], Any]
    probe: tuple[str, ...] = ()
    give_up: Callable[[], None] = lambda: None


def loading_to(
    reload: Callable[[], Any] | Reload | None, change: Callable[[Any], Any]
) -> Callable[[], Any] | Reload | None:
    """The same, but ``change`` makes of the filter what is served. None stays None."""
    if isinstance(reload, Reload):
        load = reload.load
        return evolve(reload, load=lambda: change(load()))
    return None if reload is None else lambda: change(reload())


@frozen
class Outcome:
    """What became of it: the filter, or why there is none."""

    found: Any = None
    error: str = ""


def why(error: BaseException) -> str:
    """An error of the user's code in a line; ours say what they are about themselves."""
    try:
        words = str(error)
    except Exception as second:  # noqa: BLE001  # the user's __str__
        words = f"no text, for its __str__ raised {type(second).__name__}"
    return words if isinstance(error, MilterError) else f"{type(error).__name__}: {words}"


def too_long(seconds: float, stacks: str = "") -> str:
    """What is said of a filter that took too long, with the stacks that faulthandler printed of it."""
    frames = [found for found in _FRAME.findall(stacks) if not found[0].startswith(("<", _PACKAGE))]
    own = [found for found in frames if not found[0].startswith(_LIBRARY)] or frames
    place = '; it was at File "{}", line {}, in {}'.format(*own[0]) if own else ""
    return f"expected it to load within {seconds:g} s (--load-timeout, load_timeout=){place}"


class Attempt:
    """One attempt in threads; ``ended`` is called from one of them when `outcome` can be asked for.

    `RuntimeError` if the system has no thread left.
    """

    left: Final = math.inf  # seconds until `outcome` has to be asked for: its threads say when

    def __init__(self, reload: Reload, seconds: float, ended: Callable[[], None]) -> None:
        self._reload, self._seconds, self._ended = reload, seconds, ended
        self._found: Outcome | None = None
        self._outcome: Outcome | None = None
        self._waking = threading.Event()
        self._probe: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._is_cancelled = self._is_loading = False
        BIRTHS.start(threading.Thread(target=self._run, name="demyjpy-reload", daemon=True))

    def outcome(self) -> Outcome | None:
        """What became of it, None while it goes on."""
        return self._outcome

    def cancel(self) -> bool:
        """Give it up; False if it is loading in this process already, and has to end first."""
        with self._lock:
            if self._is_loading:
                return False
            self._is_cancelled = True
            if self._probe is not None:
                _kill(self._probe)
            return True

    def _run(self) -> None:
        try:
            outcome = self._try() if self._reload.probe else None
        except OSError as error:
            outcome = Outcome(error=f"cannot start a process to load it in: {error}")
        with self._lock:
            if self._is_cancelled:
                return
            self._is_loading = outcome is None
        self._outcome = outcome or self._load_apart()
        self._ended()

    def _try(self) -> Outcome | None:
        """What is wrong, by a process that has no part in serving."""
        with self._lock:
            if self._is_cancelled:
                return None
            self._probe = subprocess.Popen(  # noqa: S603  # nosec B603  # our own interpreter
                self._reload.probe,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                encoding="utf-8",
                errors="backslashreplace",
            )
        with self._probe as probe:
            try:
                said = probe.communicate(timeout=self._seconds + _LATER)[0]
            except subprocess.TimeoutExpired:
                _kill(probe)
                return Outcome(error=too_long(self._seconds))
            finally:
                with self._lock:
                    self._probe = None
        if probe.returncode == 0 and said == LOADED:
            return None
        if said.startswith("Timeout "):  # faulthandler's word
            return Outcome(error=too_long(self._seconds, said))
        ended = f"a process that loaded it ended with status {probe.returncode}"
        return Outcome(error=said.removeprefix(LOADED).strip() or ended)

    def _load_apart(self) -> Outcome:
        try:
            BIRTHS.start(threading.Thread(target=self._load, name="demyjpy-load", daemon=True))
        except RuntimeError as error:
            return Outcome(error=f"cannot start a thread to load it in: {error}")
        self._waking.wait(self._seconds)
        if self._found is None:
            self._reload.give_up()
            return Outcome(error=too_long(self._seconds))
        return self._found

    def _load(self) -> None:
        try:
            self._found = Outcome(self._reload.load())
        except BaseException as error:  # noqa: BLE001  # it is the user's code
            self._found = Outcome(error=why(error))
        self._waking.set()


def _kill(process: "subprocess.Popen[str]") -> None:
    """A process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
