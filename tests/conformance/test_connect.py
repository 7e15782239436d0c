"""Rows 42-53: CONNECT and HELO, and what in them closes the connection."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from demyjpy import Connect, Hello, RemoteProtocolError
from tests.conformance.talk import CONNECT, CONTINUE, HELO, MAIL, Talk, packet


def connect(payload: bytes) -> Connect:
    """CONNECT as the handler gets it; there is one reply."""
    talk = Talk().greet()
    assert talk.say(packet(b"C", payload)) == CONTINUE
    assert talk.heard == ["connect"]
    assert talk.troubles == []
    return talk.given[0][0]


def test_row_042_connect_family_4():
    """Family 4: host name, dotted quad, and a port in network order."""
    event = connect(b"mx.example\x004\x04\xd2192.0.2.1\0")
    assert event == Connect("mx.example", "4", IPv4Address("192.0.2.1"), 1234)
    assert event.raw == "192.0.2.1"


@pytest.mark.parametrize(
    "raw", ["IPv6:2001:DB8:0:0:0:0:0:1", "ipv6:2001:db8::1", "IPV6:2001:db8:0:0:0:0:0:1"]
)
def test_row_043_connect_family_6_with_prefix(raw):
    """Family 6 as Sendmail writes it: the prefix goes, in any case, and the address is normalised."""
    event = connect(b"h\x006\x04\xd2" + raw.encode() + b"\0")
    assert event == Connect("h", "6", IPv6Address("2001:db8::1"), 1234)
    assert str(event.address) == "2001:db8::1"
    assert event.raw == raw


def test_row_044_connect_family_6_without_prefix():
    """Family 6 as Postfix writes it: without prefix."""
    event = connect(b"[2001:db8::1]\x006\x04\xd22001:db8::1\0")
    assert event == Connect("[2001:db8::1]", "6", IPv6Address("2001:db8::1"), 1234)


def test_row_045_connect_family_unknown():
    """Family U ends right after its letter: no address, no port."""
    event = connect(b"localhost\0U")
    assert (event.host_name, event.family, event.address, event.port) == ("localhost", "U", None, None)


@pytest.mark.parametrize("extra", [b"\0", b"\x00\x00\0", b"\x04\xd2somewhere\0", b"garbage"])
def test_row_046_connect_family_unknown_with_more(extra):
    """What follows family U is ignored."""
    event = connect(b"localhost\0U" + extra)
    assert (event.host_name, event.family, event.address, event.port) == ("localhost", "U", None, None)


@pytest.mark.parametrize(("port", "path"), [(0, "/run/s"), (0, ""), (25, "")])
def test_row_047_connect_family_local(port, path):
    """Family L: a path, which may be empty."""
    event = connect(b"localhost\0L" + port.to_bytes(2, "big") + path.encode() + b"\0")
    assert event == Connect("localhost", "L", path, port)


@pytest.mark.parametrize("port", [0x0000, 0x0001, 0x0100, 0x00FF, 0xFF00, 0xFFFF])
@pytest.mark.parametrize(("family", "raw"), [("4", "192.0.2.1"), ("6", "::1"), ("L", "")])
def test_row_048_ports_with_nul(port, family, raw):
    """A port is two bytes, whatever they are: none of them is taken for the end of a string."""
    event = connect(b"h\0" + family.encode() + port.to_bytes(2, "big") + raw.encode() + b"\0")
    assert event.port == port
    assert event.family == family
    assert str(event.address) == raw


BROKEN = {
    "unknown family": b"h\0X\x04\xd2192.0.2.1\0",
    "NUL as family": b"h\0\0\x04\xd2192.0.2.1\0",
    "no family": b"h\0",
    "host name without NUL": b"mx.example",
    "nothing at all": b"",
    "no port": b"h\x004",
    "half a port": b"h\x004\x04",
    "no address": b"h\x004\x04\xd2",
    "address without NUL": b"h\x004\x04\xd2192.0.2.1",
    "address 6 without NUL": b"h\x006\x04\xd2::1",
    "path without NUL": b"h\0L\0\0/run/s",
    "empty address 4": b"h\x004\x04\xd2\0",
    "garbage address 4": b"h\x004\x04\xd2example.com\0",
    "address 6 as 4": b"h\x004\x04\xd2::1\0",
    "too large a byte": b"h\x004\x04\xd2192.0.2.256\0",
    "garbage address 6": b"h\x006\x04\xd2gggg::\0",
    "address 4 as 6": b"h\x006\x04\xd2192.0.2.1\0",
    "address 6 in brackets": b"h\x006\x04\xd2[::1]\0",
    "prefix alone": b"h\x006\x04\xd2IPv6:\0",
}


@pytest.mark.parametrize("what", BROKEN)
def test_row_049_broken_connect(what):
    """A CONNECT that cannot be read closes the connection without reply; its handler does not run."""
    talk = Talk().greet()
    assert talk.say(packet(b"C", BROKEN[what]), HELO) == b""
    assert talk.heard == ["disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed


@pytest.mark.parametrize("host", [b"[192.0.2.1]", b"unknown", b"localhost", b"", b"m\xfcll.example"])
def test_row_050_host_names(host):
    """A host name is passed on as it is: address literals, unknown, 8-bit."""
    event = connect(host + b"\x004\0\x19192.0.2.1\0")
    assert event.host_name.encode("utf-8", "surrogateescape") == host


def test_row_051_several_hellos():
    """HELO may come again and again: its handler runs each time, and each is answered."""
    talk = Talk().greet(CONNECT)
    greetings = [b"a.test", b"b.test", b"c.test"]
    assert talk.say(*(packet(b"H", name + b"\0") for name in greetings), MAIL) == 4 * CONTINUE
    assert talk.events("hello") == [Hello("a.test"), Hello("b.test"), Hello("c.test")]
    assert talk.heard == ["hello", "hello", "hello", "mail"]


def test_row_052_empty_hello():
    """An empty HELO argument is accepted."""
    talk = Talk().greet(CONNECT)
    assert talk.say(packet(b"H", b"\0")) == CONTINUE
    assert talk.events("hello") == [Hello("")]


@pytest.mark.parametrize("payload", [b"cl.test", b""])
def test_row_053_hello_without_nul(payload):
    """A HELO that does not end in NUL closes the connection, where libmilter would stall."""
    talk = Talk().greet(CONNECT)
    assert talk.say(packet(b"H", payload)) == b""
    assert talk.heard == ["disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed
