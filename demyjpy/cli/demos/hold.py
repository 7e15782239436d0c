"""Puts large mail into quarantine, for somebody to look at. The client gets 250, as for other mail."""

from demyjpy import Context, Message, define_event_handlers, quarantine

MOST = 100_000  # bytes

handlers = define_event_handlers(actions={"quarantine"})


@handlers.message
def hold(event: Message, ctx: Context) -> Context:
    """The reason stands in the mail server's log."""
    return quarantine(ctx, f"{event.size} bytes") if event.size > MOST else ctx
