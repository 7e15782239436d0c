"""The way in for pymilter's filters: the names of its ``Milter`` package, over this library's engine.

`filter_of` makes a registry of a filter's class. `install` makes ``import Milter`` and ``import milter``
find what is here; nothing else puts anything under these names. All of it is written from pymilter's
documentation and from what pymilter was seen to do.
"""

from typing import Any

from demyjpy.pymilter import constants, milter, utils
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
from demyjpy.pymilter.constants import CONTINUE, P_NR_CONN
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
    main,
    opensocket,
    register,
    set_abort_callback,
    set_body_callback,
    set_close_callback,
    set_connect_callback,
    set_envfrom_callback,
    set_envrcpt_callback,
    set_eoh_callback,
    set_eom_callback,
    set_exception_policy,
    set_flags,
    set_header_callback,
    set_helo_callback,
    setbacklog,
    setconn,
    setdbg,
    settimeout,
    stop,
)
from demyjpy.pymilter.registration import REGISTRATION

__all__ = [
    "Base",
    "DisabledAction",
    "Milter",
    "close_callback",
    "connect_callback",
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
    "main",
    "milter",
    "negotiate_callback",
    "nocallback",
    "noreply",
    "opensocket",
    "param2dict",
    "register",
    "rejected_recipients",
    "runmilter",
    "set_abort_callback",
    "set_body_callback",
    "set_close_callback",
    "set_connect_callback",
    "set_envfrom_callback",
    "set_envrcpt_callback",
    "set_eoh_callback",
    "set_eom_callback",
    "set_exception_policy",
    "set_flags",
    "set_header_callback",
    "set_helo_callback",
    "setbacklog",
    "setconn",
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

__version__ = "1.0.5"
"""The version of pymilter that all of this is like."""


def negotiate_callback(ctx: Any, opts: list[int]) -> Any:
    """What pymilter calls first: another instance for the connection, whose ``negotiate`` is called.

    This and the two functions below are for programs that play an MTA themselves, such as pymilter's
    ``Milter.testctx``. Nothing here calls them.
    """
    instance = factory()
    instance._setctx(ctx)  # noqa: SLF001  # pymilter's name for it
    return instance.negotiate(opts)


def connect_callback(
    ctx: Any, hostname: str, family: int, hostaddr: Any, nr_mask: int = P_NR_CONN
) -> Any:
    """Call ``connect`` of the instance that ``ctx`` keeps, or of another one."""
    instance = ctx.getpriv()
    if instance is None:
        instance = factory()
        instance._setctx(ctx)  # noqa: SLF001  # pymilter's name for it
    return instance.connect(hostname, family, hostaddr)


def close_callback(ctx: Any) -> Any:
    """Call ``close`` of the instance that ``ctx`` keeps, if it keeps one, and take ``ctx`` from it."""
    instance = ctx.getpriv()
    if instance is None:
        return CONTINUE
    try:
        return instance.close()
    finally:
        instance._setctx(None)  # noqa: SLF001  # pymilter's name for it


def runmilter(name: str, socketname: str, timeout: int = 0, rmsock: bool = True) -> None:
    """Serve what ``Milter.factory`` makes, until told to stop.

    In a program of its own it listens at ``socketname`` and has one thread a connection; under
    ``demyjpy run --pymilter`` the options of that hold. ``timeout`` and ``rmsock`` are for libmilter.
    """
    REGISTRATION.run(name, socketname, factory)
