"""Header fields for people: encoded words (RFC 2047) read and written, and folding.

`decoded_text` takes whatever a mail has. Its results hold no control character, so that they can go
into another field. Nothing here raises because of a mail.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Final

from demyjpy.message.charsets import decode_charset, readable
from demyjpy.wire.fields import encode_text

_WORD: Final = re.compile(r"=\?([^?*\s]{1,60})(?:\*[^?\s]{0,20})?\?([BbQq])\?([^?]*)\?=")
_CONTROLS: Final = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029]")
_LINE: Final = 76
"""Characters in a folded line (RFC 2047 section 2)."""
_CHUNK: Final = 45
"""Bytes in one encoded word: 60 characters of base64, 72 with what is around them."""
_LONGEST_WORD: Final = 900
"""Bytes in a word that stays as it is: a line of a mail has 998 at most (RFC 5322 section 2.1.1)."""


def decoded_text(value: str) -> str:
    """A text from a header field for people: unfolded, encoded words decoded.

    An encoded word in an unknown character set stays as it is. A text with bytes that are not UTF-8
    is read as Windows-1252. Control characters become spaces.
    """
    text = readable(value).replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ")
    if "=?" in text:
        text = "".join(_decoded_pieces(text))
    return cleaned(text)


def encoded_text(name: str, text: str, *, is_utf8: bool) -> str:
    """A text as the value of a field of this name: encoded if it has to be, and folded.

    ``is_utf8``: whether UTF-8 may stand there as it is (SMTPUTF8).
    """
    return folded(name, encoded_words(cleaned(readable(text)), is_utf8=is_utf8))


def encoded_words(text: str, *, is_utf8: bool) -> list[str]:
    """The words of a text, from the first to the last odd one as encoded words."""
    words = text.split(" ")
    odd = [at for at, word in enumerate(words) if not _is_plain(word, is_utf8=is_utf8)]
    if not odd:
        return words
    first, last = odd[0], odd[-1] + 1
    return [*words[:first], *coded_words(" ".join(words[first:last])), *words[last:]]


def coded_words(text: str) -> list[str]:
    """All of a text as encoded words."""
    coded = (binascii.b2a_base64(one, newline=False).decode() for one in _chunks(text))
    return [f"=?utf-8?b?{one}?=" for one in coded]


def folded(name: str, words: list[str]) -> str:
    """Words with a space between them, as the value of a field of this name."""
    lines, line = [], words[0]
    used = len(name) + 2
    for word in words[1:]:
        if word and used + len(line) + 1 + len(word) > _LINE and line.strip(" "):
            lines.append(line)
            line, used = word, 1
        else:
            line = f"{line} {word}"
    return "\n ".join([*lines, line])


def cleaned(text: str) -> str:
    """A text with spaces in place of control characters, and none around it."""
    return _CONTROLS.sub(" ", text).strip(" ")


def _is_plain(word: str, *, is_utf8: bool) -> bool:
    """Whether a word may stand in a header field as it is."""
    if "=?" in word or not (is_utf8 or word.isascii()):
        return False
    return len(encode_text(word)) <= _LONGEST_WORD


def _chunks(text: str) -> Iterator[bytes]:
    """A text in UTF-8, in pieces that fit one encoded word; no character is cut."""
    data = bytearray()
    for char in text:
        coded = char.encode()
        if len(data) + len(coded) > _CHUNK:
            yield bytes(data)
            data.clear()
        data += coded
    yield bytes(data)


def _decoded_pieces(text: str) -> Iterator[str]:
    """What is between encoded words, and these; neighbours in one character set are decoded together."""
    at, charset = 0, ""
    data: list[bytes] = []
    for found in _WORD.finditer(text):
        word = _decoded_word(found)
        if word is None:
            continue
        between = text[at : found.start()]
        is_neighbour = at > 0 and not between.strip(" \t\n")
        if not (is_neighbour and found[1].lower() == charset):
            yield decode_charset(b"".join(data), charset) or ""
            data = []
        if not is_neighbour:
            yield between
        data.append(word)
        at, charset = found.end(), found[1].lower()
    yield decode_charset(b"".join(data), charset) or ""
    yield text[at:]


def _decoded_word(found: re.Match[str]) -> bytes | None:
    """The bytes that an encoded word stands for; None if it is none."""
    if decode_charset(b"", found[1]) is None:
        return None
    data = encode_text(found[3])
    if found[2] in "Qq":
        return binascii.a2b_qp(data, header=True)
    try:
        return binascii.a2b_base64(data + b"==")
    except binascii.Error:
        return None
