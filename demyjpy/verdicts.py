"""What a verdict is, how strict, where it is legal, what it ends; and the fate of a message.

One row for each class of verdict. Whoever has to know one of these facts asks here: the engine, traces,
metrics, the models of the MTAs, the test kit. Nothing here knows packets or contexts.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, TypeGuard

from attrs import frozen

from demyjpy import actions as act
from demyjpy.actions import Verdict


class Fate(StrEnum):
    """What became of a message, in a word."""

    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"
    """Accepted, and held by the MTA."""
    REJECTED = "rejected"
    """Refused for good: a reply of class 5."""
    TEMPFAILED = "tempfailed"
    """Refused for now: a reply of class 4."""
    DISCARDED = "discarded"
    """Accepted from the client, and dropped."""
    GIVEN_UP = "given up"
    """The MTA or its client ended it: RSET, another MAIL, the end of the connection."""
    UNANSWERED = "unanswered"
    """The filter never answered at its end."""
    UNDECIDED = "undecided"
    """It goes on where a recording ends."""
    NEVER_BEGUN = "never begun"
    """The filter was not asked about it."""

    @property
    def goes_on(self) -> bool:
        """Whether the MTA keeps the message, so that edits have an effect."""
        return self in (Fate.ACCEPTED, Fate.QUARANTINED)


ENDINGS: Final = (Fate.ACCEPTED, Fate.QUARANTINED, Fate.REJECTED, Fate.TEMPFAILED, Fate.DISCARDED)
"""The fates that a filter's answer decides."""


# ------------------------------------------------------------------------------------- the table
_END: Final = ("end_of_message",)
_CONTENT: Final = ("data", "header", "end_of_headers", "body", "message", *_END)
_MESSAGE: Final = ("mail", "recipient", *_CONTENT)
_ANSWERED: Final = ("connect", "hello", *_MESSAGE, "unknown")


@frozen
class _Row:
    """One class of verdict.

    ``strictness``: of several filters' verdicts the largest number counts. ``legal``: the events at
    which every MTA understands it (protocol file, section 8.4). ``ends``: the events at which it ends
    the message that is open (section 8.5). ``fate``: what becomes of a message that it ends.
    """

    strictness: int
    legal: tuple[str, ...]
    ends: tuple[str, ...]
    fate: Fate = Fate.ACCEPTED


# A refusal at recipient ends that recipient only.
_REJECT: Final = _Row(4, _ANSWERED, ("mail", *_CONTENT), Fate.REJECTED)
_TEMPFAIL: Final = _Row(3, _ANSWERED, ("mail", *_CONTENT), Fate.TEMPFAILED)

_ROWS: Final[dict[type[Any], _Row]] = {
    act.Continue: _Row(2, _ANSWERED, _END),
    act.Accept: _Row(0, ("connect", "hello", *_MESSAGE), _MESSAGE),  # the other filters go on
    act.Reject: _REJECT,
    act.TemporaryFailure: _TEMPFAIL,
    act.ReplyCode: _REJECT,  # a code of class 4 has the row of TemporaryFailure: see _row_of
    act.Discard: _Row(5, _MESSAGE, _MESSAGE, Fate.DISCARDED),
    act.Skip: _Row(1, ("body",), _END),
}

VERDICTS: Final = tuple(_ROWS)
"""The classes of verdicts."""

REFUSALS: Final = (act.Reject, act.TemporaryFailure, act.ReplyCode)
"""The classes of verdicts that the client hears as a refusal."""

LEGAL: Final = {
    event: tuple(klass for klass, row in _ROWS.items() if event in row.legal) for event in _ANSWERED
}
"""The verdicts that every MTA understands at an event; an event that is missing has no answer."""


def _row_of(verdict: Verdict) -> _Row:
    is_temporary = isinstance(verdict, act.ReplyCode) and verdict.is_temporary
    return _TEMPFAIL if is_temporary else _ROWS[type(verdict)]


# ---------------------------------------------------------------------------- what a verdict does
def is_verdict(action: object) -> TypeGuard[Verdict]:
    """Whether an action is a verdict."""
    return type(action) in _ROWS


def verdicts_in(actions: Iterable[object]) -> list[Verdict]:
    """The verdicts among actions, in order."""
    return [action for action in actions if is_verdict(action)]


def decides(verdict: object) -> bool:
    """Whether a verdict decides something: all do, but Continue and Skip."""
    return not isinstance(verdict, act.Continue | act.Skip)


def ends_message(event: str, verdict: Verdict) -> bool:
    """Whether this answer to an event ends the message that is open."""
    return event in _ROWS[type(verdict)].ends


def refuses(verdict: Verdict) -> bool:
    """Whether the MTA does not keep what this answers: it rejects, fails for now, or discards."""
    return not _row_of(verdict).fate.goes_on


def strictness(verdict: Verdict) -> int:
    """The rank of a verdict, from Accept, the mildest, to Discard."""
    return _row_of(verdict).strictness


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """The strictest verdict, the first of several equally strict; `Continue` if there is none."""
    return max(verdicts, key=strictness, default=act.Continue())


# --------------------------------------------------------------------------- the fate of a message
def fate_of(verdict: Verdict | None, edits: Iterable[object] = ()) -> Fate:
    """The fate that an answer decides. ``edits`` are the modifications beside it."""
    fate = Fate.UNANSWERED if verdict is None else _row_of(verdict).fate
    is_held = fate is Fate.ACCEPTED and any(isinstance(edit, act.Quarantine) for edit in edits)
    return Fate.QUARANTINED if is_held else fate


def fate_of_refusal(code: int) -> Fate:
    """The fate of a message that is refused with an SMTP reply (RFC 5321, section 4.2.1)."""
    return Fate.TEMPFAILED if code < 500 else Fate.REJECTED


def edits_made(verdict: Verdict | None, edits: Iterable[Any]) -> tuple[Any, ...]:
    """The edits that have an effect: none if the message is refused or dropped."""
    made = tuple(edits)
    return join_bodies(made) if fate_of(verdict, made).goes_on else ()


def join_bodies(edits: Iterable[Any]) -> tuple[Any, ...]:
    """The same edits with a new body that was said in pieces as one: it is one change."""
    said = tuple(edits)
    bodies = [edit for edit in said if isinstance(edit, act.ReplaceBody)]
    if len(bodies) < 2:
        return said
    at = said.index(bodies[0])
    whole = act.ReplaceBody(b"".join([body.data for body in bodies]))
    return (*said[:at], whole, *(one for one in said[at:] if not isinstance(one, act.ReplaceBody)))
