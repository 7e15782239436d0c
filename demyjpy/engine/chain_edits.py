"""The difference of two drafts as modifications that have one result under Postfix and Sendmail.

Both MTAs apply modifications one after the other, each in its own way (docs/actions.md). So changes by
the MTA's own numbers come first, then deletions. These go from the last field of a name to the first,
because in Postfix the later ones move up. Then come the new fields: only the indexes 0, 1 and a very
large one mean the same to both.

Nothing here asks which actions were agreed: that is for `demyjpy.engine.plan`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from demyjpy import actions as act
from demyjpy.actions import HeaderEdit, Modification
from demyjpy.message import (
    AddAddress,
    ChangeField,
    Draft,
    DropAddress,
    DropField,
    Edit,
    Hold,
    PutField,
    SetBody,
    SetSender,
)
from demyjpy.message.fields import folded

AT_END: Final = 1_000_000
"""An index of `InsertHeader` beyond any header: both MTAs append then."""

_DEFAULTS: Final = frozenset({"date", "from", "message-id"})
"""Fields that Sendmail adds if they are missing; if there is any Resent- field, also the Resent- ones.

They are in its list from the beginning (the stock sendmail.cf, ``H`` lines). `AddHeader` takes the place
of one that is due; any other insertion would give a second one.
"""

_RESENT: Final = frozenset(f"resent-{name}" for name in _DEFAULTS)
_LISTED: Final = (
    _DEFAULTS | _RESENT | {"full-name", "received", "return-path", "x-authentication-warning"}
)
"""Fields that Sendmail may have in its list, though no milter is shown them.

It puts what `AddHeader` gives before the first of that name.
"""


def modifications_of(edits: Iterable[Edit], before: Draft) -> tuple[Modification, ...]:
    """The modifications that make an MTA do these edits, in sending order.

    ``before`` is the draft to which the edits refer: the message as the MTA sent it.
    """
    said = tuple(edits)
    made: list[Modification] = [
        # without a text the field would be deleted
        act.ChangeHeader(edit.number, edit.name, raw=edit.raw or " ")
        for edit in said
        if isinstance(edit, ChangeField)
    ]
    made += [
        act.DeleteHeader(edit.number, edit.name)
        for edit in reversed(said)
        if isinstance(edit, DropField)
    ]
    made += _insertions([edit for edit in said if isinstance(edit, PutField)], before)
    made += [act.DeleteRecipient(edit.address) for edit in said if isinstance(edit, DropAddress)]
    for edit in said:
        match edit:
            case AddAddress():
                made.append(act.AddRecipient(edit.address, edit.parameters))
            case SetSender():
                made.append(act.ChangeSender(edit.address, edit.parameters))
            case SetBody():
                made.append(act.ReplaceBody(edit.data))
            case Hold():
                made.append(act.Quarantine(edit.reason))
    return tuple(made)


def _insertions(new: list[PutField], before: Draft) -> list[HeaderEdit]:
    """New fields: from the lowest to the highest above the message, then those at the end in order."""
    made: list[HeaderEdit] = []
    for place, index in (("below", 1), ("top", 0)):
        above = [one for one in reversed(new) if one.place == place]
        made += [act.InsertHeader(index, one.name, raw=one.raw) for one in above]
    there = {field.key for field in before.fields}
    due = _due(there) - {folded(one.name) for one in new if one.place != "end"}
    counts = Counter(folded(one.name) for one in new)
    alone = {name for name, count in counts.items() if count == 1} - there - _LISTED
    for one in new:
        name = folded(one.name)
        if one.place != "end":
            continue
        if name in alone or name in due:
            made.append(act.AddHeader(one.name, raw=one.raw))
            due.discard(name)
        else:
            made.append(act.InsertHeader(AT_END, one.name, raw=one.raw))
    return made


def _due(there: set[str]) -> set[str]:
    """Names of fields that Sendmail will add to a message with fields of these names."""
    is_resent = any(name.startswith("resent-") for name in there)
    return set((_DEFAULTS | _RESENT if is_resent else _DEFAULTS) - there)


def as_granted(edits: Iterable[Modification], granted: frozenset[str]) -> tuple[Modification, ...]:
    """The same edits with the actions that were granted.

    A filter may add a field by a change beyond the last one of that name, without ``add_header``.
    """
    if "add_header" in granted:
        return tuple(edits)
    return tuple(
        act.ChangeHeader(AT_END, edit.name, raw=edit.raw)
        if isinstance(edit, act.AddHeader | act.InsertHeader)
        else edit
        for edit in edits
    )
