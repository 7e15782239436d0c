"""A filter with a policy of its own, and the sums of what filters may take, which are checked at start.

What a policy is stands in `demyjpy.filter_policy`; the engine acts on it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import evolve

from demyjpy.context import Context
from demyjpy.errors import HandlerError
from demyjpy.facts import origin_in
from demyjpy.filter_policy import NO_POLICY, OnError, Policy
from demyjpy.registry import ASKABLE, Redeclared, Registry, as_registry, name_of_filter

MOST_AT_END: Final = 240.0
"""Seconds that all filters together may ask for at the end of a message.

Sendmail waits 300 s there (``E`` of INPUT_MAIL_FILTER), Postfix 300 s (milter_content_timeout).
"""

MOST_ELSEWHERE: Final = 8.0
"""The same at any other event. Sendmail waits 10 s (``S`` and ``R``), Postfix 30 s."""

_ENDS: Final = ("message", "end_of_message")
_ELSEWHERE: Final = ("options", *(name for name in ASKABLE if name not in _ENDS and name != "options"))


def with_policy(
    handlers: Registry | Mapping[str, Callable[..., Any]],
    *,
    on_error: OnError | Mapping[str, OnError] | None = None,
    timeout: float | None = None,
    enforce: bool | None = None,
) -> Registry:
    """The same filter with a policy of its own; of merged filters each gets it.

    - ``on_error``: the answer if one of its handlers fails or is late: a verdict, a function, or a map
      by origin (``"smtp"``, ``"submission"``, ``"local"``, ``"bounce"``) to these. Such a map declares
      the fact ``origin``; for an origin that is not in it the server's answer holds.
    - ``timeout``: the most seconds for the ``message`` and ``end_of_message`` handlers of a filter
      together.
    - ``enforce=False``: the filter is only tried. It is called as usual, but its answers and edits are
      dropped, and explained, recorded and counted instead.

    An argument that is None changes nothing: at first the server's holds, and the filter is enforced. A
    later policy wins for what it names. `HandlerError` for a value that cannot be meant.
    """
    policy = Policy(on_error, timeout, enforce)
    facts = {"origin"} if isinstance(policy.on_error, Mapping) else set[str]()

    def governed(part: Registry) -> Registry:
        declared = part.declarations
        return Redeclared(
            part, evolve(declared, policy=policy.over(declared.policy), facts=declared.facts | facts)
        )

    return as_registry(handlers).with_parts(governed)


# ------------------------------------------------------------------------------ asked by the engine
def policies_of(registry: Registry) -> tuple[Policy, ...]:
    """The policy of each filter, in order; nothing if none has one."""
    found = tuple([part.declarations.policy for part in registry.parts])
    return found if any(one != NO_POLICY for one in found) else ()


def on_error_for(policy: Policy, ctx: Context, usual: OnError) -> OnError:
    """What a filter's policy says of a failure in this context, else what is ``usual``."""
    given = policy.on_error
    if isinstance(given, Mapping):
        return given.get(origin_in(ctx), usual)
    return usual if given is None else given


# -------------------------------------------------------------------------------- checked at start
def check_timeouts(registry: Registry) -> None:
    """`HandlerError` if the filters together may take longer than an MTA waits.

    Only values that are given count. Filters that are never asked about the same message, as those of
    a canary, count once: those that may take longest.
    """
    _check_sum("end_of_message", MOST_AT_END, [(part, _at_end(part)) for part in registry.parts])
    for event in _ELSEWHERE:
        _check_sum(event, MOST_ELSEWHERE, [(part, _at(part, event)) for part in registry.parts])


def _at(part: Registry, event: str) -> float:
    return (part[event].timeout or 0.0) if event in part else 0.0


def _at_end(part: Registry) -> float:
    own = part.declarations.policy.timeout
    return sum(_at(part, event) for event in _ENDS) if own is None else own


def _check_sum(event: str, most: float, given: Iterable[tuple[Registry, float]]) -> None:
    by_alternative: dict[str, list[tuple[Registry, float]]] = {}
    for part, seconds in given:
        if seconds:
            by_alternative.setdefault(part.declarations.alternative, []).append((part, seconds))
    always = by_alternative.pop("", [])
    others = max(by_alternative.values(), key=_total, default=[])
    counted = [*always, *others]
    total = _total(counted)
    if total > most:
        who = ", ".join(f"{name_of_filter(part)} {seconds:g} s" for part, seconds in counted)
        raise HandlerError(
            f"expected the timeout= of all filters at {event} to be at most {most:g} s together, "
            f"because an MTA does not wait much longer, got {total:g} s: {who}"
        )


def _total(given: Iterable[tuple[Registry, float]]) -> float:
    return sum(seconds for _, seconds in given)
