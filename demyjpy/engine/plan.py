"""What the filter may say when: the plan of one handler call, checked as a whole.

A plan is what a handler queued: modifications and at most one verdict. Either all of it is legal and
becomes bytes, or none of it is sent.
"""

from collections.abc import Iterable
from typing import Any, Final

from attrs import frozen

from demyjpy import actions as act
from demyjpy.actions import Modification, Verdict
from demyjpy.codec import ActionRow, action_row, encode_action
from demyjpy.declarations import EDITS
from demyjpy.errors import LocalProtocolError, describe
from demyjpy.verdicts import LEGAL, VERDICTS, is_verdict, join_bodies
from demyjpy.wire.codes import Response
from demyjpy.wire.framing import cut_frames, join_frame
from demyjpy.wishes import Wished

_BARE: Final[dict[type[Any], bytes]] = {
    type(verdict): join_frame(*encode_action(verdict))
    for verdict in (klass() for klass in VERDICTS if klass is not act.ReplyCode)
}
"""The packets of verdicts that say no more than their letter."""


@frozen
class Plan:
    """A legal plan: modifications in the order in which they are sent, and a verdict or none.

    ``wished``: the edits of the filter's wish for another message, if it has one; they come first.
    """

    modifications: tuple[Modification, ...] = ()
    verdict: Verdict | None = None
    wished: Wished | None = None

    @property
    def edits(self) -> tuple[Modification | Wished, ...]:
        """All that is to be edited."""
        return self.modifications if self.wished is None else (self.wished, *self.modifications)


EMPTY_PLAN: Final = Plan()

_ADVICE: Final[dict[type[Any], str]] = {
    act.Skip: "SKIP works at body only",
    act.Discard: "there is no message to discard",
}


def check_plan(
    actions: Iterable[Any],
    event: str,
    replies: bool,
    granted: frozenset[str],
    whose: str | None = None,
) -> Plan:
    """The plan in sending order, or `LocalProtocolError` that says what is not legal in it.

    ``replies`` is whether an answer is due; ``granted`` are the agreed actions, by name, of the filter
    ``whose`` name this is, if it is one of several.
    """
    modifications: list[Modification] = []
    verdict: Verdict | None = None
    wished: Wished | None = None
    for action in actions:
        if type(action) is Wished:
            wished = action
            for edit in action.edits:
                _check_modification(edit, action_row(edit), event, granted, whose)
            continue
        row = action_row(action)
        if is_verdict(action):
            _check_verdict(action, verdict, event, replies)
            verdict = action
        else:
            _check_modification(action, row, event, granted, whose)
            modifications.append(action)
    return Plan(in_sending_order(modifications), verdict, wished)


def in_sending_order(modifications: Iterable[Modification]) -> tuple[Modification, ...]:
    """Header, envelope, body, quarantine; within each as they were queued."""
    queued = tuple(modifications)
    if len(queued) < 2:
        return queued
    return tuple(sorted(queued, key=lambda action: action_row(action).group))


def _check_verdict(verdict: Verdict, earlier: Verdict | None, event: str, replies: bool) -> None:
    legal = LEGAL.get(event, ())
    if not isinstance(verdict, legal):
        expected = " or ".join(klass.__name__ for klass in legal) or "no answer"
        advice = _ADVICE.get(type(verdict), "answer at an earlier or later event")
        raise LocalProtocolError(f"expected at {event} {expected}, got {describe(verdict)}; {advice}")
    if not replies:
        raise LocalProtocolError(
            f"expected no answer at {event}, because the MTA takes none (reply=False, or a recipient "
            f"that the MTA refused), got {describe(verdict)}"
        )
    if earlier is not None:
        raise LocalProtocolError(
            f"expected one verdict at {event}, got {describe(earlier)} and {describe(verdict)}"
        )


def _check_modification(
    action: Any, row: ActionRow, event: str, granted: frozenset[str], whose: str | None
) -> None:
    if not row.group:
        raise LocalProtocolError(f"expected an action that a filter may ask for, got {describe(action)}")
    if event not in ("message", "end_of_message"):
        raise LocalProtocolError(
            f"expected modifications at message and end_of_message only, got {describe(action)} "
            f"at {event}; remember what to do in the context and queue it there"
        )
    if row.permission not in granted:
        raise LocalProtocolError(
            f"{_named(action)} needs the permission {row.permission!r}, but "
            f"{whose or 'the filter'} has {', '.join(sorted(granted)) or 'none'}: declare it in "
            f"actions={_kind_of(row.permission)}, or in optional_actions= and look into ctx['actions'] "
            "before" + ("" if whose is None else "; what other filters declare does not count")
        )


def _named(action: Any) -> str:
    """What an action is: its class, and the name of its header field. Logs hold no values of a mail."""
    return f"{type(action).__name__} of {action.name}" if hasattr(action, "name") else describe(action)


def _kind_of(permission: str) -> str:
    """What else declares an action."""
    kinds = [kind for kind, actions in EDITS.items() if permission in actions and kind != "all"]
    return f' (or edits="{kinds[0]}")' if kinds else ""


def encode_answer(modifications: Iterable[Modification], verdict: Verdict, leading_space: bool) -> bytes:
    """The whole answer as bytes: modifications, then the verdict that is sent.

    All parts of a replaced body are in one run of packets of at most 65535 bytes: Postfix ends the
    body at the first packet of another kind.
    """
    packets: list[bytes | memoryview] = []
    for action in join_bodies(modifications):
        if isinstance(action, act.ReplaceBody):
            packets += cut_frames(Response.REPLBODY, action.data)
        else:
            packets.append(join_frame(*encode_action(action, leading_space)))
    packets.append(_BARE.get(type(verdict)) or join_frame(*encode_action(verdict)))
    return b"".join(packets)
