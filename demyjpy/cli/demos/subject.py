"""Puts a mark before the subject of each mail. Mail without a subject gets one."""

from demyjpy import Context, Message, become, define_event_handlers

MARK = "[external]"

handlers = define_event_handlers(edits="headers")


@handlers.message
def mark(event: Message, ctx: Context) -> Context:
    """The event is the whole mail; the filter says what it is to become."""
    subject = event.get("Subject", "")
    return ctx if MARK in subject else become(ctx, event.set("Subject", f"{MARK} {subject}"))
