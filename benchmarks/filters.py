"""Our side of the benchmarks: the filters that the peers have, too.

They are written as a user of the library would write them, and run by ``demyjpy run``. ``noop`` and
``bytecount`` answer the same events as the peers' programs; the ``_unanswered`` ones do the same with
``reply=False`` wherever the library lets them. The ``_merged`` ones are two filters merged: the first is
that of the same name, the second has handlers for the same events and edits nothing.
"""

from typing import Any

from demyjpy import (
    Body,
    Context,
    EndOfMessage,
    Mail,
    Registry,
    add_header,
    define_event_handlers,
    merge_handlers,
)

PER_MESSAGE = ("mail", "recipient", "data", "header", "end_of_headers", "body", "end_of_message")


def let_go_on(event: Any, ctx: Context) -> Context:
    """What noop does at every event."""
    return ctx


def make_noop(*, reply: bool) -> Registry:
    """Every event of a session has a handler; without ``reply`` only the last one is answered."""
    handlers = define_event_handlers()
    for name in ("connect", "hello", *PER_MESSAGE):
        options = {} if name == "end_of_message" else {"reply": reply}
        getattr(handlers, name)(**options)(let_go_on)
    return handlers


def make_bytecount(*, reply: bool) -> Registry:
    """Adds X-Message-Size.

    No library but ours lets a filter do without the handler of ``mail``, where the count begins anew;
    we have it too, so that all answer the same events.
    """
    handlers = define_event_handlers(actions={"add_header"}, state={"size": 0})

    @handlers.mail(reply=reply)
    def begin(event: Mail, ctx: Context) -> Context:
        return ctx.set("size", 0)

    @handlers.body(reply=reply)
    def count(event: Body, ctx: Context) -> Context:
        return ctx.set("size", ctx["size"] + len(event.data))

    @handlers.end_of_message
    def report(event: EndOfMessage, ctx: Context) -> Context:
        return add_header(ctx, "X-Message-Size", str(ctx["size"]))

    return handlers


def make_largest(*, reply: bool) -> Registry:
    """Keeps the size of the largest piece of a body, and edits nothing: what stands beside bytecount."""
    handlers = define_event_handlers(state={"largest": 0})

    @handlers.mail(reply=reply)
    def begin(event: Mail, ctx: Context) -> Context:
        return ctx.set("largest", 0)

    @handlers.body(reply=reply)
    def compare(event: Body, ctx: Context) -> Context:
        return ctx.set("largest", max(ctx["largest"], len(event.data)))

    @handlers.end_of_message
    def end(event: EndOfMessage, ctx: Context) -> Context:
        return ctx.set("largest", 0)

    return handlers


noop = make_noop(reply=True)
noop_unanswered = make_noop(reply=False)
bytecount = make_bytecount(reply=True)
bytecount_unanswered = make_bytecount(reply=False)
noop_merged = merge_handlers(noop, make_noop(reply=True))
largest = make_largest(reply=True)
bytecount_merged = merge_handlers(bytecount, largest)
