"""Refuses clients by a table of networks, senders by a table of addresses, with the text of their row.

Both are files that can be edited while mail flows: a second later the new rows count. A row with ``OK``
lets in what a later one, or a shorter key, would refuse.
"""

import os
import sys
from pathlib import Path
from typing import Final

from demyjpy import (
    Context,
    Mail,
    answer,
    define_event_handlers,
    facts,
    reject,
    start_milter,
    tempfail,
)
from demyjpy.lookups.tables import Lookup, Tables, look_up

HERE: Final = Path(__file__).parent
TABLES: Final = Tables(
    {
        "clients": os.environ.get("CLIENTS", f"cidr:{HERE / 'access_clients.cidr'}"),
        "senders": os.environ.get("SENDERS", f"texthash:{HERE / 'access_senders.txt'}"),
    }
)

handlers = define_event_handlers(name="access", facts={"client"}, resources={"tables": TABLES})


def questions(event: Mail, ctx: Context) -> dict[str, Lookup]:
    """Both are asked at the same time. A client on this machine may have no address."""
    client = facts(ctx).client
    return {
        "client": look_up(ctx, "clients", client.address if client else None),
        "sender": look_up(ctx, "senders", event.sender, search="address"),
    }


@handlers.mail(asking=questions)
def check(event: Mail, ctx: Context) -> Context:
    """If a table cannot be asked, the client may try again."""
    for key in ("client", "sender"):
        row = answer(ctx, key, failed="", late="")
        if row == "":
            return tempfail(ctx, "4.3.0", "Access cannot be checked now")
        if row not in (None, "OK"):
            return reject(ctx, "5.7.1", row)
    return ctx


if __name__ == "__main__":
    start_milter(sys.argv[1] if len(sys.argv) > 1 else "inet:20025@localhost", handlers)
