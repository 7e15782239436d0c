"""The names of pymilter's low-level module ``milter``: functions in place of a class.

What they say is kept in `demyjpy.pymilter.registration`. A filter made of functions becomes a class, so
that there is one way from a callback to the engine.
"""

import os
import signal
from collections.abc import Callable
from typing import Any, Final

from demyjpy.pymilter import constants
from demyjpy.pymilter.base import Base
from demyjpy.pymilter.constants import *  # noqa: F403  # the names are the module's
from demyjpy.pymilter.errors import error
from demyjpy.pymilter.registration import REGISTRATION

__all__ = [
    "error",
    "getdiag",
    "getversion",
    "main",
    "opensocket",
    "register",
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
]
__all__ += constants.__all__

_IN_BYTES: Final = ("envfrom", "envrcpt", "header")

set_flags = REGISTRATION.set_flags
set_exception_policy = REGISTRATION.set_exception_policy


class _Callbacks(Base):
    """What a filter of functions is made of: the value that its context keeps is its own."""

    def _setctx(self, ctx: Any) -> None:
        self._ctx = ctx


class _Said:
    """What the functions below have said."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[..., Any]] = {}
        self.name = self.address = ""

    def setting(self, callback: str) -> Callable[[Callable[..., Any] | None], None]:
        """The function that sets a callback; None takes it away."""

        def set_callback(function: Callable[..., Any] | None) -> None:
            if function is None:
                self.callbacks.pop(callback, None)
            else:
                self.callbacks[callback] = function

        return set_callback


_SAID: Final = _Said()

set_connect_callback = _SAID.setting("connect")
set_helo_callback = _SAID.setting("hello")
set_envfrom_callback = _SAID.setting("envfrom")
set_envrcpt_callback = _SAID.setting("envrcpt")
set_header_callback = _SAID.setting("header")
set_eoh_callback = _SAID.setting("eoh")
set_body_callback = _SAID.setting("body")
set_eom_callback = _SAID.setting("eom")
set_abort_callback = _SAID.setting("abort")
set_close_callback = _SAID.setting("close")


def register(
    name: str,
    unknown: Callable[..., Any] | None = None,
    data: Callable[..., Any] | None = None,
    negotiate: Callable[..., Any] | None = None,
) -> None:
    """The name of the filter, and the callbacks that have no function of their own."""
    _SAID.name = name
    for callback, function in (("unknown", unknown), ("data", data), ("negotiate", negotiate)):
        _SAID.setting(callback)(function)


def setconn(filename: str) -> None:
    """Where to listen."""
    _SAID.address = filename


def main() -> None:
    """Serve until told to stop."""
    if not _SAID.name:
        raise error("cannot run: expected register(name) before main()")
    callbacks, _SAID.callbacks = _SAID.callbacks, {}  # a script that is run again sets its own
    REGISTRATION.run(_SAID.name, _SAID.address, _class_of(callbacks))


def _class_of(callbacks: dict[str, Callable[..., Any]]) -> type[Base]:
    """A class whose methods call these functions with the connection's context."""

    def calling(function: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Any, *arguments: Any) -> Any:
            return function(self._ctx, *arguments)

        return method

    members: dict[str, Any] = {}
    for callback, function in callbacks.items():
        members[callback] = calling(function)
        if callback in _IN_BYTES:
            members[f"{callback}_bytes"] = members[callback]
    return type("Callbacks", (_Callbacks,), members)


def opensocket(rmsock: bool) -> None:
    """Nothing: the server opens its socket when it serves."""


def settimeout(i: int) -> None:
    """Nothing: the server has its own timeouts."""


def setbacklog(i: int) -> None:
    """Nothing: the server has its own backlog."""


def setdbg(i: int) -> None:
    """Nothing: there is no libmilter."""


def getdiag() -> tuple[int, int]:
    """How many contexts libmilter has made and ended: nobody counts them here."""
    return 0, 0


def getversion() -> tuple[int, int, int]:
    """The version of libmilter's API that all of this is like."""
    return constants.VERSION >> 24, constants.VERSION >> 8 & 0xFFFF, constants.VERSION & 0xFF


def stop() -> None:
    """Stop the milter, as SIGTERM does."""
    os.kill(os.getpid(), signal.SIGTERM)
