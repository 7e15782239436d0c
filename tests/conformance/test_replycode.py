"""Rows 125-134: replies of the filter's own."""

import pytest

from demyjpy import (
    LocalProtocolError,
    Reject,
    ReplyCode,
    TemporaryFailure,
    new_context,
    reject,
    tempfail,
)
from tests.conformance.talk import DATA, Talk, packet, reply_code


def said(action) -> bytes:
    """What goes out for it."""
    talk = Talk({"data": action}).go_to("data")
    answer = talk.say(DATA)
    assert talk.troubles == []
    return answer


def queued(ctx):
    """What a shorthand has queued."""
    return ctx["queue"]


def test_row_125_reply():
    """Code, enhanced code and text, and one NUL."""
    assert said(ReplyCode(550, "5.7.1", "text")) == packet(b"y", b"550 5.7.1 text\0")


def test_row_125_without_enhanced_code():
    """Without enhanced code the text follows the code."""
    assert said(ReplyCode(451, None, "later")) == packet(b"y", b"451 later\0")


def test_row_125_eight_bit_text():
    """Text is UTF-8, and any byte that is not passes through."""
    assert said(ReplyCode(550, "5.7.1", "é \udcff")) == packet(b"y", b"550 5.7.1 \xc3\xa9 \xff\0")


@pytest.mark.parametrize(
    ("text", "sent"), [("100%", b"100%%"), ("%", b"%%"), ("%s %%", b"%%s %%%%"), ("a%\nb%", None)]
)
def test_row_126_percent(text, sent):
    """Each percent sign is doubled, in every line."""
    wanted = b"550-5.7.1 a%%\r\n550 5.7.1 b%%" if sent is None else b"550 5.7.1 " + sent
    assert said(ReplyCode(550, "5.7.1", text)) == reply_code(wanted)


@pytest.mark.parametrize("text", ["a\nb\nc", ("a", "b", "c"), ["a", "b", "c"]])
def test_row_127_three_lines(text):
    """Lines are joined with CRLF, a hyphen after the code of all but the last; one NUL at the end."""
    wanted = b"550-5.7.1 a\r\n550-5.7.1 b\r\n550 5.7.1 c\0"
    assert said(ReplyCode(550, "5.7.1", text)) == packet(b"y", wanted)
    assert said(ReplyCode(450, None, text)) == packet(b"y", b"450-a\r\n450-b\r\n450 c\0")


@pytest.mark.parametrize(
    "code", [250, 299, 354, 399, 600, 650, 99, 4, 5500, 0, -550, "55x", "550", 550.0, True, None]
)
def test_row_128_codes(code):
    """Only codes from 400 to 599 are replies of a filter."""
    with pytest.raises(LocalProtocolError, match="code from 400 to 599"):
        ReplyCode(code, None, "x")


@pytest.mark.parametrize("code", [400, 421, 499, 500, 554, 599])
def test_row_128_good_codes(code):
    """The limits themselves are allowed."""
    assert said(ReplyCode(code, None, "x")) == reply_code(b"%d x" % code)


@pytest.mark.parametrize(("code", "enhanced"), [(550, "4.7.1"), (450, "5.7.1")])
def test_row_129_classes_differ(code, enhanced):
    """Code and enhanced code are of one class."""
    with pytest.raises(LocalProtocolError, match="of one class"):
        ReplyCode(code, enhanced, "x")


@pytest.mark.parametrize(
    "enhanced", ["2.1.1", "5.7", "5.7.1.1", "5.7.x", "5.7.1000", "5..1", "5.7.1 ", "5,7,1"]
)
def test_row_129_not_an_enhanced_code(enhanced):
    """An enhanced code is three numbers, the first 4 or 5."""
    with pytest.raises(LocalProtocolError, match="enhanced"):
        ReplyCode(550, enhanced, "x")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("a\rb", b"550 5.7.1 a b"),
        ("a\r\nb", b"550-5.7.1 a\r\n550 5.7.1 b"),
        ("a\0b", b"550 5.7.1 a b"),
        (("a", "b\nc"), b"550-5.7.1 a\r\n550 5.7.1 b c"),
        (("a\r",), b"550 5.7.1 a "),
    ],
)
def test_row_130_control_characters(given, text):
    """CR, LF and NUL within a line become spaces: a refusal refuses, whatever a mail holds."""
    assert said(ReplyCode(550, "5.7.1", given)) == reply_code(text)


def test_row_131_limits():
    """980 bytes in a line and 16000 in all are the most, percent signs and all: Sendmail cuts there."""
    lines = ["%" * 980] * 32
    assert 15_000 < len(said(ReplyCode(550, "5.123.123", lines))) < 16_384
    assert said(ReplyCode(550, "5.7.1", "x" * 980)) == reply_code(b"550 5.7.1 " + b"x" * 980)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("x" * 981, b"550 5.7.1 " + b"x" * 980),
        ("é" * 491, b"550 5.7.1 " + "é".encode() * 490),
        (["x"] * 33, b"550-5.7.1 x\r\n" * 31 + b"550 5.7.1 x"),
        ("\n" * 32, b"550-5.7.1 \r\n" * 31 + b"550 5.7.1 "),
        ([], b"550 5.7.1 "),
    ],
)
def test_row_131_beyond_the_limits(given, text):
    """A longer line, counted in bytes, and more lines are cut."""
    assert said(ReplyCode(550, "5.7.1", given)) == reply_code(text)


@pytest.mark.parametrize("code", [400, 450, 499, 600])
def test_row_132_reject_with_another_class(code):
    """To reject takes a code of 5xx."""
    with pytest.raises(LocalProtocolError, match="from 500 to 599"):
        reject(new_context(), "5.7.1", "x", code=code)


@pytest.mark.parametrize("code", [500, 550, 399])
def test_row_132_tempfail_with_another_class(code):
    """To fail temporarily takes a code of 4xx."""
    with pytest.raises(LocalProtocolError, match="from 400 to 499"):
        tempfail(new_context(), "4.7.1", "x", code=code)


def test_row_132_enhanced_code_of_another_class():
    """Nor may the enhanced code be of another class."""
    with pytest.raises(LocalProtocolError, match="of one class"):
        reject(new_context(), "4.7.1", "x")
    with pytest.raises(LocalProtocolError, match="of one class"):
        tempfail(new_context(), "5.7.1", "x")


def test_row_132_shorthands():
    """With the right class they queue a reply; without text, the plain verdict."""
    ctx = new_context()
    assert queued(reject(ctx, "5.7.1", "no")) == (ReplyCode(550, "5.7.1", "no"),)
    assert queued(reject(ctx, "5.1.1", "who?", code=553)) == (ReplyCode(553, "5.1.1", "who?"),)
    assert queued(tempfail(ctx, "4.7.1", "later")) == (ReplyCode(451, "4.7.1", "later"),)
    assert queued(reject(ctx)) == (Reject(),)
    assert queued(tempfail(ctx)) == (TemporaryFailure(),)


def test_row_133_421():
    """421, at which the MTA closes the SMTP session, goes out as it is."""
    assert said(ReplyCode(421, "4.3.2", "bye")) == reply_code(b"421 4.3.2 bye")


@pytest.mark.parametrize(
    ("action", "sent"),
    [
        (ReplyCode(550), b"550 "),
        (ReplyCode(550, "", ""), b"550 "),
        (ReplyCode(450, "4.7.1"), b"450 4.7.1 "),
        (ReplyCode(550, None, ["", ""]), b"550-\r\n550 "),
    ],
)
def test_row_134_without_text(action, sent):
    """Without text a reply is still code and space: Postfix wants four characters."""
    assert said(action) == packet(b"y", sent + b"\0")
