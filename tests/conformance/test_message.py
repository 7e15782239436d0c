"""Rows 62-73: header, body, end of message, and commands that the MTA does not know."""

import pytest

from demyjpy import (
    Accept,
    AddHeader,
    Body,
    Continue,
    Discard,
    Quarantine,
    Reject,
    RemoteProtocolError,
    ReplyCode,
    Skip,
    TemporaryFailure,
    Unknown,
)
from tests.conformance.talk import (
    ABORT,
    ACCEPT,
    ACTIONS,
    BODY,
    CONNECT,
    CONTINUE,
    DATA,
    DISCARD,
    EOH,
    EOM,
    EVENTS,
    HEADER,
    MAIL,
    MESSAGE,
    RCPT,
    REJECT,
    STEPS,
    TEMPFAIL,
    UNKNOWN,
    Talk,
    header,
    options,
    packet,
    reply_code,
)

NO_LEADSPC = options(6, ACTIONS, STEPS & ~0x100000)


@pytest.mark.parametrize("offer", [options(6, ACTIONS, STEPS), NO_LEADSPC], ids=["leadspc", "plain"])
def test_row_062_empty_value(offer):
    """An empty header value is the empty text."""
    talk = Talk().go_to("header", offer)
    assert talk.say(header(b"X-Empty", b"")) == CONTINUE
    assert [(event.name, event.value) for event in talk.events("header")] == [("X-Empty", "")]


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (b" two", "two"),
        (b"  two", " two"),
        (b"\ttab", "\ttab"),
        (b"v", "v"),
        (b" a\n  b\n\tc", "a\n  b\n\tc"),
        (b" gr\xfc\xdfe \xe2\x82\xac", "gr\udcfc\udcdfe €"),
        (b" trailing ", "trailing "),
    ],
)
def test_row_063_value_byte_by_byte(sent, value):
    """With HDR_LEADSPC ``raw`` is what followed the colon, exactly; ``value`` is without one space."""
    talk = Talk().go_to("header")
    assert talk.say(header(b"X-V", sent)) == CONTINUE
    event = talk.events("header")[0]
    assert event.value == value
    assert event.raw.encode("utf-8", "surrogateescape") == sent


@pytest.mark.parametrize("sent", [b"a\n b", b" v", b"\ttab", b"gr\xfc\xdfe", b"\xff\xfe"])
def test_row_063_value_without_leading_space(sent):
    """Without HDR_LEADSPC the MTA has taken off the one space: the value is what it sends."""
    talk = Talk().go_to("header", NO_LEADSPC)
    talk.say(header(b"X-V", sent))
    event = talk.events("header")[0]
    assert event.value.encode("utf-8", "surrogateescape") == sent
    assert event.raw.encode("utf-8", "surrogateescape") == b" " + sent


@pytest.mark.parametrize("payload", [b"", b"Subject", b"Subject\0", b"Subject\0no NUL", b"\0value\0"])
def test_row_064_broken_header(payload):
    """A header field without value or without name closes the connection."""
    talk = Talk().go_to("header")
    assert talk.say(packet(b"L", payload), EOH) == b""
    assert talk.heard == ["abort", "disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed


def test_row_064_third_string():
    """A third string is ignored, as libmilter does."""
    talk = Talk().go_to("header")
    assert talk.say(packet(b"L", b"A\0 b\0c\0"), EOH) == 2 * CONTINUE
    assert [(event.name, event.value) for event in talk.events("header")] == [("A", "b")]


def test_row_065_duplicates_and_order():
    """Header fields come in order, duplicates included, their names spelled as they were."""
    fields = [(b"Received", b" 1"), (b"X", b" a"), (b"received", b" 2"), (b"X", b" a")]
    talk = Talk().go_to("header")
    assert talk.say(*(header(*field) for field in fields)) == 4 * CONTINUE
    assert [(event.name, event.value) for event in talk.events("header")] == [
        ("Received", "1"),
        ("X", "a"),
        ("received", "2"),
        ("X", "a"),
    ]


def test_row_066_body_bytes():
    """Chunks are bytes: NUL stays, and a CRLF may be cut in two."""
    chunks = [b"a\0b\r", b"\nc\xff\x80", b"\0", b"end\r\n"]
    talk = Talk().go_to("body")
    assert talk.say(*(packet(b"B", chunk) for chunk in chunks)) == 4 * CONTINUE
    assert b"".join(event.data for event in talk.events("body")) == b"a\0b\r\nc\xff\x80\0end\r\n"


def test_row_067_no_body():
    """A message without body has no chunk, and its end is seen all the same."""
    talk = Talk().go_to("body")
    assert talk.say(EOM) == CONTINUE
    assert talk.heard == ["end_of_message"]


def test_row_068_empty_chunk():
    """An empty chunk is a chunk: one handler call, one reply."""
    talk = Talk().go_to("body")
    assert talk.say(packet(b"B")) == CONTINUE
    assert talk.events("body") == [Body(b"")]


def test_row_069_chunk_with_the_end():
    """A chunk that comes with the end is delivered, then the end is: one verdict for both."""
    talk = Talk({"end_of_message": AddHeader("X", "v")}, actions={"add_header"}).go_to("body")
    assert talk.say(BODY) == CONTINUE
    assert talk.say(packet(b"E", b"last\r\n")) == packet(b"h", b"X\0 v\0") + CONTINUE
    assert talk.events("body") == [Body(b"x\r\n"), Body(b"last\r\n")]
    assert talk.heard == ["body", "body", "end_of_message"]


def test_row_069_chunk_with_the_end_is_skipped():
    """A body handler that skips the last chunk sees the end, and SKIP is not said."""
    talk = Talk({"body": Skip()}).go_to("body")
    assert talk.say(packet(b"E", b"last\r\n")) == CONTINUE
    assert talk.heard == ["body", "end_of_message"]


def test_row_069_chunk_with_the_end_nobody_reads():
    """Without body handler, a chunk that comes with the end is dropped."""
    talk = Talk(events=set(EVENTS) - {"body"}).go_to("body")
    assert talk.say(packet(b"E", b"last\r\n")) == CONTINUE
    assert talk.heard == ["end_of_message"]


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        (Accept(), ACCEPT),
        (Reject(), REJECT),
        (TemporaryFailure(), TEMPFAIL),
        (Discard(), DISCARD),
        (ReplyCode(550, "5.7.1", "no"), reply_code(b"550 5.7.1 no")),
    ],
)
def test_row_070_verdict_at_the_last_chunk(action, answer):
    """A verdict on the chunk that came with the end is the only one; the end itself is not seen."""
    talk = Talk({"body": action}).go_to("body")
    assert talk.say(packet(b"E", b"last\r\n")) == answer
    assert talk.heard == ["body"]
    assert talk.say(ABORT, MAIL) == CONTINUE
    assert talk.heard == ["body", "mail"]


def test_row_071_continue_at_the_end():
    """CONTINUE comes after all modifications, whether it was said or not."""
    edits = (AddHeader("X", "v"), Quarantine("why"))
    wanted = packet(b"h", b"X\0 v\0") + packet(b"q", b"why\0") + CONTINUE
    for said in (edits, (*edits, Continue()), (Continue(), *edits)):
        talk = Talk({"end_of_message": said}, actions={"add_header", "quarantine"})
        assert talk.go_to("end_of_message").say(EOM) == wanted


@pytest.mark.parametrize("place", range(len(MESSAGE)))
def test_row_072_unknown_command_within_a_message(place):
    """A command that the MTA does not know is answered wherever it comes, and the message goes on."""
    talk = Talk().go_to("mail")
    packets = [*MESSAGE[:place], UNKNOWN, *MESSAGE[place:]]
    assert [talk.say(one) for one in packets] == [CONTINUE] * 8
    assert talk.events("unknown") == [Unknown("FOO bar")]
    assert talk.count("end_of_message") == 1
    assert talk.count("abort") == 0
    assert talk.troubles == []


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        (Continue(), CONTINUE),
        (Reject(), REJECT),
        (TemporaryFailure(), TEMPFAIL),
        (ReplyCode(500, None, "what?"), reply_code(b"500 what?")),
    ],
)
def test_row_072_verdict_on_an_unknown_command(action, answer):
    """A refused command leaves the message open: RCPT FOO DATA, header, body, end."""
    talk = Talk({"unknown": action}).go_to("data")
    assert talk.say(UNKNOWN) == answer
    assert talk.say(DATA, HEADER, EOH, BODY, EOM) == 5 * CONTINUE
    assert talk.count("end_of_message") == 1
    assert talk.count("abort") == 0


def test_row_073_unknown_command_outside_of_a_message():
    """A command that the MTA does not know may come before CONNECT, before HELO and after a message."""
    talk = Talk().greet()
    assert talk.say(UNKNOWN) == CONTINUE
    assert talk.say(CONNECT, UNKNOWN) == 2 * CONTINUE
    assert talk.say(MAIL, RCPT, DATA, EOH, EOM, UNKNOWN) == 6 * CONTINUE
    assert talk.count("unknown") == 3
    assert talk.say(MAIL) == CONTINUE
    assert talk.count("abort") == 0


def test_row_073_empty_unknown_command():
    """Even an empty command line is answered; one without NUL closes the connection."""
    talk = Talk().greet(CONNECT)
    assert talk.say(packet(b"U", b"\0")) == CONTINUE
    assert talk.events("unknown") == [Unknown("")]
    assert talk.say(packet(b"U", b"FOO")) == b""
    assert talk.is_closed
