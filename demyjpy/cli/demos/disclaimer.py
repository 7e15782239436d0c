"""Appends a text to what people read. `append_text` leaves signed and encrypted mail alone."""

from demyjpy import Context, Message, become, define_event_handlers

TEXT = "\n______________________________\nExample Ltd. reads this before you do.\n"

handlers = define_event_handlers(edits="headers", actions={"change_body"})


@handlers.message(blocking=True)
def append(event: Message, ctx: Context) -> Context:
    """Plain text, HTML and attachments are told apart by the library."""
    return become(ctx, event.append_text(TEXT)) if event.is_whole else ctx
