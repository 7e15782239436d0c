"""Signs of life at the end of a message: which end is in hand, and how often PROGRESS is due.

The MTA waits for one answer. So it does not matter for it how many handlers run until then.
"""

from typing import Final

from demyjpy.engine.connection import Agreed, Connection
from demyjpy.engine.letters import BODYEOB, MESSAGE

_USUAL: Final = 5.0
"""Seconds, if there is no handler that could say."""


def end_in_hand(connection: Connection) -> int | None:
    """The number of the end of message that is not answered yet; None if there is none."""
    call, jobs = connection.call, connection.backlog.jobs
    job = call.job if call else next(iter(jobs), None)
    if job is None:
        return None
    is_end = job.dispatch.letter == BODYEOB or (job.place is not None and job.place.end is not None)
    return job.exchange if is_end else None


def period_of(agreed: Agreed) -> float | None:
    """Seconds between signs of life at the end of a message: the shortest ``progress=``.

    None if all handlers of message and end_of_message say ``progress=None``.
    """
    chains = (agreed.table[letter].chain for letter in (MESSAGE, BODYEOB))
    told = [handler.progress for chain in chains for _, handler in chain]
    return min((one for one in told if one is not None), default=None if told else _USUAL)
