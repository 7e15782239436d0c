"""The filter of the chaos program: it says to each message its own name, and notes that it did."""

import os

from demyjpy import add_header, define_event_handlers

handlers = define_event_handlers(actions={"add_header"}, state={"name": "", "size": 0})
_NOTES = os.open(os.environ["DEMYJPY_CHAOS_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


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
    os.write(_NOTES, f"{ctx['name']}\n".encode())
    return add_header(ctx, "X-Chaos", f"{ctx['name']} {ctx['size']}")
