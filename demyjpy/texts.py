"""Text that may come from mail, made fit for what a filter says: addresses, replies, reasons.

Who sends a mail must not choose that the filter fails. So text for people is cut and cleaned here, and
addresses are brought into the form in which both MTAs know them. Nothing here raises; what is no text
stays what it is, for `demyjpy.actions` to refuse.
"""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from demyjpy.errors import LocalProtocolError
from demyjpy.events import strip_brackets
from demyjpy.wire.fields import decode_text, encode_text

MAX_REPLY_LINE: Final = 980
"""Bytes of text in one line of a reply (libmilter's ``MAXREPLYLEN``)."""

MAX_REPLY_LINES: Final = 32
"""Lines in a reply (libmilter's ``MAXREPLIES``)."""

MAX_REPLY: Final = 16_000
"""Bytes of a whole reply, codes included and ``%`` doubled.

Sendmail 8.17.1.9 cuts at 16384, and the client waits for the last line in vain.
"""

NO_REASON: Final = "no reason given"
"""Why a message is kept if the filter gives an empty reason: Postfix knows no empty one."""

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\\.', re.DOTALL)
_PHRASE: Final = re.compile(r"[^@,<>]*<")
_ROUTE: Final = re.compile(r"\s*@(?:\[[^\]]*\]|[^:\[])*:")
_CONTROLS: Final = re.compile(r"[\0-\x1f\x7f-\x9f]")
_FOLDS: Final = re.compile(r"[\0-\x1f\x7f-\x9f][\0-\x20\x7f-\x9f]*")
_BREAKS: Final = (b"\x8a", b"\x8d")
"""What becomes LF and CR in a reply, because Sendmail takes the eighth bit off."""


def is_encodable(value: str) -> bool:
    """Whether a packet can hold a text."""
    if value.isascii():
        return True
    try:
        encode_text(value)
    except LocalProtocolError:
        return False
    return True


def unquoted(value: str) -> str:
    """An address with an ``x`` for each sign that is quoted."""
    return _QUOTED.sub(lambda found: "x" * len(found[0]), value)


def bare_address(value: str) -> str:
    """The address alone: Postfix knows a recipient without brackets, name and source route only.

    It takes ``<Bob <bob@x>>``, ``<<a@x>>``, ``< a@x >`` and ``<@a,@b:c@x>`` from a client, as Sendmail
    does, and sends them to milters as they came (milter8.c); RFC 5321 (appendix C) drops the route.
    """
    if not isinstance(value, str) or "\n" in value or "\0" in value:
        return value
    text = strip_brackets(value.strip(" ")).replace("\r", " ").strip(" \t")
    signs = unquoted(text)
    end = _closing_bracket(signs)
    start = found.end() if end is not None and (found := _PHRASE.match(signs)) else 0
    route = _ROUTE.match(signs[start:end])
    start += route.end() if route else 0
    return text[start:end].strip(" \t")


def _closing_bracket(signs: str) -> int | None:
    """Where the brackets close behind which there is nothing but comments; None if they do not."""
    end = len(signs)
    while end > 0 and signs[end - 1] in " \t)":
        end = signs.rfind("(", 0, end) if signs[end - 1] == ")" else end - 1
    if end <= 0 or signs[end - 1] != ">":
        return None
    return len(signs[:end].rstrip("> \t"))


def _cleaned(text: str, limit: int, breaks: tuple[bytes, ...] = ()) -> str:
    """A line of text: no control character, none of ``breaks``, and what fits ``limit`` bytes."""
    text = _CONTROLS.sub(" ", text[: limit + 1])
    if not text.isascii():
        text = "".join(char if _is_safe(char, breaks) else "?" for char in text)
    data = encode_text(text)
    if len(data) <= limit:
        return text
    for _ in range(3):  # no character is cut in two
        limit -= data[limit] & 0xC0 == 0x80
    return decode_text(data[:limit])


def _is_safe(char: str, breaks: tuple[bytes, ...]) -> bool:
    """Whether a packet can hold a character, and it has none of these bytes."""
    return is_encodable(char) and not any(one in encode_text(char) for one in breaks)


def as_lines(value: str | Iterable[str]) -> Any:
    """The lines of a reply, cut and cleaned; what is no text stays, to be refused."""
    if isinstance(value, str):
        value = re.split("\r?\n", value)
    if not isinstance(value, Iterable):
        return value
    given = tuple(islice(value, MAX_REPLY_LINES)) or ("",)
    if not all(isinstance(line, str) for line in given):
        return given
    lines: list[str] = []
    left = MAX_REPLY
    for line in given:
        text = _cleaned(line, MAX_REPLY_LINE, _BREAKS)
        left -= len("550-5.999.999 \r\n") + len(encode_text(text)) + text.count("%")
        if left < 0:
            break
        lines.append(text)
    return tuple(lines)


def as_reason(value: str) -> str:
    """One line, unfolded; Sendmail keeps it in one line of its queue file, Postfix 100 bytes."""
    if not isinstance(value, str):
        return value
    return _cleaned(_FOLDS.sub(" ", value[:MAX_REPLY]).strip(" "), MAX_REPLY_LINE) or NO_REASON
