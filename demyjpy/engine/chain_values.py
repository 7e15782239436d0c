"""Messages as values: what a filter of a chain gets as one, and the edits that it wishes for.

A filter says with `demyjpy.become` what the message should be. What is done for it are modifications,
as if the filter had queued them itself. The difference of the two messages is made here, at once: a wish
that cannot be is an error of the handler, and nothing keeps the message that it names.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from attrs import evolve

from demyjpy import actions as act
from demyjpy.actions import Modification, Verdict
from demyjpy.context import Context
from demyjpy.engine.chain_edits import modifications_of
from demyjpy.engine.chain_state import ChainState
from demyjpy.engine.handler_results import as_exception
from demyjpy.engine.members import Member
from demyjpy.engine.stock import lend
from demyjpy.errors import LocalProtocolError
from demyjpy.message import Kept, Message, difference, draft_of
from demyjpy.wishes import Wish, Wished

Said: TypeAlias = Sequence[tuple[int, Any]]
"""Modifications, and wishes as their edits, each with the number of its filter."""

_TOO_BIG: Final[dict[str, Verdict]] = {
    "tempfail": act.ReplyCode(452, "4.3.4", "Message too big for this filter"),
    "reject": act.ReplyCode(552, "5.3.4", "Message too big for this filter"),
}


def message_for(state: ChainState, member: Member) -> Message:
    """The message as a filter gets it: as those before it made it."""
    shown = () if state.end is None else state.end.draft.fields
    fields = ((one.name, one.raw) for one in shown)
    message = Message.of(fields, lend(state.stock), state.mail or "", state.recipients)
    if is_too_big(message, member):
        return evolve(message, content=Kept(state.stock.size))
    return message


def is_too_big(message: Message, member: Member) -> bool:
    """Whether a message is larger than the limit of a filter."""
    return member.limit is not None and message.size > member.limit


def refusal_of(message: Message, member: Member) -> Verdict | None:
    """What is answered in place of a filter that does not want so large a message."""
    return _TOO_BIG.get(member.beyond) if is_too_big(message, member) else None


def with_edits(ctx: Context, actions: Iterable[Any], got: Message | None) -> Context | Exception:
    """The context with a handler's actions queued in it, and its wish as edits, before all others.

    Of two wishes the later one counts. ``got`` is the message that the filter got. The error, if it got
    none, or if no edits can make the one message of the other.
    """
    said = tuple(actions)
    try:
        wished = Wished(_edits([one for one in said if isinstance(one, Wish)][-1].message, got))
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is the handler's failure
        return as_exception(error)
    return ctx.set("queue", (wished, *(one for one in said if not isinstance(one, Wish))))


def queued_in(outcome: Context | Exception) -> tuple[Any, ...]:
    """What `with_edits` has queued; the error, raised, if it has found one."""
    if isinstance(outcome, Exception):
        try:
            raise outcome
        finally:
            del outcome  # this frame is in its traceback
    return tuple(outcome["queue"])


def _edits(wish: Message, got: Message | None) -> tuple[Modification, ...]:
    if got is None:
        raise LocalProtocolError(
            "become: expected a filter that has got this message as a value, got one that has not: "
            "register a handler with @handlers.message, and use become there or at end_of_message"
        )
    if wish is got:
        return ()
    before = draft_of(got)
    return modifications_of(difference(before, draft_of(wish, got)), before)


def edits_by(number: int, said: Said) -> tuple[tuple[Modification, ...], bool]:
    """All edits of one filter in the order in which they are applied, and whether it wished.

    First those of its last wish, then its own.
    """
    wished: Wished | None = None
    own: list[Modification] = []
    for author, edit in said:
        if author != number:
            continue
        if isinstance(edit, Wished):
            wished = edit
        else:
            own.append(edit)
    if wished is None:
        return tuple(own), False
    edits: Iterable[Modification] = wished.edits
    if any(isinstance(one, act.ReplaceBody) for one in own):  # else both would be one body
        edits = (one for one in edits if not isinstance(one, act.ReplaceBody))
    return (*edits, *own), True


def flattened(actions: tuple[Any, ...]) -> tuple[Any, ...]:
    """Actions with the edits in place of a wish, for watchers."""
    if not any(type(action) is Wished for action in actions):
        return actions
    return tuple(
        one for action in actions for one in (action.edits if isinstance(action, Wished) else (action,))
    )
