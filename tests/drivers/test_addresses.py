"""How addresses are spelled."""

from pathlib import Path

import pytest

from demyjpy import AddressError
from demyjpy.drivers.address import Address, as_postfix, http_address, parse_address

SPELLED = {
    "inet:20025@localhost": Address("inet", "localhost", 20025),
    "inet:20025@127.0.0.1": Address("inet", "127.0.0.1", 20025),
    "inet:localhost:20025": Address("inet", "localhost", 20025),
    "inet:127.0.0.1:20025": Address("inet", "127.0.0.1", 20025),
    "inet:[::1]:20025": Address("inet", "::1", 20025),
    "inet:20025": Address("inet", "localhost", 20025),
    "inet:20025@": Address("inet", "localhost", 20025),
    "inet::20025": Address("inet", "localhost", 20025),
    "INET:20025@localhost": Address("inet", "localhost", 20025),
    "inet:0@0.0.0.0": Address("inet", "0.0.0.0", 0),
    "inet:65535@localhost": Address("inet", "localhost", 65535),
    "inet6:20025@::1": Address("inet6", "::1", 20025),
    "inet6:20025@[::1]": Address("inet6", "::1", 20025),
    "inet6:[::1]:20025": Address("inet6", "::1", 20025),
    "inet6:20025": Address("inet6", "::1", 20025),
    "20025": Address("inet", "localhost", 20025),
    " 20025\n": Address("inet", "localhost", 20025),
    20025: Address("inet", "localhost", 20025),
    "unix:/run/x.sock": Address("unix", path="/run/x.sock"),
    "local:/run/x.sock": Address("unix", path="/run/x.sock"),
    "unix:run/x.sock": Address("unix", path="run/x.sock"),
    "/run/x.sock": Address("unix", path="/run/x.sock"),
    "./x.sock": Address("unix", path="./x.sock"),
    Path("/run/x.sock"): Address("unix", path="/run/x.sock"),
    "unix:/run/a:b@c": Address("unix", path="/run/a:b@c"),
    "unix:/run/x.sock?": Address("unix", path="/run/x.sock"),
    "unix:/x?mode=660&group=postfix": Address("unix", path="/x", mode=0o660, group="postfix"),
    "unix:/x?mode=0666": Address("unix", path="/x", mode=0o666),
    "/x?user=filter&mode=600": Address("unix", path="/x", mode=0o600, user="filter"),
    "fd:3": Address("fd", fd=3),
}


@pytest.mark.parametrize("text", SPELLED, ids=repr)
def test_spellings(text):
    """All usual spellings of an address are understood."""
    assert parse_address(text) == SPELLED[text]


@pytest.mark.parametrize("text", SPELLED, ids=repr)
def test_an_address_can_be_read_again(text):
    """An address is shown in a spelling that means the same; options of its file are not shown."""
    address = SPELLED[text]
    again = parse_address(str(address))
    assert (again.kind, again.host, again.port) == (address.kind, address.host, address.port)
    assert (again.path, again.fd) == (address.path, address.fd)


UNREADABLE = {
    "": "expected an address such as",
    "inet": "expected an address such as",
    "inet:": "expected an address such as",
    "unix:": "expected an address such as",
    "x.sock": "expected an address such as",
    "tcp:localhost:20025": "expected an address such as",
    "localhost:20025": "expected an address such as",
    "fd:x": "expected an address such as",
    "fd:-1": "expected an address such as",
    "fd:99999999999999999999": "expected an address such as",
    "inet:localhost": "expected a port from 0 to 65535, got 'localhost'",
    "inet:@localhost": "expected a port from 0 to 65535, got ''",
    "inet:smtp@localhost": "expected a port from 0 to 65535, got 'smtp'",
    "inet:65536@localhost": "expected a port from 0 to 65535, got '65536'",
    "inet:-1@localhost": "expected a port from 0 to 65535, got '-1'",
    "inet:²@localhost": "expected a port from 0 to 65535, got '²'",
    "inet6:::1": "expected a port from 0 to 65535, got '::1'",
    "inet6:::1:20025": "expected a port from 0 to 65535, got '::1:20025'",
    "99999": "expected a port from 0 to 65535, got '99999'",
    "9" * 5000: "expected a port from 0 to 65535, got '999",
    "unix:?mode=660": "expected a path, got ''",
    "unix:/a\0b": r"expected a path, got '/a\x00b'",
}


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: repr(text[:30]))
def test_what_is_no_address(text):
    """What cannot be read says what is wrong with it, in few words."""
    with pytest.raises(AddressError) as error:
        parse_address(text)
    assert str(error.value).startswith(UNREADABLE[text])
    assert len(str(error.value)) < 200 or len(text) > 100


MEANT = {
    "localhost:20025": "inet:20025@localhost",
    ":20025": "inet:20025@localhost",
    "20025@localhost": "inet:20025@localhost",
    "[::1]:20025": "inet6:20025@::1",
    "milter.example:1": "inet:1@milter.example",
    "inte:20025@localhost": "inet:20025@localhost",
    "unx:/run/x.sock": "unix:/run/x.sock",
}


@pytest.mark.parametrize("text", MEANT)
def test_what_was_meant(text):
    """Where it can be guessed it is said, and can be read."""
    with pytest.raises(AddressError) as error:
        parse_address(text)
    assert str(error.value).endswith(f"got {text!r}; did you mean {MEANT[text]}?")
    assert str(parse_address(MEANT[text])) == MEANT[text]


@pytest.mark.parametrize("text", ["nonsense", "tcp:localhost:20025"])
def test_what_nobody_can_guess(text):
    """Is not guessed."""
    with pytest.raises(AddressError, match=r"got '[^']*'$"):
        parse_address(text)


HTTP = {
    "9100": "inet:9100@127.0.0.1",
    ":9100": "inet:9100@127.0.0.1",
    "192.0.2.1:9100": "inet:9100@192.0.2.1",
    "[::1]:0": "inet6:0@::1",
    "::1:0": "inet6:0@::1",
}


@pytest.mark.parametrize("text", HTTP)
def test_where_figures_are_served(text):
    """A port, and a host in front of it."""
    assert str(http_address(text)) == HTTP[text]


@pytest.mark.parametrize("text", ["9100x", "x:", ":65536", "", ":²"])
def test_where_no_figures_can_be_served(text):
    """The message is about ports."""
    with pytest.raises(AddressError, match="expected a port from 0 to 65535, as in 9100, :9100 or"):
        http_address(text)


@pytest.mark.parametrize(
    "option", ["mode=999", "mode=66", "mode", "mode=", "user=", "group=", "owner=root", "a=1;b=2"]
)
def test_unknown_options(option):
    """An option of a Unix socket that cannot be read says which there are."""
    with pytest.raises(AddressError, match=f"mode=660, user=NAME or group=NAME, got {option}"):
        parse_address(f"unix:/run/x.sock?{option}")


AS_POSTFIX = {
    "inet:20025@localhost": "inet:localhost:20025",
    "inet6:20025@::1": "inet:[::1]:20025",
    "inet:20025@::1": "inet:[::1]:20025",
    "/run/x.sock?mode=660": "unix:/run/x.sock",
}


@pytest.mark.parametrize("text", AS_POSTFIX)
def test_as_postfix(text):
    """Postfix is told the same address in its own spelling."""
    assert as_postfix(parse_address(text)) == AS_POSTFIX[text]
