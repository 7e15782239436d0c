"""The filter of the chaos program: it says to each message its own name, and notes that it did."""

import os
from pathlib import Path

from demyjpy import add_header, define_event_handlers

handlers = define_event_handlers(actions={"add_header"}, state={"name": "", "size": 0})
_NOTES = Path(os.environ["DEMYJPY_CHAOS_NOTES"])


@handlers.mail
def mail(event, ctx):
    return ctx.set("name", event.sender)


@handlers.header(reply=False)
def header(event, ctx):
    return ctx.set("size", ctx["size"] + len(event.value))


@handlers.body
def body(event, ctx):
    return ctx.set("size", ctx["size"] + len(event.data))


@handlers.end_of_message(blocking=True)
def end_of_message(event, ctx):
    with _NOTES.open("a", encoding="utf-8") as notes:  # opened each time: filters are loaded again
        notes.write(f"{ctx['name']}\n")
    return add_header(ctx, "X-Chaos", f"{ctx['name']} {ctx['size']}")
