"""What becomes of a message: its fate, from what was answered to it. One home for this fact.

Whoever says in a word what happened to a mail (explain, traces, replay, metrics, the mail server in a
box, ``demyjpy send``, the test kit) asks here. Nothing here knows packets or contexts.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

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


def fate_of(verdict: Verdict | None, edits: Iterable[object] = ()) -> Fate:
    """The fate that an answer decides. ``edits`` are the modifications beside it."""
    match verdict:
        case None:
            return Fate.UNANSWERED
        case act.Reject():
            return Fate.REJECTED
        case act.TemporaryFailure():
            return Fate.TEMPFAILED
        case act.ReplyCode():
            return fate_of_refusal(verdict.code)
        case act.Discard():
            return Fate.DISCARDED
        case _:
            held = any(isinstance(edit, act.Quarantine) for edit in edits)
            return Fate.QUARANTINED if held else Fate.ACCEPTED


def fate_of_refusal(code: int) -> Fate:
    """The fate of a message that is refused with an SMTP reply (RFC 5321, section 4.2.1)."""
    return Fate.TEMPFAILED if code < 500 else Fate.REJECTED


def edits_made(verdict: Verdict | None, edits: Iterable[Any]) -> tuple[Any, ...]:
    """The edits that have an effect: none if the message is refused or dropped."""
    made = tuple(edits)
    return join_bodies(made) if fate_of(verdict, made).goes_on else ()


def join_bodies(edits: Iterable[Any]) -> tuple[Any, ...]:
    """The same edits with a new body that was said in pieces as one: it is one change."""
    joined: list[Any] = []
    pieces: list[bytes] = []
    for edit in edits:
        if isinstance(edit, act.ReplaceBody):
            if not pieces:
                joined.append(edit)
            pieces.append(edit.data)
        else:
            joined.append(edit)
    if len(pieces) < 2:
        return tuple(joined)
    whole = act.ReplaceBody(b"".join(pieces))
    return tuple(whole if isinstance(edit, act.ReplaceBody) else edit for edit in joined)
