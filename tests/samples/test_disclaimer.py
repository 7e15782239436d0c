"""`samples/filters/disclaimer.py`: who gets the text, where it goes, and that it goes there once."""

import base64
from typing import Any

import pytest

from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import serving
from tests.samples.pages import CLIENT, HELLO, USER, sample, sent, settings_of

make = sample("disclaimer").make
SETTINGS = settings_of("filter-disclaimer")
TEXT = b"\r\n______________________________\r\nExample Ltd., registered in Exampletown.\r\n"
MIME = b"From: ann@example.org\r\nMIME-Version: 1.0\r\n"


def played(content: Any, script: Any = USER, **others: Any) -> Any:
    """The parts of a mail as it is delivered, without the mail itself."""
    result = run(make, sent(script, content), mta=Postfix(), settings={**SETTINGS, **others})
    return result.only


def test_own_mail_gets_the_text() -> None:
    """That of users who have logged in, and of this machine; not that of others, nor large ones."""
    assert played(HELLO).delivered.endswith(b"Hello Bob\r\n" + TEXT)
    assert played(HELLO, session(client="127.0.0.1")).delivered.endswith(TEXT)
    assert not played(HELLO, CLIENT).actions
    assert not played(HELLO, limit=50).actions


def test_text_and_html_get_it_each() -> None:
    """In its own encoding; without HTML in the settings it is made of the text."""
    page = base64.b64encode("<html><body>Grüße</body></html>".encode("latin-1"))
    content = (
        MIME + b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n\r\nHi\r\n"
        b"--x\r\nContent-Type: text/html; charset=iso-8859-1\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + page + b"\r\n--x--\r\n"
    )
    _, plain, html = played(content).message.parts()
    assert plain.text == "Hi\r\n" + TEXT.decode()
    assert html.text.startswith("<html><body>Grüße<hr><p>Example Ltd.")
    assert html.text.endswith("</body></html>")
    *_, html = played(content, html=None).message.parts()
    assert "<br>\r\nExample Ltd., registered in Exampletown.</p>" in html.text


QUOTED = [
    b"text/plain\r\n\r\n> " + b"_" * 30 + b"\r\n> Example Ltd.,\r\n> > registered in Exampletown.\r\n",
    b"text/html\r\n\r\n<p>Yes<p>Example\r\n<b>Ltd.,</b> registered in&nbsp;Exampletown.</p>\r\n",
]
SEALED = [
    b"text/plain\r\nDKIM-Signature: v=1\r\n\r\nHi\r\n",
    b"text/plain\r\nARC-Message-Signature: i=1\r\n\r\nHi\r\n",
    b"multipart/signed; boundary=x\r\n\r\n--x\r\n\r\nHi\r\n--x--\r\n",
    b"application/pkcs7-mime\r\n\r\nMIIB\r\n",
    b"text/plain\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n\r\nHi\r\n",
]


@pytest.mark.parametrize("content", [*QUOTED, *SEALED])
def test_some_mail_stays_as_it_is(content: bytes) -> None:
    """What has the text already, also quoted; what is signed or encrypted."""
    assert not played(MIME + b"Content-Type: " + content).actions


def test_no_page_takes_square_time() -> None:
    """Tags that have no end, and long runs of spaces."""
    page = b"Content-Type: text/html\r\n\r\n" + b"<a" * 300_000 + b" " * 300_000 + b"\r\n"
    assert played(MIME + page).actions


def test_a_text_without_words_is_an_error() -> None:
    """It would be in each mail already."""
    with pytest.raises(ValueError, match="expected a text with words in it"):
        make(text=" \n")


def test_it_serves() -> None:
    """Over a socket."""
    with serving(make, settings=SETTINGS, mta=Postfix()) as server:
        assert server.run(sent(USER)).delivered.endswith(TEXT)
