"""Several filters as one: what they declare together, who handles what, and who answers first."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy.actions import Verdict
from demyjpy.context import Context, send_action, take_actions
from demyjpy.declarations import (
    ANY_EDITS,
    CONDITION,
    HEADER_EDITS,
    RECIPIENT_EDITS,
    Corner,
    Declarations,
    check_name,
)
from demyjpy.engine.negotiation import unite_macros
from demyjpy.engine.smallmap import small_map
from demyjpy.errors import HandlerError, describe
from demyjpy.findings import take_findings
from demyjpy.known_facts import SOURCES
from demyjpy.registry import Handler, Registry, as_registry, name_of_filter
from demyjpy.scoping import in_corner
from demyjpy.verdicts import fate_of, is_verdict, strictest, verdicts_in
from demyjpy.wire.codes import MACROS_PER_STAGE
from demyjpy.wrapping import as_function


def chain_of(registry: Registry, event: str) -> tuple[tuple[int, Handler[Any]], ...]:
    """The handlers of an event in order, each with the number of the filter that it belongs to."""
    return tuple((number, part[event]) for number, part in enumerate(registry.parts) if event in part)


def merge_handlers(*registries: Registry, **named: Registry) -> Registry:
    """One filter out of several, which are asked in this order until one refuses.

    It does what an MTA does with several milters in a row: the first refusal is the answer, and the
    filters behind it are not asked. `Accept` means that this filter is done with the message (or
    connection); the others go on. Filters given by keyword come last; the keyword is the name of the
    filter and its corner of the context (see `scoped`).

    Declarations are united. `HandlerError` if two filters declare one key of the context, or if a filter
    stands before one that it declares in ``after=``. Merging is associative, an empty registry is
    neutral, and merging one filter gives that filter.
    """
    for one in registries:
        if isinstance(one, list | tuple):
            raise HandlerError(
                f"expected each filter as an argument of its own, got {describe(one)}: unpack it, as in "
                "merge_handlers(*list)"
            )
    filters = (
        *map(as_registry, registries),
        *(
            in_corner(name, as_registry(one), check_name("the name of a filter", name))
            for name, one in named.items()
        ),
    )
    return filters[0] if len(filters) == 1 else Merged(filters)


class Merged(Registry):
    """Several filters as one. They are read when asked, so they may still grow."""

    def __init__(self, registries: Iterable[Registry]) -> None:
        self.merged = tuple(registries)
        if any(one.observer is not None for one in self.merged):
            raise HandlerError(
                "expected filters to merge, got one that is observed, as shadow() returns it: merge the "
                "filters first, and give shadow() all of them"
            )
        check_order(self.leaves)
        super().__init__(None, unite(self.leaves))

    @property
    def parts(self) -> tuple[Registry, ...]:
        return tuple(part for one in self.merged for part in one.parts if part)

    @property
    def leaves(self) -> tuple[Registry, ...]:
        return tuple(leaf for one in self.merged for leaf in one.leaves)

    def with_parts(self, change: Callable[[Registry], Registry]) -> Registry:
        return Merged([one.with_parts(change) for one in self.merged])

    @property
    def optional_events(self) -> frozenset[str]:
        """The events that are optional for each filter that has a handler for them."""
        required = {event for part in self.parts for event in part if event not in part.optional_events}
        return self.declarations.optional_events - required

    @property
    def macros(self) -> Mapping[str, tuple[str, ...]]:
        """What all ask for. See `unite_macros` for filters that do not ask."""
        return _macros_of(self.leaves)

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def add(self, event: str, handler: Callable[..., Any], **options: Any) -> None:
        raise HandlerError(
            f"expected a handler for {event!r} to be registered with one of the filters, "
            "got a merged registry: define it before merging, or merge one filter more"
        )

    def __getitem__(self, event: str) -> Handler[Any]:
        parts = self.parts
        chain = [(name_of_filter(parts[number]), handler) for number, handler in chain_of(self, event)]
        if not chain:
            raise KeyError(event)
        return compose(event, chain, len(chain) < len(parts))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(event for part in self.parts for event in part))

    def __len__(self) -> int:
        return len(tuple(iter(self)))


_OF_VALUES: Final = frozenset({"mail", "recipient", "header", "body"})
"""The events that a message as a value is made of."""


def watched_events(registry: Registry) -> frozenset[str]:
    """The events that the engine itself needs, for messages as values, facts and the edits of several.

    It asks for them as observer. For one plan of the edits of several filters it needs none if at most
    one of them may edit.
    """
    return watched_for_edits(registry) | watched_for_messages(registry) | watched_for_facts(registry)


def watched_for_facts(registry: Registry) -> frozenset[str]:
    """The events that the engine needs for the facts that filters read."""
    facts = [fact for part in registry.parts for fact in part.declarations.facts]
    return frozenset([event for fact in facts for event in SOURCES[fact].events])


def watched_for_messages(registry: Registry) -> frozenset[str]:
    """The events that the engine needs to give a message as a value."""
    return _OF_VALUES if "message" in registry else frozenset()


def watched_for_edits(registry: Registry) -> frozenset[str]:
    """The events that the engine needs to make one plan of the edits of several filters."""
    allowed = [part.actions | part.optional_actions for part in registry.parts]
    if sum(not ANY_EDITS.isdisjoint(one) for one in allowed) < 2:
        return frozenset()
    known = frozenset[str]().union(*allowed)
    needs = (("header", HEADER_EDITS), ("recipient", RECIPIENT_EDITS))
    return frozenset([event for event, kind in needs if not known.isdisjoint(kind)])


# --------------------------------------------------------------------------------- declarations
def unite(filters: Sequence[Registry]) -> Declarations:
    """All that several filters declare, as one; optional is only what none of them requires."""
    declared = [one.declarations for one in filters]
    actions = frozenset[str]().union(*(one.actions for one in declared))
    optional_actions = frozenset[str]().union(*(one.optional_actions for one in declared))
    optional_events = frozenset[str]().union(*(one.optional_events for one in declared))
    return Declarations(
        actions,
        optional_actions - actions,
        optional_events,
        _checked_macros(filters),
        unite_state(filters),
    )


def _macros_of(filters: Iterable[Registry]) -> dict[str, tuple[str, ...]]:
    return unite_macros([one.macros for one in filters if one or one.macros])


def _checked_macros(filters: Iterable[Registry]) -> dict[str, tuple[str, ...]]:
    """The lists of all; `HandlerError` for one that is too long, with the filters that made it so."""
    united = _macros_of(filters)
    for event, names in united.items():
        if len(names) > MACROS_PER_STAGE:
            who = " and ".join(repr(name_of_filter(one)) for one in filters if event in one.macros)
            raise HandlerError(
                f"expected at most {MACROS_PER_STAGE} macros for {event!r} from all filters together, "
                f"as Sendmail does, got {len(names)} from {who}"
            )
    return united


def check_order(filters: Sequence[Registry]) -> None:
    """`HandlerError` if a filter stands before one that it has to come after."""
    for place, first in enumerate(filters):
        for second in filters[place + 1 :]:
            if not first.after.isdisjoint(_names_of(second)):
                raise HandlerError(
                    f"expected {name_of_filter(first)!r} to stand behind {second.name!r}, as its after= "
                    "says, got it before that: change the order in merge_handlers"
                )


def _names_of(one: Registry) -> frozenset[str]:
    """What ``after=`` may call a filter: of ``x.spf`` also ``spf``, and the group ``x``."""
    if one.name is None:
        return frozenset()
    parts = one.name.split(".")
    groups = [".".join(parts[:length]) for length in range(1, len(parts))]
    return frozenset([one.name, parts[-1], *groups])


@frozen
class _Taken:
    """A key that a filter has declared: with a value, or with a corner and what is in it."""

    by: Registry
    value: Any
    corner: Corner | None = None


def unite_state(filters: Iterable[Registry]) -> dict[str, Any]:
    """What the context starts with for all filters; `HandlerError` if two declare one key."""
    taken: dict[str, _Taken] = {}
    for number, one in enumerate(known := tuple(filters)):
        is_again = any(one is earlier for earlier in known[:number])
        corners = one.declarations.corners
        # a filter that is there twice works twice, but has one corner only
        _take_keys(
            taken, one, one.declarations.state, [evolve(c) for c in corners] if is_again else corners
        )
    return _values(taken)


def _take_keys(
    taken: dict[str, _Taken], owner: Registry, state: Mapping[str, Any], corners: Sequence[Corner]
) -> None:
    for key, value in state.items():
        corner = corners[0] if corners and corners[0].name == key else None
        earlier = taken.get(key)
        if earlier is None:
            taken[key] = _Taken(owner, {} if corner else value, corner)
        elif corner is None or earlier.corner is not corner:
            raise HandlerError(_conflict(key, earlier, _Taken(owner, value, corner)))
        if corner is not None:
            _take_keys(taken[key].value, owner, value, corners[1:])


def _values(taken: Mapping[str, _Taken]) -> dict[str, Any]:
    return {
        key: one.value if one.corner is None else small_map(_values(one.value))
        for key, one in taken.items()
    }


def _conflict(key: str, earlier: _Taken, later: _Taken) -> str:
    one, other = earlier.by, later.by
    if earlier.corner and later.corner:
        if all(taken.by.name is not None and key in _names_of(taken.by) for taken in (earlier, later)):
            return (
                f"expected a keyword of its own for each filter, got two filters by the keyword {key!r}"
            )
        return (
            f"expected a corner of its own for each filter, got {name_of_filter(one)!r} and "
            f"{name_of_filter(other)!r}, which are both in a corner {key!r}"
        )
    if key.startswith(CONDITION):
        called = "without a name" if one.name is None else f"called {one.name!r}"
        return (
            f"expected each only_if filter to have a name of its own, got two {called}: give them "
            "name=, or keywords, as in merge_handlers(first=..., second=...)"
        )
    return (
        f"expected each key of the context in the state= of one filter, got {key!r} from "
        f"{name_of_filter(one)!r} and from {name_of_filter(other)!r}: give each filter a corner of its "
        "own with scoped(), or by keyword, as in merge_handlers(first=..., second=...)"
    )


# --------------------------------------------------------------------------- calling all by hand
def compose(event: str, chain: Sequence[tuple[str, Handler[Any]]], others: bool) -> Handler[Any]:
    """One handler that runs several, for calling by hand; the engine runs them one by one.

    ``chain`` has the name of the filter with each handler. ``others`` is whether there are filters
    without a handler for this event: those continue.
    """
    handlers = [handler for _, handler in chain]

    def run(given: Any, ctx: Context) -> Generator[tuple[Handler[Any], Context], Context, Context]:
        before, ctx = take_actions(ctx)
        edits: list[Any] = []
        verdicts: list[Verdict] = [act.Continue()] if others else []
        for author, handler in chain:
            ctx = take_findings((yield handler, ctx), author, event)
            queue, ctx = take_actions(ctx)
            edits += [action for action in queue if not is_verdict(action)]
            verdict: Verdict = next(iter(verdicts_in(queue)), act.Continue())
            verdicts.append(verdict)
            if not fate_of(verdict).goes_on:
                break  # the first refusal is the answer, and is the only one among the verdicts
        answer = strictest(verdicts)
        return send_action(ctx, *before, *edits, *([] if answer == act.Continue() else [answer]))

    is_async = any(handler.is_async for handler in handlers)
    return Handler(
        event,
        as_function(run, lambda given, asked: asked[0](given, asked[1]), is_async=is_async),
        reply=any(handler.reply for handler in handlers),
        blocking=not is_async and any(handler.blocking for handler in handlers),
        rejected=any(handler.rejected for handler in handlers),
        progress=min((h.progress for h in handlers if h.progress is not None), default=None),
        timeout=_sum_of([handler.timeout for handler in handlers]),
        needs=frozenset[str]().union(*[handler.needs for handler in handlers]),
        asking=_asking_of_all([one.asking for one in handlers if one.asking is not None]),
        within=max(handler.within for handler in handlers),
    )


def _sum_of(times: Iterable[float | None]) -> float | None:
    """The time for all; None if one has as much as the server says."""
    known = list(times)
    given = [one for one in known if one is not None]
    return sum(given) if len(given) == len(known) else None


def _asking_of_all(functions: Sequence[Callable[[Any, Context], Any]]) -> Any:
    """What all ask, in one map; None if nobody asks."""

    def asking(event: Any, ctx: Context) -> dict[str, Any]:
        return {key: one for function in functions for key, one in function(event, ctx).items()}

    return asking if functions else None
