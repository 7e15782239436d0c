"""Calling a handler directly: the context that it would get."""

from typing import Any

from demyjpy.context import Context, new_context, update
from demyjpy.handlers import as_registry, with_handlers


def context(handlers: Any, **values: Any) -> Context:
    """The context of a new connection with this filter, with some values in place of its state's.

    ``ctx = context(handlers, byte_count=3)``; ``handlers["body"](Body(b"x"), ctx)``. All events and
    actions that the filter asks for count as agreed.
    """
    registry = as_registry(handlers)
    ctx = with_handlers(new_context(values), registry)
    agreed = {
        "events": frozenset(registry),
        "actions": registry.actions | registry.optional_actions,
    }
    return update(ctx, {**agreed, **values})
