"""A limit of recipients a day for each user who has logged in: a stolen password sends no million mails.

It counts recipients at RCPT, also if the client gives the mail up after that. The figures are in the
memory of this process; each worker has its own.
"""

import sys
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from attrs import frozen

from demyjpy import (
    Context,
    Question,
    Recipient,
    answer,
    define_event_handlers,
    facts,
    start_milter,
    tempfail,
)

A_DAY = 500


@frozen
class OneMore(Question):
    """How many recipients has this user had today? Each question counts one, so it is not pure."""

    user: str


class Usage:
    """The counts of a day in UTC; they are dropped when the next one begins."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock, self._day = clock, Lock(), 0
        self._counts: dict[str, int] = {}

    def __call__(self, question: OneMore, resources: Mapping[str, Any]) -> int:
        """Count, and answer; any thread may ask."""
        with self._lock:
            day = int(self._clock() // 86_400)
            if day != self._day:
                self._day, self._counts = day, {}
            count = self._counts[question.user] = self._counts.get(question.user, 0) + 1
            return count


handlers = define_event_handlers(name="quota", facts={"user"}, asks={OneMore: Usage()})


def questions(event: Recipient, ctx: Context) -> dict[str, OneMore]:
    """Nothing is asked about mail from others: there the answer is `Unasked`."""
    user = facts(ctx).user
    return {"count": OneMore(user)} if user else {}


@handlers.recipient(asking=questions, needs={"count"})
def limit(event: Recipient, ctx: Context) -> Context:
    """If it cannot be counted, mail goes out."""
    count = answer(ctx, "count", failed=0, late=0, unasked=0)
    return tempfail(ctx, "4.7.1", f"More than {A_DAY} recipients today") if count > A_DAY else ctx


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)
