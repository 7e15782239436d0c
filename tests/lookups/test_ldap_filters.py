"""Filters of LDAP as templates: what is sent for them, and that a value means nothing in them."""

import pytest

from demyjpy.errors import HandlerError
from demyjpy.lookups.ldap_filters import DEEPEST, LONGEST, EmptyValueError, parse_template

X = {"x": b"*)(uid=*"}
"""What an attacker would like to send."""


def octets(text):
    return b"\x04" + bytes((len(text),)) + text


def pair(tag, name, value):
    content = octets(name) + octets(value)
    return bytes((tag, len(content))) + content


@pytest.mark.parametrize(
    ("template", "sent"),
    [
        ("(mail={x})", pair(0xA3, b"mail", b"*)(uid=*")),
        ("(mail=smtp:{x}@a)", pair(0xA3, b"mail", b"smtp:*)(uid=*@a")),
        (r"(cn=a\2a\28{x})", pair(0xA3, b"cn", b"a*(*)(uid=*")),
        ("(n>=5)", pair(0xA5, b"n", b"5")),
        ("(n<=5)", pair(0xA6, b"n", b"5")),
        ("(n~=)", pair(0xA8, b"n", b"")),
        ("(mail=*)", b"\x87\x04mail"),
        ("(!(mail=*))", b"\xa2\x06\x87\x04mail"),
        ("(|(a=*)(b=*))", b"\xa1\x06\x87\x01a\x87\x01b"),
        ("(&(a=*))", b"\xa0\x03\x87\x01a"),
        ("(a;lang-de=*)", b"\x87\x09a;lang-de"),
        ("(2.5.4.3=ü)", pair(0xA3, b"2.5.4.3", "ü".encode())),
        ("(a={x}*)", b"\xa4\x0f\x04\x01a\x30\x0a\x80\x08*)(uid=*"),
        ("(a=*b*c)", b"\xa4\x0b\x04\x01a\x30\x06\x81\x01b\x82\x01c"),
        ("(a:1.2:={x})", b"\xa9\x12\x81\x031.2\x82\x01a\x83\x08*)(uid=*"),
        ("(a:dn:=b)", b"\xa9\x09\x82\x01a\x83\x01b\x84\x01\xff"),
        ("(:1.2:=b)", b"\xa9\x08\x81\x031.2\x83\x01b"),
    ],
)
def test_what_is_sent(template, sent):
    """By RFC 4511, section 4.5.1.7; a value is one, whatever is in it."""
    assert parse_template(template).encode(X) == sent


def test_the_names_of_values():
    """Each once; a value may stand in several places."""
    parsed = parse_template("(|(mail={x})(alias={x})(uid={local_2}))")
    assert parsed.names == {"x", "local_2"}
    long = parsed.encode({"x": b"\0" * 300, "local_2": b""})
    assert long.count(b"\x04\x82\x01\x2c" + b"\0" * 300) == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (3, "expected a filter as a text of at most 10000 characters, got 3"),
        ("(" * LONGEST + ")", "at most 10000 characters"),
        ("mail=a", r"expected \( at character 0 of the filter, got 'mail=a'"),
        ("", r"expected \( at character 0 of the filter, got its end"),
        ("(mail=a", r"expected \) at character 7 of the filter, got its end"),
        ("(mail=a)(b=c)", r"expected its end at character 8 of the filter, got '\(b=c\)'"),
        ("(&)", "one filter after !"),
        ("(!(a=b)(c=d))", "one filter after !"),
        ("(mail)", "expected an attribute with =, >=, <=, ~= or :="),
        ("({x}=a)", "expected an attribute with ="),
        ("(=a)", "expected an attribute, and := for a matching rule"),
        ("(:=a)", "expected an attribute, and := for a matching rule"),
        ("(a:dn=b)", "expected an attribute, and := for a matching rule"),
        ("(a>=b*)", "a \\* only after ="),
        ("(a:=b*)", "a \\* only after ="),
        ("(a=**)", "expected a single \\*"),
        ("(a=b**c)", "a text between two"),
        ("(a={X})", "{name} in small letters"),
        ("(a=b\\zz)", "two hexadecimal digits"),
        ("(a=\0)", "expected a text"),
        ("(!" * (DEEPEST + 1) + "(a=b)" + ")" * (DEEPEST + 1), "at most 20 filters in each other"),
    ],
)
def test_what_is_no_filter_is_an_error(wrong, said):
    """That says where, and what was expected."""
    with pytest.raises(HandlerError, match=said):
        parse_template(wrong)


def test_an_empty_value_does_not_find_everything():
    """``(mail={x}*)`` would be ``(mail=*)`` for an empty one."""
    with pytest.raises(EmptyValueError, match="beside \\* that is not empty"):
        parse_template("(mail={x}*)").encode({"x": b""})
