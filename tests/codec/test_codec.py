"""Packets to values and back: one table of rows for each direction, fed in all ways."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import (
    ACTIONS,
    EVENTS,
    action_row,
    decode_action,
    decode_event,
    encode_action,
    encode_event,
)
from demyjpy.codec.responses import ROW_OF_ACTION
from demyjpy.errors import LocalProtocolError, RemoteProtocolError
from demyjpy.wire.codes import Command, Response

IP4, IP6 = IPv4Address("192.0.2.1"), IPv6Address("::1")

EVENT_ROWS = [
    (ev.Options(6, 0x1FF, 0x1FFFFF), "O", b"\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"),
    (ev.DefineMacros("mail", {"i": "1", "{auth_type}": ""}), "D", b"Mi\x001\0{auth_type}\0\0"),
    (ev.DefineMacros("hello"), "D", b"H"),
    (ev.DefineMacros("X", [("i", None)]), "D", b"Xi\0"),
    (ev.DefineMacros("end_of_message", {"i": "1"}), "D", b"Ei\x001\0"),
    (ev.Connect("h", "4", IP4, 25), "C", b"h\x004\0\x19192.0.2.1\0"),
    (ev.Connect("h", "4", IP4, 0), "C", b"h\x004\0\x00192.0.2.1\0"),
    (ev.Connect("h", "6", IP6, 256), "C", b"h\x006\1\0::1\0"),
    (ev.Connect("h", "6", IP6, 1, raw="IPv6:0:0:0:0:0:0:0:1"), "C", b"h\x006\0\1IPv6:0:0:0:0:0:0:0:1\0"),
    (ev.Connect("h", "L", "/run/s", 0), "C", b"h\0L\0\0/run/s\0"),
    (ev.Connect("h", "L", "", 0), "C", b"h\0L\0\0\0"),
    (ev.Connect("localhost"), "C", b"localhost\0U"),
    (ev.Hello("client"), "H", b"client\0"),
    (ev.Hello(""), "H", b"\0"),
    (ev.Mail("a@b"), "M", b"<a@b>\0"),
    (ev.Mail(""), "M", b"<>\0"),
    (ev.Mail("", raw=""), "M", b"\0"),
    (ev.Mail("a@b", {"ENVID": "x=y", "SMTPUTF8": None}, raw="a@b"), "M", b"a@b\0ENVID=x=y\0SMTPUTF8\0"),
    (ev.Recipient("@r:a@b", {"NOTIFY": "SUCCESS,FAILURE"}), "R", b"<@r:a@b>\0NOTIFY=SUCCESS,FAILURE\0"),
    (ev.Data(), "T", b""),
    (ev.EndOfHeaders(), "N", b""),
    (ev.Body(b"a\0b\r\n"), "B", b"a\0b\r\n"),
    (ev.Body(b""), "B", b""),
    (ev.EndOfMessage(), "E", b""),
    (ev.Unknown("FOO bar"), "U", b"FOO bar\0"),
    (ev.Abort(), "A", b""),
    (ev.Quit(), "Q", b""),
    (ev.QuitNewConnection(), "K", b""),
    (ev.Header("Subject", "x\n y"), "L", b"Subject\0x\n y\0"),
]


@pytest.mark.parametrize(("event", "letter", "payload"), EVENT_ROWS)
def test_an_event_is_this_packet(event, letter, payload):
    """Both directions, byte by byte as it is on the wire."""
    assert encode_event(event) == (ord(letter), payload)
    again = decode_event((ord(letter), payload))
    assert again == event
    assert getattr(again, "raw", None) == getattr(event, "raw", None)


def test_every_command_has_a_row_and_every_row_a_test():
    """The tables are complete."""
    assert set(EVENTS) == set(Command)
    assert {ord(letter) for _, letter, _ in EVENT_ROWS} == set(Command)


HEADERS = [
    (b"X\0v\0", "v", " v", "v", "v"),
    (b"X\0 v\0", " v", "  v", "v", " v"),
    (b"X\0\tv\0", "\tv", " \tv", "\tv", "\tv"),
    (b"X\0\0", "", " ", "", ""),
]


@pytest.mark.parametrize(("payload", "value", "raw", "leading_value", "leading_raw"), HEADERS)
def test_a_leading_space_is_kept_where_it_was_agreed_on(payload, value, raw, leading_value, leading_raw):
    """Without the agreement the MTA has taken one space off; with it none."""
    packet = (ord("L"), payload)
    assert decode_event(packet) == ev.Header("X", value, raw=raw)
    assert decode_event(packet, leading_space=True) == ev.Header("X", leading_value, raw=leading_raw)
    for leading_space in (False, True):
        assert encode_event(decode_event(packet, leading_space), leading_space) == packet


TOLERATED = [
    ("C", b"h\0Ujunk\0", ev.Connect("h")),
    ("C", b"h\x006\0\1ipv6:::1\0", ev.Connect("h", "6", IP6, 1)),
    ("C", b"h\x004\0\x19192.0.2.1\0junk", ev.Connect("h", "4", IP4, 25)),
    ("O", b"\0\0\0\2\0\0\0\1\0\0\0\1more", ev.Options(2, 1, 1)),
    ("D", b"Mi\x001\0frag", ev.DefineMacros("mail", {"i": "1"})),
    ("M", b"<a@b>\0SIZE=1\0frag", ev.Mail("a@b", {"SIZE": "1"})),
    ("L", b"X\0v\0third\0", ev.Header("X", "v")),
    ("E", b"surplus", ev.EndOfMessage()),
    ("H", b"a\0b\0", ev.Hello("a")),
]


@pytest.mark.parametrize(("letter", "payload", "event"), TOLERATED)
def test_what_libmilter_tolerates_is_tolerated(letter, payload, event):
    """Surplus bytes, fragments at the end, and the prefix of an IPv6 address in any case."""
    assert decode_event((ord(letter), payload)) == event


REFUSED = [
    ("X", b"", "a command that the MTA sends", "b'X' with nothing"),
    ("c", b"x", "a command that the MTA sends", "b'c' with 1 bytes"),
    ("O", b"\0" * 11, "protocol flags of 4 bytes", "3 bytes"),
    ("O", b"\0" * 7, "action flags of 4 bytes", "3 bytes"),
    ("O", b"", "a protocol version of 4 bytes", "nothing"),
    ("D", b"", "a macro packet with the letter of its command", "nothing"),
    ("C", b"host", "a host name that ends in NUL", "4 bytes"),
    ("C", b"h\0", "an address family 4, 6, L or U", "nothing"),
    ("C", b"h\0X\0\0\0", "an address family 4, 6, L or U", "4 bytes"),
    ("C", b"h\x004\0", "a port of 2 bytes", "1 bytes"),
    ("C", b"h\x004\0\x19192.0.2.1", "an address that ends in NUL", "9 bytes"),
    ("C", b"h\x004\0\x19::1\0", "an IPv4 address", "text of 3 characters"),
    ("C", b"h\x006\0\x19[::1]\0", "an IPv6 address", "text of 5 characters"),
    ("C", b"h\x006\0\x19IPv6:x\0", "an IPv6 address", "text of 6 characters"),
    ("H", b"name", "a HELO argument that ends in NUL", "4 bytes"),
    ("M", b"", "an address that ends in NUL", "nothing"),
    ("R", b"<a@b>", "an address that ends in NUL", "5 bytes"),
    ("L", b"X", "a header name that ends in NUL", "1 bytes"),
    ("L", b"X\0v", "a header value that ends in NUL", "1 bytes"),
    ("L", b"\0v\0", "a header name", "an empty one"),
    ("U", b"FOO", "a command line that ends in NUL", "3 bytes"),
]


@pytest.mark.parametrize(("letter", "payload", "expected", "got"), REFUSED)
def test_what_libmilter_drops_is_refused(letter, payload, expected, got):
    """The error says what was expected and what came."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode_event((ord(letter), payload))
    assert caught.value.expected == expected
    assert got in caught.value.got


UNSENDABLE = [
    (ev.Disconnect(), "expected an event that goes over the wire, got Disconnect()"),
    (ev.DefineMacros("nothing"), "expected an event name or a letter, got 'nothing'"),
    (ev.DefineMacros("€"), "expected an event name or a letter, got '€'"),
    (ev.Hello("a\0b"), "expected text without NUL"),
    (ev.Connect("h", "4", IP4, 65536), "expected a port of 2 bytes, got 65536"),
    ("hello", "expected an event that goes over the wire, got 'hello'"),
]


@pytest.mark.parametrize(("event", "message"), UNSENDABLE)
def test_an_event_that_no_mta_can_say_is_refused(event, message):
    """Encoding fails with a LocalProtocolError."""
    with pytest.raises(LocalProtocolError) as caught:
        encode_event(event)
    assert message in str(caught.value)


# ---------------------------------------------------------------------------------------- actions
ACTION_ROWS = [
    (act.Negotiate(6, 1, 0x10), "O", b"\0\0\0\6\0\0\0\1\0\0\0\x10"),
    (
        act.Negotiate(6, 0x100, 0, ((0, ("i", "{auth_type}")), (5, ()))),
        "O",
        b"\0\0\0\6\0\0\1\0\0\0\0\0\0\0\0\0i {auth_type}\0\0\0\0\5\0",
    ),
    (act.Continue(), "c", b""),
    (act.Accept(), "a", b""),
    (act.Reject(), "r", b""),
    (act.TemporaryFailure(), "t", b""),
    (act.Discard(), "d", b""),
    (act.Skip(), "s", b""),
    (act.Progress(), "p", b""),
    (act.Shutdown(), "4", b""),
    (act.ConnectionFailed(), "f", b""),
    (act.ReplyCode(550, "5.7.1", "no"), "y", b"550 5.7.1 no\0"),
    (act.ReplyCode(451), "y", b"451 \0"),
    (act.ReplyCode(550, "5.7.1"), "y", b"550 5.7.1 \0"),
    (act.ReplyCode(550, None, "at 100%"), "y", b"550 at 100%%\0"),
    (act.ReplyCode(450, "4.1.1", ["a", "b"]), "y", b"450-4.1.1 a\r\n450 4.1.1 b\0"),
    (act.ReplyCode(550, None, ["a", "", "c"]), "y", b"550-a\r\n550-\r\n550 c\0"),
    (act.ReplyCode(550, None, "4.1.1 other class"), "y", b"550 5.7.1 4.1.1 other class\0"),
    (act.ReplyCode(450, None, ["no", "192.0.2.7"]), "y", b"450-4.7.1 no\r\n450 4.7.1 192.0.2.7\0"),
    (act.AddHeader("X", "v"), "h", b"X\0v\0"),
    (act.InsertHeader(258, "X", "v"), "i", b"\0\0\1\2X\0v\0"),
    (act.ChangeHeader(1, "X", "v"), "m", b"\0\0\0\1X\0v\0"),
    (act.DeleteHeader(2, "X"), "m", b"\0\0\0\2X\0\0"),
    (act.ReplaceBody(b"a\0b"), "b", b"a\0b"),
    (act.AddRecipient("a@b"), "+", b"<a@b>\0"),
    (act.AddRecipient("a@b", "NOTIFY=NEVER X"), "2", b"<a@b>\0NOTIFY=NEVER X\0"),
    (act.DeleteRecipient("a@b"), "-", b"<a@b>\0"),
    (act.ChangeSender(""), "e", b"<>\0"),
    (act.ChangeSender("a@b", "RET=HDRS"), "e", b"<a@b>\0RET=HDRS\0"),
    (act.Quarantine("late"), "q", b"late\0"),
]


@pytest.mark.parametrize(("action", "letter", "payload"), ACTION_ROWS)
def test_an_action_is_this_packet(action, letter, payload):
    """Both directions, byte by byte as it is on the wire."""
    assert encode_action(action) == (ord(letter), payload)
    assert decode_action((ord(letter), payload)) == action


def test_every_response_has_a_row_and_every_row_a_test():
    """The tables are complete."""
    assert set(ACTIONS) == set(Response) == {ord(letter) for _, letter, _ in ACTION_ROWS}
    assert set(ROW_OF_ACTION) == {type(action) for action, _, _ in ACTION_ROWS}


@pytest.mark.parametrize(
    ("action", "plain", "leading"),
    [
        (act.AddHeader("X", "v"), b"X\0v\0", b"X\0 v\0"),
        (act.AddHeader("X", raw="v"), b"X\0v\0", b"X\0v\0"),
        (act.AddHeader("X", ""), b"X\0\0", b"X\0\0"),
        (act.InsertHeader(0, "X", " v"), b"\0\0\0\0X\0 v\0", b"\0\0\0\0X\0  v\0"),
        (act.ChangeHeader(1, "X", raw="\tv"), b"\0\0\0\1X\0\tv\0", b"\0\0\0\1X\0\tv\0"),
    ],
)
def test_a_header_has_one_space_before_its_value_in_the_end(action, plain, leading):
    """The MTA adds it, or, where leading space was agreed on, the filter sends it."""
    assert encode_action(action)[1] == plain
    assert encode_action(action, leading_space=True)[1] == leading
    assert decode_action(encode_action(action, True), True) == action


ODD_ACTIONS = [
    ("c", b"surplus", act.Continue()),
    ("m", b"\0\0\0\0X\0v\0", act.ChangeHeader(1, "X", "v")),
    ("+", b"a@b\0", act.AddRecipient("a@b")),
    ("2", b"a@b\0", act.AddRecipient("a@b")),
    ("q", b"\0", act.Quarantine("")),
    (
        "O",
        b"\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\x09a,b\tc  d\0",
        act.Negotiate(6, 0, 0, ((9, ("a", "b", "c", "d")),)),
    ),
]


@pytest.mark.parametrize(("letter", "payload", "action"), ODD_ACTIONS)
def test_what_an_mta_takes_from_a_filter_is_taken(letter, payload, action):
    """Index 0 is the first, brackets may be missing, macro names may be apart in any way."""
    assert decode_action((ord(letter), payload)) == action


BAD_ACTIONS = [
    ("C", b"", "a response that a filter sends", "b'C' with nothing"),
    ("O", b"c", "a protocol version of 4 bytes", "1 bytes"),
    ("O", b"\0" * 14, "a macro stage of 4 bytes", "2 bytes"),
    ("O", b"\0" * 16 + b"i", "a list of macro names that ends in NUL", "1 bytes"),
    ("y", b"550 no", "an SMTP reply that ends in NUL", "6 bytes"),
    ("y", b"\0", "a reply line 'NNN text'", "''"),
    ("y", b"550\0", "a reply line 'NNN text'", "'550'"),
    ("y", b"55x no\0", "a reply line 'NNN text'", "'55x no'"),
    ("y", "\u0665\u0665\u0660 no\0".encode(), "a reply line 'NNN text'", "no'"),
    ("y", b"550 a\r\n550 b\0", "a reply line 'NNN-text'", "'550 a'"),
    ("y", b"550-a\r\n450 b\0", "the same code 550 in each line", "'450 b'"),
    ("y", b"550 100%\0", 'each "%" doubled in a reply', "'100%'"),
    ("y", b"250 ok\0", "a well-formed REPLYCODE", "expected code from 400 to 599, got 250"),
    ("y", b"550 a\nb\0", "a reply line without CR or LF", "'550 a\\nb'"),
    ("h", b"X\0v", "a header value that ends in NUL", "1 bytes"),
    ("h", b"X Y\0v\0", "a well-formed ADDHEADER", "expected name"),
    ("i", b"\0\0", "a header index of 4 bytes", "2 bytes"),
    ("i", b"\0\0\0\0X", "a header name that ends in NUL", "1 bytes"),
    ("m", b"\xff\xff\xff\xffX\0v\0", "a well-formed CHGHEADER", "expected index from 1"),
    ("+", b"a@b", "an address that ends in NUL", "3 bytes"),
    ("-", b"\0", "a well-formed DELRCPT", "expected address"),
    ("2", b"a@b\0X=y", "ESMTP parameters that ends in NUL", "3 bytes"),
    ("e", b"", "an address that ends in NUL", "nothing"),
]


@pytest.mark.parametrize(("letter", "payload", "expected", "got"), BAD_ACTIONS)
def test_what_no_filter_should_say_is_refused(letter, payload, expected, got):
    """The error says what was expected and what came."""
    with pytest.raises(RemoteProtocolError) as caught:
        decode_action((ord(letter), payload))
    assert caught.value.expected == expected
    assert got in caught.value.got


class OddAccept(act.Accept):
    """A class of a user's, which no row knows."""


@pytest.mark.parametrize("thing", ["reject", None, ev.Data(), OddAccept(), act.Accept])
def test_what_is_no_action_is_refused(thing):
    """Only the library's own classes go over the wire."""
    with pytest.raises(LocalProtocolError, match="expected an action, got "):
        action_row(thing)
