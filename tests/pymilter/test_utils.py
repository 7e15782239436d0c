"""`Milter.utils`: addresses, networks and header fields as pymilter 1.0.5 reads them."""

import pytest

from demyjpy.pymilter import utils


@pytest.mark.parametrize(
    ("address", "listed", "is_in"),
    [
        ("66.179.26.146", ["127.0.0.1", "66.179.26.128/26"], True),
        ("192.168.0.45", ["192.168.0.*"], True),
        ("192.168.0.45", ["192.168.1.*", "not a name", "192.168.1.0/24"], False),
        ("1.2.3.4", ["1.2.3.4/33"], True),
        ("1.2.3.4", ["::/0"], True),
        ("::ffff:1.2.3.4", ["1.2.3.4"], True),
        ("2001:610:779:0:223:6cff:fe9a:9cf3", ["172.20.1.0/24", "2001:610:779::/48"], True),
        ("::1", ["0:0:0:0:0:0:0:1"], True),
        ("::1", ["::2", "0.0.0.0/0"], False),
        ("127.0.0.1", ["localhost"], True),
        ("127.0.0.1", ["no.such.host.invalid"], False),
        ("127.0.0.1", ["a" * 300 + ".example"], False),
    ],
)
def test_an_address_in_a_list(address: str, listed: list[str], is_in: bool) -> None:
    """Of addresses, networks, patterns and names."""
    assert utils.iniplist(address, listed) is is_in


def test_what_is_no_address_is_in_no_list() -> None:
    with pytest.raises(ValueError, match="Invalid ip syntax:2G01::"):
        utils.iniplist("2G01::", ["1.2.3.4"])


def test_a_network_of_less_than_no_bits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a network such as .* got '1.2.0.0/-1'"):
        utils.iniplist("1.2.3.4", ["1.2.0.0/-1"])


def test_addresses_as_numbers_and_bytes() -> None:
    """Of both families."""
    assert utils.addr2bin("1.2.3.4") == 0x01020304
    with pytest.raises(OSError, match="Invalid IP4 address: x"):
        utils.addr2bin("x")
    assert utils.cidr(0x01020304, 24) == 0x01020300
    assert utils.bin2long6(utils.inet_pton("::1")) == 1
    assert utils.inet_ntop(utils.inet_pton("2001:db8::1")) == "2001:db8::1"
    assert utils.ip4re.match("1.2.3.4")
    assert not utils.ip4re.match("1.2.3.400")
    assert utils.ip6re.match("2001:db8::1")
    assert not utils.ip6re.match("1.2.3.4")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("user@example.com", ["user", "example.com"]),
        ('"user@example.com"', ["user@example.com"]),
        ('"user@bar"@example.com', ["user@bar", "example.com"]),
        ("foo", ["foo"]),
        ("<@a,@b:u@c>", ["u", "c"]),
        ("@user@example.com", ["@user", "example.com"]),
        ("<>", [""]),
        ("a@", ["a", ""]),
    ],
)
def test_the_parts_of_an_address(text: str, parts: list[str]) -> None:
    assert utils.parse_addr(text) == parts


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("user@example.com", ("", "user@example.com")),
        ('"Full Name" <foo@example.com>', ("Full Name", "foo@example.com")),
        ("spam@spammer.com <foo@example.com>", ("spam@spammer.com", "foo@example.com")),
        ("God@heaven <@hop1.org,@hop2.net:jeff@spec.org>", ("God@heaven", "jeff@spec.org")),
        ("Real Name ((comment)) <a@example.com>", ("Real Name (comment)", "a@example.com")),
        ("Foo, Bar <a@b>", ("Foo, Bar", "a@b")),
        ('"A" B, C <a@b>', (" A  B, C", "a@b")),
        ("(c) A, B <a@b>", ("(c) A, B", "a@b")),
        ('"A", B <a@b>', (" A , B", "a@b")),
        ("", ("", "")),
    ],
)
def test_the_parts_of_a_mailbox(text: str, mailbox: tuple[str, str]) -> None:
    assert utils.parseaddr(text) == mailbox


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("hi", "hi"),
        ("=?utf-8?q?caf=C3=A9?=", "café"),
        ("a =?iso-8859-1?q?=E9?= b =?utf-8?q?z?=", "a é b z"),
        ("=?x-unknown?q?=E9?=", "=?x-unknown?q?=E9?="),
        ("=?utf-8?q?=FF?=", "\ufffd"),
        ("=?x-unknown?q?VIAGRA?=", "VIAGRA"),
        ("=?utf-8-x?b?VklBR1JB?= =?utf-8?q?=C3=A9?=", "VIAGRA\xe9"),
        ("=?x-unknown?b?w6k=?=", "\xe9"),
        ("\xe9 =?utf-8?q?a?=", "\xe9 =?utf-8?q?a?="),
        ("=?undefined?q?a?=", "=?undefined?q?a?="),
        ("a\n b", "a\n b"),
    ],
)
def test_encoded_words(value: str, decoded: str) -> None:
    """Those that cannot be decoded stay."""
    assert utils.parse_header(value) == decoded
