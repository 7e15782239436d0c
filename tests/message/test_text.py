"""Header fields for people: decoded, encoded, folded."""

import email.header
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demyjpy.message import Message
from demyjpy.message.charsets import readable
from demyjpy.message.text import decoded_text, encoded_text

CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain", "plain"),
        (" two\n words\n\tmore ", "two words more"),
        ("=?utf-8?q?gr=C3=B6=C3=9Fer?=", "größer"),
        ("=?UTF-8?B?Z3LDtg==?= =?utf-8?b?w59lcg?=", "größer"),
        ("=?utf-8?b?w7w=?=\n  =?utf-8*de?q?_=C3?= \n =?utf-8?q?=BC?= x", "ü ü x"),
        ("a =?iso-8859-1?q?=E9?= b", "a é b"),
        ("=?utf-8?q?a?= =?iso-8859-1?q?=E9?=", "aé"),
        ("=?nonesuch?q?a?= =?utf-8?q?=C3=A9?=", "=?nonesuch?q?a?= é"),
        ("=?punycode?b?YQ==?= =?a\0b?q?x?=", "=?punycode?b?YQ==?= =?a b?q?x?="),
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("=?utf-8?q?a=0D=0AX-Evil:_1?=", "a  X-Evil: 1"),
        ("a=?utf-8?q?b?=c", "abc"),
        ("=?utf-8?q?with space=?=", "with space"),
        ("\udcfc\udc80", "ü€"),
        ("\udcfc =?utf-8?q?=C3=A9?=", "ü é"),
        ("größer", "größer"),
        ("\ud800", "\ufffd"),
        ("=?utf-7?q?+2AA-?=", "\ufffd"),
        ("=?", "=?"),
        ("", ""),
    ],
)
def test_decoded(raw, text):
    """What mail programs show, on one line and without control characters."""
    assert Message.of([("Subject", f" {raw}")]).decoded("subject") == text


def test_decoded_of_a_field_that_is_not_there():
    """It is None, or what is asked for."""
    assert Message().decoded("Subject") is None
    assert Message().decoded("Subject", "none") == "none"


@given(st.text(), st.booleans())
@example("=?utf-8?q?x?=", True)
@example("a  b " * 60 + "é", False)
@example("x" * 3000 + " y", False)
@example("é" * 3000, True)
@example("\udcfc=? \ud800", False)
def test_what_is_encoded_is_decoded(text, is_utf8):
    """The same text comes back, whatever it is; no line has more than 998 bytes."""
    value = encoded_text("Subject", text, is_utf8=is_utf8)
    assert decoded_text(value) == CONTROLS.sub(" ", readable(text)).strip(" ")
    assert Message().set("Subject", value).get("Subject") == value
    assert all(len(line.encode()) <= 998 for line in value.split("\n"))
    assert is_utf8 or value.isascii()
    assert not re.search(r"\n[ \t]*(\n|\Z)", value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1))
def test_the_standard_library_decodes_it(text):
    """What `email.header` reads is what was written."""
    value = encoded_text("Subject", text, is_utf8=False)
    if "=?" not in text:
        assert str(email.header.make_header(email.header.decode_header(value))) == text


def test_set_decoded_folds_and_encodes_only_what_it_has_to():
    """Words before and behind the odd ones stay; lines have 76 characters; ASCII is not encoded."""
    message = Message().set_decoded("Subject", "plain words, then größer and plain again")
    assert message.get("Subject") == "plain words, then =?utf-8?b?Z3LDtsOfZXI=?= and plain again"
    long = Message().set_decoded("Subject", "word " * 30).get("Subject")
    assert max(map(len, f"Subject: {long}".split("\n"))) <= 76
    assert long.replace("\n", "") == ("word " * 30).strip()
    lines = Message().set_decoded("Subject", "größer " * 30).get("Subject").split("\n")
    assert all(len(line) <= 76 for line in lines)


def test_set_decoded_knows_smtputf8():
    """If the sender asked for it, UTF-8 stands in the header as it is."""
    message = Message.parse(b"\r\n").with_sender("é@example.org", "SMTPUTF8")
    assert message.set_decoded("Subject", "größer").get("Subject") == "größer"
    assert message.set_decoded("From", "é, ü <é@é.example>").get("From") == 'é, "ü" <é@é.example>'


def test_set_decoded_of_the_same_text_changes_nothing():
    """However it is encoded in the mail."""
    message = Message.of([("Subject", " =?iso-8859-1?q?gr=F6=DFer?=\n  x")])
    assert message.set_decoded("Subject", message.decoded("Subject")) is message
