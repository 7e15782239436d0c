"""From records to moments: each step of a session with the context before and after it."""

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import field, frozen

from demyjpy import events as ev
from demyjpy.actions import Action
from demyjpy.context import Context, new_context
from demyjpy.errors import MilterError
from demyjpy.trace.format.exchanges import actions_of, time_of
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
        if record.get("direction") in ("mta", "engine", "end"):
            if group:
                ctx, moment = _moment(ctx, group)
                yield moment
            group = [] if record.get("direction") == "end" else [record]
        elif group:
            group.append(record)
    if group:
        yield _moment(ctx, group)[1]


def _moment(ctx: Context, group: list[Record]) -> tuple[Context, Moment]:
    first, *others = group
    before = _after(ctx, first)
    after = before
    for record in others:
        after = _after(after, record)
    try:
        event: ev.Event | None = load_event(first.get("event"), first.get("fields", {}))
    except MilterError:
        event = None
    return after, Moment(
        str(first.get("event")),
        event,
        before,
        after,
        tuple(_texts(others, "handler")),
        tuple(_lenient(others, "actions")),
        tuple(_lenient(others, "answer")),
        tuple(f"{one.get('type')}: {one.get('text')}" for one in _dicts(others, "error")),
        sum(seconds_of(record.get("duration")) for record in others),
        time_of(first),
    )


def _after(ctx: Context, record: Record) -> Context:
    try:
        return apply_changes(ctx, record.get("changes", {}))
    except (MilterError, AttributeError, TypeError):
        return ctx


def _texts(records: Iterable[Record], key: str) -> Iterator[str]:
    return (record[key] for record in records if isinstance(record.get(key), str))


def _dicts(records: Iterable[Record], key: str) -> Iterator[dict[str, Any]]:
    return (record[key] for record in records if isinstance(record.get(key), dict))


def _lenient(records: Iterable[Record], key: str) -> Iterator[Action]:
    """Those of the actions that can be understood."""
    for record in records:
        try:
            yield from actions_of(record, key)
        except MilterError:
            continue
