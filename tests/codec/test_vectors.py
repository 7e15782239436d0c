"""Whole packets, byte for byte: each decodes to its value, and the value encodes to the same bytes.

Every packet is fed whole, byte by byte, and with the next one behind it.
"""

from ipaddress import IPv4Address, IPv6Address

import pytest

from demyjpy import (
    Abort,
    AddHeader,
    AddRecipient,
    Body,
    ChangeSender,
    Connect,
    Continue,
    Data,
    DefineMacros,
    DeleteHeader,
    EndOfHeaders,
    EndOfMessage,
    Header,
    Hello,
    InsertHeader,
    Mail,
    Negotiate,
    Options,
    Quarantine,
    Quit,
    QuitNewConnection,
    Recipient,
    ReplaceBody,
    ReplyCode,
)
from demyjpy.codec import decode_action, decode_event, encode_action, encode_event
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, split_frames

LIMIT = 65536

COMMANDS = {
    "0000000d 4f 00000006 000001ff 001fffff": Options(6, 0x1FF, 0x1FFFFF),
    "00000019 43 6d782e6578616d706c6500 34 04d2 3139322e302e322e3100": Connect(
        "mx.example", "4", IPv4Address("192.0.2.1"), 1234
    ),
    "0000001e 43 5b323030313a6462383a3a315d00 36 04d2 323030313a6462383a3a3100": Connect(
        "[2001:db8::1]", "6", IPv6Address("2001:db8::1"), 1234
    ),
    "00000020 43 6800 36 04d2 495076363a323030313a4442383a303a303a303a303a303a3100": Connect(
        "h", "6", IPv6Address("2001:db8::1"), 1234, raw="IPv6:2001:DB8:0:0:0:0:0:1"
    ),
    "0000000c 43 6c6f63616c686f737400 55": Connect("localhost"),
    "00000015 43 6c6f63616c686f737400 4c 0000 2f72756e2f7300": Connect("localhost", "L", "/run/s", 0),
    "00000009 48 636c2e7465737400": Hello("cl.test"),
    "0000000f 4d 3c6140623e00 53495a453d313000": Mail("a@b", {"SIZE": "10"}),
    "00000004 4d 3c3e00": Mail(""),
    "00000002 4d 00": Mail("", raw=""),
    "00000014 52 3c6340643e00 4e4f544946593d4e4556455200": Recipient("c@d", {"NOTIFY": "NEVER"}),
    "00000001 54": Data(),
    "00000001 4e": EndOfHeaders(),
    "00000001 45": EndOfMessage(),
    "00000001 41": Abort(),
    "00000001 51": Quit(),
    "00000001 4b": QuitNewConnection(),
    "00000013 4c 5375626a65637400 68690a20746865726500": Header("Subject", "hi\n there"),
    "00000004 42 780d0a": Body(b"x\r\n"),
    "00000002 44 48": DefineMacros("hello"),
    "00000019 44 4d 6900 513100 7b617574685f747970657d00 504c41494e00": DefineMacros(
        "mail", [("i", "Q1"), ("{auth_type}", "PLAIN")]
    ),
}

RESPONSES = {
    "0000000d 4f 00000006 00000011 00000300": Negotiate(6, 0x11, 0x300),
    "0000001c 4f 00000006 000001ff 00000400 00000000 6a207b787d00 00000005 00": Negotiate(
        6, 0x1FF, 0x400, ((0, ("j", "{x}")), (5, ()))
    ),
    "00000001 63": Continue(),
    "0000001a 79 3535302d352e372e3120610d0a35353020352e372e31206200": ReplyCode(550, "5.7.1", "a\nb"),
    "00000007 68 582d4100 7600": AddHeader("X-A", "v"),
    "0000000b 69 00000000 582d4100 7600": InsertHeader(0, "X-A", "v"),
    "0000000a 6d 00000001 582d4100 00": DeleteHeader(1, "X-A"),
    "0000000f 65 3c6e40783e00 454e5649443d3100": ChangeSender("n@x", "ENVID=1"),
    "00000007 32 3c6140623e00": AddRecipient("a@b"),
    "00000005 71 77687900": Quarantine("why"),
    "00000004 62 780d0a": ReplaceBody(b"x\r\n"),
}

ONE_WAY = {"00000007 32 3c6140623e00"}
"""ADDRCPT_PAR without parameters means the same as ADDRCPT, which is what we send for it."""

BOTH = [
    *((spelled, value, decode_event, encode_event) for spelled, value in COMMANDS.items()),
    *((spelled, value, decode_action, encode_action) for spelled, value in RESPONSES.items()),
]

each = pytest.mark.parametrize(
    ("spelled", "value", "decode", "encode"),
    BOTH,
    ids=[f"{type(value).__name__}-{spelled.replace(' ', '')}"[:48] for spelled, value, *_ in BOTH],
)


@each
def test_decode_whole(spelled, value, decode, encode):
    """A packet that comes whole decodes to its value."""
    packets, unread = split_frames(NOTHING_UNREAD, bytes.fromhex(spelled), LIMIT)
    assert [decode(packet) for packet in packets] == [value]
    assert unread == NOTHING_UNREAD


@each
def test_decode_byte_by_byte(spelled, value, decode, encode):
    """A packet that comes in bytes decodes at its last one, and not before."""
    *first, last = [bytes((byte,)) for byte in bytes.fromhex(spelled)]
    unread = NOTHING_UNREAD
    for byte in first:
        packets, unread = split_frames(unread, byte, LIMIT)
        assert packets == []
    packets, unread = split_frames(unread, last, LIMIT)
    assert [decode(packet) for packet in packets] == [value]
    assert unread == NOTHING_UNREAD


@each
@pytest.mark.parametrize("trailing", [b"\0", b"\0\0\0\x02M", b"\0\0\0\x09Hcl.tes"])
def test_decode_with_trailing_data(spelled, value, decode, encode, trailing):
    """What follows a packet is not taken for a part of it, and is not lost."""
    whole = bytes.fromhex(spelled)
    packets, unread = split_frames(NOTHING_UNREAD, whole + trailing, LIMIT)
    assert [decode(packet) for packet in packets] == [value]
    assert (b"".join(unread.chunks), unread.size, unread.error) == (trailing, len(trailing), None)


@each
def test_encode(spelled, value, decode, encode):
    """A value encodes to the bytes of its packet."""
    if spelled in ONE_WAY:
        assert encode(value) == (ord("+"), bytes.fromhex(spelled)[5:])
    else:
        assert join_frame(*encode(value)) == bytes.fromhex(spelled)


@each
def test_decode_and_encode(spelled, value, decode, encode):
    """What a packet was decoded to encodes to the same packet."""
    ((letter, payload),), _ = split_frames(NOTHING_UNREAD, bytes.fromhex(spelled), LIMIT)
    again = encode(decode((letter, payload)))
    assert again == ((ord("+") if spelled in ONE_WAY else letter), payload)
