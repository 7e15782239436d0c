"""Handlers of recipients whose own questions are answered at once: they stay on the hot path.

The recipient table of a busy site is asked for each recipient, and mostly the answer is remembered.
"""

from collections.abc import Callable
from typing import Any, Final

from pyrsistent import PMap

from demyjpy.context import Context
from demyjpy.engine.connection import Setup
from demyjpy.engine.open_questions import Asked, readable
from demyjpy.registry import Handler, Registry, name_of_filter

NOT_KNOWN: Final = object()
"""The handler was not called: an answer is not known, so it has to be asked for in a turn."""


def answered_at_once(
    setup: Setup, registry: Registry, number: int, handler: Handler[Any], *, alone: bool
) -> Callable[[Any, Context], Any]:
    """A function that calls a ``recipient`` handler if the answers to its questions are known.

    If one is not, it returns `NOT_KNOWN`. What is asked for a recipient ends with it, so nothing has to
    be kept.
    """
    part, function = registry.parts[number], handler.function
    name, declared = handler.filter or name_of_filter(part), part.declarations
    own, known = setup.own_questions, setup.known_answer

    def call(event: Any, ctx: Context) -> Any:
        outcomes = {}
        for ask in own(handler, event, ctx):
            outcome = known(
                Asked(
                    0,
                    number,
                    name,
                    ask.key,
                    ask.question,
                    ask.within,
                    "recipient",
                    declared,
                    "recipient",
                )
            )
            if outcome is None:
                return NOT_KNOWN
            outcomes[ask.key] = outcome
        seen = readable(ctx, number, outcomes, alone=alone)
        after = function(event, seen)
        if after is seen:
            return ctx
        if not isinstance(after, PMap) or "answers" not in after:
            return after
        return after.set("answers", ctx["answers"]) if "answers" in ctx else after.remove("answers")

    return call
