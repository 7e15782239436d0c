"""The way in for pymilter's filters: the names of its ``Milter`` package, over this library's engine.

`filter_of` makes a registry of a filter's class. `install` makes ``import Milter`` and ``import milter``
find what is here; nothing else puts anything under these names. All of it is written from pymilter's
documentation and from what pymilter was seen to do.
"""

from typing import Any

from demyjpy.pymilter import constants, utils
from demyjpy.pymilter.base import (
    Base,
    Milter,
    decode_mask,
    dictfromlist,
    envcallback,
    param2dict,
    uniqueID,
)
from demyjpy.pymilter.constants import *  # noqa: F403  # the names are the module's
from demyjpy.pymilter.decorators import (
    decode,
    enable_protocols,
    header_leading_space,
    nocallback,
    noreply,
    rejected_recipients,
    symlist,
)
from demyjpy.pymilter.errors import DisabledAction, error
from demyjpy.pymilter.filters import filter_of
from demyjpy.pymilter.installing import install
from demyjpy.pymilter.milter import (
    getdiag,
    getversion,
    set_exception_policy,
    set_flags,
    setbacklog,
    setdbg,
    settimeout,
    stop,
)
from demyjpy.pymilter.registration import REGISTRATION

__all__ = [
    "Base",
    "DisabledAction",
    "Milter",
    "decode",
    "decode_mask",
    "dictfromlist",
    "enable_protocols",
    "envcallback",
    "error",
    "factory",
    "filter_of",
    "getdiag",
    "getversion",
    "header_leading_space",
    "install",
    "nocallback",
    "noreply",
    "param2dict",
    "rejected_recipients",
    "runmilter",
    "set_exception_policy",
    "set_flags",
    "setbacklog",
    "setdbg",
    "settimeout",
    "stop",
    "symlist",
    "uniqueID",
    "utils",
]
__all__ += constants.__all__

factory: Any = Milter
"""What makes the instance of a connection. A script sets it."""


def runmilter(name: str, socketname: str, timeout: int = 0, rmsock: bool = True) -> None:
    """Serve what ``Milter.factory`` makes, until told to stop.

    In a program of its own it listens at ``socketname`` and has one thread a connection; under
    ``demyjpy run --pymilter`` the options of that hold. ``timeout`` and ``rmsock`` are for libmilter.
    """
    REGISTRATION.run(name, socketname, factory)
