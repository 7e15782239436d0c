"""What came of a session, as values to compare: verdicts, edits in order, replies, the mail. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

from attrs import frozen

from demyjpy.actions import Continue, Modification, ReplaceBody
from demyjpy.testing import Result
from demyjpy.testing.differences import mail_lines

_VOLATILE: Final = (
    (re.compile(r"\b(t|x)=\d{10}"), r"\1=TIME"),
    (re.compile(r"\bb=[A-Za-z0-9+/=]*(?:(?:\n|\\n)[ \t]+[A-Za-z0-9+/=]+)*"), "b=SIGNATURE"),
    (re.compile(r"\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4}"), "DATE"),
    (re.compile(r"/\S+/tmp\w{8}"), "FILE"),
    (re.compile(r"SRS0=\w+=\w+="), "SRS0=HASH="),
)
"""What differs from one time to the next: signatures, times, names of files."""

_IS_LATER: Final = re.compile(r"TemporaryFailure|ReplyCode\(code=4").search


@frozen
class Outcome:
    """What came of one session: a line for each answer that says something, each edit, each reply."""

    answers: tuple[str, ...]
    edits: tuple[str, ...]
    replies: tuple[str, ...]
    mails: tuple[str, ...]
    failures: tuple[str, ...] = ()

    @property
    def says_something(self) -> bool:
        """Whether the filter did more than let all pass."""
        return bool(self.answers or self.edits)


def outcome_of(result: Result) -> Outcome:
    """The outcome of a played session.

    `Continue` says nothing: whether it is said, or left out because of NR_*, is the negotiation's.
    """
    answers, edits = [], []
    for number, played in enumerate(result.steps):
        for heard in played.outcome.heard:
            if heard.event == "options":
                continue
            edits += [_plain(repr(edit)) for edit in _with_whole_body(heard.answer.modifications)]
            if not isinstance(heard.answer.verdict, Continue):
                answers.append(f"step {number}, {heard.event}: {_plain(repr(heard.answer.verdict))}")
    mails = "\n".join(line for one in result.messages if one.mail for line in mail_lines(one.mail))
    return Outcome(
        tuple(answers),
        tuple(edits),
        tuple(_plain(reply) for reply in result.replies),
        tuple(_plain(mails).splitlines()),
        tuple(str(failure) for failure in result.failures),
    )


def _with_whole_body(edits: Iterable[Modification]) -> Iterator[Modification]:
    """The edits, with the pieces of a new body as one, behind the others."""
    pieces: list[bytes] = []
    for edit in edits:
        if isinstance(edit, ReplaceBody):
            pieces.append(edit.data)
        else:
            yield edit
    if pieces:
        yield ReplaceBody(b"".join(pieces))


def _plain(text: str) -> str:
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    return text


def differences(real: Outcome, ours: Outcome) -> list[str]:
    """What differs, a line for each difference; of edits of different kinds the order is no difference.

    Both MTAs do the same with them: header fields, recipients and body have nothing to do with one
    another.
    """
    found = []
    for what in ("answers", "replies", "mails", "failures"):
        found += _unlike(what, getattr(real, what), getattr(ours, what))
    return found + _unlike("edits", by_kind(real.edits), by_kind(ours.edits))


def is_in_our_favour(real: Outcome, ours: Outcome) -> bool:
    """Whether the MTA waited in vain on pymilter, where this library refused for the moment, at once."""
    hung = any("no answer within" in failure for failure in real.failures)
    return hung and not ours.failures and bool(ours.answers) and all(map(_IS_LATER, ours.answers))


def _unlike(what: str, real: Sequence[str], ours: Sequence[str]) -> list[str]:
    return [
        f"{what}: pymilter {one or 'nothing'}; demyjpy {other or 'nothing'}"
        for one, other in zip_longest(real, ours)
        if one != other
    ]


def by_kind(edits: Iterable[str]) -> list[str]:
    """The edits of each kind in order, one kind after another."""
    return sorted(edits, key=_kind)


def _kind(edit: str) -> str:
    name = edit.partition("(")[0]
    return "Header" if "Header" in name else "Recipient" if "Recipient" in name else name
