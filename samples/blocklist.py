"""Refuses senders of a list, which a postmaster writes in TOML: a filter that is made of its settings.

As a program it has the settings in ``blocklist.toml`` beside it. The command line says where they are:
``demyjpy run samples/blocklist.py:make --settings /etc/blocklist.toml``. SIGHUP reads them again.
"""

import sys
from pathlib import Path
from typing import Literal

from demyjpy import (
    Context,
    Mail,
    Registry,
    define_event_handlers,
    reject,
    start_milter,
    tempfail,
)


def make(
    *,
    senders: frozenset[str],
    answer: Literal["reject", "tempfail"] = "reject",
    text: str = "You may not send mail here",
) -> Registry:
    """The filter. ``senders`` are addresses, and domains as ``@example.org``."""
    known = {one.lower() for one in senders}
    refuse = reject if answer == "reject" else tempfail
    handlers = define_event_handlers(name="blocklist")

    @handlers.mail
    def check(event: Mail, ctx: Context) -> Context:
        """Bounces have no sender, and are let in."""
        sender = event.sender.lower()
        _, at, domain = sender.rpartition("@")
        if known.isdisjoint({sender, at + domain} - {""}):
            return ctx
        code = "5.7.1" if refuse is reject else "4.7.1"
        return refuse(ctx, code, text)

    return handlers


if __name__ == "__main__":
    start_milter(
        sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost",
        make,
        settings=Path(__file__).with_suffix(".toml"),
    )
