"""What a milter's edits make of a mail.

Postfix and Sendmail apply the same edits differently: `postfix_edit` and `sendmail_edit` know how
(protocol file, sections 11 to 13). No I/O, no protocol.
"""

import re
from collections.abc import Iterable
from typing import Final

from attrs import evolve

from demyjpy import actions as act
from demyjpy.actions import Modification
from demyjpy.mta.envelope import postfix_address, postfix_adds, postfix_drops, sendmail_admits
from demyjpy.mta.stored_mail import StoredField, StoredMail, complete_lines, cut_header
from demyjpy.wire.fields import Parameters

POSTFIX_HEADER_LIMIT: Final = 60_000
"""Bytes of a header field: what Postfix lowers ``header_size_limit`` to if there is a milter."""

_LINE: Final = re.compile(rb"\r\n|\n")


def new_body(edits: Iterable[Modification]) -> bytes | None:
    """The body that edits put in place of the old one, as both MTAs write it; None for none."""
    parts = [edit.data for edit in edits if isinstance(edit, act.ReplaceBody)]
    if not parts:
        return None
    return complete_lines(b"\r\n".join(_LINE.split(b"".join(parts))))


def _with(
    fields: tuple[StoredField, ...], at: int, *new: StoredField, instead: int = 0
) -> tuple[StoredField, ...]:
    """Fields with new ones at an index, in place of so many."""
    return (*fields[:at], *new, *fields[at + instead :])


def _find(fields: tuple[StoredField, ...], name: str, index: int) -> int | None:
    """Where the index-th field of a name is, among those that a milter may count."""
    found = [at for at, one in enumerate(fields) if one.owner == "message" and one.is_named(name)]
    return found[index - 1] if index <= len(found) else None


def _only(parameters: Parameters, *known: str) -> Parameters:
    return Parameters((key, value) for key, value in parameters.words if key.upper() in known)


def _common(mail: StoredMail, edit: Modification) -> StoredMail:
    """What both MTAs do alike."""
    match edit:
        case act.Quarantine():
            return evolve(mail, quarantine=edit.reason)
        case _:
            return mail  # bodies are taken together


def _with_body(mail: StoredMail, body: bytes | None) -> StoredMail:
    return mail if body is None else evolve(mail, message=evolve(mail.message, body=body))


# ------------------------------------------------------------------------------------- Postfix
def postfix_edit(mail: StoredMail, edits: Iterable[Modification]) -> StoredMail:
    """The mail after edits, as Postfix applies them: in order, each to what the last one left."""
    edits = tuple(edits)
    for edit in edits:
        mail = _postfix_one(mail, edit)
    return _with_body(mail, new_body(edits))


def _postfix_field(edit: act.AddHeader | act.InsertHeader | act.ChangeHeader) -> StoredField:
    return cut_header(StoredField(edit.name, edit.raw), POSTFIX_HEADER_LIMIT)


def _postfix_one(mail: StoredMail, edit: Modification) -> StoredMail:
    envelope, fields = mail.envelope, mail.message.fields
    match edit:
        case act.AddHeader():
            fields = (*fields, _postfix_field(edit))
        case act.InsertHeader():
            fields = _with(fields, edit.index, _postfix_field(edit))
        case act.DeleteHeader() | act.ChangeHeader(raw=""):
            at = _find(fields, edit.name, edit.index)
            fields = fields if at is None else _with(fields, at, instead=1)
        case act.ChangeHeader():
            at = _find(fields, edit.name, edit.index)
            new = _postfix_field(edit)
            fields = (*fields, new) if at is None else _with(fields, at, new, instead=1)
        case act.AddRecipient():
            known = _only(edit.parameters, "NOTIFY", "ORCPT")
            envelope = postfix_adds(envelope, edit.address, known)
        case act.DeleteRecipient():
            envelope = postfix_drops(envelope, edit.address)
        case act.ChangeSender():
            known = _only(edit.parameters, "RET", "ENVID")
            envelope = evolve(envelope, sender=postfix_address(edit.address), parameters=known)
        case _:
            return _common(mail, edit)
    return evolve(mail, envelope=envelope, message=evolve(mail.message, fields=fields))


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

_MAIL_PARAMETERS: Final = ("RET", "ENVID", "BODY", "SIZE", "AUTH", "BY", "SMTPUTF8")


def sendmail_edit(mail: StoredMail, edits: Iterable[Modification]) -> StoredMail:
    """The mail after edits, as Sendmail applies them: deleted fields keep their numbers."""
    edits = tuple(edits)
    for edit in edits:
        mail = _sendmail_one(mail, edit)
    return _with_body(mail, new_body(edits))


def _sendmail_one(mail: StoredMail, edit: Modification) -> StoredMail:
    envelope, fields = mail.envelope, mail.message.fields
    match edit:
        case act.AddHeader():
            fields = _sendmail_add(fields, edit)
        case act.InsertHeader():
            fields = _with(fields, edit.index, StoredField(edit.name, edit.raw))
        case act.DeleteHeader() | act.ChangeHeader(raw=""):
            at = _find_default(fields, edit.name, edit.index)
            if at is not None:
                fields = _with(fields, at, evolve(fields[at], is_deleted=True), instead=1)
        case act.ChangeHeader():
            at = _find_default(fields, edit.name, edit.index)
            if at is None:
                fields = _sendmail_add(fields, edit)
            else:
                fields = _with(fields, at, StoredField(fields[at].name, edit.raw), instead=1)
        case act.AddRecipient():
            is_known = _only(edit.parameters, "NOTIFY", "ORCPT") == edit.parameters
            if is_known:
                envelope = sendmail_admits(envelope, edit.address, edit.parameters)
        case act.DeleteRecipient():
            left = tuple(one for one in envelope.recipients if one[0] != edit.address)
            envelope = evolve(envelope, recipients=left)
        case act.ChangeSender():
            known = _only(edit.parameters, *_MAIL_PARAMETERS)
            envelope = evolve(envelope, sender=edit.address, parameters=known)
        case _:
            return _common(mail, edit)
    return evolve(mail, envelope=envelope, message=evolve(mail.message, fields=fields))


def _sendmail_add(
    fields: tuple[StoredField, ...], edit: act.AddHeader | act.ChangeHeader
) -> tuple[StoredField, ...]:
    """In place of a default of that name that is due; before the first of that name; else at the end.

    Its own fields count, also those that it does not send.
    """
    new = StoredField(edit.name, edit.raw)
    for at, one in enumerate(fields):
        if one.is_named(edit.name):
            is_due = one.owner == "mta" and one.name in SENDMAIL_DEFAULTS and not one.is_deleted
            return _with(fields, at, new, instead=int(is_due))
    return (*fields, new)


def _find_default(fields: tuple[StoredField, ...], name: str, index: int) -> int | None:
    """The index-th field of a name, or for the first a default that Sendmail would still send."""
    at = _find(fields, name, index)
    if at is None and index == 1:
        for number, one in enumerate(fields):
            if one.owner == "mta" and one.is_named(name) and one.name in SENDMAIL_DEFAULTS:
                return number if not one.is_deleted else None
    return at
