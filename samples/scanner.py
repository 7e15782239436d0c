"""Gives each whole message to a scanner, which runs in a thread while other mail is served.

The scanner here looks into each MIME part for the EICAR test file, which every virus scanner finds and
which harms nobody. One that runs as a program or behind a socket is another function in ``asks=``.
"""

import sys
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from demyjpy import (
    Context,
    Message,
    Question,
    answer,
    define_event_handlers,
    reject,
    start_milter,
    tempfail,
)

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}" + b"$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@frozen
class Scan(Question):
    """What is in the message? The name of what was found, or None."""

    message: Message
    examples = (None, "Test-File")


def scan(question: Scan, resources: Mapping[str, Any]) -> str | None:
    """Read the message; a large one lies in a file. The ``content`` of a part is decoded."""
    parts = question.message.parts()
    if any(EICAR in part.content for part in parts):
        return "EICAR-Test-File"
    if "PartsNotSeen" in parts[0].defects:
        raise ValueError("expected a message with fewer parts")  # that makes the answer `Failed`
    return None


handlers = define_event_handlers(name="scanner", asks={Scan: scan})


@handlers.message(limit=100_000_000, beyond="tempfail", asking=lambda event, ctx: {"scan": Scan(event)})
def judge(event: Message, ctx: Context) -> Context:
    """The default is 5 s for an answer; what was not scanned does not come in."""
    found = answer(ctx, "scan", failed="", late="")
    if found == "":
        return tempfail(ctx, "4.7.0", "The message could not be scanned")
    return ctx if found is None else reject(ctx, "5.7.1", f"Virus found: {found}")


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)
