"""Refuses, or mends, mail whose From is in none of our domains. For servers to which our users submit.

This is what ``vrfydmn`` does, which Debian has and which uses pymilter: written anew, from what its
README and manual page say, without LDAP and SQL. See docs/coming-from-pymilter.md.

The table has a domain at the beginning of each line, as Postfix's ``relay_domains`` has. It is read when
the filter is loaded: SIGHUP loads it again.
"""

import os
import sys
from pathlib import Path
from typing import Final, Literal

from demyjpy import (
    Context,
    Message,
    Registry,
    become,
    define_event_handlers,
    quarantine,
    reject,
    start_milter,
)

TABLE = os.environ.get("DOMAINS", str(Path(__file__).with_name("own_from.txt")))

REASON: Final = "From has a domain that is not ours"


def make(*, table: str = TABLE, action: Literal["reject", "quarantine", "fix"] = "reject") -> Registry:
    """The filter. ``fix``: From becomes the sender, and what stood there goes to Reply-To."""
    words = map(str.split, Path(table).read_text(encoding="utf-8").lower().splitlines())
    domains = {line[0] for line in words if line and not line[0].startswith("#")}
    handlers = define_event_handlers(name="own-from", edits="headers", optional_actions={"quarantine"})

    @handlers.message
    def check(event: Message, ctx: Context) -> Context:
        if all(is_ours(one.domain, domains) for one in event.addresses("From")):
            return ctx
        if action == "fix":
            return become(ctx, fixed(event))
        if action == "quarantine":
            return quarantine(ctx, REASON)
        return reject(ctx, "5.7.0", REASON, code=554)

    return handlers


def is_ours(domain: str, domains: set[str]) -> bool:
    """A domain of the table, or one below it."""
    labels = domain.lower().split(".")
    return any(".".join(labels[at:]) in domains for at in range(len(labels)))


def fixed(message: Message) -> Message:
    """The message with a From that is the sender's; who answers it reaches who was named there."""
    named_already = [one.address for one in message.addresses("From")] == [message.sender]
    if not message.sender or named_already:  # of a bounce there is nobody to name
        return message
    named = message.get("From", "")
    changed = message.set_only("From", f"<{message.sender}>")
    return changed if message.get("Reply-To") is not None else changed.add("Reply-To", named)


handlers = make()

if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)
