"""Calling a handler directly: the context that it would get."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from demyjpy.context import Context, check_state, new_context, update
from demyjpy.engine.macros import NO_MACROS
from demyjpy.engine.moment import Moment
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.handlers import as_registry
from demyjpy.testing.clocks import wall_of


def context(handlers: Any, **values: Any) -> Context:
    """The context of a new connection with this filter, with some values in place of its state's.

    ``ctx = context(handlers, byte_count=3)``; ``handlers["body"](Body(b"x"), ctx)``. All events and
    actions that the filter asks for count as agreed. `demyjpy.now` tells the real time; see `at_time`. A
    value under a key of the engine raises `HandlerError`.
    """
    on_connect: Callable[[Context], Context] = as_on_connect(handlers)
    ctx = on_connect(new_context())
    agreed = {
        "events": frozenset(as_registry(ctx["handlers"])),
        "actions": ctx["actions"] | ctx["optional_actions"],
        "macros": NO_MACROS.at(Moment("test", time.time)),
    }
    return update(ctx, {**agreed, **check_state(values)})


def at_time(ctx: Context, when: datetime | float) -> Context:
    """The same context at another time: what `demyjpy.now` tells there.

    ``when``: a `datetime.datetime` with a time zone, or seconds since 1970.
    """
    macros = ctx["macros"]
    return ctx.set("macros", macros.at(Moment(macros.moment.session, wall_of(when))))
