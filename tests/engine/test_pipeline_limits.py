"""Too much of anything: refused, told once, and the next message is handled."""

import pytest

from demyjpy.engine.limits import Limits
from demyjpy.errors import LimitError
from demyjpy.handlers import define_event_handlers
from tests.engine.harness import (
    BODY,
    DATA,
    EOH,
    EOM,
    HEADER,
    MAIL,
    OPENING,
    RCPT,
    Session,
    join,
    keep,
    macros,
    note,
    packet,
    play,
)

TIGHT = Limits(headers=2, recipients=2, message=30, header_size=20)
CODES = {
    b"552 5.3.4 Message too big for this filter\0",
    b"452 4.5.3 Too many recipients for this filter\0",
}


def open_session(*names, quiet=(), **setup):
    """A session with a filter that reads these."""
    handlers, calls = note(*names)
    for name in quiet:
        getattr(handlers, name)(reply=False)(keep)
    if "mail" not in handlers:
        handlers.mail(keep)
    session = play(handlers, *OPENING, limits=TIGHT, **setup)
    session.say(MAIL)
    return session, calls


def texts(session: Session) -> list[str]:
    return [str(error) for error in session.errors]


def test_too_many_recipients_are_refused_one_by_one():
    """Those within the limit stay; the message goes on."""
    session, calls = open_session("recipient", "end_of_message")
    assert session.say(RCPT, RCPT, RCPT, RCPT, EOM) == "ccyyc"
    assert sum(session.sent.count(code) for code in CODES) == 2
    assert session.sent.count(b"452 4.5.3") == 2
    assert [name for name, _ in calls] == ["Recipient", "Recipient", "EndOfMessage"]
    assert texts(session) == ["expected at most 2 recipients (the option limits=), got more"]


TOO_BIG = [
    ([packet("L", b"X\0v\0")] * 3, "ccy", "2 headers"),
    ([packet("L", b"X\0" + b"v" * 40 + b"\0")], "y", "20 bytes of header"),
    ([BODY, BODY, BODY, BODY], "cccc", None),
    ([packet("B", b"x" * 31)], "y", "30 bytes of message"),
    ([HEADER, packet("B", b"x" * 20)], "cy", "30 bytes of message"),
    ([packet("B", b"x" * 29), packet("E", b"xx")], "cy", "30 bytes of message"),
    ([packet("B", b"x" * 30), packet("E", b"")], "cc", None),
]


@pytest.mark.parametrize(("packets", "answers", "limit"), TOO_BIG)
def test_too_much_of_a_message_is_refused(packets, answers, limit):
    """552, at once; the handler does not get what is too much."""
    session, _ = open_session("header", "body", "end_of_message")
    assert session.say(*packets) == answers
    assert (b"552 5.3.4 Message too big for this filter\0" in session.sent) == (limit is not None)
    assert texts(session) == (
        [f"expected at most {limit} (the option limits=), got more"] if limit else []
    )
    assert all(isinstance(error, LimitError) for error in session.errors)
    if limit:
        assert session.say(MAIL, HEADER, BODY, EOM) == "cccc"


def test_what_is_too_much_without_an_answer_is_owed():
    """The next event that is answered refuses the message; it is told once, with the queue id."""
    session, calls = open_session("end_of_headers", "end_of_message", quiet=("header", "body"))
    session.say(macros("M", i="abc"), MAIL)
    assert session.say(HEADER, HEADER, HEADER, HEADER, packet("B", b"x" * 40)) == ""
    assert session.say(EOM) == "y"
    assert len(session.errors) == 1
    assert (session.troubles[0].event, session.troubles[0].queue_id) == ("header", "abc")
    assert calls == []
    assert session.say(MAIL, EOH, EOM) == "ccc"


def test_too_many_observed_recipients_refuse_the_message():
    """They cannot be refused one by one."""
    session, _ = open_session("data", "end_of_message", quiet=("recipient",))
    assert session.say(RCPT, RCPT, RCPT, DATA) == "y"
    assert b"452 4.5.3" in session.sent


def test_a_last_chunk_without_an_answer_is_counted():
    """The end is answered with what it owes."""
    session, calls = open_session("end_of_message", quiet=("body",))
    assert session.say(packet("E", b"x" * 31)) == "y"
    assert calls == []


def test_refused_filters_are_told_of_the_end():
    """A message that the library ends ends for all of them."""
    session, calls = open_session("body", "abort")
    assert session.say(packet("B", b"x" * 31)) == "y"
    assert [name for name, _ in calls] == ["Abort"]


def test_a_recipient_that_the_mta_refused_is_counted_but_not_answered():
    """Its answer is Continue."""
    handlers = define_event_handlers({"mail": keep})
    handlers.recipient(rejected=True)(keep)
    session = play(handlers, *OPENING, MAIL, limits=TIGHT)
    refused = (macros("R", rcpt_mailer="error"), RCPT)
    assert session.say(*refused, *refused, *refused) == "ccc"
    assert len(session.errors) == 1


def test_a_packet_too_large_closes_the_connection():
    """Before any of it is kept."""
    session = play({"mail": keep}, *OPENING, limits=Limits(packet=65_536))
    session.feed(b"\0\1\0\1B")
    assert session.is_closed
    assert "expected a packet length from 1 to 65536, got 65537" in texts(session)[0]


@pytest.mark.parametrize("setup", [{}, {"observer": lambda step: None}], ids=["plain", "observed"])
@pytest.mark.parametrize("letter", "CHMRU")
def test_a_command_too_long_closes_the_connection(letter, setup):
    """What comes from a line of SMTP is short; header fields and bodies have limits of their own."""
    before = {"C": 1, "H": 2, "M": 3, "R": 4, "U": 4}[letter]
    packets = (*OPENING, MAIL)[:before]
    for size, is_closed in ((100, False), (101, True)):
        handlers, _ = note("connect", "hello", "mail", "recipient", "unknown", "header", "body")
        session = play(handlers, *packets, limits=Limits(command_size=100), **setup)
        payload = {"C": b"x" * (size - 2) + b"\0U"}.get(letter, b"x" * (size - 1) + b"\0")
        session.feed(join([(ord(letter), payload)]))
        assert session.is_closed == is_closed
    (error,) = session.errors
    assert str(error) == "expected at most 100 bytes of a command (the option limits=), got 101"
    session = play(handlers, *OPENING, MAIL, RCPT, limits=Limits(command_size=100))
    session.feed(join([packet("L", b"A\0" + b"x" * 200 + b"\0"), packet("B", b"x" * 200)]))
    assert not session.is_closed


@pytest.mark.parametrize("setup", [{}, {"observer": lambda step: None}], ids=["plain", "observed"])
@pytest.mark.parametrize("size", [5, 40, 100])
def test_too_many_macros_close_the_connection(size, setup):
    """More than the limit in force, in one packet or in many; what is replaced does not count."""
    handlers, calls = note("mail", "header", "disconnect")
    session = play(handlers, *OPENING, limits=Limits(macro_size=100), **setup)
    value = "v" * (size - 4)
    fields = [macros("L", i=value), HEADER] * 9
    if 2 * size <= 100:
        assert session.say(macros("M", i=value), MAIL, *fields) == "c" * 10
        session.feed(join([macros(letter, i=value) for letter in "CHMRTNE"]) * 9)
        assert session.is_closed == (7 * size > 100)
    else:
        session.feed(join([macros("M", i=value), MAIL, *fields]))
        assert session.is_closed
        assert len(calls) == 2
    if session.is_closed:
        (error,) = session.errors
        assert isinstance(error, LimitError)
        assert str(error).startswith("expected at most 100 bytes of macros (the option limits=), got 1")
        assert calls[-1][0] == "Disconnect"
