"""Findings: what one filter found out about a message, as data for the filters behind it.

A handler queues a finding like an action. When it has returned, the engine writes on the finding which
filter it is from, and at which event, and keeps it in ``ctx["findings"]``.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, field, frozen
from pyrsistent import PMap

from demyjpy.context import Context, check_mapping, send_action
from demyjpy.engine.smallmap import small_map
from demyjpy.errors import HandlerError, describe

SOURCES: Final = ("filter", "header", "mta")
"""Where a filter may have a finding from: its own work, a header field, the MTA."""

_OWN: Final = frozenset({"author", "event"})

MOST: Final = 1000
"""Findings that are kept of one message."""


def _check_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise HandlerError(
            f"expected the name of a finding as a text that is not empty, got {describe(name)}"
        )
    return name


def _check_score(score: Any) -> float:
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    if not is_number or not math.isfinite(score):
        raise HandlerError(f"expected the score of a finding as a finite number, got {describe(score)}")
    return float(score)


def _check_source(source: Any) -> str:
    if not isinstance(source, str) or source not in SOURCES:
        got = repr(source) if isinstance(source, str) else describe(source)
        raise HandlerError(f"expected the source of a finding as {' or '.join(SOURCES)}, got {got:.80}")
    return source


def _check_fields(fields: Any) -> PMap[str, Any]:
    return small_map(check_mapping("the fields of a finding", fields))


@frozen
class Finding:
    """What a filter found out: a name, a value, a score, and more fields if it likes.

    ``source`` is where the filter has it from: ``"filter"`` (its own work), ``"header"`` (a header
    field, which anybody may have written) or ``"mta"``. ``author`` is the filter, and ``event`` the
    event at which it found this; both are None until the handler has returned.
    """

    name: str = field(converter=_check_name)
    value: Any
    score: float = field(default=0.0, converter=_check_score)
    source: str = field(default="filter", converter=_check_source)
    fields: Mapping[str, Any] = field(factory=dict, converter=_check_fields)
    author: str | None = None
    event: str | None = None


def find(
    ctx: Context,
    name: str,
    value: Any,
    /,
    *,
    score: float = 0.0,
    source: str = "filter",
    **fields: Any,
) -> Context:
    """Pass a finding on to the filters behind: ``find(ctx, "spf", "softfail", score=1.5, domain=d)``.

    At most 1,000 are kept of one message; one more raises `HandlerError`.
    """
    if not _OWN.isdisjoint(fields):
        raise HandlerError(
            f"expected other names for the fields of a finding than {' and '.join(sorted(_OWN))}, which "
            "are the finding's own: the engine writes them when the handler has returned"
        )
    found: Any = Finding(name, value, score, source, fields)
    kept, queue = ctx["findings"], ctx["queue"]
    if len(kept) + len(queue) >= MOST:
        _check_number(len(kept) + len(findings_in(queue)) + 1)
    return send_action(ctx, found)


def findings(ctx: Context, name: str | None = None) -> tuple[Finding, ...]:
    """All findings in the context, in order, or those with this name."""
    found: tuple[Finding, ...] = (*ctx["findings"], *findings_in(ctx["queue"]))
    return found if name is None else tuple([one for one in found if one.name == name])


def total_score(ctx: Context) -> float:
    """The sum of the scores of all findings in the context."""
    return math.fsum([one.score for one in findings(ctx)])


def take_findings(ctx: Context, author: str, event: str) -> Context:
    """The findings that a handler queued go to ``ctx["findings"]``, with its filter and the event."""
    queue = ctx.get("queue", ())
    if not queue:
        return ctx
    queued = findings_in(queue)
    if not queued:
        return ctx
    kept: tuple[Finding, ...] = (
        *ctx["findings"],
        *[evolve(one, author=author, event=event) for one in queued],
    )
    _check_number(len(kept))
    left = tuple([action for action in queue if not isinstance(action, Finding)])
    return ctx.set("queue", left).set("findings", kept)


def new_findings(before: Context, after: Context) -> tuple[Finding, ...]:
    """What a handler added to the findings: those that one context has and an earlier one has not."""
    old: tuple[Finding, ...] = before.get("findings", ())
    new: tuple[Finding, ...] = after.get("findings", ())
    return () if new is old else new[len(old) :]


def findings_in(queue: Any) -> list[Finding]:
    """The findings among what a handler queued."""
    return [action for action in queue if isinstance(action, Finding)]


def _check_number(number: int) -> None:
    if number > MOST:
        raise HandlerError(
            f"expected at most {MOST} findings of one message, got {number}: pass on a finding for what "
            "counts, not for each field or address"
        )
