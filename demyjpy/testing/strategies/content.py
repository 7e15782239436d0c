"""Strategies for messages: header fields and bodies with all that is nasty and legal in them."""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from demyjpy.wire.codes import CHUNK_SIZE
from demyjpy.wire.fields import encode_text

T = TypeVar("T")

NAMES: Final = (
    "Subject",
    "From",
    "To",
    "X-Test",
    "Date",
    "Message-Id",
    "Received",
    "Content-Type",
    "Content-Transfer-Encoding",
)
VALUES: Final = (
    "hello",
    "",
    "alice@example.org",
    "text/plain; charset=utf-8",
    "base64",
    "=?utf-8?q?gr=C3=BC=C3=9Fe?=",
    "viele grüße",
    "caf\udce9 au lait",
    "a \tb ",
    "100% %s",
    "x" * 998,
)
BREAKS: Final = ("\r\n ", "\r\n\t", "\r\n \r\n ", "\r")
LINES: Final = (
    b"hello",
    b"",
    b".",
    b"From here",
    b"gr\xc3\xbc\xc3\x9fe",
    b"caf\xe9 au lait",
    b"\0",
    b" trailing \t ",
    b"aGVsbG8=",
    b"--=",
    b"x" * 1000,
)
_EDGES: Final = (CHUNK_SIZE, CHUNK_SIZE + 1, CHUNK_SIZE - 1, 2 * CHUNK_SIZE)
_FIELD_NAME: Final = re.compile(r"[!-9;-~]{1,60}")


def with_words(stock: Sequence[T], words: Sequence[T]) -> SearchStrategy[T]:
    """One of the stock, or as often one of the words, if there are any."""
    own = [st.sampled_from(words)] if words else []
    return st.one_of(st.sampled_from(stock), *own)


def header_names(words: Sequence[str]) -> tuple[str, ...]:
    """The stock names of fields, and the words that may be one."""
    return (*NAMES, *(word for word in words if _FIELD_NAME.fullmatch(word)))


def headers(words: Sequence[str] = ()) -> SearchStrategy[bytes]:
    """Header fields as bytes, with CRLF: several of a name, folds, 8 bit, empty values, any spacing.

    ``words`` are used beside the stock ones, as names and in values.
    """
    names = with_words(NAMES, header_names(words)[len(NAMES) :])
    cases = st.sampled_from((str, str.upper, str.lower))
    values = with_words(VALUES, words)
    breaks = st.sampled_from(BREAKS)
    usual = st.builds(lambda value: f" {value}", values)
    odd = st.builds(
        lambda space, one, between, other: f"{space}{one}{between}{other}",
        st.sampled_from((" ", "", "\t", "  ")),
        values,
        breaks,
        values.filter(lambda value: value.strip() != ""),
    )
    return st.builds(
        lambda name, case, raw: encode_text(f"{case(name)}:{raw}\r\n"),
        names,
        cases,
        st.sampled_from((usual, usual, usual, odd)).flatmap(lambda chosen: chosen),
    )


def bodies(words: Sequence[str] = ()) -> SearchStrategy[bytes]:
    """Bodies: empty, 8 bit, NUL, dots, without line end, long lines, and up to the 64 KiB edges.

    ``words`` are used beside the stock lines, also across the edges.
    """
    lines = with_words(LINES, [encode_text(word) for word in words])
    small = st.builds(
        lambda some, end: b"\r\n".join(some) + (end if some else b""),
        st.lists(lines, max_size=4),
        st.sampled_from((b"\r\n", b"", b"\r\n\r\n")),
    )
    large = st.builds(
        lambda edge, line, back: b"x" * (edge - min(back, len(line))) + line + b"\r\n",
        st.sampled_from(_EDGES),
        lines,
        st.integers(0, 20),
    )
    return st.sampled_from((False,) * 11 + (True,)).flatmap(lambda is_rare: large if is_rare else small)


PARTS: Final = (
    b"Content-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n",
    b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>a=3Db</p>=\r\n",
    b"Content-Disposition: attachment; filename*=utf-8''gr%C3%BC%C3%9Fe.exe\r\n\r\nhello\r\n",
    b"Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n",
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nhello\r\n",
    b"Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\na\r\n--in\r\n\r\nb\r\n--in--\r\n",
    b"Content-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n",
    b"\r\nno header\r\n",
    b"",
)
_KINDS: Final = ("mixed", "alternative", "related", "signed", "report")


def multipart(parts: Sequence[bytes], kind: str = "mixed", end: bytes = b"--out--\r\n") -> bytes:
    """The last field of a header, the empty line, and a body of these parts."""
    field = f'MIME-Version: 1.0\r\nContent-Type: multipart/{kind};\r\n boundary="out"\r\n\r\n'
    return field.encode() + b"".join(b"--out\r\n" + part + b"\r\n" for part in parts) + end


def _mime() -> SearchStrategy[bytes]:
    """Parts of many types; a delimiter may be missing."""
    return st.builds(
        multipart,
        st.lists(st.sampled_from(PARTS), max_size=3),
        st.sampled_from(_KINDS),
        st.sampled_from((b"--out--\r\n", b"--out--", b"", b"--out--\r\nbehind\r\n")),
    )


@st.composite
def messages(draw: Any, words: Sequence[str] = ()) -> bytes:
    """Whole messages: header, empty line, body; some without a body or a header, some multipart."""
    header = b"".join(draw(st.lists(headers(words), max_size=5)))
    if draw(st.sampled_from((False,) * 7 + (True,))):
        return header + bytes(draw(_mime()))
    return header + b"\r\n" + bytes(draw(bodies(words)))
