"""From records to moments: each step of a session with the context before and after it."""

from collections.abc import Iterable, Iterator
from functools import reduce

from attrs import field, frozen

from demyjpy import events as ev
from demyjpy.actions import Action
from demyjpy.context import Context, new_context
from demyjpy.errors import MilterError
from demyjpy.trace.format.exchanges import readable_actions, time_of
from demyjpy.trace.format.json_context import apply_changes
from demyjpy.trace.format.json_events import load_event
from demyjpy.trace.format.json_lines import seconds_of
from demyjpy.trace.format.records import Record


@frozen
class Moment:
    """One step of a recorded session.

    ``ctx`` is the context as the first handler got it, ``after`` as the last one left it, both as far as
    a trace keeps them. ``handlers`` are the names of those that ran, ``actions`` what they queued,
    ``answer`` what was said to the MTA, ``duration`` the handlers' time in seconds.
    """

    name: str
    event: ev.Event | None
    ctx: Context = field(repr=False)
    after: Context = field(repr=False)
    handlers: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    answer: tuple[Action, ...] = ()
    errors: tuple[str, ...] = ()
    duration: float = 0.0
    time: float = 0.0


def moments_of(records: Iterable[Record]) -> Iterator[Moment]:
    """The steps of a session."""
    ctx = new_context()
    group: list[Record] = []
    for record in records:
        if record.get("direction") not in ("mta", "engine", "end"):
            group += [record] if group else []
            continue
        if group:
            moment = _moment(ctx, *group)
            ctx = moment.after
            yield moment
        group = [] if record.get("direction") == "end" else [record]
    if group:
        yield _moment(ctx, *group)


def _moment(ctx: Context, first: Record, *others: Record) -> Moment:
    before = _after(ctx, first)
    errors = (one["error"] for one in others if isinstance(one.get("error"), dict))
    return Moment(
        str(first.get("event")),
        _event_of(first),
        before,
        reduce(_after, others, before),
        tuple(one["handler"] for one in others if isinstance(one.get("handler"), str)),
        tuple(action for one in others for action in readable_actions(one, "actions")),
        tuple(action for one in others for action in readable_actions(one, "answer")),
        tuple(f"{error.get('type')}: {error.get('text')}" for error in errors),
        sum(seconds_of(record.get("duration")) for record in others),
        time_of(first),
    )


def _event_of(record: Record) -> ev.Event | None:
    try:
        return load_event(record.get("event"), record.get("fields", {}))
    except MilterError:
        return None


def _after(ctx: Context, record: Record) -> Context:
    try:
        return apply_changes(ctx, record.get("changes", {}))
    except (MilterError, AttributeError, TypeError):
        return ctx
