"""A message and its envelope as an MTA holds them: values, parsing, and what is common to both MTAs.

The order of header fields, folding and every byte that no edit touches are kept. What a milter's edits
make of them is `demyjpy.mta.edits`'. No I/O, no protocol.
"""

import re
from collections.abc import Callable
from typing import Final, Self

from attrs import evolve, field, frozen

from demyjpy import events as ev
from demyjpy.wire.fields import Parameters, decode_text, encode_text

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_LINE: Final = re.compile(rb"\r*\n")


@frozen
class StoredField:
    """A header field: its name, and the text after the colon, folded with LF, without the last.

    ``owner`` is ``"message"`` for what a milter may see and count, ``"mta"`` for what the MTA itself
    puts there. ``is_deleted`` keeps its number in Sendmail's count, until the next milter sees the
    header: then the ``owner`` is ``"gone"``.
    """

    name: str
    raw: str
    owner: str = "message"
    is_deleted: bool = False

    def is_named(self, *names: str) -> bool:
        """Whether it is a field of one of these names, in any case."""
        return self.name.lower() in {name.lower() for name in names}

    @property
    def event(self) -> ev.Header:
        """As a milter sees it."""
        return ev.Header.from_raw(self.name, self.raw)

    @property
    def value(self) -> str:
        """The text after the colon and one optional space."""
        return self.event.value


@frozen
class StoredMessage:
    """Header fields in order, and a body with CRLF line ends."""

    fields: tuple[StoredField, ...] = ()
    body: bytes = b""

    @classmethod
    def parse(cls, data: bytes, cleaned: Callable[[bytes], bytes] = bytes) -> Self:
        """From bytes, with CRLF or LF line ends; the header ends at the first line that is none.

        ``cleaned`` is what the MTA makes of a line of the header.
        """
        lines = _LINE.split(data)
        fields: list[tuple[bytes, list[bytes]]] = []
        for line in map(cleaned, lines):
            found = _FIELD.fullmatch(line)
            if line[:1] in (b" ", b"\t") and fields:
                fields[-1][1].append(line)
            elif found:
                fields.append((found[1], [found[2]]))
            else:
                break
        at = sum(len(raw) for _, raw in fields)
        at += lines[at : at + 1] == [b""]  # the empty line belongs to neither part
        body = complete_lines(b"\r\n".join(lines[at:]))
        parsed = (StoredField(decode_text(name), decode_text(b"\n".join(raw))) for name, raw in fields)
        return cls(tuple(parsed), body)

    def __bytes__(self) -> bytes:
        lines = [
            encode_text(f"{one.name}:{one.raw}").replace(b"\n", b"\r\n") + b"\r\n"
            for one in self.fields
            if not one.is_deleted
        ]
        return b"".join([*lines, b"\r\n", self.body])

    def __getitem__(self, name: str) -> str | None:
        """The value of the first field of that name, or None."""
        values = self.get_all(name)
        return values[0] if values else None

    def __contains__(self, name: str) -> bool:
        return bool(self.get_all(name))

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of that name, from the top."""
        return [field.value for field in self.fields if field.is_named(name) and not field.is_deleted]

    @property
    def seen_fields(self) -> tuple[StoredField, ...]:
        """The fields that milters see."""
        return tuple(one for one in self.fields if one.owner == "message" and not one.is_deleted)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names and values, from the top."""
        return [(field.name, field.value) for field in self.fields if not field.is_deleted]

    def without(self, *names: str) -> Self:
        """Without the fields of these names, and without deleted ones."""
        left = (one for one in self.fields if not one.is_deleted and not one.is_named(*names))
        return evolve(self, fields=tuple(left))


@frozen
class Envelope:
    """Sender and recipients, with their ESMTP parameters; ``added`` are the keys of those by milters."""

    sender: str = ""
    parameters: Parameters = Parameters()
    recipients: tuple[tuple[str, Parameters], ...] = ()
    added: frozenset[tuple[str, ...]] = field(default=frozenset(), eq=False, repr=False)

    @property
    def addresses(self) -> list[str]:
        """The recipients without their parameters."""
        return [address for address, _ in self.recipients]


@frozen
class StoredMail:
    """A message in its envelope; ``quarantine`` is the reason for which it is held, or None."""

    envelope: Envelope
    message: StoredMessage
    quarantine: str | None = None


def complete_lines(body: bytes) -> bytes:
    """A body with a line end at its end, which is CRLF."""
    return body + b"\r\n" if body and not body.endswith(b"\r\n") else body


def cut_header(field: StoredField, limit: int) -> StoredField:
    """A field within a limit in bytes for name, colon and text, as Postfix cuts it.

    The first line is cut; of the others those are kept that fit in whole.
    """
    if len(field.name) + len(field.raw.encode("utf-8", "surrogateescape")) < limit:
        return field
    first, *others = encode_text(field.raw).split(b"\n")
    kept = first[: limit - len(field.name) - 1]
    for line in others:
        if len(field.name) + 1 + len(kept) + 1 + len(line) > limit:
            break
        kept += b"\n" + line
    return evolve(field, raw=decode_text(kept))
