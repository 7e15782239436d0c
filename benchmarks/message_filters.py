"""The filters of `benchmarks.message_memory`: what may be done with a large message as a value."""

from typing import Any

from demyjpy import Context, Registry, become, define_event_handlers, merge_handlers
from demyjpy.message import Message

LIMIT = 60_000_000
ADDED = b"text\r\n"
DISCLAIMER = "disclaimer"


def make_reader(name: str) -> Registry:
    """Looks at one header field and changes nothing."""
    handlers = define_event_handlers(name=name)

    @handlers.message(limit=LIMIT)
    def look(event: Message, ctx: Context) -> Context:
        event.get("Subject")
        return ctx

    return handlers


def make_writer(edits: str, change: Any) -> Registry:
    """Wants what ``change`` makes of a message."""
    handlers = define_event_handlers(edits=edits)

    @handlers.message(limit=LIMIT, blocking=True)
    def write(event: Message, ctx: Context) -> Context:
        return become(ctx, change(event))

    return handlers


def with_longer_body(message: Message) -> Message:
    """A line more at the end of the body."""
    return message.with_body(message.body + ADDED)


def with_disclaimer(message: Message) -> Message:
    """A line more in the text of the mail."""
    return message.append_text(DISCLAIMER)


headers = merge_handlers(*(make_reader(name) for name in ("first", "second", "third")))
body = make_writer("body", with_longer_body)
append = make_writer("all", with_disclaimer)
