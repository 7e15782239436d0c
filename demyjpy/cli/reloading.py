"""Loading a filter again while it is served: its own modules are new, all others stay."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from demyjpy.cli.loading import Loaded, is_own, load_filter


def _accept(_: Loaded) -> None:
    pass


class Reloadable:
    """A filter by its name. Its own modules are those that it imports and that are not installed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._others = frozenset(sys.modules)
        self._kept: dict[str, ModuleType] = {}
        self._turn = 0

    def load(self, check: Callable[[Loaded], None] = _accept) -> Loaded:
        """The filter as it is on the disk; if that fails, or ``check`` raises, all is as it was."""
        self._turn += 1
        turn = self._turn
        self._remove()
        importlib.invalidate_caches()
        try:
            loaded = load_filter(self._text)
            check(loaded)
        except BaseException:
            if turn == self._turn:
                self.give_up()
            raise
        if turn == self._turn:
            self._kept = self._own()
        return loaded

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
    return isinstance(place, str) and is_own(str(Path(place).absolute()))
