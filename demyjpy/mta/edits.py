"""What a milter's edits make of a mail, as far as MTAs agree (protocol file, sections 11 to 13).

Each edit is applied to what the last one left. What an MTA does in its own way, its profile fills in.
No I/O, no protocol.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import evolve

from demyjpy import actions as act
from demyjpy.actions import Modification
from demyjpy.mta.stored_mail import Envelope, StoredField, StoredMail, complete_lines
from demyjpy.wire.fields import Parameters

Fields: TypeAlias = tuple[StoredField, ...]
NewField: TypeAlias = act.AddHeader | act.InsertHeader | act.ChangeHeader

_LINE: Final = re.compile(rb"\r\n|\n")


class MailEditor(ABC):
    """An MTA as it edits mail."""

    def edit(self, mail: StoredMail, edits: Iterable[Modification]) -> StoredMail:
        """The mail after a milter's edits."""
        edits = tuple(edits)
        for edit in edits:
            mail = self._edited(mail, edit)
        body = self.new_body(edits)
        return mail if body is None else evolve(mail, message=evolve(mail.message, body=body))

    def _edited(self, mail: StoredMail, edit: Modification) -> StoredMail:
        envelope, fields = mail.envelope, mail.message.fields
        match edit:
            case act.AddHeader():
                fields = self.with_field(fields, edit)
            case act.InsertHeader():
                fields = spliced(fields, edit.index, self.new_field(edit))
            case act.DeleteHeader() | act.ChangeHeader(raw=""):
                at = self.find(fields, edit.name, edit.index)
                fields = fields if at is None else self.without_field(fields, at)
            case act.ChangeHeader():
                at = self.find(fields, edit.name, edit.index)
                fields = self.with_field(fields, edit) if at is None else self.changed(fields, at, edit)
            case act.AddRecipient():
                envelope = self.with_recipient(envelope, edit)
            case act.DeleteRecipient():
                envelope = self.without_recipient(envelope, edit.address)
            case act.ChangeSender():
                envelope = self.with_sender(envelope, edit)
            case act.Quarantine():
                mail = evolve(mail, quarantine=edit.reason)
        return evolve(mail, envelope=envelope, message=evolve(mail.message, fields=fields))

    def new_field(self, edit: NewField) -> StoredField:
        """A field as a milter gave it."""
        return StoredField(edit.name, edit.raw)

    def find(self, fields: Fields, name: str, index: int) -> int | None:
        """Where the index-th field of a name is, among those that a milter may count."""
        found = [at for at, one in enumerate(fields) if one.owner == "message" and one.is_named(name)]
        return found[index - 1] if index <= len(found) else None

    def new_body(self, edits: Iterable[Modification]) -> bytes | None:
        """The body that edits put in place of the old one, as the next milter sees it; None for none."""
        body = body_of(edits)
        return None if body is None else complete_lines(body)

    def as_shown(self, mail: StoredMail) -> StoredMail:
        """The mail once a milter has seen its header fields: what later edits count may have changed."""
        return mail

    @abstractmethod
    def with_field(self, fields: Fields, edit: NewField) -> Fields:
        """With a field more, where the MTA puts it."""

    @abstractmethod
    def without_field(self, fields: Fields, at: int) -> Fields:
        """Without the field at an index."""

    @abstractmethod
    def changed(self, fields: Fields, at: int, edit: act.ChangeHeader) -> Fields:
        """With another text in the field at an index."""

    @abstractmethod
    def address(self, given: str) -> str:
        """An address as the MTA knows it, made of what a client gave."""

    @abstractmethod
    def admit(self, envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
        """With a recipient that a client gave."""

    @abstractmethod
    def with_recipient(self, envelope: Envelope, edit: act.AddRecipient) -> Envelope:
        """With a recipient that a milter added."""

    @abstractmethod
    def without_recipient(self, envelope: Envelope, address: str) -> Envelope:
        """Without a recipient, however often it is there."""

    @abstractmethod
    def with_sender(self, envelope: Envelope, edit: act.ChangeSender) -> Envelope:
        """With the sender that a milter gave."""


def body_of(edits: Iterable[Modification]) -> bytes | None:
    """The body that edits put in place of the old one, with CRLF line ends; None for none."""
    parts = [edit.data for edit in edits if isinstance(edit, act.ReplaceBody)]
    return _LINE.sub(b"\r\n", b"".join(parts)) if parts else None


def spliced(fields: Fields, at: int, *new: StoredField, instead: int = 0) -> Fields:
    """Fields with new ones at an index, in place of a number of old ones."""
    return (*fields[:at], *new, *fields[at + instead :])


def only(parameters: Parameters, *known: str) -> Parameters:
    """The parameters that an MTA knows."""
    return Parameters((key, value) for key, value in parameters.words if key.upper() in known)
