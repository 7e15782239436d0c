"""Filters that several scenarios share."""

import hashlib
from typing import Any

from demyjpy import (
    AddHeader,
    accept,
    add_header,
    define_event_handlers,
    get_macro,
    reject,
    remember,
    send_action,
    skip,
)


def witness(refused: str | None = None) -> Any:
    """A filter that adds in ``X-Seen`` what it saw, in order, since the connection began.

    What belongs to another message must not be in there. ``X-Count`` has what it was told to
    remember: how many messages came to their end before this one, and how many were given up. It
    rejects the sender ``refused``.
    """
    handlers = define_event_handlers(actions={"add_header"}, state={"seen": ()})

    def see(ctx: Any, *words: object) -> Any:
        return ctx.set("seen", (*ctx["seen"], " ".join(map(str, words))))

    def count(ctx: Any, key: str) -> Any:
        return remember(ctx, {key: ctx["connection"].get(key, 0) + 1})

    @handlers.connect
    def connect(event: Any, ctx: Any) -> Any:
        return see(ctx, "connect", event.family, event.address)

    @handlers.hello
    def hello(event: Any, ctx: Any) -> Any:
        return see(ctx, "hello", event.greeting)

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        parameters = (f"{key}={value}" for key, value in event.parameters.items())
        ctx = see(ctx, "mail", event.raw, *parameters)
        return reject(ctx) if event.sender == refused else ctx

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        parameters = (f"{key}={value}" for key, value in event.parameters.items())
        return see(ctx, "rcpt", event.raw, *parameters)

    @handlers.data
    def data(event: Any, ctx: Any) -> Any:
        return see(ctx, "data")

    @handlers.header
    def header(event: Any, ctx: Any) -> Any:
        return see(ctx, event.name) if event.name == "Subject" else ctx

    @handlers.end_of_headers
    def end_of_headers(event: Any, ctx: Any) -> Any:
        return see(ctx, "eoh")

    @handlers.body
    def body(event: Any, ctx: Any) -> Any:
        return see(ctx, "body", len(event.data))

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        memory = ctx["connection"]
        counts = f"{memory.get('messages', 0)} before, {memory.get('aborts', 0)} given up"
        ctx = add_header(ctx, "X-Seen", ", ".join(ctx["seen"]))
        return count(add_header(ctx, "X-Count", counts), "messages")

    @handlers.abort
    def abort(event: Any, ctx: Any) -> Any:
        return count(ctx, "aborts")

    return handlers


def notary() -> Any:
    """A filter that adds in ``X-Digest`` the SHA-256 of the message as rebuilt from its events."""
    handlers = define_event_handlers(actions={"add_header"}, state={"digest": None, "text": b""})

    @handlers.header
    def header(event: Any, ctx: Any) -> Any:
        field = f"{event.name}:{event.raw}\n".replace("\n", "\r\n")
        return ctx.set("text", ctx["text"] + field.encode("utf-8", "surrogateescape"))

    @handlers.end_of_headers
    def end_of_headers(event: Any, ctx: Any) -> Any:
        return ctx.set("text", ctx["text"] + b"\r\n")

    @handlers.body(reply=False)
    def body(event: Any, ctx: Any) -> Any:
        return ctx.set("text", ctx["text"] + event.data)

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Digest", digest(ctx["text"]))

    return handlers


def digest(content: bytes) -> str:
    """What `notary` writes."""
    return hashlib.sha256(content).hexdigest()


def body_counter(skip_after: int | None = None, reply: bool = True) -> Any:
    """A filter that adds the size of the body that it saw, and may `skip` after so many chunks."""
    handlers = define_event_handlers(actions={"add_header"}, state={"size": 0, "chunks": 0})

    @handlers.body(reply=reply)
    def body(event: Any, ctx: Any) -> Any:
        ctx = ctx.update({"size": ctx["size"] + len(event.data), "chunks": ctx["chunks"] + 1})
        return skip(ctx) if ctx["chunks"] == skip_after else ctx

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Body", f"{ctx['size']} bytes in {ctx['chunks']} chunks")

    return handlers


def namer() -> Any:
    """A filter that asks for other macros, and says whether it can name message and client."""
    asked = dict.fromkeys(("connect", "mail", "recipient", "end_of_message"), ("j",))
    handlers = define_event_handlers(actions={"add_header"}, macros=asked)

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        known = " ".join(name for name in ("i", "_", "j") if get_macro(ctx, name))
        return add_header(ctx, "X-Known", known)

    return handlers


def macro_reader(**wanted: tuple[str, ...]) -> Any:
    """A filter that asks for macros by event, and adds each with its value at end of message."""
    handlers = define_event_handlers(actions={"add_header"}, macros=wanted, state={"found": ()})

    def note(event_name: str) -> Any:
        def read(event: Any, ctx: Any) -> Any:
            found = (f"{name}={get_macro(ctx, name)}" for name in wanted[event_name])
            return ctx.set("found", (*ctx["found"], *found))

        return read

    for name in wanted:
        if name != "end_of_message":
            getattr(handlers, name)(note(name))

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        if "end_of_message" in wanted:
            ctx = note("end_of_message")(event, ctx)
        return send_action(ctx, *(AddHeader(f"X-{n}", v) for n, v in enumerate(ctx["found"])))

    return handlers


def failing_at(event_name: str) -> Any:
    """A filter that marks each message, and raises at that event where the sender is first@test."""
    handlers = define_event_handlers(actions={"add_header"}, state={"sender": ""})

    def fail(event: Any, ctx: Any) -> Any:
        if ctx["sender"] == "first@test":
            raise ZeroDivisionError("on purpose")
        return ctx

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        ctx = ctx.set("sender", event.sender)
        return fail(event, ctx) if event_name == "mail" else ctx

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        ctx = add_header(ctx, "X-Late", "seen")
        return fail(event, ctx) if event_name == "end_of_message" else ctx

    if event_name not in ("mail", "end_of_message"):
        getattr(handlers, event_name)(fail)
    return handlers


def accepting(sender: str) -> Any:
    """A filter that accepts the messages of one sender at once, and marks all others."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return accept(ctx) if event.sender == sender else ctx

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Marked", "yes")

    return handlers
