"""What follows from what was seen of handlers: the problems and notes of `demyjpy check --play`."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from attrs import frozen

from demyjpy.cli.check_report import Report, mutable_values
from demyjpy.cli.check_watch import Key, Seen, Watch, takes_headers
from demyjpy.context import Context, new_context
from demyjpy.declarations import EDITS
from demyjpy.trace.display.wording import plural, shorten
from demyjpy.wire.fields import spell_macro

_ORDER: Final = (
    "connect",
    "hello",
    "mail",
    "recipient",
    "data",
    "header",
    "end_of_headers",
    "body",
    "message",
    "end_of_message",
)
_EDITORS: Final = ("message", "end_of_message")

_NOT_QUEUED: Final = frozenset({"choose_macros"})
"""Actions of the negotiation: no handler queues them."""


@frozen
class Shared:
    """The mutable values that all connections of a filter begin with, and what they were before."""

    values: Mapping[str, Any]
    before: Mapping[str, Any]

    @classmethod
    def of(cls, on_connect: Callable[[Context], Context]) -> "Shared":
        """Look at two connections: what is the same object in both is shared."""
        one, other = on_connect(new_context()), on_connect(new_context())
        values = {name: one[name] for name in mutable_values(one) if one[name] is other.get(name)}
        return cls(values, {name: _copy(value) for name, value in values.items()})

    def problems(self) -> Iterator[str]:
        """Which of them handlers have changed."""
        for name, value in self.values.items():
            if value != self.before[name]:
                yield (
                    f"state: handlers change the {type(value).__name__} under {name!r}, which all "
                    "messages and clients share: keep an immutable value there and return ctx.set(...)"
                )


def _copy(value: Any) -> Any:
    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001  # it is the user's class; what cannot be copied is not compared
        return value


def problems_of(watch: Watch, report: Report, driver: str) -> Iterator[str]:
    """What is wrong with handlers, in the order of a session."""
    for key, seen in sorted(watch.seen.items(), key=_place):
        declared = _declared(report, key[0])
        who = f"{key[1]}: {seen.handler.name}"
        for name in sorted(seen.queued - declared):
            yield f"{who} queues {name}, which is not declared: add it to actions="
        needed = seen.wished - seen.queued - declared
        if needed:
            advice = _advice(needed, declared)
            yield f"{who}: become at {key[1]} needs {', '.join(sorted(needed))}: {advice}"
        if driver == "asyncio" and not seen.handler.blocking:
            for event in sorted(seen.waits):
                yield f"{who} may block: it calls {event}; declare blocking=True, or await it"
        if seen.failure and not (seen.queued | seen.wished) - declared:
            yield f"{who} fails: {shorten(seen.failure)}"
        for name in sorted(seen.dropped - seen.kept):
            yield (
                f"{who} asks for {name} and drops it: it has to return the context that it got from "
                "add_header(ctx, ...), send_action(ctx, ...) and the like"
            )


def beyond_problems_of(watch: Watch, beyond: Watch) -> Iterator[str]:
    """Message handlers that fail for a message above their limit only; ``beyond`` has seen such."""
    for key, seen in sorted(beyond.seen.items(), key=_place):
        known = watch.seen[key]
        if takes_headers(seen.handler) and seen.failure and not known.failure:
            yield (
                f"message: {seen.handler.name} fails for a message above its limit= "
                f"({known.handler.limit:,} bytes), which comes without its body: ask event.is_whole "
                f'first, or declare beyond="reject". It said: {shorten(seen.failure)}'
            )


def _advice(needed: set[str], declared: set[str]) -> str:
    """How to declare what is missing. A filter that declares actions may have an ``edits=`` already."""
    kinds = [kind for kind, actions in EDITS.items() if needed == actions and not declared]
    add = f"add {'it' if len(needed) == 1 else 'them'} to actions="
    return f'declare edits="{kinds[0]}", or {add}' if kinds else add


def _declared(report: Report, number: int) -> set[str]:
    """The actions that a filter may use: of several each has its own."""
    known = report.chain[number] if report.chain else report
    return {*known.actions, *known.optional_actions}


def _place(item: tuple[Key, Seen]) -> tuple[int, int]:
    number, event = item[0]
    return (_ORDER.index(event) if event in _ORDER else len(_ORDER), number)


def _never(watch: Watch, key: Key, count: int) -> Iterator[str]:
    """Why a handler has not run, if one before it ended each message that was played.

    A note, no problem: messages that it does not end may exist, and were not played.
    """
    who = f"{key[1]}: {watch.seen[key].handler.name}"
    for other, seen in watch.seen.items():
        verdicts = " or ".join(sorted(seen.ends))
        always = seen.runs and sum(seen.ends.values()) == seen.runs
        is_felt = other[0] == key[0] or "accept" not in seen.ends
        if always and is_felt and _place((other, seen))[0] < _place((key, seen))[0] < len(_ORDER):
            yield (
                f"{who} did not run in the {plural(count, 'session')} played: {seen.handler.name} at "
                f"{other[1]} said {verdicts} each time"
            )
            return


def untried_in(watch: Watch) -> Iterator[str]:
    """Handlers that were stopped where they would have waited for the world."""
    for key, seen in sorted(watch.seen.items(), key=_place):
        if seen.stops:
            calls = " and ".join(sorted(seen.stops))
            who = f"{key[1]}: {seen.handler.name}"
            yield f"{who} was stopped at {calls}: what it does after that was not tried"


def notes_of(watch: Watch, report: Report, count: int) -> Iterator[str]:
    """What is worth to know of handlers, in the order of a session."""
    yield from _never_queued(watch, report, count)
    for key, seen in sorted(watch.seen.items(), key=_place):
        if not seen.runs:
            yield from _never(watch, key, count)
        event = key[1]
        last = "end_of_message" if event == "message" else event  # it has the macros of the end
        until = _ORDER[: _ORDER.index(last) + 1] if event in _ORDER else _ORDER
        asked = {name for one in until for name in report.macros.get(one, ())}
        read = {spell_macro(name) for name in seen.macros} - asked
        if read:
            by = "@Milter.symlist" if _is_of_pymilter(seen) else "macros="
            yield (
                f"{event}: {seen.handler.name} reads {' '.join(sorted(read))}, not asked for with "
                f"{by}: it is there only where the MTA sends it anyway"
            )


def _never_queued(watch: Watch, report: Report, count: int) -> Iterator[str]:
    """Actions that are declared, and that the filter did not use although its handlers did run."""
    for number in sorted({number for number, _ in watch.seen}):
        ends = [watch.seen[number, event] for event in _EDITORS if (number, event) in watch.seen]
        used = {name for one in ends for name in one.queued | one.wished}
        left = _declared(report, number) - used - _NOT_QUEUED
        if any("become" in one.kept for one in ends):
            left -= _declared_along(_declared(report, number), used)
        known = report.chain[number] if report.chain else report
        of = f" of {report.chain[number].name}" if report.chain else ""
        if any(map(_is_of_pymilter, ends)):  # whose optional actions are all others, as with pymilter
            declared = [(f"asked for with flags={of}", left & {*known.actions})]
        else:
            declared = [
                (f"declared in actions={of}", left & {*known.actions}),
                (f"declared in optional_actions={of}", left - {*known.actions}),
            ]
        for where, names in declared:
            if names and any(one.runs for one in ends):
                words = f"queued in none of {plural(count, 'session')}: {', '.join(sorted(names))}"
                yield f"{where}, and {words}"


def _is_of_pymilter(seen: Seen) -> bool:
    """Whether a handler is a callback of a pymilter filter, whose author knows other names."""
    return bool(getattr(seen.handler.function, "is_of_pymilter", False))


def _declared_along(declared: set[str], used: set[str]) -> set[str]:
    """Actions that ``edits=`` declares together with those that wishes used."""
    kinds = [actions for kind, actions in EDITS.items() if kind != "all" and actions & used]
    is_all = declared >= EDITS["all"]
    return {name for actions in kinds for name in actions} | ({"quarantine"} if is_all else set())
