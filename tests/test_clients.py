"""Who hands over a mail: as the MTA says of a session, and as a relay writes it into Received."""

from ipaddress import ip_address
from typing import Any

import pytest

from demyjpy import Connect
from demyjpy.clients import Client, client_of, handed_over_by, is_made_there

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")


@pytest.mark.parametrize(
    ("event", "macros", "expected"),
    [
        (Connect("mx.example", "4", V4, 25), {}, Client(V4, "mx.example", True)),
        (Connect("mx.example", "6", V6, 25), {"client_resolve": "OK"}, Client(V6, "mx.example", True)),
        (Connect("mx.example", "4", V4, 25), {"client_resolve": "TEMP"}, Client(V4, "mx.example")),
        (Connect("[192.0.2.1]", "4", V4, 25), {}, Client(V4)),
        (Connect("unknown", "4", V4, 25), {"client_ptr": "unknown"}, Client(V4)),
        (Connect("[192.0.2.1]", "4", V4, 25), {"client_ptr": "a.example"}, Client(V4, "a.example")),
        (Connect("localhost"), {"client_resolve": "OK"}, Client(None, "localhost")),
        (Connect("localhost", "L", "/run/x", 0), {}, Client("/run/x", "localhost")),
    ],
)
def test_the_client_of_a_session(event: Connect, macros: dict[str, str], expected: Client):
    """A name counts as verified only if the MTA says so, and if there is an address to verify it by."""
    assert client_of(event, macros.get) == expected


def test_a_client_as_text():
    """As logs write it."""
    assert str(Client(V4, "mx.example", True)) == "mx.example [192.0.2.1]"
    assert str(Client(V6)) == "[2001:db8::1]"
    assert str(Client(None, "localhost")) == "localhost"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
    ],
)
def test_the_network_of_a_client(address: str, network: str):
    """Neighbours are one; this machine, and who has no IP address, has none."""
    client = Client(ip_address(address))
    assert client.network() == network
    assert Client("/run/x").network() == Client().network() == ""
    if network:
        assert client.network(32, 128) == f"{address}/{32 if client.address.version == 4 else 128}"


def test_the_network_of_an_ipv4_address_that_is_written_as_ipv6():
    """It is that of IPv4: all of these have the same first 64 bits."""
    assert Client(ip_address("::ffff:192.0.2.77")).network() == "192.0.2.0/24"
    assert Client(ip_address("::ffff:127.0.0.1")).network() == ""


AFTER = "\n\tby relay.test (Postfix) with ESMTPS id 4Q1\n\tfor <b@test>; Sat, 21 Nov 2026 10:00:00 +0000"


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("from mx.example (mx.example [192.0.2.1])", Client(V4, "mx.example", True)),
        ("from evil (unknown [192.0.2.1])", Client(V4)),
        ("from [10.0.0.1] (unknown [IPv6:2001:db8::1])", Client(V6)),
        ("from mx.example\n\t(mx.example [IPv6:2001:db8::1])", Client(V6, "mx.example", True)),
        ("from x ([192.0.2.1])", Client(V4)),
        ("from x (mx.example [192.0.2.1] (may be forged))", Client(V4, "mx.example")),
        ("from x (root@mx.example [192.0.2.1])", Client(V4, "mx.example", True)),
        ("FROM x (mx.example [ipv6:::ffff:192.0.2.1])", Client(V4, "mx.example", True)),
        # what the client calls itself is not where its address is read from
        ("from x[10.0.0.1] (mx.example [192.0.2.1])", Client(V4, "mx.example", True)),
        ("from a b c (mx.example [192.0.2.1])", Client(V4, "mx.example", True)),  # EHLO a b c
        ("from " + "x" * 2_000 + " (mx.example [192.0.2.1])", Client(V4, "mx.example", True)),
        # forms that nobody writes who is named in the docstring
        ("from x (y) (mx.example [192.0.2.1])", None),
        ("from mx.example by relay.test", None),
        ("from x (mx.example [192.0.2.999])", None),
        ("from x (mx.example [1.2.3])", None),
        ("from unknown (HELO x) (192.0.2.1)", None),
        ("(qmail 1 invoked from network)", None),
        ("", None),
        ("by relay.test (Postfix, from userid 0)", None),
        ("from " + "x" * 5_000 + " (mx.example [192.0.2.1])", None),
        ("from x" + " " * 5_000 + "(", None),
    ],
)
def test_the_client_that_a_received_field_names(received: str, expected: Client | None):
    """As Postfix and Sendmail write it; anything else is not read at all."""
    assert handed_over_by(received + AFTER) == expected


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("by relay.test (Postfix, from userid 1000)", True),
        ("(from root@localhost)\n\tby relay.test (8.17.1/Submit)", True),
        (" by\n\trelay.test", True),
        ("from x (y [192.0.2.1])", False),
        ("(qmail 1 invoked by uid 1000)", False),
        ("bystander", False),
    ],
)
def test_a_mail_that_began_on_its_relay(received: Any, expected: bool):
    """It names no client."""
    assert is_made_there(received) is expected
