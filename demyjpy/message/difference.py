"""What has to be done to one draft of a message so that it becomes another, as a list of edits.

The edits know nothing of the milter protocol. `demyjpy.engine.chain_edits` turns them into
modifications. No I/O.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from attrs import frozen

from demyjpy.errors import LocalProtocolError
from demyjpy.message.draft import Address, Draft
from demyjpy.message.fields import Field, Place
from demyjpy.wire.fields import Parameters

_RANKS: Final[dict[Place, int]] = {"top": 0, "below": 1, "sent": 2, "end": 3}


@frozen
class ChangeField:
    """Give another text to the ``number``-th field of that name (from 1) in the earlier draft."""

    name: str
    number: int
    raw: str


@frozen
class DropField:
    """Delete the ``number``-th field of that name (from 1) in the earlier draft."""

    name: str
    number: int


@frozen
class PutField:
    """Add a field. Those of one place come in the order in which they stand in the header."""

    place: Place
    name: str
    raw: str


@frozen
class DropAddress:
    """Delete a recipient."""

    address: str


@frozen
class AddAddress:
    """Add a recipient."""

    address: str
    parameters: Parameters


@frozen
class SetSender:
    """Change the sender."""

    address: str
    parameters: Parameters


@frozen
class SetBody:
    """Put another body in place of the old one."""

    data: bytes


@frozen
class Hold:
    """Keep the message in quarantine."""

    reason: str


FieldEdit: TypeAlias = ChangeField | DropField | PutField
Edit: TypeAlias = FieldEdit | DropAddress | AddAddress | SetSender | SetBody | Hold


def difference(before: Draft, after: Draft) -> tuple[Edit, ...]:
    """The edits that make ``after`` of ``before``: header, recipients, sender, body, quarantine.

    A field is the same in both if its ``number`` is. So every field of ``before`` needs a number,
    as `Draft.of` gives. The fields that both have must be in the same order and have the same
    names, because an MTA can neither move nor rename a field: `LocalProtocolError` says which field
    is wrong.
    """
    return (
        *_of_fields(before.fields, after.fields),
        *_of_recipients(before, after),
        *_of_rest(before, after),
    )


def _of_fields(before: tuple[Field, ...], after: tuple[Field, ...]) -> Iterator[FieldEdit]:
    kept = _kept(after)
    counts: dict[str, int] = {}
    for field in before:
        if field.number is None:
            raise LocalProtocolError(
                f"expected the earlier draft with the fields that the MTA sent, got {field.name}, "
                "which a filter added"
            )
        number = counts[field.key] = counts.get(field.key, 0) + 1
        later = kept.pop(field.number, None)
        if later is None:
            yield DropField(field.name, number)
            continue
        if later.name != field.name:
            raise LocalProtocolError(
                f"a header field keeps its name, but {field.name} became {later.name}: make the message "
                "from the one that the handler got, with without() and add()"
            )
        if later.raw != field.raw:
            yield ChangeField(field.name, number, later.raw)
    for field in kept.values():
        raise LocalProtocolError(
            f"{field.name} has the number {field.number}, which no field of the earlier draft has"
        )
    for field in after:
        if field.place != "sent":
            yield PutField(field.place, field.name, field.raw)


def _kept(fields: Iterable[Field]) -> dict[int, Field]:
    """The fields that the MTA sent, by number; an error if any field is out of order."""
    kept: dict[int, Field] = {}
    last = (0, -1)
    for field in fields:
        rank = (_RANKS[field.place], -1 if field.number is None else field.number)
        if rank < last or (field.number is not None and field.number in kept):
            raise LocalProtocolError(
                f"header fields keep their order, but {field.name} moved: an MTA cannot move a field; "
                "take it out with without() and put it in again with add() or prepend()"
            )
        last = rank
        if field.number is not None:
            kept[field.number] = field
    return kept


def _of_recipients(before: Draft, after: Draft) -> Iterator[Edit]:
    dropped, added = frozenset(before.dropped), frozenset(_pairs(before.added))
    for address in after.dropped:
        if address not in dropped:
            yield DropAddress(address)
    for pair, (address, parameters) in zip(_pairs(after.added), after.added, strict=True):
        if pair not in added:
            yield AddAddress(address, parameters)


def _pairs(added: Iterable[Address]) -> Iterator[tuple[str, tuple[tuple[str, str | None], ...]]]:
    """Added recipients, with all that makes two of them different."""
    return ((address, parameters.words) for address, parameters in added)


def _of_rest(before: Draft, after: Draft) -> Iterator[Edit]:
    if after.sender is not None and after.sender != before.sender:
        yield SetSender(*after.sender)
    if after.body is not None and after.body != before.body:
        yield SetBody(after.body)
    if after.quarantine is not None and after.quarantine != before.quarantine:
        yield Hold(after.quarantine)
