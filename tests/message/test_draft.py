"""What the edits of one filter make of a message, whatever the MTA."""

import pytest

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
from demyjpy.message import Draft, Field, apply_edits, shown_body
from demyjpy.wire.fields import Parameters
from tests.message.drafts import draft_of, lines_of

THREE = ("X-Three: one", "Subject: s", "X-Three: two", "x-three: three")
FIRST = draft_of(*THREE)


def edited(*edits, draft=FIRST):
    """The lines of the header after the edits of one filter."""
    return lines_of(apply_edits(draft, edits))


def test_a_field_has_its_value_as_an_event_has_it():
    """It is the text after the colon and one optional space; the name is compared in any case."""
    field = Field("X-Three", "  deep")
    assert (field.value, field.key, Field("x", "close").value) == (" deep", "x-three", "close")


def test_a_draft_of_what_the_mta_sent():
    """Each field has its index as its number, and nothing else is changed."""
    draft = Draft.of([("A", " 1"), ("B", "2")])
    assert draft == Draft((Field("A", " 1", 0, "sent"), Field("B", "2", 1, "sent")))
    assert draft.recipients is draft.standing is None


def test_no_edit_changes_nothing():
    """The draft of a filter that asks for nothing is the one that it got."""
    assert apply_edits(FIRST, ()) == FIRST


@pytest.mark.parametrize(
    ("edits", "left"),
    [
        ([DeleteHeader(n, "X-Three") for n in (1, 2, 3)], THREE[1:2]),
        ([DeleteHeader(n, "X-Three") for n in (3, 2, 1)], THREE[1:2]),
        ([DeleteHeader(4, "X-Three"), DeleteHeader(1, "X-None")], THREE),
        ([ChangeHeader(2, "x-THREE", "new")], (*THREE[:2], "X-Three: new", THREE[3])),
        ([ChangeHeader(2, "X-Three", ""), ChangeHeader(4, "X-Three", "")], (*THREE[:2], THREE[3])),
        ([ChangeHeader(1, "X-Three", "a"), ChangeHeader(1, "X-Three", "b")], ("X-Three: b", *THREE[1:])),
        ([ChangeHeader(1, "X-Three", "a"), DeleteHeader(1, "X-Three")], THREE[1:]),
        ([DeleteHeader(1, "X-Three"), ChangeHeader(1, "X-Three", "a")], ("X-Three: a", *THREE[1:])),
        (
            [DeleteHeader(1, "X-Three"), ChangeHeader(3, "X-Three", "c")],
            (*THREE[1:3], "x-three: c"),
        ),
        (
            [
                ChangeHeader(4, "x-Three", "a"),
                AddHeader("X-Three", "b"),
                ChangeHeader(4, "X-Three", "c"),
            ],
            (*THREE, "x-Three: a", "X-Three: b", "X-Three: c"),
        ),
    ],
)
def test_numbers_count_what_the_filter_was_shown(edits, left):
    """Whatever it queued before; the later of two edits of one field counts; the name stays."""
    assert edited(*edits) == [*left]


@pytest.mark.parametrize("end", [5, 6, 1_000_000])
def test_insertions_go_to_the_top_below_received_or_to_the_end(end):
    """A later one at the top or below Received stands above an earlier one, at the end behind it."""
    edits = [InsertHeader(index, f"X-{index}", text) for text in "ab" for index in (0, 1, end)]
    lines = edited(*edits, AddHeader("X-Last", "c"))
    tops, rest = ["X-0: b", "X-0: a", "X-1: b", "X-1: a"], [f"X-{end}: a", f"X-{end}: b", "X-Last: c"]
    assert lines == [*tops, *THREE, *rest]


def test_insertions_of_a_second_filter():
    """Its top is above that of the first, and its place below Received above that of the first."""
    first = apply_edits(FIRST, [InsertHeader(0, "T", "1"), InsertHeader(1, "B", "1")])
    second = [InsertHeader(1, "B", "2"), InsertHeader(0, "T", "2"), DeleteHeader(1, "B")]
    assert edited(*second, draft=first) == ["T: 2", "T: 1", "B: 2", *THREE]
    assert edited(DeleteHeader(1, "T"), InsertHeader(1, "B", "2"), draft=first)[:2] == ["B: 2", "B: 1"]


@pytest.mark.parametrize("index", [2, 4])
def test_any_other_index_is_an_error(index):
    """It names the index and the field, and says what is possible."""
    with pytest.raises(LocalProtocolError) as error:
        edited(InsertHeader(index, "X-Mid", "secret"))
    text = str(error.value)
    for part in ("X-Mid", "0 (top), 1 (below", "greater than 4 (end)", f"got {index};"):
        assert part in text
    assert "secret" not in text


def test_an_index_into_an_empty_header():
    """1 is below Received also if there is no other field; 2 is the end."""
    empty = draft_of()
    draft = apply_edits(empty, [InsertHeader(index, "X", str(index)) for index in (2, 1, 0)])
    assert [(field.place, field.value) for field in draft.fields] == [
        *(("top", "0"), ("below", "1"), ("end", "2"))
    ]


@pytest.mark.parametrize(
    ("edits", "standing", "dropped"),
    [
        ([AddRecipient("b@test"), AddRecipient("b@test", "NOTIFY=NEVER")], "bcD", ()),
        ([AddRecipient("n@test"), AddRecipient("n@test", "NOTIFY=NEVER")], "bcDn", ()),
        ([AddRecipient("B@test")], "bcDB", ()),
        ([AddRecipient("B@test"), DeleteRecipient("b@TEST")], "cD", ("b@test",)),
        ([AddRecipient("n@test"), DeleteRecipient("N@test")], "bcD", ()),
        ([DeleteRecipient("d@test"), DeleteRecipient("x@test")], "bc", ("D@test", "x@test")),
        ([DeleteRecipient("b@test"), AddRecipient("b@test")], "cDb", ("b@test",)),
        ([DeleteRecipient("b@test")] * 2, "cD", ("b@test",)),
    ],
)
def test_recipients(edits, standing, dropped):
    """Who stands is not added again; a deletion covers every spelling; an unknown one is passed on."""
    draft = apply_edits(FIRST, edits)
    assert draft.standing == tuple(f"{letter}@test" for letter in standing)
    assert draft.dropped == dropped
    again = draft
    for edit in edits:  # each by a filter of its own
        again = apply_edits(again if edit is not edits[0] else FIRST, [edit])
    assert again == draft


def test_the_first_parameters_of_an_added_recipient_stay():
    """Adding the same one with other parameters does nothing."""
    draft = apply_edits(FIRST, [AddRecipient("n@test", "NOTIFY=NEVER"), AddRecipient("n@test")])
    assert [(one, parameters.words) for one, parameters in draft.added] == [
        ("n@test", (("NOTIFY", "NEVER"),))
    ]


def test_recipients_that_are_not_known():
    """Each deletion is passed on, also one that takes an addition back."""
    edits = [AddRecipient("n@test"), AddRecipient("m@test"), DeleteRecipient("N@test")]
    draft = apply_edits(draft_of(recipients=None), edits)
    assert draft.standing is None
    assert draft.added == (("m@test", Parameters()),)
    assert draft.dropped == ("N@test",)


def test_sender_body_and_quarantine():
    """The last one counts; several bodies of one filter are one, that of a later filter replaces it."""
    edits = [ChangeSender("x@test"), ReplaceBody(b"a"), Quarantine("one"), ReplaceBody(b"b")]
    draft = apply_edits(FIRST, edits)
    assert (draft.sender, draft.body, draft.quarantine) == (("x@test", Parameters()), b"ab", "one")
    draft = apply_edits(draft, [ChangeSender(""), ReplaceBody(b""), Quarantine("two")])
    assert (draft.sender, draft.body, draft.quarantine) == (("", Parameters()), b"", "two")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b"a\nb\r\nc\n", b"a\r\nb\r\nc\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"\n", b"\r\n"),
    ],
)
def test_a_body_gets_its_line_ends(given, shown):
    """The next filter sees CRLF at the end of each line, the last one included."""
    assert shown_body(given) == shown
    assert shown_body(shown) == shown
