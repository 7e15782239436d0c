"""Pairs of filters: {verdict x event} x {edits} x {what the second does}, pairwise. Data only."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

from attrs import frozen

from demyjpy import (
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
from tests.law.draws import SENT, Draw
from tests.law.filters import ANSWERS, EVENTS, Plan
from tests.law.oracle import Letter

VERDICTS: Final[Mapping[str, tuple[str, str] | None]] = {
    "nothing": None,
    **{
        f"{answer} at {event}": (event, answer)
        for event in (*EVENTS, "message")
        for answer in ANSWERS
        if (answer != "skip" or event == "body")
        and (answer != "discard" or event not in ("connect", "hello"))
    },
}
"""What the first filter answers, and where."""

EDITS: Final[Mapping[str, tuple[Any, ...]]] = {
    "add_header": (AddHeader("X-A", "first"),),
    "add_header of a name that is there": (AddHeader("X-B", "first"),),
    "insert_header at the top": (InsertHeader(0, "X-A", "first"),),
    "insert_header below Received": (InsertHeader(1, "X-B", "first"),),
    "change_header": (ChangeHeader(1, "X-B", "first"),),
    "delete_header": (DeleteHeader(1, "X-B"),),
    "replace_body": (ReplaceBody(b"first\r\n"),),
    "add_recipient": (AddRecipient("x@test"),),
    "delete_recipient": (DeleteRecipient("c@test"),),
    "change_sender": (ChangeSender("new@test"),),
    "quarantine": (Quarantine("odd"),),
}
"""What the first filter asks for at the end."""

_NO_HEADER: Final = frozenset(EVENTS) - {"header"}

SECOND: Final[Mapping[str, Plan]] = {
    "only looks": Plan(),
    "looks at the end only": Plan(listens=frozenset({"end_of_message"})),
    "adds what the first adds": Plan(edits=(AddHeader("X-A", "second"),)),
    "changes X-A": Plan(edits=(ChangeHeader(1, "X-A", "second"),)),
    "deletes X-A": Plan(edits=(DeleteHeader(1, "X-A"),)),
    "changes X-B": Plan(edits=(ChangeHeader(1, "X-B", "second"),)),
    "changes X-B, unseen": Plan(edits=(ChangeHeader(1, "X-B", "second"),), listens=_NO_HEADER),
    "changes X-B, number 3": Plan(edits=(ChangeHeader(3, "X-B", "second"),)),
    "deletes X-B, number 1 and 2": Plan(edits=(DeleteHeader(1, "X-B"), DeleteHeader(2, "X-B"))),
    "inserts at the top and below": Plan(
        edits=(InsertHeader(0, "X-A", "second"), InsertHeader(1, "X-B", "second"))
    ),
    "replaces the body": Plan(edits=(ReplaceBody(b"second\r\n"),)),
    "adds and deletes recipients": Plan(edits=(AddRecipient("y@test"), DeleteRecipient("x@test"))),
    "changes the sender": Plan(edits=(ChangeSender("newer@test"),)),
    "quarantines": Plan(edits=(Quarantine("very odd"),)),
    "accepts at the first header field": Plan({"header": "accept"}),
    "skips the body": Plan({"body": "skip"}),
    "refuses a recipient": Plan({"RCPT b@test": "550"}),
    "refuses at the first header field": Plan({"header": "451"}),
    "refuses the end": Plan({"end_of_message": "554"}, (AddHeader("X-A", "second"),)),
    "discards at the end": Plan({"end_of_message": "discard"}),
    "fails at the end": Plan({"end_of_message": "raise"}, (AddHeader("X-A", "second"),)),
    "looks at the message": Plan(wish=()),
    "wishes for another header": Plan(
        wish=(("set", "X-B", "second"), ("without", "X-A"), ("prepend", "X-C", "second"))
    ),
    "wishes at the end, and edits": Plan(
        edits=(AddHeader("X-A", "edited"), ChangeHeader(1, "X-B", "edited"), AddRecipient("y@test")),
        wish=(("set_only", "X-B", "second"), ("add", "X-A", "second"), ("with_body", b"second\r\n")),
        wishes_at="end_of_message",
    ),
    "wishes for another envelope, unseen": Plan(
        listens=frozenset(),
        wish=(("add_recipient", "x@test"), ("drop_recipient", "C@test"), ("with_sender", "new@test")),
    ),
    "refuses the message": Plan({"message": "554"}, wish=(("set", "X-B", "second"),)),
    "accepts the message": Plan({"message": "accept"}, wish=(("set", "X-B", "second"),)),
    "fails at the message": Plan({"message": "raise"}, wish=(("set", "X-B", "second"),)),
    "never answers": Plan(silent=frozenset(EVENTS[:-1])),
}
"""What the second filter does."""

LETTER: Final = Letter(
    "a@test",
    ("b@test", "c@test"),
    (*SENT, ("X-B", " 1"), ("Subject", " s"), ("X-B", " 2")),
    b"hello\r\n",
)


@frozen
class Combination:
    """One of each."""

    verdict: str
    edits: str
    second: str

    def __str__(self) -> str:
        return f"the first: {self.verdict}, {self.edits}; the second {self.second}"

    @property
    def draw(self) -> Draw:
        """The filters, and a session of one message."""
        said = VERDICTS[self.verdict]
        is_of_message = said is not None and said[0] == "message"
        first = Plan(
            dict((said,)) if said else {}, EDITS[self.edits], wish=() if is_of_message else None
        )
        return Draw((first, SECOND[self.second]), (LETTER,))


def pairwise() -> Iterator[Combination]:
    """All pairs of two of the three: each verdict with each second, edits in turn, and the rest."""
    edits = tuple(EDITS)
    missing = {(0, one, edit) for one in VERDICTS for edit in edits}
    missing |= {(1, one, edit) for one in SECOND for edit in edits}
    turns = count()
    for at, verdict in enumerate(VERDICTS):
        for second in SECOND:
            edit = edits[(next(turns) + at) % len(edits)]
            missing -= {(0, verdict, edit), (1, second, edit)}
            yield Combination(verdict, edit, second)
    for which, one, edit in sorted(missing):
        yield Combination("nothing", edit, one) if which else Combination(one, edit, "only looks")


FEW: Final = (
    Combination("nothing", "add_header", "changes X-A"),
    Combination("nothing", "add_header of a name that is there", "changes X-B, number 3"),
    Combination("nothing", "delete_header", "changes X-B, unseen"),
    Combination("accept at header", "replace_body", "replaces the body"),
    Combination("accept at end_of_message", "change_header", "deletes X-B, number 1 and 2"),
    Combination("nothing", "quarantine", "only looks"),
    Combination("550 at recipient", "add_recipient", "adds and deletes recipients"),
    Combination("tempfail at body", "insert_header at the top", "refuses at the first header field"),
    Combination("discard at end_of_message", "change_sender", "never answers"),
    Combination("skip at body", "insert_header below Received", "inserts at the top and below"),
    Combination("raise at end_of_message", "delete_recipient", "skips the body"),
    Combination("nothing", "replace_body", "refuses the end"),
    Combination("accept at message", "add_header", "wishes for another header"),
    Combination("nothing", "add_header", "wishes at the end, and edits"),
    Combination("nothing", "delete_recipient", "wishes for another envelope, unseen"),
    Combination("tempfail at message", "replace_body", "refuses the message"),
    Combination("nothing", "delete_header", "looks at the message"),
)
"""Those that are played with every run of the tests."""
