"""A text at the end of the text that people read, in each form in which the message has it."""

import re
from html import escape, unescape
from typing import Final

from demyjpy.message.fields import Fields
from demyjpy.message.mime.edit import Entity, attach, put
from demyjpy.message.mime.part import Part
from demyjpy.message.mime.written import (
    encoded_content,
    encoded_in,
    quoted_printable,
    with_charset,
    with_crlf,
    with_encoding,
)

_READABLE: Final = frozenset({"7bit", "8bit", "binary", "quoted-printable", "base64"})
_TEXTS: Final = frozenset({"text/plain", "text/html"})
_TAG: Final = re.compile(r"<[^<>]*>")
_SPACE: Final = re.compile(r"[>\s]+")
_LONG_NUMBER: Final = re.compile(r"&#[0-9]{100,}")
"""No character has it, and Python reads none of more than 4,300 digits."""


def append_text(entity: Entity, parts: tuple[Part, ...], text: str, html: str | None) -> Entity:
    """With a text at the end of the plain text and of the HTML, or as a part of its own."""
    if not (text or html):
        return entity
    children: dict[tuple[int, ...], list[Part]] = {}
    for part in parts[1:]:
        children.setdefault(part.path[:-1], []).append(part)
    found = _texts(parts[0], children)
    if not found:
        return attach(entity, parts, text, "text/plain", None, "inline")
    plain = with_crlf(text if text.endswith("\n") else f"{text}\n")
    marked = with_crlf(_marked(text) if html is None else html)
    for part in found:
        fields = part.fields if part.path else entity.fields
        if part.type == "text/html":
            fields, raw = _longer_html(part, fields, marked)
        else:
            fields, raw = _longer_text(part, fields, plain)
        entity = put(entity, part, fields, raw)
    return entity


def has_text(parts: tuple[Part, ...], text: str, html: str | None) -> bool:
    """Whether a text stands in one of these parts already, as plain text or HTML, also quoted.

    Line breaks, marks of quoting and tags do not count. A text without words stands nowhere.
    """
    marks = {
        "text/plain": _words(text, "text/plain"),
        "text/html": _words(
            text if html is None else html, "text/plain" if html is None else "text/html"
        ),
    }
    return any(mark in _words(part.text, part.type) for part in parts if (mark := marks.get(part.type)))


def _words(text: str, kind: str) -> str:
    if kind == "text/html":
        text = unescape(_LONG_NUMBER.sub("", _TAG.sub(" ", text)))
    return _SPACE.sub(" ", text).strip()


def _texts(part: Part, children: dict[tuple[int, ...], list[Part]]) -> list[Part]:
    """The parts that a mail program shows as the text: one, or one for each form of it."""
    if part.type in _TEXTS:
        is_body = part.disposition != "attachment" and part.file_name is None
        return [part] if is_body and part.encoding in _READABLE else []
    inner = (_texts(one, children) for one in children.get(part.path, ()))
    if part.type == "multipart/alternative":
        return [one for found in inner for one in found]
    return next((found for found in inner if found), []) if part.type.startswith("multipart/") else []


def _longer_text(part: Part, fields: Fields, text: str) -> tuple[Fields, bytes]:
    """Header and encoded body with a text at the end."""
    if (part.parameter("format") or "").lower() == "flowed":
        text = "\r\n".join(map(_stuffed, text.split("\r\n")))
    fields, old, new = _in_one_charset(part, fields, text, "replace")
    if old and not old.endswith(b"\n"):
        new = b"\r\n" + new
    raw = part.raw_content
    if part.encoding == "quoted-printable" and old == part.content and not _is_soft(raw):
        return fields, raw + quoted_printable(new)
    return _encoded(part, fields, old + new)


def _longer_html(part: Part, fields: Fields, html: str) -> tuple[Fields, bytes]:
    """Header and encoded body with more HTML before the end of the page."""
    fields, old, new = _in_one_charset(part, fields, html, "xmlcharrefreplace")
    lower = old.lower()
    ends = (lower.rfind(b"</body"), lower.rfind(b"</html"))
    at = next((one for one in ends if one >= 0), len(old))
    return _encoded(part, fields, b"".join([old[:at], new, old[at:]]))


def _encoded(part: Part, fields: Fields, data: bytes) -> tuple[Fields, bytes]:
    encoding, raw = encoded_content(data, part.encoding, is_text=True, boundaries=part.boundaries)
    return with_encoding(fields, encoding), raw


def _in_one_charset(part: Part, fields: Fields, text: str, errors: str) -> tuple[Fields, bytes, bytes]:
    """The content of a part and a text in one character set: that of the part if it has the letters."""
    data, charset = part.content, part.charset
    new = encoded_in(text, charset)
    if new is not None:
        return fields, data, new
    for name in (charset or "us-ascii", "utf-8"):
        old = _strict(data, name)
        if old is not None:
            return with_charset(fields, "utf-8"), old.encode(), text.encode("utf-8", "replace")
    return fields, data, text.encode("ascii", errors)


def _strict(data: bytes, charset: str) -> str | None:
    """Bytes as text; None if they are not all right in the character set, or it is not known."""
    if encoded_in("", charset) is None and not charset.startswith("utf"):
        return None
    try:
        text = data.decode(charset)
        text.encode()
    except (UnicodeError, LookupError):
        return None
    return text


def _is_soft(raw: bytes) -> bool:
    """Whether quoted-printable ends in a line that goes on."""
    return raw.removesuffix(b"\n").removesuffix(b"\r").rstrip(b" \t").endswith(b"=")


def _stuffed(line: str) -> str:
    """A line of its own in format=flowed (RFC 3676)."""
    if line == "-- ":
        return line
    line = line.rstrip(" ")
    return f" {line}" if line.startswith((" ", ">", "From ")) else line


def _marked(text: str) -> str:
    return "<p>" + "<br>\n".join(escape(text.rstrip("\n"), quote=False).splitlines()) + "</p>\n"
