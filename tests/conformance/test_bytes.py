"""Row 170: text on the wire is bytes; those that are not UTF-8 survive the way in and out."""

import re

import pytest

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeSender,
    Quarantine,
    ReplyCode,
    get_macro,
    remember,
    send_action,
)
from demyjpy.codec import decode_action, decode_event, encode_action, encode_event
from tests.conformance.talk import CONTINUE, EOM, RCPT, Talk, header, macros, mail, packet, reply_code

ODD = (
    b"\xff\xfe",
    b"\xc3(",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xc0\x80",
    "é€𝄞".encode(),
    bytes(range(0x80, 0x100)),
    bytes(sorted(set(range(1, 0x80)) - set(b"\r\n%<>, \t\v\f\x1c\x1d\x1e\x1f"))),
)
"""Text that no decoder likes, and what is legal in every field."""

COMMANDS = {
    "host name": b"C*\x004\x04\xd2192.0.2.1\0",
    "host name alone": b"C*\0U",
    "path": b"Clocalhost\0L\0\0*\0",
    "greeting": b"H*\0",
    "sender": b"M<*>\0",
    "sender without brackets": b"M*\0",
    "parameter of a sender": b"M<a@b>\0X=*\0*\0",
    "recipient": b"R<*>\0",
    "parameter of a recipient": b"R<a@b>\0ORCPT=rfc822;*\0",
    "header name": b"L*\0v\0",
    "header value": b"LX\0*\n *\0",
    "unknown command": b"U*\0",
    "macro name": b"DM{*}\0v\0",
    "macro value": b"DMi\0*\0",
}
RESPONSES = {
    "added header": b"hX\0*\0",
    "inserted header": b"i\0\0\0\x01X\0*\n *\0",
    "changed header": b"m\0\0\0\x01X\0*\0",
    "added recipient": b"+<*>\0",
    "added recipient with parameters": b"2<*>\0X=*\0",
    "deleted recipient": b"-<*>\0",
    "sender": b"e<*>\0X=*\0",
    "reason": b"q*\0",
    "reply": b"y550-5.7.1 *\r\n550 5.7.1 *\0",
}


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("leading_space", [True, False])
@pytest.mark.parametrize("field", COMMANDS)
def test_row_170_commands(field, leading_space, text):
    """Every string of every command survives: bytes to event to the same bytes."""
    sent = COMMANDS[field].replace(b"*", text)
    event = decode_event((sent[0], sent[1:]), leading_space)
    assert encode_event(event, leading_space) == (sent[0], sent[1:])


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("leading_space", [True, False])
@pytest.mark.parametrize("field", RESPONSES)
def test_row_170_responses(field, leading_space, text):
    """Every string of every response survives: bytes to action to the same bytes."""
    sent = RESPONSES[field].replace(b"*", text)
    action = decode_action((sent[0], sent[1:]), leading_space)
    assert encode_action(action, leading_space) == (sent[0], sent[1:])


@pytest.mark.parametrize("text", ODD)
def test_row_170_through_a_filter(text):
    """What a handler takes from events and macros and queues again is the same on the wire.

    But for text that people read: a reply and a reason are without control characters, and a reply
    without what Sendmail would make CR and LF of.
    """
    clean = bytes(byte if byte >= 0x20 and byte != 0x7F else 0x20 for byte in text)
    reason = clean.strip(b" ")
    reason = re.sub(b" +", b" ", reason) if clean != text else reason
    safe = clean.replace(b"\x8a", b"?").replace(b"\x8d", b"?")

    def keep(event, ctx):
        return remember(ctx, sender=event.sender)

    def echo(event, ctx):
        seen, sender, macro = ctx["connection"], ctx["connection"]["sender"], get_macro(ctx, "i")
        edits = AddHeader("X", raw=seen["raw"]), AddRecipient(sender), ChangeSender(sender, {"X": macro})
        return send_action(ctx, *edits, Quarantine(macro), ReplyCode(450, "4.7.1", macro))

    talk = Talk(
        {
            "mail": keep,
            "header": lambda event, ctx: remember(ctx, raw=event.raw),
            "end_of_message": echo,
        },
        actions={"add_header", "add_recipient", "change_sender", "quarantine"},
    ).go_to("mail")
    assert talk.say(mail(b"<" + text + b">"), RCPT, header(b"Y", text)) == 3 * CONTINUE
    assert talk.say(macros(b"E", b"i", text), EOM) == (
        packet(b"h", b"X\0" + text + b"\0")
        + packet(b"+", b"<" + text + b">\0")
        + packet(b"e", b"<" + text + b">\0X=" + text + b"\0")
        + packet(b"q", reason + b"\0")
        + reply_code(b"450 4.7.1 " + safe)
    )
