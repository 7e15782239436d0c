"""Loading a filter again while it is served: its own modules are new, all others stay.

Whether it can be loaded is first found out by a program of its own, in which what the filter prints
goes to standard error: standard output has what is wrong with it.
"""

import faulthandler
import importlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from attrs import asdict

from demyjpy.cli.check_report import refuse_problems
from demyjpy.cli.loading import Loaded, Wanted, load_filters
from demyjpy.cli.places import is_own
from demyjpy.drivers.loading import LOADED, why

if TYPE_CHECKING:
    from demyjpy.cli.pymilter_scripts import Script

_PACKAGE: Final = Path(__file__).parent.parent

_SERVED: Final = 2
"""Filters that may have sessions: the one that was loaded last, and the one before."""

_START: Final = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from demyjpy.cli.reloading import probe; probe(*sys.argv[1:4])"
)


class Reloadable:
    """Filters by their names, with their settings, all or nothing.

    Their own modules are those that they import and that are not installed.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._others = frozenset(sys.modules)
        self._kept: dict[str, ModuleType] = {}
        self._turn = 0
        self._scripts: deque[tuple[Script, ...]] = deque()  # not the filters: old ones go

    def load(
        self,
        check: Callable[[Loaded], None] = lambda _: None,
        acting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Loaded:
        """The filter as it is on the disk; if that fails, or ``check`` raises, all is as it was.

        ``acting``: see `load_filters`.
        """
        self._turn += 1
        turn = self._turn
        self._remove()
        importlib.invalidate_caches()
        try:
            loaded = load_filters(self._wanted, acting)
            check(loaded)
        except BaseException:
            if turn == self._turn:
                self.give_up()
            raise
        if turn == self._turn:
            self._kept = self._own()
        self._keep_scripts(loaded.scripts)
        return loaded

    def _keep_scripts(self, scripts: "tuple[Script, ...]") -> None:
        """Scripts stand still while their filters are served: the newest, and the one before."""
        self._scripts.append(scripts)
        while len(self._scripts) > _SERVED:
            for script in self._scripts.popleft():
                script.finish(0.0)

    def finish(self) -> int:
        """Nothing is served any more: scripts go on, and end. The first exit status that is not 0."""
        statuses = [script.finish() for script in chain(*self._scripts)]
        return next(filter(None, statuses), 0)

    def give_up(self) -> None:
        """All is as it was before the last `load`, which may still go on, and is of no use any more."""
        self._turn += 1
        self._remove()
        sys.modules.update(self._kept)

    def _remove(self) -> None:
        for name in self._own():
            del sys.modules[name]

    def _own(self) -> dict[str, ModuleType]:
        return {
            name: module
            for name, module in tuple(sys.modules.items())
            if name not in self._others and _is_own(module)
        }


def _is_own(module: ModuleType) -> bool:
    place = getattr(module, "__file__", None)
    if not isinstance(place, str) or Path(place).is_relative_to(_PACKAGE):
        return False  # this library's own are loaded once, wherever they lie
    return is_own(str(Path(place).absolute()))


# ------------------------------------------------------------------------- in a program of its own
def probe_command(wanted: Wanted, driver: str, seconds: float) -> tuple[str, ...]:
    """The command that tries, with the path for imports as it is here now."""
    if not sys.executable:
        return ()  # this is no Python that could be run
    return (sys.executable, "-c", _START, json.dumps(asdict(wanted)), driver, str(seconds), *sys.path)


def probe(wanted: str, driver: str, seconds: str) -> None:
    """Try. Whatever it hangs in, it ends in time, and says where that was."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    faulthandler.dump_traceback_later(float(seconds), exit=True, file=said.fileno())
    status = 0
    try:
        refuse_problems(load_filters(Wanted(**json.loads(wanted))), driver)
        said.write(LOADED)
    except BaseException as error:  # noqa: BLE001  # whatever a filter raises
        said.write(why(error))
        status = 1
    said.close()
    os._exit(status)  # threads of the filter's may live on
