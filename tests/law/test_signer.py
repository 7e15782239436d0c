"""A signer behind a disclaimer, and before it: it signs the message as the filters before it made it."""

import hashlib
from typing import Any

import pytest

from demyjpy import add_header, define_event_handlers, merge_handlers, replace_body
from demyjpy.message import Message
from demyjpy.mta.profile import Profile
from demyjpy.testing import Postfix, Sendmail, run, session

LETTER = session().mail("a@test").rcpt("b@test").message("Subject: s\nX-A: 1\nX-A: 2\n\nhello\n")
BOTH = pytest.mark.parametrize("mta", [Postfix(), Sendmail()], ids=lambda one: one.name)


def digest(fields: Any, body: bytes) -> str:
    """What a signer writes: of header fields, as names with raw values, and of the body."""
    text = "\n".join(f"{name}:{raw}" for name, raw in fields).encode() + b"\n\n" + body
    return hashlib.sha256(text).hexdigest()


def signer() -> Any:
    """A filter that writes the digest of all that it sees."""
    handlers = define_event_handlers(
        name="signer", actions={"add_header"}, state={"fields": (), "signed_body": b""}
    )

    @handlers.header
    def header(event: Any, ctx: Any) -> Any:
        return ctx.set("fields", (*ctx["fields"], (event.name, event.raw)))

    @handlers.body
    def body(event: Any, ctx: Any) -> Any:
        return ctx.set("signed_body", ctx["signed_body"] + event.data)

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Signature", digest(ctx["fields"], ctx["signed_body"]))

    return handlers


def disclaimer() -> Any:
    """A filter that adds a field, and a line without its end to the body."""
    handlers = define_event_handlers(
        name="disclaimer", actions={"add_header", "change_body"}, state={"body": b""}
    )

    @handlers.body
    def body(event: Any, ctx: Any) -> Any:
        return ctx.set("body", ctx["body"] + event.data)

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        ctx = add_header(ctx, "X-Disclaimer", "yes")
        return replace_body(ctx, ctx["body"] + b"only for you")

    return handlers


def _signed(message: Message, *, without: str = "") -> str:
    kept = message.without(("X-Signature", without))
    fields = [(one.name, one.raw) for one in kept.fields]
    return digest(fields, message.body)


@BOTH
def test_a_signer_behind_a_disclaimer_signs_what_is_delivered(mta: Profile) -> None:
    """Field, body and the end of its last line."""
    message = run(merge_handlers(disclaimer(), signer()), LETTER, mta=mta).message
    assert message.body == b"hello\r\nonly for you\r\n"
    assert message.get("X-Signature") == _signed(message)


@BOTH
def test_a_signer_before_a_disclaimer_signs_what_came(mta: Profile) -> None:
    """What the disclaimer adds is not signed."""
    message = run(merge_handlers(signer(), disclaimer()), LETTER, mta=mta).message
    assert message.get("X-Disclaimer") == "yes"
    before = message.with_body(b"hello\r\n")
    assert message.get("X-Signature") == _signed(before, without="X-Disclaimer")
