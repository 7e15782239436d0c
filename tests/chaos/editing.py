"""The filter of the run through Postfix: a header, and another body; half of it would show."""

from demyjpy import add_header, define_event_handlers, replace_body

handlers = define_event_handlers(actions={"add_header", "change_body"}, state={"name": ""})


@handlers.mail
def mail(event, ctx):
    return ctx.set("name", event.sender)


@handlers.end_of_message(blocking=True)
def end_of_message(event, ctx):
    body = f"{ctx['name']} was here\r\n".encode() * 2000
    return replace_body(add_header(ctx, "X-Chaos", ctx["name"]), body)
