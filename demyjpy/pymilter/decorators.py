"""The decorators of pymilter: what a filter asks of the MTA besides its callbacks.

They mark functions and classes with attributes, some of which pymilter's documentation names, and
change nothing else. What follows from the marks is known in `demyjpy.pymilter.filters`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

from demyjpy.pymilter.constants import (
    CONTINUE,
    MACRO_CALLBACKS,
    OPTIONAL_CALLBACKS,
    P_HDR_LEADSPC,
    P_RCPT_REJ,
)

K = TypeVar("K", bound=type)

WANTED: Final = "milter_extra_protocol"
"""The attribute of a class that holds the protocol bits which it switches on."""


def nocallback(func: Callable[..., Any]) -> Callable[..., Any]:
    """The MTA need not call this method. If it does, the method has to return ``CONTINUE``."""
    return _marked(func, 1, "@nocallback")


def noreply(func: Callable[..., Any]) -> Callable[..., Any]:
    """The MTA need not wait for what this method returns, which has to be ``CONTINUE``."""
    return _marked(func, 0, "@noreply")


def _marked(func: Callable[..., Any], place: int, what: str) -> Callable[..., Any]:
    name = func.__name__
    if name not in OPTIONAL_CALLBACKS:
        raise ValueError(f"{what} applied to non-optional method: {name}")

    @wraps(func)
    def called(self: Any, *arguments: Any) -> Any:
        said = func(self, *arguments)
        if said != CONTINUE:
            raise RuntimeError(f"{name} return code must be CONTINUE with {what}")
        return said

    called.milter_protocol = OPTIONAL_CALLBACKS[name][place]  # type: ignore[attr-defined]  # as pymilter marks it
    return called


def enable_protocols(klass: K, mask: int) -> K:
    """A class with these protocol bits (``P_RCPT_REJ``, ``P_HDR_LEADSPC``) switched on, if offered."""
    setattr(klass, WANTED, getattr(klass, WANTED, 0) | mask)
    return klass


def rejected_recipients(klass: K) -> K:
    """``envrcpt`` is called for recipients, too, that the MTA has refused."""
    return enable_protocols(klass, P_RCPT_REJ)


def header_leading_space(klass: K) -> K:
    """Header values are what stands right after the colon, in ``header`` and in edits."""
    return enable_protocols(klass, P_HDR_LEADSPC)


def symlist(*syms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Ask the MTA for these macros at a callback."""

    def mark(func: Callable[..., Any]) -> Callable[..., Any]:
        if func.__name__ not in MACRO_CALLBACKS:
            raise ValueError(f"@symlist applied to method without macros: {func.__name__}")
        func.milter_symlist = syms  # type: ignore[attr-defined]  # as pymilter marks it
        return func

    return mark


def decode(strategy: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How ``header``, ``envfrom`` and ``envrcpt`` get what is no UTF-8.

    ``"bytes"``: as bytes, always; ``"strict"``: as bytes if it cannot be decoded; else the name of an
    error handler of `bytes.decode`, such as ``"surrogateescape"``, which is how it is without this.
    """

    def mark(func: Callable[..., Any]) -> Callable[..., Any]:
        func.milter_decode = strategy  # type: ignore[attr-defined]  # as pymilter marks it
        return func

    return mark
