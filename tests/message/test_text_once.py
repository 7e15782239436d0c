"""A text that is appended once: where it counts as being there already."""

import pytest

from demyjpy.message import Message

TEXT = "\n-- \nExample Ltd. <info@example.org>,\nExampletown\n"
HTML = "<hr><p>Example <b>Ltd.</b>&nbsp;&lt;info@example.org&gt;, Exampletown"


def single(content_type: str, body: str) -> Message:
    """A message without parts."""
    return Message.parse(f"Content-Type: {content_type}\r\n\r\n{body}\r\n".encode())


def test_it_is_appended_once():
    """In plain text and in HTML, with HTML given or made of the text."""
    for kind, html in (("text/plain", None), ("text/html", None), ("text/html", HTML)):
        new = single(kind, "hello").append_text(TEXT, html, once=True)
        assert "Exampletown" in new.parts()[0].text
        assert new.append_text(TEXT, html, once=True) is new
        assert new.append_text(TEXT, html) is not new


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", "> -- Example Ltd. <info@example.org>,\r\n> > Exampletown\r\n> "),
        ("text/html", "<p>-- Example\r\nLtd. &lt;info@example.org&gt;,\t<i>Exampletown</i>"),
    ],
)
def test_a_quoted_text_is_there(kind: str, body: str):
    """With marks of quoting, other line breaks and tags."""
    message = single(kind, body)
    assert message.append_text(TEXT, once=True) is message


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/octet-stream"])
def test_what_is_only_like_it_is_not(kind: str):
    """A part of the text, or a text that is no text of a mail."""
    message = single(kind, "Example Ltd.")
    assert message.append_text(TEXT, once=True) is not message


def test_a_text_without_words_is_never_there():
    """As a line: it is appended each time."""
    message = single("text/html", "hello")
    assert message.append_text("x", "<hr>", once=True) is not message


def test_a_number_that_no_character_has():
    """Python refuses to read a number of so many digits; a mail may have one."""
    message = single("text/html", f"&#{'9' * 5_000};&#{'0' * 5_000}65;hello")
    new = message.append_text(TEXT, once=True)
    assert new is not message
    assert new.append_text(TEXT, once=True) is new
