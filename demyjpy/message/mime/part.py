"""A part of a message as a value: what it says of itself, where it lies, and what is in it.

What a part contains is decoded when it is read, never before. Nothing here raises because of a mail.
"""

import binascii
import re
from functools import cached_property
from typing import Final

from attrs import field, frozen

from demyjpy.message.charsets import decode_charset
from demyjpy.message.content import Content
from demyjpy.message.fields import Field, Fields, values_of
from demyjpy.message.mime.parameters import Described

_UU_BEGIN: Final = re.compile(rb"^begin [0-7]{1,6} [^\r\n]*(?:\r\n|\r|\n|\Z)", re.MULTILINE)
_UU: Final = frozenset({"x-uuencode", "uuencode", "uue", "x-uue"})


@frozen
class Place:
    """Where a part lies in the body: offsets of what belongs to it.

    ``line``: its delimiter line. ``head``: its header. ``body``: what follows the header. ``end``: the
    line end before the next delimiter. ``next``: the next delimiter line of the same multipart, or the
    end of that.
    """

    line: int
    head: int
    body: int
    end: int
    next: int


@frozen(eq=False, slots=False)
class Part:
    """One part of a message, or the message itself.

    ``fields``: its header. ``path``: its number in the multipart, after those of the parts around it;
    empty for the message. ``type``: like ``"text/plain"``. ``is_container``: whether parts of it follow
    in `Message.parts`. ``defects``: names of what is wrong, as in Python's `email.errors`, without
    ``"Defect"``; ``"PartsNotSeen"`` if a limit left something out.
    """

    fields: Fields
    path: tuple[int, ...]
    type: str
    is_container: bool = False
    defects: tuple[str, ...] = ()
    boundary: str | None = None
    place: Place = field(default=Place(0, 0, 0, 0, 0), repr=False)
    close: int | None = field(default=None, repr=False)
    is_inside: bool = field(default=False, repr=False)
    is_open_end: bool = field(default=False, repr=False)
    boundaries: frozenset[bytes] = field(default=frozenset(), repr=False)
    siblings: tuple[Place, ...] = field(default=(), repr=False)
    origin: Content = field(default=b"", repr=False)
    base: bytes = field(default=b"", repr=False)

    @property
    def size(self) -> int:
        """Bytes of its body, as it is in the mail."""
        return self.place.end - self.place.body

    @cached_property
    def _type_field(self) -> Described:
        return Described.of(self.fields, "Content-Type") or Described("")

    @cached_property
    def _disposition_field(self) -> Described | None:
        return Described.of(self.fields, "Content-Disposition")

    @property
    def disposition(self) -> str | None:
        """``"attachment"``, ``"inline"`` or what else it says, in lower case; None without the field."""
        return None if self._disposition_field is None else self._disposition_field.word

    @property
    def file_name(self) -> str | None:
        """The name of the file, decoded; None if it has none. Never a path: the sender chose it."""
        told = self._disposition_field
        found = None if told is None else told.text("filename")
        return self._type_field.text("name") if found is None else found

    @property
    def charset(self) -> str | None:
        """The character set that it names, in lower case."""
        found = self._type_field.get("charset")
        return None if found is None else found.lower()

    def parameter(self, name: str) -> str | None:
        """A parameter of its ``Content-Type``."""
        return self._type_field.get(name.lower())

    @property
    def encoding(self) -> str:
        """Its ``Content-Transfer-Encoding``, in lower case; ``"7bit"`` if it has none."""
        return next(values_of(self.fields, "Content-Transfer-Encoding"), "7bit").strip().lower()

    @property
    def raw_content(self) -> bytes:
        """Its body as it is in the mail."""
        return self.base[self.place.body : self.place.end]

    @property
    def content(self) -> bytes:
        """What is in it, decoded; of a message in the message all of it, of a multipart nothing.

        What cannot be decoded comes as it is in the mail.
        """
        if self.is_container:
            return b"" if self.type.startswith("multipart/") else self.raw_content
        # a multipart whose last delimiter is its only one ends there
        end = self.place.end if self.close is None else self.close
        return decode_content(self.base[self.place.body : end], self.encoding)

    @property
    def text(self) -> str:
        """What is in it as text. Bytes that are wrong in its character set become U+FFFD."""
        data = self.content
        found = decode_charset(data, self.charset or "us-ascii")
        return data.decode("utf-8", "replace") if found is None or "\ufffd" in found else found


def decode_content(data: bytes, encoding: str) -> bytes:
    """The bytes behind a transfer encoding; as they are if they cannot be decoded."""
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    if encoding == "base64":
        return _decode_base64(data)
    if encoding in _UU:
        return _decode_uu(data)
    return data


def _decode_base64(data: bytes) -> bytes:
    """As the standard library: what is no base64 is left out, missing padding is added."""
    packed = data.translate(None, b"\r\n")
    padded = packed + b"=" * (-len(packed) % 4)
    for one, strict in ((padded, True), (padded, False), (packed + b"==", False)):
        try:
            return binascii.a2b_base64(one, strict_mode=strict)
        except binascii.Error:
            continue
    return packed


def _decode_uu(data: bytes) -> bytes:
    begin = _UU_BEGIN.search(data)
    if begin is None:
        return data
    found: list[bytes] = []
    for line in data[begin.end() :].splitlines():
        if line.strip(b" \t\f") == b"end":
            break
        try:
            found.append(_uu_line(line))
        except binascii.Error:
            return data
    return b"".join(found)


def _uu_line(line: bytes) -> bytes:
    if not line:
        raise binascii.Error("the text is cut")
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:  # some write more than the count at the beginning says
        count = (((line[0] - 32) & 63) * 4 + 5) // 3
        return binascii.a2b_uu(line[:count])


def type_of(fields: tuple[Field, ...], default: str) -> tuple[str, str | None]:
    """The type in lower case, and the boundary, as Python's `email` package finds them."""
    found = Described.of(fields, "Content-Type")
    if found is None:
        return default, None
    boundary = found.get("boundary")
    return (
        found.word if found.word.count("/") == 1 else "text/plain",
        None if boundary is None else boundary.rstrip(),
    )
