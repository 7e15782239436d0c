"""The values that stand for what the MTA says."""

from ipaddress import IPv4Address, IPv6Address

import attrs
import pytest

from demyjpy import events as ev
from demyjpy.codec import EVENTS
from demyjpy.errors import LocalProtocolError
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.fields import Definitions, Parameters

SAMPLES = [
    ev.Options(6, 0x1FF, 0x1FFFFF),
    ev.DefineMacros("mail", {"i": "1"}),
    ev.Connect("host"),
    ev.Hello("host"),
    ev.Mail("a@b"),
    ev.Recipient("a@b", {"NOTIFY": "NEVER"}),
    ev.Data(),
    ev.Header("Subject", "x"),
    ev.EndOfHeaders(),
    ev.Body(b"x"),
    ev.EndOfMessage(),
    ev.Abort(),
    ev.Unknown("FOO"),
    ev.Quit(),
    ev.QuitNewConnection(),
    ev.Disconnect(),
]


def test_there_is_a_class_for_each_packet_and_one_for_the_end():
    """Every row of the codec has its class; Disconnect is never on the wire."""
    assert {type(event) for event in SAMPLES} == {row.event for row in EVENTS.values()} | {ev.Disconnect}


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_is_a_value(event):
    """It cannot be changed, equals its copy, and can be a key."""
    copy = attrs.evolve(event)
    assert copy == event
    assert hash(copy) == hash(event)
    with pytest.raises(AttributeError):
        event.anything = 1
    for one in attrs.fields(type(event)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(event, one.name, None)


BRACKETS = [
    ("<a@b>", "a@b"),
    ("<>", ""),
    ("a@b", "a@b"),
    ("", ""),
    ("<a", "<a"),
    ("a>", "a>"),
    ("<", "<"),
    ("<<a>>", "<a>"),
]


@pytest.mark.parametrize(("given", "bare"), BRACKETS)
def test_addresses_lose_one_pair_of_brackets(given, bare):
    """Whoever makes the event may give them or not."""
    assert ev.strip_brackets(given) == bare
    assert ev.Mail(given).sender == bare
    assert ev.Recipient(given).address == bare


@pytest.mark.parametrize("kind", [ev.Mail, ev.Recipient])
def test_what_was_sent_is_kept_beside_the_address(kind):
    """Raw is the address with brackets, unless it is known to have come otherwise."""
    assert kind("a@b").raw == "<a@b>"
    assert kind("").raw == "<>"
    assert kind("a@b", raw="a@b").raw == "a@b"
    assert kind("a@b") != kind("a@b", raw="a@b")


def test_parameters_are_taken_as_mapping_pairs_or_nothing():
    """A plain dict becomes Parameters; none at all are empty ones."""
    assert ev.Mail("a", {"size": "5"}).parameters["SIZE"] == "5"
    assert isinstance(ev.Mail("a").parameters, Parameters)
    assert len(ev.Recipient("a", None).parameters) == 0
    assert isinstance(ev.DefineMacros("mail", [("i", "1")]).definitions, Definitions)


def test_flags_are_flags():
    """Plain numbers become the enums, with bits that nobody knows kept."""
    options = ev.Options(6, 0x80000001, 0xFFFFFFFF)
    assert options.actions & ActionFlag.ADDHDRS
    assert int(options.actions) == 0x80000001
    assert int(options.protocol) == 0xFFFFFFFF
    assert isinstance(options.protocol, ProtocolFlag)


CONNECTS = [
    (("h",), ("U", None, None, "")),
    (("h", "4", IPv4Address("192.0.2.1"), 25), ("4", IPv4Address("192.0.2.1"), 25, "192.0.2.1")),
    (("h", "6", IPv6Address("::1"), 0), ("6", IPv6Address("::1"), 0, "::1")),
    (("h", "L", "/run/x", 0), ("L", "/run/x", 0, "/run/x")),
]


@pytest.mark.parametrize(("given", "wanted"), CONNECTS)
def test_a_peer_is_given_by_family_address_and_port(given, wanted):
    """Raw is the address as text where nothing else is known."""
    event = ev.Connect(*given)
    assert (event.family, event.address, event.port, event.raw) == wanted


def test_how_an_address_was_written_makes_no_difference():
    """IPv6:0:0:...:1 from Sendmail and ::1 from Postfix are one peer."""
    one = ev.Connect("h", "6", IPv6Address("::1"), 5, raw="IPv6:0:0:0:0:0:0:0:1")
    assert one == ev.Connect("h", "6", IPv6Address("::1"), 5)
    assert one.raw == "IPv6:0:0:0:0:0:0:0:1"


BAD_PEERS = [
    ("X", None, 'expected family "4", "6", "L" or "U", got \'X\''),
    ("4", "192.0.2.1", "expected an address of type IPv4Address for family '4', got '192.0.2.1'"),
    ("6", IPv4Address("192.0.2.1"), "expected an address of type IPv6Address for family '6'"),
    ("L", None, "expected an address of type str for family 'L', got None"),
    ("U", "x", "expected an address of type NoneType for family 'U', got 'x'"),
]


@pytest.mark.parametrize(("family", "address", "message"), BAD_PEERS)
def test_family_and_address_must_fit(family, address, message):
    """A peer that cannot be is refused where it is made."""
    with pytest.raises(LocalProtocolError) as caught:
        ev.Connect("h", family, address)
    assert str(caught.value).startswith(message)


RAW_HEADERS = [
    ("v", "v"),
    (" v", "v"),
    ("  v", " v"),
    ("\tv", "\tv"),
    ("", ""),
    (" ", ""),
    (" a\n b", "a\n b"),
]


@pytest.mark.parametrize(("raw", "value"), RAW_HEADERS)
def test_a_header_value_is_what_follows_one_space(raw, value):
    """Exactly one space is taken off, never a tab."""
    event = ev.Header.from_raw("X", raw)
    assert (event.value, event.raw) == (value, raw)


def test_a_header_without_its_raw_form_had_one_space():
    """What an MTA without the leading space says is taken for the usual."""
    assert ev.Header("X", "v").raw == " v"
    assert ev.Header("X", "").raw == " "
