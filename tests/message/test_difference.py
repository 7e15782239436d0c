"""The difference of two drafts, as edits without a protocol."""

import pytest
from attrs import evolve
from hypothesis import given

from demyjpy.actions import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
)
from demyjpy.errors import LocalProtocolError
from demyjpy.message import (
    AddAddress,
    ChangeField,
    Draft,
    DropAddress,
    DropField,
    Field,
    Hold,
    PutField,
    SetBody,
    SetSender,
    apply_edits,
    difference,
)
from demyjpy.wire.fields import Parameters
from tests.message.drafts import FILTERS, after, draft_of, headers, lines_of

FIRST = draft_of("A: 1", "a: 2", "B: 3", "A: 4")


def test_each_edit_is_said_in_its_own_words():
    """Fields by their number in the earlier draft, new ones in the order of the header."""
    edits = [
        *(DeleteHeader(1, "A"), ChangeHeader(2, "A", "new"), ChangeHeader(1, "B", "3")),
        *(InsertHeader(0, "T", "1"), InsertHeader(0, "T", "2"), InsertHeader(1, "M", "3")),
        *(AddHeader("E", "4"), AddHeader("E", "5"), DeleteRecipient("d@test"), AddRecipient("n@test")),
        *(ChangeSender("x@test"), ReplaceBody(b"new"), Quarantine("odd")),
    ]
    assert difference(FIRST, apply_edits(FIRST, edits)) == (
        *(DropField("A", 1), ChangeField("a", 2, " new")),
        *(PutField("top", "T", " 2"), PutField("top", "T", " 1"), PutField("below", "M", " 3")),
        *(PutField("end", "E", " 4"), PutField("end", "E", " 5")),
        *(DropAddress("D@test"), AddAddress("n@test", Parameters()), SetSender("x@test", Parameters())),
        *(SetBody(b"new"), Hold("odd")),
    )


def test_what_one_filter_does_and_the_next_undoes_is_no_edit():
    """A field that is as it was, one that came and went, a recipient who came and went."""
    there = [ChangeHeader(1, "A", "x"), AddHeader("N", "x"), AddRecipient("n@test"), AddHeader("A", "x")]
    back = [
        ChangeHeader(1, "A", "1"),
        DeleteHeader(1, "N"),
        DeleteRecipient("n@test"),
        DeleteHeader(4, "A"),
    ]
    assert difference(FIRST, after(FIRST, apply_edits, there, back)) == ()


def test_a_recipient_who_is_deleted_and_added_again():
    """Both are said: the parameters of the client are gone."""
    last = after(FIRST, apply_edits, [DeleteRecipient("b@test")], [AddRecipient("b@test")])
    assert difference(FIRST, last) == (DropAddress("b@test"), AddAddress("b@test", Parameters()))


def test_what_the_earlier_draft_has_is_not_said_again():
    """Only what has come since is an edit."""
    edits = [AddRecipient("n@test"), DeleteRecipient("b@test"), ChangeSender("x@test")]
    middle = apply_edits(FIRST, [*edits, ReplaceBody(b"x"), Quarantine("odd")])
    last = apply_edits(middle, [AddRecipient("m@test", "NOTIFY=NEVER")])
    assert difference(middle, last) == (AddAddress("m@test", Parameters([("NOTIFY", "NEVER")])),)


@given(headers(), FILTERS)
def test_the_difference_makes_one_of_the_other(lines, filters):
    """Dropped, changed and added fields account for all of the last header; two equal ones for none."""
    first = draft_of(*lines)
    last = after(first, apply_edits, *filters)
    edits = difference(first, last)
    counts = {}
    kept = []
    for field in first.fields:
        number = counts[field.key] = counts.get(field.key, 0) + 1
        if DropField(field.name, number) not in edits:
            changed = [
                one.raw
                for one in edits
                if one == ChangeField(field.name, number, getattr(one, "raw", None))
            ]
            kept.append(f"{field.name}:{(changed or [field.raw])[0]}")
    put = {place: [] for place in ("top", "below", "end")}
    for one in edits:
        if isinstance(one, PutField):
            put[one.place].append(f"{one.name}:{one.raw}")
    assert [*put["top"], *put["below"], *kept, *put["end"]] == lines_of(last)
    assert difference(first, first) == ()


def _with(*fields):
    return evolve(FIRST, fields=fields)


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (FIRST.fields[::-1], "keep their order, but B moved"),
        ((FIRST.fields[0],) * 2, "keep their order, but A moved"),
        ((FIRST.fields[0], Field("T", "", None, "top")), "keep their order, but T moved"),
        ((Field("E", ""), FIRST.fields[0]), "keep their order, but A moved"),
        ((evolve(FIRST.fields[0], name="X"),), "keeps its name, but A became X"),
        ((Field("C", "", 9, "sent"),), "C has the number 9, which no field of the earlier draft has"),
    ],
)
def test_what_an_mta_cannot_do_is_an_error(later, words):
    """A field that moved, changed its name or came from nowhere: the error names it."""
    with pytest.raises(LocalProtocolError, match=words):
        difference(FIRST, _with(*later))


def test_the_earlier_draft_has_only_what_the_mta_sent():
    """A field that a filter added has no number by which an MTA could find it."""
    with pytest.raises(LocalProtocolError, match="got N, which a filter added"):
        difference(_with(Field("N", "")), Draft())
