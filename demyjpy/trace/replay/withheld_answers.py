"""What filters that are only tried would have said, compared with what was recorded of that.

It never leaves as bytes: the records of handlers have it, under ``withheld``.
"""

from collections.abc import Iterable
from typing import Any

from demyjpy.engine.connection import Step
from demyjpy.trace.format.exchanges import Exchange, readable_actions
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.replay.redacted_answers import are_same


def withholds(trace: Trace) -> bool:
    """Whether something was withheld in a session."""
    return any("withheld" in one for one in trace.records)


def withheld_in(exchange: Exchange) -> tuple[Any, ...]:
    """What was withheld at an exchange, of all handlers in order."""
    return tuple(action for one in exchange.records for action in readable_actions(one, "withheld"))


def withheld_by(steps: Iterable[Step]) -> tuple[Any, ...]:
    """What is withheld in these steps."""
    return tuple(action for step in steps for action in step.withheld)


def is_withheld_alike(exchange: Exchange, steps: Iterable[Step]) -> bool:
    """Whether the same is withheld now, except for values that were left out of the recording."""
    return are_same(withheld_in(exchange), withheld_by(steps))
