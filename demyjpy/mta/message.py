"""A message and its envelope as an MTA holds them, and what a milter's edits make of them.

The order of header fields, folding and every byte that no edit touches are kept. Postfix and Sendmail
apply the same edits differently: `postfix_edit` and `sendmail_edit` know how (protocol file, sections
11 to 13). No I/O, no protocol.
"""

import re
from collections.abc import Iterable
from typing import Final, Self

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification
from demyjpy.wire.fields import Parameters, decode_text, encode_text

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_LINE: Final = re.compile(rb"\r\n|\n")


@frozen
class Field:
    """A header field: its name, and the text after the colon, folded with LF, without the last.

    ``owner`` is ``"message"`` for what a milter may see and count, ``"mta"`` for what the MTA itself
    puts there. ``is_deleted`` keeps its number in Sendmail's count.
    """

    name: str
    raw: str
    owner: str = "message"
    is_deleted: bool = False

    def is_named(self, name: str) -> bool:
        """Whether it is a field of that name, in any case."""
        return self.name.lower() == name.lower()

    @property
    def event(self) -> ev.Header:
        """As a milter sees it."""
        return ev.Header.from_raw(self.name, self.raw)

    @property
    def value(self) -> str:
        """The text after the colon and one optional space."""
        return self.event.value


@frozen
class Message:
    """Header fields in order, and a body with CRLF line ends."""

    fields: tuple[Field, ...] = ()
    body: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From bytes, with CRLF or LF line ends; the header ends at the first line that is none."""
        lines = _LINE.split(data)
        fields: list[tuple[bytes, list[bytes]]] = []
        at = 0
        for at, line in enumerate(lines):
            found = _FIELD.fullmatch(line)
            if line[:1] in (b" ", b"\t") and fields:
                fields[-1][1].append(line)
            elif found:
                fields.append((found[1], [found[2]]))
            else:
                at += line == b""  # noqa: PLW2901  # the empty line belongs to neither part
                break
        else:
            at = len(lines)
        body = b"\r\n".join(lines[at:])
        if body and not body.endswith(b"\r\n"):
            body += b"\r\n"
        parsed = (Field(decode_text(name), decode_text(b"\n".join(raw))) for name, raw in fields)
        return cls(tuple(parsed), body)

    def __bytes__(self) -> bytes:
        lines = [
            encode_text(f"{field.name}:{field.raw}").replace(b"\n", b"\r\n") + b"\r\n"
            for field in self.fields
            if not field.is_deleted
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
    def headers(self) -> list[tuple[str, str]]:
        """Names and values, from the top."""
        return [(field.name, field.value) for field in self.fields if not field.is_deleted]


@frozen
class Envelope:
    """Sender and recipients, with their ESMTP parameters."""

    sender: str = ""
    parameters: Parameters = Parameters()
    recipients: tuple[tuple[str, Parameters], ...] = ()

    @property
    def addresses(self) -> list[str]:
        """The recipients without their parameters."""
        return [address for address, _ in self.recipients]


@frozen
class Mail:
    """A message in its envelope; ``quarantine`` is the reason for which it is held, or None."""

    envelope: Envelope
    message: Message
    quarantine: str | None = None


def new_body(edits: Iterable[Modification]) -> bytes | None:
    """The body that edits put in place of the old one, as both MTAs write it; None for none."""
    parts = [edit.data for edit in edits if isinstance(edit, act.ReplaceBody)]
    if not parts:
        return None
    body = b"\r\n".join(_LINE.split(b"".join(parts)))
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def _with(fields: tuple[Field, ...], at: int, *new: Field, instead: int = 0) -> tuple[Field, ...]:
    """Fields with new ones at an index, in place of so many."""
    return (*fields[:at], *new, *fields[at + instead :])


def _find(fields: tuple[Field, ...], name: str, index: int) -> int | None:
    """Where the index-th field of a name is, among those that a milter may count."""
    found = [at for at, one in enumerate(fields) if one.owner == "message" and one.is_named(name)]
    return found[index - 1] if index <= len(found) else None


# ------------------------------------------------------------------------------------- Postfix
def postfix_edit(mail: Mail, edits: Iterable[Modification]) -> Mail:
    """The mail after edits, as Postfix applies them: in order, each to what the last one left."""
    edits = tuple(edits)
    for edit in edits:
        mail = _postfix_one(mail, edit)
    return _with_body(mail, new_body(edits))


def _with_body(mail: Mail, body: bytes | None) -> Mail:
    return mail if body is None else evolve(mail, message=evolve(mail.message, body=body))


def _postfix_one(mail: Mail, edit: Modification) -> Mail:
    envelope, fields = mail.envelope, mail.message.fields
    match edit:
        case act.AddHeader():
            fields = (*fields, Field(edit.name, edit.raw))
        case act.InsertHeader():
            fields = _with(fields, edit.index, Field(edit.name, edit.raw))
        case act.DeleteHeader() | act.ChangeHeader(value=""):
            at = _find(fields, edit.name, edit.index)
            fields = fields if at is None else _with(fields, at, instead=1)
        case act.ChangeHeader():
            at = _find(fields, edit.name, edit.index)
            new = Field(edit.name, edit.raw)
            fields = (*fields, new) if at is None else _with(fields, at, new, instead=1)
        case act.AddRecipient():
            known = _only(edit.parameters, "NOTIFY", "ORCPT")
            envelope = evolve(envelope, recipients=(*envelope.recipients, (edit.address, known)))
        case act.ChangeSender():
            known = _only(edit.parameters, "RET", "ENVID")
            envelope = evolve(envelope, sender=edit.address, parameters=known)
        case _:
            return _common(mail, edit)
    return evolve(mail, envelope=envelope, message=evolve(mail.message, fields=fields))


def _only(parameters: Parameters, *known: str) -> Parameters:
    return Parameters((key, value) for key, value in parameters.words if key.upper() in known)


def _common(mail: Mail, edit: Modification) -> Mail:
    """What both MTAs do alike."""
    match edit:
        case act.DeleteRecipient():
            left = tuple(one for one in mail.envelope.recipients if one[0] != edit.address)
            return evolve(mail, envelope=evolve(mail.envelope, recipients=left))
        case act.Quarantine():
            return evolve(mail, quarantine=edit.reason)
        case _:
            return mail  # bodies are taken together


# ------------------------------------------------------------------------------------ Sendmail
SENDMAIL_DEFAULTS: Final = (
    "Resent-Date",
    "Date",
    "Resent-From",
    "From",
    "Full-Name",
    "Resent-Message-Id",
    "Message-Id",
)
"""Fields of the stock sendmail.cf that stand below Received in its own list; most are never sent."""


def sendmail_edit(mail: Mail, edits: Iterable[Modification]) -> Mail:
    """The mail after edits, as Sendmail applies them: deleted fields keep their numbers."""
    edits = tuple(edits)
    for edit in edits:
        mail = _sendmail_one(mail, edit)
    return _with_body(mail, new_body(edits))


def _sendmail_one(mail: Mail, edit: Modification) -> Mail:
    envelope, fields = mail.envelope, mail.message.fields
    match edit:
        case act.AddHeader():
            fields = _sendmail_add(fields, edit)
        case act.InsertHeader():
            fields = _with(fields, edit.index, Field(edit.name, edit.raw))
        case act.DeleteHeader() | act.ChangeHeader(value=""):
            at = _find_default(fields, edit.name, edit.index)
            if at is not None:
                fields = _with(fields, at, evolve(fields[at], is_deleted=True), instead=1)
        case act.ChangeHeader():
            at = _find_default(fields, edit.name, edit.index)
            if at is None:
                fields = _sendmail_add(fields, edit)
            else:
                new = Field(fields[at].name, edit.raw)
                fields = _with(fields, at, new, instead=1)
        case act.AddRecipient():
            if (
                edit.address not in envelope.addresses
                and _only(edit.parameters, "NOTIFY", "ORCPT") == edit.parameters
            ):
                new_one = (edit.address, edit.parameters)
                envelope = evolve(envelope, recipients=(*envelope.recipients, new_one))
        case act.ChangeSender():
            envelope = evolve(envelope, sender=edit.address, parameters=edit.parameters)
        case _:
            return _common(mail, edit)
    return evolve(mail, envelope=envelope, message=evolve(mail.message, fields=fields))


def _sendmail_add(
    fields: tuple[Field, ...], edit: act.AddHeader | act.ChangeHeader
) -> tuple[Field, ...]:
    """Before the first of that name; in place of a default of that name; else at the end."""
    new = Field(edit.name, edit.raw)
    at = _find(fields, edit.name, 1)
    if at is not None:
        return _with(fields, at, new)
    for at, one in enumerate(fields):
        if one.owner == "mta" and one.is_named(edit.name) and one.name in SENDMAIL_DEFAULTS:
            return _with(fields, at, new, instead=1)
    return (*fields, new)


def _find_default(fields: tuple[Field, ...], name: str, index: int) -> int | None:
    """The index-th field of a name, or for the first a default that Sendmail would still send."""
    at = _find(fields, name, index)
    if at is None and index == 1:
        for number, one in enumerate(fields):
            if one.owner == "mta" and one.is_named(name) and one.name in SENDMAIL_DEFAULTS:
                return number if not one.is_deleted else None
    return at
