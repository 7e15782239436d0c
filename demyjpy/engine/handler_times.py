"""How long a handler may take: its own time, or what is left of its filter's at the end of a message.

The engine has no clock: drivers say how long a handler took, and arm what is said here.
"""

from typing import Final

from attrs import evolve

from demyjpy.engine.connection import Job
from demyjpy.engine.letters import BODYEOB, MESSAGE
from demyjpy.engine.turn import Turn

_LEAST: Final = 0.001
"""Seconds that a handler has at least."""


def time_for(turn: Turn, job: Job) -> float | None:
    """The most seconds for the next handler: its own, or what is left of its filter's at the end.

    None for what the server gives a handler. What a handler waits for is within its time.
    """
    number, handler = job.chain[0]
    whole = turn.agreed.policy_of(number).timeout
    if whole is None or job.dispatch.letter not in (MESSAGE, BODYEOB):
        return handler.timeout
    end = turn.scope.chain.end
    left = max(whole - (0.0 if end is None else end.spent.get(number, 0.0)), _LEAST)
    return left if handler.timeout is None else min(handler.timeout, left)


def note_time(turn: Turn, job: Job, seconds: float) -> None:
    """A handler that ran apart took this time, with what it waited for: its filter has less left."""
    number = job.chain[0][0]
    end = turn.scope.chain.end
    if turn.agreed.policies and job.dispatch.letter == MESSAGE and end is not None:
        spent = {**end.spent, number: seconds}
        turn.scope.chain = turn.scope.chain.with_end(evolve(end, spent=spent))
