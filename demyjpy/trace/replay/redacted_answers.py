"""Answers compared with a recording from which values were left out for privacy.

Such a value is taken as equal to any other: the verdict, and where something is changed, is still
compared. How much was left out of a session is `left_out`.
"""

from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from demyjpy import actions as act
from demyjpy.trace.format.exchanges import Reply
from demyjpy.trace.format.privacy import REDACTED
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.replay.replaying import Replayed

_HEADER_EDITS: Final = (act.AddHeader, act.InsertHeader, act.ChangeHeader)


def left_out(trace: Trace) -> int:
    """The bytes that were left out of a session."""
    counts = (record.get("left_out") for record in trace.records)
    return sum(one for one in counts if isinstance(one, int))


def as_kept(replayed: Replayed) -> Replayed:
    """What a filter said, without the values that were left out of what was recorded."""
    if not left_out(replayed.trace):
        return replayed
    return evolve(replayed, replies=tuple(map(_as_kept, replayed.replies)))


def _as_kept(reply: Reply) -> Reply:
    recorded = reply.exchange
    old = evolve(reply, data=recorded.expected, leading_space=recorded.leading_space)
    if reply.data == old.data or not any("left_out" in one for one in recorded.records):
        return reply
    return old if are_same(old.actions, reply.actions) else reply


def are_same(old: Sequence[Any], new: Sequence[Any]) -> bool:
    """Whether they are the same actions except for values that are not in the recording."""
    return len(old) == len(new) and all(map(_is_same, old, new))


def _is_same(old: Any, new: Any) -> bool:
    """Whether they are the same except for a value that is not in the recording."""
    if type(old) is not type(new):
        return False
    if isinstance(old, _HEADER_EDITS) and old.value == REDACTED:
        return _place(old) == _place(new)
    if isinstance(old, act.ReplyCode) and old.lines == (REDACTED,):
        return (old.code, old.enhanced) == (new.code, new.enhanced)
    if isinstance(old, act.Quarantine) and old.reason == REDACTED:
        return True
    if isinstance(old, act.ReplaceBody) and not old.data:
        return True
    return bool(old == new)


def _place(edit: Any) -> tuple[Any, ...]:
    return edit.name, getattr(edit, "index", None)
