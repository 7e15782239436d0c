"""Rows 54-61: MAIL and RCPT, their parameters, and recipients that the MTA itself refused."""

import pytest

from demyjpy import (
    Accept,
    Continue,
    Discard,
    LocalProtocolError,
    Reject,
    RemoteProtocolError,
    TemporaryFailure,
    is_rejected_recipient,
)
from tests.conformance.talk import (
    CONTINUE,
    DATA,
    OFFER,
    RCPT,
    REJECT,
    TEMPFAIL,
    UNKNOWN,
    Talk,
    macros,
    mail,
    options,
    packet,
    recipient,
)

REFUSED = macros(b"R", b"{rcpt_mailer}", b"error", b"{rcpt_host}", b"5.1.1", b"{rcpt_addr}", b"who?")
TAKEN = macros(b"R", b"{rcpt_mailer}", b"local", b"{rcpt_host}", b"here", b"{rcpt_addr}", b"c@d")


def heard_mail(data: bytes):
    """MAIL as the handler gets it; there is one reply."""
    talk = Talk().go_to("mail")
    assert talk.say(data) == CONTINUE
    return talk.events("mail")[0]


def heard_recipient(data: bytes):
    """RCPT as the handler gets it; there is one reply."""
    talk = Talk().go_to("recipient")
    assert talk.say(data) == CONTINUE
    return talk.events("recipient")[0]


def test_row_054_null_sender():
    """The null sender in brackets is the empty address."""
    event = heard_mail(mail(b"<>"))
    assert (event.sender, event.raw, dict(event.parameters)) == ("", "<>", {})


def test_row_055_null_sender_of_postfix():
    """The null sender of a local submission through Postfix is a single NUL."""
    event = heard_mail(packet(b"M", b"\0"))
    assert (event.sender, event.raw, dict(event.parameters)) == ("", "", {})


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (b"b@ex.test", "b@ex.test"),
        (b"<b@ex.test>", "b@ex.test"),
        (b"<@relay:c@x>", "@relay:c@x"),
        (b'<"a b"@x>', '"a b"@x'),
        (b'"a>b"@x', '"a>b"@x'),
        (b"postmaster", "postmaster"),
    ],
)
def test_row_056_address_as_the_client_wrote_it(raw, address):
    """Brackets may be missing; the address loses those that are there, and the raw text stays."""
    event = heard_mail(mail(raw, b"SIZE=10"))
    assert (event.sender, event.raw) == (address, raw.decode())
    event = heard_recipient(recipient(raw))
    assert (event.address, event.raw) == (address, raw.decode())


def test_row_057_parameters():
    """Parameters are cut at their first "=", and a bare one has no value."""
    event = heard_mail(mail(b"<a@b>", b"ENVID=a=b", b"BODY=8BITMIME", b"SMTPUTF8", b"X=", b"size=1"))
    assert event.parameters.as_words() == ("ENVID=a=b", "BODY=8BITMIME", "SMTPUTF8", "X=", "size=1")
    assert dict(event.parameters) == {
        "ENVID": "a=b",
        "BODY": "8BITMIME",
        "SMTPUTF8": None,
        "X": "",
        "SIZE": "1",
    }


@pytest.mark.parametrize("letter", [b"M", b"R"])
@pytest.mark.parametrize("payload", [b"<a@b>", b""])
def test_row_058_address_without_nul(letter, payload):
    """An address that does not end in NUL closes the connection."""
    talk = Talk().go_to("mail" if letter == b"M" else "recipient")
    assert talk.say(packet(letter, payload), RCPT) == b""
    assert talk.heard == (["disconnect"] if letter == b"M" else ["abort", "disconnect"])
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed


def test_row_059_trailing_fragment():
    """A last parameter without NUL is dropped; those before it count."""
    event = heard_mail(packet(b"M", b"<a@b>\0SIZE=10\0BODY=8BIT"))
    assert event.parameters.as_words() == ("SIZE=10",)
    event = heard_recipient(packet(b"R", b"<c@d>\0NOTIFY=NEVER\0ORC"))
    assert event.parameters.as_words() == ("NOTIFY=NEVER",)


def test_row_060_recipient_parameters():
    """Semicolons and commas in parameters stay."""
    event = heard_recipient(recipient(b"<c@d>", b"ORCPT=rfc822;x@y", b"NOTIFY=SUCCESS,FAILURE"))
    assert dict(event.parameters) == {"ORCPT": "rfc822;x@y", "NOTIFY": "SUCCESS,FAILURE"}


def test_row_061_refused_recipient_is_flagged():
    """A handler for refused recipients gets them, can tell them, and the answer is CONTINUE."""
    talk = Talk(rejected=True).go_to("recipient")
    assert talk.say(TAKEN, RCPT, REFUSED, recipient(b"<no@d>"), TAKEN, RCPT) == 3 * CONTINUE
    found = [(event.address, is_rejected_recipient(ctx)) for event, ctx in talk.given]
    assert found == [("c@d", False), ("no@d", True), ("c@d", False)]
    assert talk.macro("recipient", "rcpt_mailer") == "local"


@pytest.mark.parametrize("action", [Reject(), TemporaryFailure(), Accept(), Discard()])
def test_row_061_refused_recipient_is_not_answered(action):
    """Nothing but CONTINUE is said to a refused recipient; a handler that tries is in error."""

    def refuse(event, ctx):
        return ctx.set("queue", (action,)) if is_rejected_recipient(ctx) else ctx

    talk = Talk({"recipient": refuse}, rejected=True).go_to("recipient")
    assert talk.say(REFUSED, recipient(b"<no@d>")) == CONTINUE
    assert talk.errors == [LocalProtocolError]
    assert talk.say(TAKEN, RCPT, DATA) == 2 * CONTINUE


def test_row_061_what_follows_a_refused_recipient():
    """Only the recipient is not answered: an unknown command right after it is."""
    talk = Talk({"unknown": Reject()}, rejected=True).go_to("recipient")
    assert talk.say(REFUSED, recipient(b"<no@d>"), UNKNOWN) == CONTINUE + REJECT
    assert talk.troubles == []


def test_row_061_continue_may_be_said():
    """A handler may well say that it goes on."""
    talk = Talk({"recipient": Continue()}, rejected=True).go_to("recipient")
    assert talk.say(REFUSED, recipient(b"<no@d>")) == CONTINUE
    assert talk.troubles == []


def test_row_061_refused_recipient_without_handler():
    """Who did not ask for refused recipients is not told of them: RCPT_REJ is not requested."""
    assert Talk({"recipient": Reject()}).say(OFFER) == options(6, 0, 0x100400)


def test_row_061_error_mailer_without_rcpt_rej():
    """Without RCPT_REJ the mailer's name means nothing: the verdict counts."""
    talk = Talk({"recipient": Reject()}).go_to("recipient")
    assert talk.say(REFUSED, RCPT) == REJECT
    assert Talk({"recipient": TemporaryFailure()}).go_to("recipient").say(RCPT) == TEMPFAIL
