"""Counts the bytes of each body, and writes them into a header field."""

from demyjpy import Body, Context, EndOfMessage, add_header, define_event_handlers

handlers = define_event_handlers(actions={"add_header"}, state={"byte_count": 0})


@handlers.body(reply=False)
def count(event: Body, ctx: Context) -> Context:
    """The body comes in chunks; an observer need not answer."""
    return ctx.set("byte_count", ctx["byte_count"] + len(event.data))


@handlers.end_of_message
def report(event: EndOfMessage, ctx: Context) -> Context:
    """Only here a message may be changed."""
    return add_header(ctx, "X-Message-Size", str(ctx["byte_count"]))
