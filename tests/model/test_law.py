"""The law: whatever an event gives, an action takes, and does what it says, under both models."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy import (
    add_header,
    add_recipient,
    change_header,
    change_sender,
    define_event_handlers,
    delete_recipient,
    get_macro,
    insert_header,
    quarantine,
    reject,
    remember,
    send_action,
    tempfail,
)
from demyjpy.codec import decode_action, encode_action
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.events import strip_brackets
from demyjpy.mta import client_steps
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import new_session
from demyjpy.testing.memory_filter import MemoryFilter
from demyjpy.wire.fields import decode_text
from tests.examples import share_of
from tests.integration.scenario import Mta
from tests.model.playing import PROFILES

PIECES = (
    *("", " ", "\t", "a", "word", "\r\n ", "\r\n\t", "\r\n \r\n ", "\0", "\r", "\x1b[2J", "\udcff"),
    *("\u00ca", "\u20ac", "%", "%%n", "192.0.2.7", "5.7.1 ", "4.7.1", "x" * 1000, "<a@b>", '"', "\\"),
)
VALUES = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
LOCALS = ("bob", '"b b"', '"b,b"', "b\\,b", '"b\\"<b"', "ä", "b.b", "@a:bob", "@a.example,@[::1],@b:bob")
PATHS = st.sampled_from(
    [f"<{local}@test>" for local in LOCALS]
    + ["c@test", "< c@test >", "<<c@test>>", "<Bob <c@test>>", "<c@test (x)>", "<c d@test>", "<c>"]
)
TEXTS = ("value", "raw", "helo", "sender", "recipient", "macro")
SENTENCES = st.tuples(st.sampled_from(("", "Not wanted: ", "100% ", "7 ")), st.sampled_from(TEXTS))


def saying(say: Any) -> Any:
    """A filter that remembers the last of all it is told, and says ``say(ctx, texts)`` at the end."""
    handlers = define_event_handlers(
        actions={
            *("add_header", "change_header", "quarantine", "change_sender"),
            *("add_recipient", "add_recipient_par", "delete_recipient"),
        }
    )

    @handlers.hello
    def hello(event: Any, ctx: Any) -> Any:
        return remember(ctx, helo=event.greeting)

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return remember(ctx, sender=event.sender)

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        macro = get_macro(ctx, "{rcpt_addr}")
        return remember(ctx, recipient=event.address, parameters=event.parameters, macro=macro)

    @handlers.header
    def header(event: Any, ctx: Any) -> Any:
        if event.name != "Subject":
            return ctx
        return remember(ctx, value=event.value, raw=event.raw)

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        return say(ctx, ctx["connection"])

    return handlers


def outcome_of(mta: Mta, say: Any, subject: str, sender: str, recipient: str) -> Any:
    """What the MTA makes of a mail: only the filter's answer at the end can refuse it."""
    content = (
        b"X-First: 1\r\nSubject:" + subject.encode("utf-8", "surrogateescape") + b"\r\n\r\nbody\r\n"
    )
    session = new_session(PROFILES[mta])
    with MemoryFilter(Setup(as_on_connect(saying(say)), "accept")) as milter:
        for step in (
            client_steps.Connect(),
            client_steps.Ehlo("[192.0.2.1]"),
            client_steps.Mail(strip_brackets(sender), raw=sender),
            client_steps.Rcpt("keep@test"),
            client_steps.Rcpt(strip_brackets(recipient), {"NOTIFY": "NEVER"}, raw=recipient),
            client_steps.Data(content),
        ):
            session, outcome = play(take_step(session, step), [milter])
            assert milter.troubles == []
    return outcome


BOTH = pytest.mark.parametrize("mta", ["postfix", "sendmail"])
DRAWN = given(
    subject=VALUES.filter(lambda text: "\r" not in text.replace("\r\n", "")),
    sender=PATHS.filter(str.isascii),
    recipient=PATHS,
    sentence=SENTENCES,
)


@BOTH
@settings(max_examples=30, deadline=None)
@DRAWN
def test_a_refusal_refuses(mta: Mta, subject: str, sender: str, recipient: str, sentence: Any) -> None:
    """Whatever stands in its text, with and without an enhanced code."""
    start, name = sentence

    def said(ctx: Any, texts: Any) -> Any:
        return reject(ctx, text=start + (texts[name] or ""))

    outcome = outcome_of(mta, said, subject, sender, recipient)
    assert (outcome.reply.code, outcome.mail) in {(550, None), (554, None)}
    outcome = outcome_of(
        mta,
        lambda ctx, texts: tempfail(ctx, "4.7.1", [start, *((texts[name] or "").split("\n"))]),
        subject,
        sender,
        recipient,
    )
    assert (outcome.reply.code, outcome.mail) == (451, None)
    assert "\r" not in outcome.reply.text


@BOTH
@settings(max_examples=30, deadline=None)
@DRAWN
def test_edits_are_made(mta: Mta, subject: str, sender: str, recipient: str, sentence: Any) -> None:
    """Headers, envelope and quarantine take what came."""
    start, name = sentence

    def said(ctx: Any, texts: Any) -> Any:
        ctx = add_header(ctx, "X-Text", texts[name] or "")
        ctx = insert_header(ctx, 0, "X-Raw", raw=texts["raw"])
        ctx = change_header(ctx, 1, "Subject", f"[EXT] {texts['value']}")
        ctx = delete_recipient(ctx, texts["recipient"])
        ctx = add_recipient(ctx, texts["sender"], texts["parameters"])
        ctx = change_sender(ctx, texts["recipient"])
        return quarantine(ctx, start + (texts[name] or ""))

    mail = outcome_of(mta, said, subject, sender, recipient).mail
    assert mail.quarantine
    assert mail.message["Subject"].startswith("[EXT] ")
    assert "X-Raw" in mail.message
    assert mail.message["X-First"] == "1"
    profile = PROFILES[mta]
    kept, added = profile.address("keep@test"), profile.address(sender)
    assert mail.envelope.addresses == [kept, added]
    assert mail.envelope.sender == profile.address(recipient)


@settings(max_examples=share_of(150), deadline=None)
@given(st.binary(max_size=60).map(lambda data: decode_text(data.replace(b"\0", b""))))
def test_any_text_of_a_packet_makes_a_reply_and_a_reason(text: str) -> None:
    """What is sent is one well-formed reply; once cleaned it stays as it is."""
    for action in (act.ReplyCode(550, None, text), act.Quarantine(text)):
        assert decode_action(encode_action(action)) == action
    again = act.ReplyCode(550, None, act.ReplyCode(550, None, text).lines)
    assert again == act.ReplyCode(550, None, text)


def test_what_the_author_does_wrong_raises() -> None:
    """A class that does not fit is no matter of the mail."""
    for say in (
        lambda ctx: reject(ctx, "4.7.1", "no"),
        lambda ctx: send_action(ctx, act.ReplyCode(250)),
    ):
        with pytest.raises(act.LocalProtocolError):
            say({})
