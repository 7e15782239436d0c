"""Greylisting: the first mail from a client and sender to a recipient must wait; a second try is let in.

A mail server tries again after some minutes, most programs that send spam do not. The handlers hold no
table, lock or clock: they ask. `Attempts` answers, in a thread. Its table is in memory, so each worker
process has its own, and a restart forgets it; with a database it would be the same filter.
"""

import sys
import time
from collections import OrderedDict
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

Clock = Callable[[], float]


@frozen
class Attempt(Question):
    """How many seconds must this mail still wait? It is not pure: who asks is written down."""

    client: str
    sender: str
    recipient: str


class Attempts:
    """When each was first made; ``delay`` and ``keep`` are in seconds.

    Of more than ``most`` the oldest is dropped.
    """

    def __init__(
        self, delay: float = 300, keep: float = 36 * 3600, most: int = 100_000, clock: Clock = time.time
    ) -> None:
        self._delay, self._keep, self._most, self._clock = delay, keep, most, clock
        self._lock = Lock()
        self._first: OrderedDict[Attempt, float] = OrderedDict()

    def __call__(self, attempt: Attempt, resources: Mapping[str, Any]) -> float:
        """Answer a question; any thread may ask."""
        with self._lock:
            now, table = self._clock(), self._first
            if now - table.get(attempt, now) > self._keep:
                del table[attempt]  # it begins anew, as the youngest
            waited = now - table.setdefault(attempt, now)
            if len(table) > self._most:
                table.popitem(last=False)
        return max(0.0, self._delay - waited)


handlers = define_event_handlers(name="greylist", facts={"client", "sender"}, asks={Attempt: Attempts()})


def questions(event: Recipient, ctx: Context) -> dict[str, Attempt]:
    """What is asked at each recipient, before `judge` is called."""
    known = facts(ctx)
    # mail from this machine may have no address
    client = "" if known.client is None else str(known.client.address or "")
    return {"wait": Attempt(client, (known.sender or "").lower(), event.address.lower())}


@handlers.recipient(asking=questions)
def judge(event: Recipient, ctx: Context) -> Context:
    """If the table fails or is late, mail comes in."""
    seconds = answer(ctx, "wait", failed=0, late=0)
    return tempfail(ctx, "4.7.1", f"Please try again in {seconds:.0f} s") if seconds > 0 else ctx


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)
