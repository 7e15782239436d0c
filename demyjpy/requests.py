"""What a handler queues that is not for the MTA: a question, an effect, a line for the log, a count.

A request is queued like an action. When the handler has returned, and what it queued is legal, the
engine takes the requests out: questions are its own to follow, the rest is the driver's.
"""

from collections.abc import Iterable
from typing import Any

from attrs import frozen


@frozen
class Request:
    """The base of all that is queued for the driver, not for the MTA."""


def take_requests(queued: Iterable[Any]) -> tuple[tuple[Request, ...], tuple[Any, ...]]:
    """The requests among what was queued, and the rest; each in order."""
    requests: list[Request] = []
    rest: list[Any] = []
    for one in queued:
        (requests if isinstance(one, Request) else rest).append(one)
    return tuple(requests), tuple(rest)
