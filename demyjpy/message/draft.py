"""What a message is at one moment of a chain of filters, and what the edits of one filter make of it.

Both MTAs apply the edits of a milter one after the other, each in its own way. Here the edits of one
filter mean the same under every MTA: a number counts what the filter was shown, and new fields go to
places that both MTAs have. `Draft.of` makes the first draft from what the MTA sent, and the edits of
each filter make the next one. No I/O.
"""

from collections.abc import Iterable
from typing import Final, Self, TypeAlias

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy.actions import EnvelopeEdit, HeaderEdit, Modification
from demyjpy.errors import LocalProtocolError
from demyjpy.message.fields import Field, Place, folded
from demyjpy.verdicts import join_bodies
from demyjpy.wire.fields import Parameters

Address: TypeAlias = tuple[str, Parameters]
"""An address in the envelope with the ESMTP parameters that a filter gave."""

_HEADER: Final = (act.AddHeader, act.InsertHeader, act.ChangeHeader, act.DeleteHeader)
_RECIPIENT: Final = (act.AddRecipient, act.DeleteRecipient)
_AT_ONCE: Final = 1 << 20


@frozen
class Draft:
    """A message after the edits of the filters so far.

    ``fields``: in the order in which a filter gets them. ``recipients``: the addresses that the client
    gave and that still stand; None if they are not known. ``added``: the recipients that filters added.
    ``dropped``: the addresses that the MTA has to delete, also those that it may not know. ``sender``,
    ``body`` and ``quarantine`` are None if no filter changed them; ``body`` is as the filter gave it.
    """

    fields: tuple[Field, ...] = ()
    recipients: tuple[str, ...] | None = None
    added: tuple[Address, ...] = ()
    dropped: tuple[str, ...] = ()
    sender: Address | None = None
    body: bytes | None = None
    quarantine: str | None = None

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str]], recipients: Iterable[str] | None = None) -> Self:
        """The message as the MTA sent it: names with raw texts, and the recipients that stand."""
        numbered = (Field(name, raw, number, "sent") for number, (name, raw) in enumerate(fields))
        return cls(tuple(numbered), None if recipients is None else tuple(recipients))

    @property
    def standing(self) -> tuple[str, ...] | None:
        """All recipients to whom the message goes; None if those of the client are not known."""
        if self.recipients is None:
            return None
        return (*self.recipients, *(address for address, _ in self.added))


def apply_edits(draft: Draft, modifications: Iterable[Modification]) -> Draft:
    """The draft after the edits of *one* filter, which got the message as ``draft`` says.

    A header number counts the fields of ``draft``, whatever the filter queued before. Of two edits of
    one field the later counts. Raises `LocalProtocolError` if an index of `InsertHeader` is none of 0
    (top), 1 (below the MTA's Received) and the end.
    """
    edits = join_bodies(modifications)
    header = [edit for edit in edits if isinstance(edit, _HEADER)]
    envelope = [edit for edit in edits if isinstance(edit, _RECIPIENT)]
    if header:
        draft = evolve(draft, fields=_edited_fields(draft.fields, header))
    if envelope:
        draft = _with_recipients(draft, envelope)
    for edit in edits:
        match edit:
            case act.ChangeSender():
                draft = evolve(draft, sender=(edit.address, edit.parameters))
            case act.ReplaceBody():
                draft = evolve(draft, body=edit.data)
            case act.Quarantine():
                draft = evolve(draft, quarantine=edit.reason)
    return draft


def shown_body(data: bytes) -> bytes:
    """A body that a filter gave, as the next filter gets it: each line ends in CRLF, the last one, too.

    An empty body stays empty.
    """
    if _has_bare_line_feed(data):  # Postfix and Sendmail read it as a line end
        data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return data + b"\r\n" if data and not data.endswith(b"\r\n") else data


def _has_bare_line_feed(data: bytes) -> bool:
    # a part at a time: while Python counts, no other thread runs
    return any(
        data.count(b"\n", at, at + _AT_ONCE) != data.count(b"\r\n", max(at - 1, 0), at + _AT_ONCE)
        for at in range(0, len(data), _AT_ONCE)
    )


# -------------------------------------------------------------------------------- header fields
def _edited_fields(shown: tuple[Field, ...], edits: Iterable[HeaderEdit]) -> tuple[Field, ...]:
    """The fields after the edits of one filter that was shown these."""
    numbers = _indexes_by_name(shown)
    texts: dict[int, str] = {}  # of fields that were shown, by index; an empty one deletes
    new: dict[Place, list[Field]] = {"top": [], "below": [], "end": []}
    for edit in edits:
        match edit:
            case act.AddHeader():
                new["end"].append(Field(edit.name, edit.raw))
            case act.InsertHeader():
                place = _place_of(edit, len(shown))
                new[place].append(Field(edit.name, edit.raw, place=place))
            case _:  # a change or a deletion
                raw = edit.raw if isinstance(edit, act.ChangeHeader) else ""
                found = numbers.get(folded(edit.name), ())
                if edit.index <= len(found):
                    texts[found[edit.index - 1]] = raw
                elif raw:
                    new["end"].append(Field(edit.name, raw))
    kept = [
        field if at not in texts else evolve(field, raw=texts[at])
        for at, field in enumerate(shown)
        if texts.get(at) != ""
    ]
    tops = sum(field.place == "top" for field in kept)
    # both MTAs put a later one above an earlier one
    return (*new["top"][::-1], *kept[:tops], *new["below"][::-1], *kept[tops:], *new["end"])


def _indexes_by_name(fields: Iterable[Field]) -> dict[str, list[int]]:
    """Where the fields of each name are."""
    found: dict[str, list[int]] = {}
    for at, field in enumerate(fields):
        found.setdefault(field.key, []).append(at)
    return found


def _place_of(edit: act.InsertHeader, shown: int) -> Place:
    """Where a field goes that is inserted in a header of that many fields and the MTA's Received."""
    if edit.index <= 1:
        return "below" if edit.index else "top"
    if edit.index > shown:
        return "end"
    raise LocalProtocolError(
        f"InsertHeader: in a chain of filters, or beside become, the index of {edit.name} must be 0 "
        f"(top), 1 (below the Received of the MTA) or greater than {shown} (end), got {edit.index}; "
        "Sendmail and Postfix count the fields between in different ways"
    )


# ------------------------------------------------------------------------------------- envelope
def _with_recipients(draft: Draft, edits: Iterable[EnvelopeEdit]) -> Draft:
    """The draft after the recipients that one filter added and deleted, in the order of its edits."""
    standing = dict.fromkeys(draft.recipients or ())
    added, dropped = dict(draft.added), dict.fromkeys(draft.dropped)
    spellings: dict[str, set[str]] = {}
    for address in (*standing, *added):
        spellings.setdefault(folded(address), set()).add(address)
    for edit in edits:
        address = edit.address
        if isinstance(edit, act.AddRecipient):
            if address not in standing and address not in added:
                added[address] = edit.parameters
                spellings.setdefault(folded(address), set()).add(address)
            continue
        found = spellings.pop(folded(address), set())
        if draft.recipients is None or not found:
            dropped[address] = None
        for one in sorted(found):
            if one in standing:
                del standing[one]
                dropped[one] = None
            else:
                del added[one]
    recipients = draft.recipients and tuple(one for one in draft.recipients if one in standing)
    return evolve(draft, recipients=recipients, added=tuple(added.items()), dropped=tuple(dropped))
