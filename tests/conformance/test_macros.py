"""Rows 74-87: macros, how long each is in force, and packets of macros that are odd."""

import pytest

import demyjpy.engine.macros
from demyjpy import Reject, default_event_handler
from tests.conformance.talk import (
    ABORT,
    ACTIONS,
    ANSWERED,
    CONNECT,
    CONTINUE,
    EOM,
    EVENTS,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    OFFER,
    RCPT,
    REJECT,
    SESSION,
    STEPS,
    UNKNOWN,
    Talk,
    macros,
    options,
    packet,
)

WAYS = [{}, {"define_macros": default_event_handler}]
"""Macros are kept by the engine itself, or by the default handler where a filter calls it."""

LETTERS = {
    "connect": b"C",
    "hello": b"H",
    "mail": b"M",
    "recipient": b"R",
    "data": b"T",
    "header": b"L",
    "end_of_headers": b"N",
    "body": b"B",
    "end_of_message": b"E",
    "unknown": b"U",
}


@pytest.fixture(params=WAYS, ids=["engine", "handler"])
def way(request):
    return request.param


def test_row_074_no_macros(way):
    """A macro packet without macros is no error and is not answered."""
    talk = Talk(way).greet(CONNECT)
    assert talk.say(packet(b"D", b"H")) == b""
    assert talk.say(HELO) == CONTINUE
    assert talk.troubles == []


def test_row_074_no_macros_empty_the_slot(way):
    """A packet without macros means that there are none: those sent before for this command end."""
    talk = Talk(way).greet(CONNECT, macros(b"H", b"{cipher}", b"AES"), HELO)
    talk.say(packet(b"D", b"H"), HELO)
    assert talk.macro("hello", "cipher") is None


@pytest.mark.parametrize("target", [b"L", b"B", b"U", b"A", b"Q", b"K", b"X", b"\0", b"\xe9"])
def test_row_075_any_target(way, target):
    """Macros for any command, even an unknown one, are accepted without reply; the session goes on."""
    talk = Talk(way).go_to("header")
    assert talk.say(macros(target, b"i", b"Q1")) == b""
    assert talk.say(HEADER, UNKNOWN, EOM) == 3 * CONTINUE
    assert talk.troubles == []
    assert not talk.is_closed


@pytest.mark.parametrize("event", ["header", "body", "unknown"])
def test_row_075_macros_for_one_command(way, event):
    """Macros for HEADER, BODY or UNKNOWN are in force for that one command, before all others."""
    talk = Talk(way).go_to("mail")
    talk.say(macros(b"M", b"i", b"of mail"), *MESSAGE[:3])
    talk.say(macros(LETTERS[event], b"i", b"of this one"), ANSWERED[event])
    assert talk.macro(event, "i") == "of this one"
    talk.say(EOM)
    assert talk.macro("end_of_message", "i") == "of mail"


def test_row_075_macros_for_one_command_and_abort(way):
    """They are over at ABORT, too."""
    talk = Talk(way).go_to("mail")
    talk.say(macros(b"M", b"i", b"of mail"), MAIL, macros(b"U", b"i", b"of this one"), UNKNOWN, ABORT)
    assert talk.macro("abort", "i") == "of mail"


def test_row_076_nothing_at_all(way):
    """A macro packet without even a target closes the connection, without reply."""
    talk = Talk(way).greet(CONNECT)
    assert talk.say(packet(b"D"), HELO) == b""
    assert talk.heard == ["disconnect"]
    assert talk.is_closed


def test_row_077_odd_number_of_strings(way):
    """A last name without value is a macro without value."""
    talk = Talk(way).greet(CONNECT)
    assert talk.say(macros(b"H", b"i", b"Q1", b"{cipher}"), HELO) == CONTINUE
    assert talk.macro("hello", "i") == "Q1"
    assert talk.macro("hello", "cipher") is None
    assert talk.troubles == []


@pytest.mark.parametrize("payload", [b"Hi\0Q1\0{cipher}\0AE", b"Hi\0Q1\0{ciph"])
def test_row_078_missing_nul(way, payload):
    """Where the last NUL is missing, the complete pairs are kept."""
    talk = Talk(way).greet(CONNECT)
    assert talk.say(packet(b"D", payload), HELO) == CONTINUE
    assert talk.macro("hello", "i") == "Q1"
    assert talk.macro("hello", "cipher") is None
    assert talk.troubles == []


def test_row_078_no_nul_at_all(way):
    """Where there is no NUL at all, there is no macro, and no error."""
    talk = Talk(way).greet(CONNECT)
    assert talk.say(packet(b"D", b"Hi"), HELO) == CONTINUE
    assert talk.macro("hello", "i") is None
    assert talk.troubles == []


@pytest.mark.parametrize("sent", [b"i", b"{i}"])
@pytest.mark.parametrize("asked", ["i", "{i}"])
def test_row_079_one_letter(way, sent, asked):
    """One-letter macros are found with or without braces, however they were sent."""
    talk = Talk(way).greet(CONNECT, macros(b"H", sent, b"Q1"), HELO)
    talk.say(HELO)
    assert talk.macro("hello", asked) == "Q1"


@pytest.mark.parametrize("asked", ["auth_type", "{auth_type}"])
def test_row_079_long_names(way, asked):
    """So are long ones, other than in libmilter: this is documented."""
    talk = Talk(way).greet(CONNECT)
    talk.say(macros(b"M", b"{auth_type}", b"PLAIN"), MAIL)
    assert talk.macro("mail", asked) == "PLAIN"
    assert "with and without braces" in demyjpy.engine.macros.__doc__


def test_row_080_later_stage_wins(way):
    """A macro of HELO hides that of CONNECT, at HELO and from then on."""
    talk = Talk(way).greet(macros(b"C", b"x", b"connect"))
    talk.say(CONNECT)
    assert talk.macro("connect", "x") == "connect"
    talk.say(macros(b"H", b"x", b"hello"), HELO, MAIL, RCPT)
    for event in ("hello", "mail", "recipient"):
        assert talk.macro(event, "x") == "hello"


def test_row_081_end_of_message_wins(way):
    """A macro of end of message hides that of end of headers."""
    talk = Talk(way).go_to("end_of_headers")
    talk.say(macros(b"N", b"i", b"headers"), packet(b"N"))
    assert talk.macro("end_of_headers", "i") == "headers"
    talk.say(macros(b"E", b"i", b"message"), EOM)
    assert talk.macro("end_of_message", "i") == "message"


@pytest.mark.parametrize("event", LETTERS)
def test_row_082_replaced_not_merged(way, event):
    """Macros sent twice for a stage: the second packet replaces the first, all of it."""
    letter = LETTERS[event]
    talk = Talk(way).go_to(event)
    talk.say(macros(letter, b"a", b"1", b"b", b"1"), macros(letter, b"b", b"2"), ANSWERED[event])
    assert (talk.macro(event, "a"), talk.macro(event, "b")) == (None, "2")


@pytest.mark.parametrize("between", [(EOM,), (EOM, ABORT), (ABORT,), ()])
def test_row_083_second_message(way, between):
    """Macros of a message are gone in the next, whatever ended it; those of the connection stay."""
    talk = Talk(way).greet(macros(b"C", b"j", b"here"), CONNECT, HELO)
    talk.say(macros(b"M", b"i", b"Q1"), MAIL, macros(b"R", b"r", b"1"), RCPT)
    talk.say(macros(b"T", b"t", b"1"), packet(b"T"), macros(b"N", b"n", b"1"), packet(b"N"))
    talk.say(macros(b"B", b"b", b"1"), packet(b"B", b"x"))
    if EOM in between:
        talk.say(macros(b"E", b"e", b"1"))
    talk.say(*between, MAIL)
    assert {name: talk.macro("mail", name) for name in "jirtnbe"} == {
        **dict.fromkeys("irtnbe"),
        "j": "here",
    }


@pytest.mark.parametrize("between", [(ABORT,), ()], ids=["abort", "mail alone"])
def test_row_083_macros_whose_command_never_came(way, between):
    """Macros of a refused recipient, for which Sendmail sends no RCPT, end with the message."""
    talk = Talk(way).go_to("recipient")
    talk.say(macros(b"R", b"{rcpt_mailer}", b"error"), *between, macros(b"M", b"i", b"Q2"), MAIL)
    assert (talk.macro("mail", "i"), talk.macro("mail", "rcpt_mailer")) == ("Q2", None)
    talk.say(packet(b"T"))
    assert talk.macro("data", "rcpt_mailer") is None


def test_row_083_abort_without_message(way):
    """ABORT ends what was sent for a MAIL that never came."""
    talk = Talk(way).greet(CONNECT)
    talk.say(macros(b"M", b"i", b"Q1"), ABORT, MAIL)
    assert talk.macro("mail", "i") is None


def test_row_083_after_a_verdict(way):
    """Macros of a message that a verdict ended are gone in the next."""
    talk = Talk({**way, "data": Reject()}).greet(CONNECT)
    talk.say(macros(b"M", b"i", b"Q1"), MAIL, RCPT)
    assert talk.say(packet(b"T")) == REJECT
    talk.say(MAIL)
    assert talk.macro("mail", "i") is None


def test_row_083_macros_sent_for_the_next_message(way):
    """A MAIL that ends the message before it keeps the macros that were sent for it."""
    talk = Talk(way).greet(CONNECT)
    talk.say(macros(b"M", b"i", b"Q1"), MAIL, macros(b"M", b"i", b"Q2"), MAIL)
    assert talk.macro("abort", "i") == "Q1"
    assert talk.macro("mail", "i") == "Q2"


def test_row_084_second_recipient(way):
    """Macros of a recipient are gone at the next."""
    talk = Talk(way).go_to("recipient")
    talk.say(macros(b"R", b"{rcpt_addr}", b"c@d"), RCPT)
    assert talk.macro("recipient", "rcpt_addr") == "c@d"
    talk.say(RCPT)
    assert talk.macro("recipient", "rcpt_addr") is None


def test_row_084_recipient_that_was_not_sent(way):
    """Macros of a refused recipient, for which Sendmail sends no RCPT, are gone at DATA."""
    talk = Talk(way).go_to("recipient")
    talk.say(RCPT, macros(b"R", b"{rcpt_mailer}", b"error"), packet(b"T"), EOM)
    assert talk.macro("data", "rcpt_mailer") is None
    assert talk.macro("end_of_message", "rcpt_mailer") is None


def test_row_085_after_abort(way):
    """ABORT leaves the macros of CONNECT and HELO."""
    talk = Talk(way).greet(macros(b"C", b"j", b"here"), CONNECT, macros(b"H", b"{cipher}", b"AES"), HELO)
    talk.say(macros(b"M", b"i", b"Q1"), MAIL, ABORT, MAIL)
    assert talk.macro("abort", "i") == "Q1"
    assert [talk.macro("mail", name) for name in ("j", "cipher", "i")] == ["here", "AES", None]


def test_row_086_new_hello(way):
    """A new HELO ends the macros from MAIL on; those of CONNECT stay, its own are replaced when sent."""
    talk = Talk(way).greet(macros(b"C", b"j", b"here"), CONNECT, macros(b"H", b"{cipher}", b"AES"), HELO)
    talk.say(macros(b"M", b"i", b"Q1"), MAIL, macros(b"R", b"r", b"1"), RCPT, HELO)
    assert {name: talk.macro("hello", name) for name in ("j", "i", "r")} == {
        "j": "here",
        "i": None,
        "r": None,
    }
    talk.say(macros(b"H", b"{tls_version}", b"1.3"), HELO)
    assert talk.macro("hello", "cipher") is None
    assert talk.macro("hello", "tls_version") == "1.3"


@pytest.mark.parametrize("event", ["connect", "hello"])
def test_row_087_macros_of_switched_off_events(way, event):
    """Macros come although their command was declined; they are in force at MAIL."""
    talk = Talk(way, events=set(EVENTS) - {"connect", "hello"})
    assert talk.say(OFFER) == options(6, 0, 0x100403)
    sent = macros(LETTERS[event], b"j", b"here")
    assert talk.say(macros(b"C", b"v", b"x"), sent, macros(b"M", b"i", b"Q1"), MAIL) == CONTINUE
    assert (talk.macro("mail", "j"), talk.macro("mail", "i")) == ("here", "Q1")


def test_row_087_all_switched_off(way):
    """As Sendmail does with everything but MAIL and the end switched off: macros come for each step."""
    talk = Talk(way, events={"mail", "end_of_message"}).greet(offer=options(6, ACTIONS, STEPS))
    sent = [macros(LETTERS[event], event[:1].encode(), event.encode()) for event in SESSION]
    assert talk.say(*sent[:3], MAIL, *sent[3:], EOM) == 2 * CONTINUE
    assert [talk.macro("end_of_message", name) for name in "chmde"] == [
        "connect",
        "hello",
        "mail",
        "data",
        "end_of_message",
    ]
