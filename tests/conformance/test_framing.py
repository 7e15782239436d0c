"""Rows 1-11: packets in a stream of bytes, and commands that nobody knows."""

import pytest

from demyjpy import (
    Abort,
    Accept,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    Continue,
    Data,
    DeleteHeader,
    DeleteRecipient,
    Discard,
    EndOfHeaders,
    EndOfMessage,
    InsertHeader,
    Limits,
    LocalProtocolError,
    Progress,
    Quit,
    QuitNewConnection,
    Reject,
    RemoteProtocolError,
    Skip,
    TemporaryFailure,
)
from demyjpy.codec import decode_event, encode_action, encode_event
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, split_frames
from tests.conformance.talk import (
    ABORT,
    CONNECT,
    CONTINUE,
    DATA,
    EOH,
    HELO,
    MAIL,
    MODIFICATIONS,
    OFFER,
    QUIT,
    RCPT,
    SESSION,
    TEMPFAIL,
    Talk,
    header,
    packet,
)

OUR_EMPTY = {
    b"c": Continue(),
    b"a": Accept(),
    b"r": Reject(),
    b"t": TemporaryFailure(),
    b"d": Discard(),
    b"s": Skip(),
    b"p": Progress(),
}
THEIR_EMPTY = {
    b"T": Data(),
    b"N": EndOfHeaders(),
    b"E": EndOfMessage(),
    b"A": Abort(),
    b"Q": Quit(),
    b"K": QuitNewConnection(),
}


@pytest.mark.parametrize("letter", OUR_EMPTY)
def test_row_001_empty_response(letter):
    """A response without payload is length 1 and its letter."""
    assert join_frame(*encode_action(OUR_EMPTY[letter])) == b"\0\0\0\x01" + letter


@pytest.mark.parametrize("letter", THEIR_EMPTY)
def test_row_001_empty_command(letter):
    """A command without payload is length 1 and its letter."""
    assert join_frame(*encode_event(THEIR_EMPTY[letter])) == b"\0\0\0\x01" + letter


def test_row_002_byte_by_byte():
    """A packet that comes one byte a read is decoded once, and is the same."""
    unread, found = NOTHING_UNREAD, []
    for byte in MAIL:
        packets, unread = split_frames(unread, bytes((byte,)), 65536)
        found += packets
    assert [decode_event(one) for one in found] == [decode_event((ord("M"), b"<a@b>\0"))]
    assert unread == NOTHING_UNREAD


def test_row_002_session_byte_by_byte():
    """A session that comes one byte a read goes as one that comes in one write."""
    stream = b"".join((OFFER, *SESSION.values(), ABORT, QUIT))
    whole, slow = Talk(), Talk()
    answered = whole.say(stream)
    assert b"".join(slow.say(bytes((byte,))) for byte in stream) == answered
    assert slow.heard == whole.heard == [*SESSION, "quit", "disconnect"]


def test_row_003_many_packets_in_one_read():
    """Fifty packets in one read are decoded in order, and none is lost."""
    fields = [header(b"X-%d" % number, b" v") for number in range(50)]
    talk = Talk().go_to("header")
    assert talk.say(*fields) == 50 * CONTINUE
    assert [event.name for event in talk.events("header")] == [f"X-{number}" for number in range(50)]
    packets, unread = split_frames(NOTHING_UNREAD, b"".join(fields), 65536)
    assert len(packets) == 50
    assert unread == NOTHING_UNREAD


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"\0\0\0\0c", b"\0\0\0\0\0\0\0\x01T"])
def test_row_004_length_zero(data):
    """A length of 0 is a protocol error: no reply, the message aborted, the connection closed."""
    talk = Talk().go_to("data")
    assert talk.say(data) == b""
    assert talk.is_closed
    assert talk.heard == ["abort", "disconnect"]
    assert talk.errors == [RemoteProtocolError]


def test_row_004_packets_before_it_count():
    """What came before a length of 0 in the same read is still answered."""
    talk = Talk().go_to("mail")
    assert talk.say(MAIL, RCPT, b"\0\0\0\0\0") == 2 * CONTINUE
    assert talk.heard == ["mail", "recipient", "abort", "disconnect"]


@pytest.mark.parametrize("limit", [65536, 70_000])
def test_row_005_length_over_the_maximum(limit):
    """A length over the configured maximum closes before any of the payload has come."""
    talk = Talk(limits=Limits(packet=limit)).go_to("body")
    assert talk.say((limit + 1).to_bytes(4, "big")) == b""
    assert talk.is_closed
    assert talk.heard == ["abort", "disconnect"]
    assert talk.errors == [RemoteProtocolError]


@pytest.mark.parametrize("limit", [65536, 70_000])
def test_row_005_length_at_the_maximum(limit):
    """A length of just the configured maximum is accepted."""
    talk = Talk(limits=Limits(packet=limit)).go_to("body")
    assert talk.say(packet(b"B", b"x" * (limit - 1))) == CONTINUE
    assert not talk.is_closed


def test_row_006_payload_of_65535_bytes():
    """The largest payload that an MTA sends without MDS is accepted."""
    talk = Talk().go_to("body")
    assert talk.say(packet(b"B", b"x" * 65535)) == CONTINUE
    assert [len(event.data) for event in talk.events("body")] == [65535]


@pytest.mark.parametrize("kept", [1, 4, 5, len(RCPT) - 1])
def test_row_007_end_in_the_middle_of_a_packet(kept):
    """A connection that ends within a packet is lost: the packet is not taken for a shorter one."""
    talk = Talk().go_to("recipient")
    assert talk.say(RCPT[:kept]) == b""
    assert talk.heard == []
    assert talk.hang_up() == b""
    assert talk.heard == ["abort", "disconnect"]
    assert talk.is_closed


@pytest.mark.parametrize("length", [0x80000000, 0x80000001, 0xFFFFFFFF])
def test_row_008_top_bit_of_the_length(length):
    """A length with its top bit set is an error at once; nothing is waited for or kept."""
    data = length.to_bytes(4, "big") + b"L"
    packets, unread = split_frames(NOTHING_UNREAD, data, 1_048_577)
    assert packets == []
    assert isinstance(unread.error, RemoteProtocolError)
    assert unread.chunks == ()
    talk = Talk().greet(CONNECT)
    assert talk.say(data, b"x" * 1000) == b""
    assert talk.heard == ["disconnect"]
    assert talk.is_closed


def test_row_009_writer_refuses_large_packets():
    """A payload of 65535 bytes can be written, a byte more raises."""
    assert len(join_frame(ord("b"), bytes(65535))) == 4 + 65536
    with pytest.raises(LocalProtocolError, match="at most 65535 bytes"):
        join_frame(ord("b"), bytes(65536))


LONG = "x" * 66_000
TOO_LARGE = {
    "add": lambda: AddHeader("X", LONG),
    "add name": lambda: AddHeader(LONG, "v"),
    "insert": lambda: InsertHeader(0, "X", LONG),
    "change": lambda: ChangeHeader(1, "X", LONG),
    "delete": lambda: DeleteHeader(1, LONG),
    "add recipient": lambda: AddRecipient(LONG),
    "add recipient with parameters": lambda: AddRecipient("a@b", {"X": LONG}),
    "delete recipient": lambda: DeleteRecipient(LONG),
    "sender": lambda: ChangeSender(LONG),
    "sender with parameters": lambda: ChangeSender("a@b", {"X": LONG}),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_row_009_handler_asks_for_too_much(what):
    """What fits no packet is the handler's error: nothing of it is sent, and the session goes on."""
    talk = Talk(
        {
            "end_of_message": lambda event, ctx: ctx.set(
                "queue", (AddHeader("A", "b"), TOO_LARGE[what]())
            )
        },
        actions=MODIFICATIONS,
    ).go_to("end_of_message")
    assert talk.say(packet(b"E")) == TEMPFAIL
    assert not talk.is_closed
    assert [trouble.event for trouble in talk.troubles] == ["end_of_message"]
    assert talk.errors == [LocalProtocolError]
    assert talk.say(MAIL) == CONTINUE


@pytest.mark.parametrize("letter", [b"Z", b"o", b"c", b"\0", b"\xff"])
def test_row_010_unknown_command(letter):
    """A command byte that is none closes the connection."""
    talk = Talk().go_to("recipient")
    assert talk.say(packet(letter, b"x\0")) == b""
    assert talk.is_closed
    assert talk.heard == ["abort", "disconnect"]
    assert talk.errors == [RemoteProtocolError]


@pytest.mark.parametrize(("letter", "event"), [(b"T", "data"), (b"N", "end_of_headers")])
def test_row_011_surplus_payload(letter, event):
    """Payload on commands that have none is ignored: one reply."""
    talk = Talk().go_to(event)
    assert talk.say(packet(letter, b"surplus\0")) == CONTINUE
    assert talk.heard == [event]
    assert talk.troubles == []


@pytest.mark.parametrize(
    ("letter", "heard", "closed"),
    [
        (b"A", ["abort"], False),
        (b"Q", ["abort", "quit", "disconnect"], True),
        (b"K", ["abort", "quit", "disconnect"], False),
    ],
)
def test_row_011_surplus_payload_without_reply(letter, heard, closed):
    """Payload on ABORT, QUIT and QUIT_NC is ignored: no reply."""
    talk = Talk().go_to("data")
    assert talk.say(packet(letter, b"surplus")) == b""
    assert talk.heard == heard
    assert talk.is_closed is closed
    assert talk.troubles == []


def test_row_011_session_goes_on():
    """After surplus payload the next packets are read from the right place."""
    talk = Talk().go_to("data")
    assert talk.say(packet(b"T", DATA), EOH, packet(b"A", HELO), MAIL) == 3 * CONTINUE
    assert talk.heard == ["data", "end_of_headers", "abort", "mail"]
