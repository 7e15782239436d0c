"""What a shadow and a canary have in common: registries made of others, whose demands never refuse.

A candidate's events and actions are optional here: where an MTA lacks them, the live filter is served
all the same.
"""

import inspect
from collections.abc import Callable
from typing import Any

from attrs import evolve

from demyjpy.context import Context
from demyjpy.registry import Declarations, Handler

Outcome = Any
"""What a handler returns: a context, if all is well."""


def as_optional(declared: Declarations, events: frozenset[str]) -> Declarations:
    """The same wants, none of them required."""
    return evolve(
        declared,
        actions=(),
        optional_actions=declared.actions | declared.optional_actions,
        optional_events=events,
    )


def wrap(
    handler: Handler[Any], around: Callable[[Any, Context, Callable[[], Any]], Any]
) -> Handler[Any]:
    """A handler with something around it: a function of event, context, and what calls the handler.

    Of an async handler the call gives what is to be awaited; ``around`` gives it back, or a context.
    """
    function = handler.function

    def run(event: Any, ctx: Context) -> Outcome:
        return around(event, ctx, lambda: function(event, ctx))

    async def run_async(event: Any, ctx: Context) -> Outcome:
        outcome = around(event, ctx, lambda: function(event, ctx))
        return await outcome if inspect.isawaitable(outcome) else outcome

    chosen: Any = run_async if handler.is_async else run
    chosen.__wrapped__ = function  # logs name the user's function
    return Handler(
        handler.event, chosen, handler.reply, handler.blocking, handler.rejected, handler.progress
    )
