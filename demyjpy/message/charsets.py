"""Bytes in a character set that a mail names, as text. Nothing here raises."""

import codecs
import re
from typing import Final

from demyjpy.wire.fields import encode_text

_NO_TEXT: Final = frozenset({"punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape"})
"""Codecs of Python that are for programs, not for mail; some need quadratic time."""

_ESCAPE: Final = re.compile("[\udc80-\udcff]")
"""A byte that was not UTF-8 (``surrogateescape``)."""
_LONE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Half a character, as UTF-7 may have it."""


def decode_charset(data: bytes, charset: str) -> str | None:
    """Bytes as text, wrong ones as U+FFFD; None if the character set is not known."""
    try:
        if codecs.lookup(charset).name.replace("-", "_") in _NO_TEXT:
            return None
        return _SURROGATE.sub("\ufffd", data.decode(charset, "replace"))
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return None


def readable(text: str) -> str:
    """Text of a header field; if it has bytes that are not UTF-8, it is read as Windows-1252."""
    if text.isascii():
        return text
    text = _LONE.sub("\ufffd", text)
    return encode_text(text).decode("cp1252", "replace") if _ESCAPE.search(text) else text
