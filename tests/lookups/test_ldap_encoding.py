"""Messages of LDAP as bytes: what is sent, and whatever comes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy.lookups.ldap_encoding import (
    ENTRY,
    EncodingError,
    Incoming,
    TooMuchError,
    bind_request,
    integer,
    parse_entry,
    parse_message,
    parse_result,
    search_request,
    tlv,
    unbind_request,
    values_in,
)


def test_what_is_sent():
    """As RFC 4511 says, sections 4.2, 4.3 and 4.5."""
    assert bind_request(1, "cn=a", "b") == (
        b"\x30\x11\x02\x01\x01\x60\x0c\x02\x01\x03\x04\x04cn=a\x80\x01b"
    )
    assert unbind_request(2) == b"\x30\x05\x02\x01\x02\x42\x00"
    assert search_request(300, "o", "one", 200, 3, b"\x87\x01a", ()) == (
        b"\x30\x23\x02\x02\x01\x2c\x63\x1d\x04\x01o\x0a\x01\x01\x0a\x01\x00\x02\x02\x00\xc8\x02\x01\x03"
        b"\x01\x01\x00\x87\x01a\x30\x05\x04\x031.1"
    )
    assert search_request(1, "", "base", 1, 1, b"", ("cn", "sn")).endswith(
        b"\x30\x08\x04\x02cn\x04\x02sn"
    )


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 70_000])
def test_lengths_come_back(size):
    """Short and long ones."""
    assert [*values_in(tlv(4, b"x" * size) + integer(size))] == [
        (4, b"x" * size),
        (2, integer(size)[2:]),
    ]


def entry(*attributes):
    """An entry with these attributes: a name and its values."""
    parts = [
        tlv(0x30, tlv(4, name), tlv(0x31, *[tlv(4, value) for value in values]))
        for name, *values in attributes
    ]
    return tlv(4, b"cn=a") + tlv(0x30, *parts)


def test_an_entry():
    """Any bytes survive."""
    content = entry((b"cn", b"a"), (b"jpegPhoto", b"\xff\xd8", b""), (b"sn",))
    found = parse_message(integer(7) + tlv(ENTRY, content))
    assert found == Incoming(7, ENTRY, content)
    name = "cn=a", (("cn", ("a",)), ("jpegPhoto", ("\udcff\udcd8", "")), ("sn", ()))
    assert parse_entry(content, 6) == name  # three attributes, three values
    for most in (1, 5):
        with pytest.raises(TooMuchError, match="attributes and values, got more"):
            parse_entry(content, most)


@pytest.mark.parametrize(
    ("parse", "wrong", "said"),
    [
        (parse_message, b"", "expected the tag 0x02, got none"),
        (parse_message, b"\x04\x01a", "expected the tag 0x02, got 0x04"),
        (parse_message, b"\x02\x05a", "expected 5 bytes, got 1"),
        (parse_message, b"\x02\x80", "a length of 1 to 4 bytes, got 0"),
        (parse_message, b"\x02\x85aaaaa", "a length of 1 to 4 bytes, got 5"),
        (parse_message, b"\x02\x84\xff", "expected 255 bytes, got 0"),
        (parse_result, b"\x02\x01\x00", "expected the tag 0x0a, got 0x02"),
        (lambda data: parse_entry(data, 1), b"\x04\x00\x31\x00", "expected the tag 0x30, got 0x31"),
    ],
)
def test_what_is_no_message_is_an_error(parse, wrong, said):
    """Never another one."""
    with pytest.raises(EncodingError, match=said):
        parse(wrong)


@given(st.binary(max_size=60))
def test_whatever_comes_is_understood_or_refused(data):
    """Nothing else is raised; what is there is never more than what came."""
    for parse in (parse_message, parse_result, lambda data: parse_entry(data, 10)):
        with suppress(EncodingError):
            parse(data)
