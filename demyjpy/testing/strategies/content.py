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


@st.composite
def messages(draw: Any, words: Sequence[str] = ()) -> bytes:
    """Whole messages: header, empty line, body; some without a body, some without a header."""
    header = b"".join(draw(st.lists(headers(words), max_size=5)))
    return header + b"\r\n" + bytes(draw(bodies(words)))
