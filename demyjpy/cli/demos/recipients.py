"""Refuses recipients that are not in a list, one by one: the mail still reaches the others."""

from demyjpy import Context, Recipient, define_event_handlers, reject

KNOWN = frozenset({"ann@example.org", "bob@example.net"})

handlers = define_event_handlers()


@handlers.recipient
def look_up(event: Recipient, ctx: Context) -> Context:
    """At RCPT, so the client learns at once which of its recipients we do not know."""
    if event.address.lower() in KNOWN:
        return ctx
    return reject(ctx, "5.1.1", "No such user here")
