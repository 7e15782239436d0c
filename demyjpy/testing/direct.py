"""Calling a handler directly: the context that it would get."""

from collections.abc import Callable
from typing import Any

from demyjpy.context import Context, check_state, new_context, update
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.handlers import as_registry


def context(handlers: Any, **values: Any) -> Context:
    """The context of a new connection with this filter, with some values in place of its state's.

    ``ctx = context(handlers, byte_count=3)``; ``handlers["body"](Body(b"x"), ctx)``. All events and
    actions that the filter asks for count as agreed. A value under a key of the engine raises
    `HandlerError`.
    """
    on_connect: Callable[[Context], Context] = as_on_connect(handlers)
    ctx = on_connect(new_context())
    agreed = {
        "events": frozenset(as_registry(ctx["handlers"])),
        "actions": ctx["actions"] | ctx["optional_actions"],
    }
    return update(ctx, {**agreed, **check_state(values)})
