"""The recorded filter itself, as a filter: it answers what was recorded, whatever the MTA says.

With it a recording shows to be whole: said to our engine, it gives the same bytes.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from demyjpy import actions as act
from demyjpy.codec import EVENTS
from demyjpy.context import Context, send_action
from demyjpy.handlers import define_event_handlers, with_handlers
from demyjpy.registry import Registry
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.replay.replaying import declined_in

_EVENTS = tuple(row.name for row in EVENTS.values() if row.replies and row.name != "options")


def recorded_filter(trace: Trace) -> Callable[[Context], Context]:
    """An ``on_connect`` function: each connection gets the recorded answers, in order.

    What was said out of turn is none: no filter of ours can say it.
    """
    agreed = trace.agreement
    quiet = frozenset(
        row.name for row in EVENTS.values() if agreed is not None and agreed.protocol & row.quiet
    )
    answers = tuple(
        one.recorded.actions for one in trace.exchanges if one.name in _EVENTS and one.name not in quiet
    )
    names = [name for name in _EVENTS if name not in declined_in(trace)]
    return lambda ctx: with_handlers(ctx, _registry(deque(answers), names, quiet, agreed))


def _registry(
    answers: "deque[tuple[Any, ...]]",
    names: list[str],
    quiet: frozenset[str],
    agreed: act.Negotiate | None,
) -> Registry:
    def answer(event: Any, ctx: Context) -> Context:
        return send_action(ctx, *answers.popleft()) if answers else ctx

    def listen(event: Any, ctx: Context) -> Context:
        return ctx

    handlers = define_event_handlers()
    for name in names:
        options = {"rejected": True} if name == "recipient" else {}
        handlers.add(name, listen if name in quiet else answer, **options)
    for name in ("abort", "quit"):
        handlers.add(name, listen)
    if agreed is not None:
        handlers.add("options", lambda event, ctx: send_action(ctx, agreed))
    return handlers
