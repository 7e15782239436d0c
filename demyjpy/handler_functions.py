"""What is known of a function that shall be a handler: its name for people, and its arguments."""

import inspect
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any

from demyjpy.errors import HandlerError


def name_of_function(function: Callable[..., Any]) -> str:
    """Module and name of a function, for people; of one that is wrapped, those of the inner one."""
    inner = inspect.unwrap(function)
    is_part = isinstance(inner, partial)  # which says of what
    name = getattr(inner, "__qualname__", repr(inner) if is_part else type(inner).__qualname__)
    return f"{getattr(inner, '__module__', '?')}.{name}"


def check_arguments(event: str, function: Any) -> None:
    """`HandlerError` for a function that cannot be called with event and context, in this order."""
    code: Any = getattr(function, "__code__", None)
    is_plain = isinstance(code, CodeType) and code.co_argcount == 2 and not code.co_kwonlyargcount
    if is_plain and code.co_varnames[0] not in ("ctx", "context"):
        return  # as nearly all are
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # no function, or one in C that says nothing about itself
        return
    try:
        signature.bind(None, None)
    except TypeError:
        pass
    else:
        if [*signature.parameters][:1] not in (["ctx"], ["context"]):
            return
    where = f"{code.co_filename}:{code.co_firstlineno}: " if isinstance(code, CodeType) else ""
    raise HandlerError(
        f"{where}expected a handler for {event!r} as a function (event, ctx) -> ctx, got "
        f"{name_of_function(function)}{signature}"
    )
