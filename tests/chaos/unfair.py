"""The filter of the fairness program: what it does for a message is up to who sent it.

``replace@...`` has the body replaced by 100 kB, all others get one header field of 2 kB. At each
header field it looks a macro up.
"""

from demyjpy import add_header, define_event_handlers, get_macro, replace_body

handlers = define_event_handlers(actions={"add_header", "change_body"}, state={"sender": "", "size": 0})

_FIELD = "x" * 2000
_BODY = b"y" * 100_000


@handlers.connect
def connect(event, ctx):
    return ctx


@handlers.hello
def hello(event, ctx):
    return ctx


@handlers.mail
def mail(event, ctx):
    return ctx.set("sender", event.sender)


@handlers.recipient
def recipient(event, ctx):
    return ctx


@handlers.header(reply=False)
def header(event, ctx):
    get_macro(ctx, "{none}")
    return ctx.set("size", ctx["size"] + len(event.value))


@handlers.end_of_headers
def end_of_headers(event, ctx):
    return ctx


@handlers.body
def body(event, ctx):
    return ctx.set("size", ctx["size"] + len(event.data))


@handlers.end_of_message
def end_of_message(event, ctx):
    if ctx["sender"].startswith("replace"):
        return replace_body(ctx, _BODY)
    return add_header(ctx, "X-Size", _FIELD)


@handlers.unknown
def unknown(event, ctx):
    return ctx


@handlers.abort
def abort(event, ctx):
    return ctx
