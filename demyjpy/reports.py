"""What a filter reports besides its answers: lines for the log (`note`), figures (`count`).

Both are data. A handler queues them like actions; when it has returned, and what it queued is legal,
the driver writes the line and the metrics count. A handler that fails has reported nothing.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from demyjpy.context import Context, send_action
from demyjpy.errors import HandlerError, describe
from demyjpy.requests import Request

LONGEST: Final = 1000
"""Characters of a text that are kept."""

_MOST: Final = 20
"""Fields or labels of one report."""

_TAKEN: Final = frozenset(
    {
        *("args", "asctime", "client", "created", "event", "exc_info", "exc_text", "filename"),
        *("filter", "funcName", "handler", "levelname", "levelno", "lineno", "message", "module"),
        *("msecs", "msg", "name", "pathname", "process", "processName", "queue_id"),
        *("relativeCreated", "session", "stack_info", "taskName", "thread", "threadName"),
    }
)
"""Attributes that a record of `logging`, or of demyjpy, has already."""


def _as_text(what: str, text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise HandlerError(f"expected {what} as a text that is not empty, got {describe(text)}")
    return text[:LONGEST]


def _as_note(text: Any) -> str:
    return _as_text("the text of a note", text)


def _as_name(name: Any) -> str:
    return _as_text("the name of a count", name)


def _as_fields(fields: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    if len(fields) > _MOST:
        raise HandlerError(f"expected at most {_MOST} fields or labels, got {len(fields)}")
    for name, value in fields.items():
        if value is not None and not isinstance(value, str | int | float):
            raise HandlerError(
                f"expected {name}= as a text, a number, a truth value or None, got {describe(value)}"
            )
    return tuple(
        (name, one[:LONGEST] if isinstance(one, str) else one) for name, one in sorted(fields.items())
    )


@frozen
class Note(Request):
    """A line for the log: a text, and fields as pairs of a name and a value."""

    text: str = field(converter=_as_note)
    fields: tuple[tuple[str, Any], ...] = ()


@frozen
class Count(Request):
    """Something to count: by name, so many, with labels as pairs of a name and a text."""

    name: str = field(converter=_as_name)
    amount: float = 1
    labels: tuple[tuple[str, str], ...] = ()


def note(ctx: Context, text: str, /, **fields: Any) -> Context:
    """Queue a line for the log: ``note(ctx, "greylisted", wait=300)``.

    The driver writes it when the handler has returned. Its record carries session, queue id, client,
    event, handler, filter and the ``fields``: texts, numbers, truth values or None. Of a message 20
    lines are written, and then one that says so. `HandlerError` for another value, or for a field with
    the name of what a record has already.
    """
    taken = sorted(_TAKEN.intersection(fields))
    if taken:
        raise HandlerError(
            f"expected another name for the field {taken[0]}= of a note: a log record has that already"
        )
    queued: Any = Note(text, _as_fields(fields))
    return send_action(ctx, queued)


def count(ctx: Context, name: str, amount: float = 1, /, **labels: Any) -> Context:
    """Queue a figure of the filter's own: ``count(ctx, "greylisted", reason="new")``.

    Metrics show it as ``demyjpy_filter_counts_total``, by filter, name and labels. The labels should be
    few: see docs/metrics.md. `HandlerError` unless ``amount`` is a finite number from 0.
    """
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    if not is_number or not 0 <= amount < math.inf:
        raise HandlerError(f"expected the amount of a count as a number from 0, got {describe(amount)}")
    texts = tuple((key, str(one)) for key, one in _as_fields(labels))
    queued: Any = Count(name, amount, texts)
    return send_action(ctx, queued)


def words_of_report(one: Note | Count) -> str:
    """A note or count on one line."""
    pairs = one.fields if isinstance(one, Note) else one.labels
    more = f" ({', '.join(f'{name}={value}' for name, value in pairs)})" if pairs else ""
    if isinstance(one, Note):
        return f"{one.text}{more}"
    return f"{one.name}{more}" + ("" if one.amount == 1 else f", {one.amount:g}")
