"""The filter of c_filter.c once more, with handlers at every event.

A sender, EHLO name or body that holds ``reject-here`` is rejected there; so it is with all verdicts.
"""

from typing import Any

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    Context,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
    accept,
    define_event_handlers,
    discard,
    get_macro,
    reject,
    send_action,
    skip,
    tempfail,
)

handlers = define_event_handlers(
    actions={
        "add_header",
        "change_header",
        "change_body",
        "add_recipient",
        "delete_recipient",
        "quarantine",
        "change_sender",
    },
    state={"ask": ""},
)

VERDICTS = {
    "reject": reject,
    "tempfail": tempfail,
    "discard": discard,
    "accept": accept,
    "skip": skip,
    "reply": lambda ctx: reject(ctx, "5.7.1", "100% no", code=554),
}


def obey(text: str, ctx: Context) -> Context:
    """The verdict that a text asks for."""
    for word, verdict in VERDICTS.items():
        if f"{word}-here" in text:
            return verdict(ctx)
    return ctx


@handlers.connect
def connect(event: Any, ctx: Context) -> Context:
    return obey(event.host_name, ctx)


@handlers.hello
def hello(event: Any, ctx: Context) -> Context:
    return obey(event.greeting, ctx)


@handlers.mail
def mail(event: Any, ctx: Context) -> Context:
    return obey(event.sender, ctx)


@handlers.recipient
def recipient(event: Any, ctx: Context) -> Context:
    return reject(ctx) if event.address.startswith("bad") else obey(event.address, ctx)


@handlers.data
def data(event: Any, ctx: Context) -> Context:
    return ctx


@handlers.header
def header(event: Any, ctx: Context) -> Context:
    if event.name.lower() == "x-ask":
        ctx = ctx.set("ask", event.value)
    return obey(event.value, ctx)


@handlers.end_of_headers
def end_of_headers(event: Any, ctx: Context) -> Context:
    return obey(ctx["ask"].replace("at-eoh", "here"), ctx)


@handlers.body
def body(event: Any, ctx: Context) -> Context:
    return obey(event.data.decode("latin-1"), ctx)


@handlers.end_of_message
def end(event: Any, ctx: Context) -> Context:
    ask = ctx["ask"]
    if ask == "quarantine":
        return send_action(ctx, Quarantine("looks odd"))
    if ask == "edit":
        return send_action(
            ctx,
            AddHeader("X-Added", get_macro(ctx, "i") or "?"),
            InsertHeader(0, "X-Top", "inserted"),
            ChangeHeader(1, "Subject", "changed"),
            DeleteHeader(1, "X-Gone"),
            ChangeSender("new@example.org"),
            DeleteRecipient("bob@example.net"),
            AddRecipient("carol@example.net"),
            ReplaceBody(b"a new body\r\n"),
        )
    return obey(f"{ask}-here", ctx)
