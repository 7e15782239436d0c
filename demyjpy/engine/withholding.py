"""What a filter that is only tried would have said: taken out of its plan, before anybody acts on it.

See `demyjpy.with_policy`, ``enforce=False``. The filter itself sees what it would see if it counted:
after a verdict that would have ended the message for it, it is done with the message.
"""

from typing import Any, Final

from demyjpy import actions as act
from demyjpy.engine.chain_values import flattened
from demyjpy.engine.plan import EMPTY_PLAN, Plan
from demyjpy.verdicts import ends_message, refuses

_DONE: Final = Plan((), act.Accept())
"""The filter is done with the message, or connection, and says nothing to the others."""

_OF_CONNECTION: Final = ("connect", "hello")


def withhold(plan: Plan, event: str) -> tuple[Plan, tuple[Any, ...]]:
    """What is left of a plan at this event, and what of it is withheld: edits, and a verdict."""
    said = plan.verdict
    verdict = None if isinstance(said, act.Continue) else said
    withheld = flattened((*plan.edits, *([] if verdict is None else [verdict])))
    if verdict is None or event == "end_of_message":
        return EMPTY_PLAN, withheld
    if isinstance(verdict, act.Skip):
        return Plan((), verdict), withheld
    is_over = ends_message(event, verdict) or (event in _OF_CONNECTION and refuses(verdict))
    return _DONE if is_over or isinstance(verdict, act.Accept) else EMPTY_PLAN, withheld
