"""``import Milter`` and ``import milter``: this package and its low-level module under pymilter's names.

pymilter's modules that are plain Python (``Milter.dsn``, ``Milter.config`` and others) are found where
pymilter is installed, if it is.
"""

import importlib
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Final

_PACKAGE: Final = "demyjpy.pymilter"
_MODULES: Final = {"milter": "milter", "Milter.utils": "utils"}


def install() -> ModuleType:
    """Put them into ``sys.modules``, in place of pymilter's own; returns what ``Milter`` is now."""
    package = importlib.import_module(_PACKAGE)
    sys.modules["Milter"] = package
    for name, module in _MODULES.items():
        sys.modules[name] = importlib.import_module(f"{_PACKAGE}.{module}")
    real = PathFinder.find_spec("Milter")
    for place in (real and real.submodule_search_locations) or ():
        if place not in package.__path__:
            package.__path__.append(place)
    return package
