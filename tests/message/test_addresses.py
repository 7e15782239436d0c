"""Addresses in header fields: read, compared, written."""

from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy.message import MailAddress, Message, same_address
from demyjpy.message.addresses import addresses_in, ascii_domain, unicode_domain


@pytest.mark.parametrize(
    ("value", "pairs"),
    [
        ("a@b", [("", "a@b")]),
        ("<a@b>", [("", "a@b")]),
        ("A B <a@b>, c@d", [("A B", "a@b"), ("", "c@d")]),
        ('"B, A" <a@b>', [("B, A", "a@b")]),
        ('"say \\"hi\\"" <a@b>', [('say "hi"', "a@b")]),
        ("a@b (A (the) B)", [("A (the) B", "a@b")]),
        ("(x) A <a@b> (y", [("A", "a@b")]),
        ('a@b (it\\)s "odd)', [('it)s "odd', "a@b")]),
        ("grp: a@b, c@d;, e@f", [("", "a@b"), ("", "c@d"), ("", "e@f")]),
        ("undisclosed-recipients:;", []),
        ("<@x,@y:a@b>", [("", "a@b")]),
        ("<a @ b>", [("", "a@b")]),
        ('"a b"@c', [("", '"a b"@c')]),
        ('"a\n b"@c', [("", '"a  b"@c')]),
        ("a@[IPv6:::1]", [("", "a@[IPv6:::1]")]),
        ("=?utf-8?q?a=40evil=2C?= <a@b>", [("a@evil,", "a@b")]),
        ('"good@bank.example" <bad@evil.example>', [("good@bank.example", "bad@evil.example")]),
        ("=?utf-8?q?=3Cc=40d=3E?=", [("", "=?utf-8?q?=3Cc=40d=3E?=")]),
        ("A <a@b", [("A", "a@b")]),
        ("A <>", [("A", "")]),
        ('"open <a@b>', [("", '"open <a@b>')]),
        ("A\\", [("", "A\\")]),
        ("a@b\n c@d", [("", "a@bc@d")]),
        ("", []),
        (", ,", []),
        ("[", [("", "[")]),
    ],
)
def test_addresses_are_found(value, pairs):
    """Names are decoded after the addresses are found; what is no address comes as it is."""
    assert [(one.name, one.address) for one in addresses_in(value)] == pairs


ATOMS = st.text("abc.-+", min_size=1).map(lambda text: text.strip(".") or "a")
PHRASES = st.one_of(st.just(""), st.text("abC dE,;:@", min_size=1).map(lambda text: f'"{text}" '))


@given(st.lists(st.tuples(PHRASES, ATOMS, ATOMS), min_size=1, max_size=4))
def test_the_standard_library_finds_the_same(given_):
    """For addresses that are as they should be."""
    value = ", ".join(f"{phrase}<{local}@{domain}>" for phrase, local, domain in given_)
    assert [(one.name, one.address) for one in addresses_in(value)] == [
        (name.strip(" "), address) for name, address in getaddresses([value])
    ]


@given(st.text('ab@.,;:<>()[]"\\ \n\udcfcé'))
def test_nothing_raises(value):
    """Whatever stands in the field."""
    for one in addresses_in(value):
        text = one.local + one.domain + one.unicode_domain + one.name
        assert text.isprintable() or "\udcfc" in text
    assert same_address(value, value)


def test_a_long_field_takes_no_longer_for_each_address():
    """Also if nothing in it is closed: each of these takes seconds if time is quadratic."""
    for piece in ("(", '"', "<", "a@b,", "[", "\\", "(\\(", "a ", "=?utf-8?q?"):
        addresses_in(piece * 20_000)


def test_addresses_of_all_fields_of_a_name():
    """From the top, with local part and domain."""
    message = Message.parse(b"To: a@B.example\r\nCc: x@y\r\nTo: D <d@xn--bcher-kva.example>\r\n\r\n")
    first, second = message.addresses("to")
    assert (first.local, first.domain, first.unicode_domain) == ("a", "b.example", "b.example")
    assert second == MailAddress("D", "d@xn--bcher-kva.example")
    assert (second.domain, second.unicode_domain) == ("xn--bcher-kva.example", "bücher.example")
    assert (MailAddress("", "x").local, MailAddress("", "x").domain) == ("x", "")


@pytest.mark.parametrize(
    ("unicode", "coded"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("plain.example", "plain.example"),
        ("xn--a-.example", "xn--a-.example"),
        ("ü" * 64, "ü" * 64),
    ],
)
def test_domains(unicode, coded):
    """In ASCII as in DNS, in Unicode for people; what is not right stays."""
    assert ascii_domain(unicode) == coded
    assert unicode_domain(coded) == unicode
    assert unicode_domain("xn--99999999.x") == "xn--99999999.x"
    assert unicode_domain("xn--é") == "xn--é"


def test_a_domain_in_other_letters():
    """Capitals, full width and the full stops of other scripts are the same."""
    assert ascii_domain("BÜCHER。example") == "bücher。example".encode("idna").decode().lower()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("a@b.example", "<a@B.EXAMPLE>", True),
        ("A@b.example", "a@b.example", False),
        ("a@bücher.example", "a@xn--bcher-kva.example", True),
        ("a@faß.example", "a@fass.example", False),
        ("a", "a", True),
        ("a@b", "a", False),
    ],
)
def test_same_address(one, other, is_same):
    """The local part as it is, the domain in any spelling; ß is not ss."""
    assert same_address(one, other) is is_same


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Jürgen <j@x>", "=?utf-8?b?SsO8cmdlbg==?= <j@x>"),
        ('"Müller, J." <j@x>, y@z', "=?utf-8?b?TcO8bGxlciwgSi4=?= <j@x>, y@z"),
        ('"B, A" <a@b>', '"B, A" <a@b>'),
        ('"back\\\\slash" <a@b>', '"back\\\\slash" <a@b>'),
        ("A <a@bücher.example>", "A <a@xn--bcher-kva.example>"),
        ("größer", "=?utf-8?b?Z3LDtsOfZXI=?="),
        ("É <é@x>, a@b", "=?utf-8?b?w4k=?= <=?utf-8?b?w6lAeA==?=>, a@b"),
        ("größer, a@b", "=?utf-8?b?Z3LDtsOfZXI=?=, a@b"),
        ("=?x?= <a@b>", "=?utf-8?b?PT94Pz0=?= <a@b>"),
    ],
)
def test_set_decoded_of_addresses(text, value):
    """Only names are encoded, domains become ASCII."""
    assert Message().set_decoded("Reply-To", text).get("Reply-To") == value


def test_many_addresses_are_folded():
    """A line has 76 characters."""
    text = ", ".join(f"Person {number} <p{number}@example.org>" for number in range(30))
    value = Message().set_decoded("To", text).get("To")
    assert value.replace("\n", "") == text
    assert max(map(len, value.split("\n"))) <= 76


@pytest.mark.parametrize(
    ("header", "domain"),
    [
        ("From: Ann <ann@EXAMPLE.org>", "example.org"),
        ("From: ann@b\u00fccher.example, bob@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("From: ann@example.org\r\nFrom: eve@example.net", ""),
        ("From: ann@example.org, eve@example.net", ""),
        ("From: ann", ""),
        ("From: ann@example.org, ann", ""),
        (f"From: ann@{'a' * 254}", ""),
        ("Subject: x", ""),
    ],
)
def test_the_domain_of_the_author(header: str, domain: str):
    """It is one only if all addresses have it."""
    assert Message.parse(f"{header}\r\n\r\n".encode()).author_domain == domain
