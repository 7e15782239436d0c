"""From records to moments: each step of a session with the context before and after it."""

from collections.abc import Iterable, Iterator

from attrs import field, frozen

from demyjpy import events as ev
from demyjpy.actions import Action
from demyjpy.context import Context, new_context
from demyjpy.errors import MilterError
from demyjpy.findings import Finding
from demyjpy.trace.format.exchanges import readable_actions, time_of
from demyjpy.trace.format.json_context import apply_changes, load_finding
from demyjpy.trace.format.json_events import load_event
from demyjpy.trace.format.json_lines import seconds_of
from demyjpy.trace.format.records import Record


@frozen
class Part:
    """What one handler did in a step.

    ``ctx`` is the context as it got it, ``after`` as it left it. ``again``: the event that it got, if
    that is an earlier one, for which its filter waited. ``withheld`` is what it would have said and done
    if its filter were enforced.
    """

    handler: str
    ctx: Context = field(repr=False)
    after: Context = field(repr=False)
    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    errors: tuple[str, ...] = ()
    duration: float = 0.0
    again: str = ""
    withheld: tuple[Action, ...] = ()


@frozen
class Moment:
    """One step of a recorded session.

    ``ctx`` is the context as the first handler got it, ``after`` as the last one left it, both as far as
    a trace keeps them. ``handlers`` are the names of those that ran, ``actions`` what they queued,
    ``answer`` what was said to the MTA, ``duration`` the handlers' time in seconds. ``parts`` is what
    each handler did.
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
    parts: tuple[Part, ...] = ()


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
    parts: list[Part] = []
    for one in others:
        parts.append(_part(parts[-1].after if parts else before, one))
    return Moment(
        str(first.get("event")),
        _event_of(first),
        before,
        parts[-1].after if parts else before,
        tuple(dict.fromkeys(one.handler for one in parts if one.handler)),
        tuple(action for one in parts for action in one.actions),
        tuple(action for one in others for action in readable_actions(one, "answer")),
        tuple(error for one in parts for error in one.errors),
        sum(one.duration for one in parts),
        time_of(first),
        tuple(parts),
    )


def _part(ctx: Context, record: Record) -> Part:
    error, handler, again = record.get("error"), record.get("handler"), record.get("again")
    return Part(
        handler if isinstance(handler, str) else "",
        ctx,
        _after(ctx, record),
        readable_actions(record, "actions"),
        findings_in(record),
        (f"{error.get('type')}: {error.get('text')}",) if isinstance(error, dict) else (),
        seconds_of(record.get("duration")),
        again if isinstance(again, str) else "",
        readable_actions(record, "withheld"),
    )


def findings_in(record: Record) -> tuple[Finding, ...]:
    """What a handler found, from its record; nothing if that cannot be read."""
    found = record.get("findings", ())
    try:
        return tuple(load_finding(one) for one in found)
    except (MilterError, TypeError):
        return ()


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
