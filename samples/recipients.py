"""Refuses recipients that are not in a table: a file with an address or ``@domain`` a line.

A thread reads the file for each question; answers are remembered for a minute. So it can
be edited while mail flows, and a busy recipient costs one read a minute.
"""

import os
import sys
from pathlib import Path

from attrs import frozen

from demyjpy import (
    Answered,
    Context,
    Question,
    Recipient,
    answer,
    define_event_handlers,
    reject,
    start_milter,
    tempfail,
)

TABLE = os.environ.get("RECIPIENTS", str(Path(__file__).with_name("recipients.txt")))


@frozen
class IsKnown(Question, pure=True, remember_for=60):
    """Is there a mailbox with this address? It says itself how it is answered."""

    address: str
    table: str = TABLE
    examples = (True, False)

    def perform(self, resources: object) -> bool:
        """Look through the file."""
        address = self.address.lower()
        _, at, domain = address.rpartition("@")
        wanted = {address, at + domain} - {""}
        with Path(self.table).open(encoding="utf-8", errors="surrogateescape") as lines:
            return any(line.strip().lower() in wanted for line in lines)


handlers = define_event_handlers(name="recipients")


@handlers.recipient(asking=lambda event, ctx: {"known": IsKnown(event.address)}, within=2)
def check(event: Recipient, ctx: Context) -> Context:
    """If the table cannot be read, nobody is refused for good."""
    match answer(ctx, "known"):
        case Answered(True):
            return ctx
        case Answered(_):
            return reject(ctx, "5.1.1", f"<{event.address}>: no such mailbox")
        case _:
            return tempfail(ctx, "4.3.0", "Recipients cannot be checked now")


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)
