"""A header field as a value, with what distinguishes it from another of the same name and text."""

import re
from collections.abc import Collection, Iterable, Iterator
from fnmatch import translate
from string import ascii_uppercase
from typing import Final, Literal, TypeAlias

from attrs import evolve, frozen

from demyjpy.actions import AddHeader
from demyjpy.errors import LocalProtocolError
from demyjpy.wire.fields import encode_text

LONGEST_LINE: Final = 2_000
"""Bytes in a line of a new text: an MTA may cut or wrap a longer one (Sendmail's MAXLINE is 2048)."""

_NAME: Final = re.compile(r"[!-9;-~]+")

Place: TypeAlias = Literal["top", "below", "sent", "end"]
"""Where a field stands: one that the MTA sent, or one that a filter added.

``"top"`` is above the MTA's own Received, ``"below"`` just below it, ``"end"`` behind all that the MTA
sent. A filter sees the fields in the order top, below, sent, end.
"""


def folded(text: str) -> str:
    """A name, or an address, as it is compared: ASCII letters in lower case, all else as it is.

    So the MTAs do (strcasecmp(3) in the C locale): U+212A, the Kelvin sign, is no k.
    """
    return text.lower() if text.isascii() else text.translate(_IN_LOWER_CASE)


_IN_LOWER_CASE: Final = {ord(letter): letter.lower() for letter in ascii_uppercase}


@frozen
class Field:
    """One header field.

    ``raw`` is exactly what follows the colon, folded with LF. ``number`` is the index in the header as
    the MTA sent it, from 0; an added field has None.
    """

    name: str
    raw: str
    number: int | None = None
    place: Place = "end"

    @property
    def key(self) -> str:
        """The name in the form in which two spellings of it are equal."""
        return folded(self.name)

    @property
    def value(self) -> str:
        """The text after the colon and one optional space, as in `demyjpy.events.Header`."""
        return self.raw.removeprefix(" ")

    def with_value(self, value: str) -> "Field":
        """The same field with another text; whether a space follows the colon does not change.

        The same text gives the same field. The limit on the length of a line is for what the new text
        has more than the old one, because the old one came with the mail.
        """
        if value == self.value:
            return self
        made = checked(self.name, value, _longest(self.raw))
        is_tight = self.raw[:1] not in ("", " ") and made.value[:1] != " "
        return evolve(self, raw=made.value if is_tight else made.raw)


Fields: TypeAlias = tuple[Field, ...]


def new_field(name: str, value: str, place: Place = "end") -> Field:
    """A field that is not in the message yet; an error if an MTA would not take it as it is."""
    made = checked(name, value)
    return Field(made.name, made.raw or " ", place=place)


def checked(name: str, value: str, longest: int = 0) -> AddHeader:
    """A name and a text that an MTA takes, where a line as long as ``longest`` was there before."""
    who = name if isinstance(name, str) and _NAME.fullmatch(name) else "a header field"
    try:
        made = AddHeader(name, value)
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{who}: {str(error).removeprefix('AddHeader: ')}") from None
    if (length := _longest(made.raw)) > LONGEST_LINE + longest:
        raise LocalProtocolError(
            f"{who}: expected lines of at most {LONGEST_LINE} bytes, got one of {length}, which an "
            "MTA may cut or wrap: fold the text (a line break followed by a space)"
        )
    return made


def _longest(raw: str) -> int:
    if len(raw) * 4 <= LONGEST_LINE:
        return len(raw)
    return max(len(encode_text(line)) for line in raw.split("\n"))


def values_of(fields: Iterable[Field], name: str) -> Iterator[str]:
    """The texts of all fields of a name, from the top."""
    key = folded(name)
    return (field.value for field in fields if field.key == key)


def with_set(fields: Fields, name: str, value: str) -> Fields:
    """The first field of a name has another text, or one is added at the end."""
    key = folded(name)
    for at, field in enumerate(fields):
        if field.key == key:
            new = field.with_value(value)
            return fields if new is field else (*fields[:at], new, *fields[at + 1 :])
    return (*fields, new_field(name, value))


def with_first_only(fields: Fields, keys: Collection[str]) -> Fields:
    """Of fields with these names, in lower case, only the first of each is left."""
    seen: set[str] = set()
    left = []
    for field in fields:
        if field.key not in seen:
            left.append(field)
        if field.key in keys:
            seen.add(field.key)
    return fields if len(left) == len(fields) else tuple(left)


def pattern_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """A regular expression for names that match one of these shell patterns, in any case."""
    return re.compile("|".join(translate(one) for one in patterns) or "(?!)", re.IGNORECASE)


def header_bytes(fields: Iterable[Field]) -> bytes:
    """The lines of the fields, each with CRLF."""
    text = "".join(f"{field.name}:{field.raw}\n" for field in fields)
    return encode_text(text).replace(b"\n", b"\r\n")
