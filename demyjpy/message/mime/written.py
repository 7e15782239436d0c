"""How a new content is written: transfer encoding, character set, header fields of a part."""

import base64
import binascii
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

from demyjpy.message.charsets import decode_charset
from demyjpy.message.fields import Fields, new_field, values_of, with_set
from demyjpy.message.mime.parameters import split_pieces
from demyjpy.wire.fields import encode_text

_LONGEST_LINE: Final = 998
_LONG: Final = re.compile(rb"[^\n]{999}")
_DASHES: Final = re.compile(rb"^--", re.MULTILINE)
_DASHED: Final = re.compile(rb"^--[^\r\n]*", re.MULTILINE)
_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_IDENTITIES: Final = frozenset({"7bit", "8bit", "binary"})
_CONTROLS: Final = re.compile(r"[\0-\x1f\x7f-\x9f]")
_CHUNK: Final = 18
"""Bytes of a file name in one parameter: each may become three characters (RFC 2231)."""


def with_crlf(text: str) -> str:
    """A text with CRLF at each line end."""
    return _LINE_END.sub("\r\n", text)


def encoded_content(
    data: bytes, encoding: str, *, is_text: bool, boundaries: Collection[bytes] = ()
) -> tuple[str, bytes]:
    """A transfer encoding that can carry the data, the given one if possible, and the encoded data.

    ``boundaries`` are those around the part: a line of it must not look like one of their delimiters.
    """
    is_same = encoding in _IDENTITIES and _is_clean(data) and (encoding != "7bit" or data.isascii())
    if is_same and not collides(data, boundaries):
        return encoding, data
    if encoding != "base64" and is_text and not _BARE.search(data) and b"\0" not in data:
        return "quoted-printable", quoted_printable(data)
    return "base64", base64.encodebytes(data).replace(b"\n", b"\r\n").removesuffix(b"\r\n")


def quoted_printable(data: bytes) -> bytes:
    """Text with CRLF line ends in quoted-printable."""
    lines = (binascii.b2a_qp(line).replace(b"=\n", b"=\r\n") for line in data.split(b"\r\n"))
    return _DASHES.sub(b"=2D-", b"\r\n".join(lines))


def collides(data: bytes, boundaries: Collection[bytes]) -> bool:
    """Whether a line of the data would be a delimiter of a multipart around it."""
    if not boundaries or b"--" not in data:
        return False
    lines = (found[0][2:].rstrip(b" \t") for found in _DASHED.finditer(data))
    return any(line in boundaries or line.removesuffix(b"--") in boundaries for line in lines)


def _is_clean(data: bytes) -> bool:
    """Whether an MTA carries these bytes as they are (RFC 5321, section 4.5.3.1.6)."""
    return b"\0" not in data and not _LONG.search(data) and not _BARE.search(data)


def content_fields(
    kind: str, file_name: str | None = None, charset: str | None = None, disposition: str | None = None
) -> Fields:
    """The header fields of a new part, without its transfer encoding."""
    value = kind if charset is None else f'{kind}; charset="{charset}"'
    fields: Fields = (new_field("Content-Type", value),)
    shown = disposition or ("attachment" if file_name is not None else None)
    if shown is None:
        return fields
    words = [shown] if file_name is None else [shown, *_file_name(file_name)]
    return (*fields, new_field("Content-Disposition", ";\n ".join(words)))


def _file_name(name: str) -> list[str]:
    """A file name as parameters of Content-Disposition."""
    name = _CONTROLS.sub("_", name)
    if name.isascii() and len(name) <= _CHUNK * 3:
        text = name.replace("\\", "\\\\").replace('"', '\\"')
        return [f'filename="{text}"']
    data = encode_text(name)
    pieces = [quote(data[at : at + _CHUNK], safe="") for at in range(0, len(data), _CHUNK)]
    if len(pieces) == 1:
        return [f"filename*=utf-8''{pieces[0]}"]
    marks = ["utf-8''", *[""] * (len(pieces) - 1)]
    return [f"filename*{at}*={marks[at]}{piece}" for at, piece in enumerate(pieces)]


def with_encoding(fields: Fields, encoding: str) -> Fields:
    """With a transfer encoding, if it is another one or not set."""
    told = next(values_of(fields, "Content-Transfer-Encoding"), "7bit").strip().lower()
    return fields if told == encoding else with_set(fields, "Content-Transfer-Encoding", encoding)


def with_charset(fields: Fields, charset: str) -> Fields:
    """With another character set in Content-Type; its other parameters stay as they are."""
    kind, *pieces = split_pieces(next(values_of(fields, "Content-Type"), "text/plain"))
    left = [one for one in pieces if one.partition("=")[0].strip().lower().rstrip("*") != "charset"]
    return with_set(fields, "Content-Type", ";".join([kind, f' charset="{charset}"', *left]))


def encoded_in(text: str, charset: str | None) -> bytes | None:
    """A text in a character set; None if it is not known or has not all of the letters."""
    name = charset or "us-ascii"
    if decode_charset(b"", name) is None or name.startswith(("utf-16", "utf-32", "utf_16", "utf_32")):
        return None
    try:
        return text.encode(name)
    except UnicodeError:
        return None
