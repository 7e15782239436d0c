"""What one filter of several sees of the context, and which keys of it are its own.

Merged filters share one context. Each sees there the actions that it may use itself. A key belongs to
the filter that declares it in ``state=``, or that sets it first on a connection. A filter may read any
key. If it changes one that belongs to another, its handler fails.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen
from pyrsistent import PMap

from demyjpy.context import ENGINE_KEYS, Context
from demyjpy.engine.fact_keeping import facts_of
from demyjpy.engine.members import Members
from demyjpy.engine.smallmap import changed_keys, small_map
from demyjpy.errors import HandlerError
from demyjpy.findings import take_findings
from demyjpy.handlers import default_event_handler
from demyjpy.registry import Handler, Registry

Path: TypeAlias = tuple[str, ...]
"""Where a key stands: in which corner of the context, and whether among what is remembered."""

_TOP: Final[Path] = ()
_REMEMBERED: Final = "connection"
_FREE: Final = frozenset({"queue"})
_MOST_KEYS: Final = 1_000
_ALLOWED: Final = {"define_macros": _FREE | {"macros"}}
"""The engine's keys that a handler of an event may change."""
_NOTHING: Final = small_map({})


@frozen(eq=False)
class FilterView:
    """The context as one filter of several sees it.

    ``actions`` are those that it was granted, None if these are all that were agreed. ``declared`` says
    whose keys are declared in ``state=``: numbers by path and key. ``scope`` is the path of its corner,
    if it has one. ``names`` are the names of all filters. ``free`` are the keys of the context that it
    may change without a question whose they are. ``place`` is its own among several, also if it is there
    twice: its questions are apart. ``has_answers``: some filter may have answers in the context.
    ``facts`` are those that it has declared, None if these are all that are known, or if none are.
    """

    number: int
    names: tuple[str, ...]
    actions: frozenset[str] | None
    declared: Mapping[tuple[Path, str], frozenset[int]]
    scope: Path
    free: frozenset[str]
    place: int
    has_answers: bool
    facts: frozenset[str] | None = None

    def enter(self, outer: Context) -> Context:
        """The context as the filter sees it: its own actions, and the facts and answers it may read."""
        seen = outer if self.actions is None else outer.set("actions", self.actions)
        if self.facts is not None:
            seen = seen.set("facts", outer["facts"].of(self.facts))
        return self.show_answers(seen) if "answers" in outer else seen

    def show_answers(self, outer: Context) -> Context:
        """Of the answers to the questions of all filters those that this one may read."""
        return outer.set("answers", outer["answers"].get(self.place, _NOTHING))

    def leave(self, event: str, outer: Context, seen: Context, outcome: Any) -> Any:
        """What the engine gets of a context that has changed; `HandlerError` for another's key."""
        if not isinstance(outcome, PMap):
            return outcome  # the engine says what is wrong with it
        after: Context = outcome
        changed = changed_keys(seen, after)
        if not self.free.issuperset(changed):
            if "queue" not in after or _REMEMBERED not in after:
                return outcome
            self._check_engines(event, after, changed)
            owners = self._check(seen, after, changed)
            if owners is not None:
                after = after.set("owners", owners)
        if "queue" in changed:
            after = take_findings(after, self.names[self.number], event)
        after = after if self.actions is None else after.set("actions", outer["actions"])
        if self.has_answers and "answers" in outer:
            after = after.set("answers", outer["answers"])
        if self.facts is not None:
            after = after.set("facts", outer["facts"])
        return after

    def around(self, event: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        """An ``on_error`` function, as it answers for this filter at an event."""

        def answered(error: Exception, happened: Any, ctx: Context) -> Any:
            seen = self.enter(ctx)
            outcome = answer(error, happened, seen)
            return ctx if outcome is seen else self.leave(event, ctx, seen, outcome)

        return answered

    def _check_engines(self, event: str, after: Context, changed: Iterable[str]) -> None:
        """`HandlerError` if a key of the engine was changed, or if there are too many keys."""
        allowed = _ALLOWED.get(event, _FREE)
        for key in changed:
            is_engines = key in ENGINE_KEYS and key != _REMEMBERED and key not in allowed
            if is_engines or (key == _REMEMBERED and not isinstance(after[key], PMap)):
                raise HandlerError(
                    f"expected {self.names[self.number]} to leave the key {key!r} alone, which belongs "
                    "to the engine: return a context made from the one that the handler got"
                )
        if max(len(after), len(after.get("owners", _NOTHING))) > _MOST_KEYS:
            raise HandlerError(
                f"expected at most {_MOST_KEYS} keys in the context of merged filters, got more from "
                f"{self.names[self.number]}: keep what belongs together in a map under one key"
            )

    def _check(self, seen: Context, outcome: Context, changed: list[str]) -> PMap[Any, int] | None:
        """`HandlerError` if a key of another filter was changed; the owners of keys if some are new."""
        known: PMap[Any, int] = seen.get("owners", _NOTHING)
        owners = known
        for path, key in _places(_TOP, changed, seen, outcome, self.scope):
            owner = self.declared.get((path, key))
            if owner is None:
                number = owners.get((path, key))
                owner = None if number is None else frozenset({number})
            if owner is None:
                owners = owners.set((path, key), self.number)
            elif self.number not in owner and not _is_equal(
                _at(seen, path, key), _at(outcome, path, key)
            ):
                raise self._not_yours(path, key, owner)
        return None if owners is known else owners

    def _not_yours(self, path: Path, key: str, owner: frozenset[int]) -> HandlerError:
        where = "what is remembered under" if _REMEMBERED in path else "the key"
        first = min(owner)
        whose = "a filter without handlers" if first < 0 else self.names[first]
        return HandlerError(
            f"expected {self.names[self.number]} to leave {where} {key!r} alone, which belongs to "
            f"{whose}: read it, and keep what is yours under a key of your own, or "
            "give each filter a corner with scoped() or a keyword of merge_handlers()"
        )


def _places(
    path: Path, changed: list[str], before: Any, after: Any, scope: Path
) -> Iterator[tuple[Path, str]]:
    """Where something has changed: in corners of this ``scope``, and in what is remembered, in it."""
    for key in changed:
        is_remembered = path == _TOP and key == _REMEMBERED
        if path == _TOP and key in ENGINE_KEYS and not is_remembered:
            continue
        if not is_remembered and scope[:1] != (key,):
            yield path, key
            continue
        old, new = before.get(key, _NOTHING), after.get(key, _NOTHING)
        rest = scope if is_remembered else scope[1:]
        yield from _places((*path, key), changed_keys(old, new), old, new, rest)


_GONE: Final = object()


def _at(values: Any, path: Path, key: str) -> Any:
    """What lies at a key of a corner."""
    for name in path:
        values = values.get(name, _NOTHING)
    return values.get(key, _GONE)


def _is_equal(before: Any, after: Any) -> bool:
    """Whether a new value is as the old one, of those that are cheap to compare."""
    return type(before) is type(after) and isinstance(before, int | float | str) and before == after


def views_of(registry: Registry, members: Members, agreed: frozenset[str]) -> tuple[FilterView, ...]:
    """How each filter of a merged registry sees the context. ``agreed``: all that was granted."""
    parts = registry.parts
    declared: dict[tuple[Path, str], frozenset[int]] = {}
    leaves = [
        (next((n for n, one in enumerate(parts) if one is leaf), -1), leaf) for leaf in registry.leaves
    ]
    for number, part in leaves:
        for place in _declared_by(part):
            declared[place] = declared.get(place, frozenset()) | {number}
    names = tuple(one.name for one in members.filters)
    waits = any(handler.waits for part in parts for handler in part.values())
    known = facts_of(registry)
    return tuple(
        FilterView(
            parts.index(part),  # a filter that is there twice has keys once
            names,
            None if one.actions == agreed else one.actions,
            declared,
            part.scope,
            _free_for(number, parts, declared),
            number,
            waits,
            _facts_of(part, known),
        )
        for number, (one, part) in enumerate(zip(members.filters, parts, strict=True))
    )


def _facts_of(part: Registry, known: frozenset[str]) -> frozenset[str] | None:
    declared = part.declarations.facts
    return None if declared == known else declared


def _free_for(
    number: int, parts: Sequence[Registry], declared: Mapping[tuple[Path, str], frozenset[int]]
) -> frozenset[str]:
    """The keys that are this filter's with all that is in them, and some of the engine's."""
    shared = {part.scope[:1] for n, part in enumerate(parts) if n != number}
    own = {key for (path, key), owners in declared.items() if path == _TOP and owners == {number}}
    return _FREE.union([key for key in own if (key,) not in shared])


def _declared_by(part: Registry) -> Iterator[tuple[Path, str]]:
    """The keys that a filter declares, each with the path of its corner."""
    state: Any = part.state
    for depth, name in enumerate((*part.scope, None)):
        yield from [(part.scope[:depth], key) for key in state]
        state = state.get(name, _NOTHING)


def in_view(view: FilterView, handler: Handler[Any]) -> Handler[Any]:
    """A handler of one filter of several. What the library does of itself needs no view."""
    inner, event = handler.function, handler.event
    if inner is default_event_handler:
        return handler
    own, enter, leave, has_answers = view.actions, view.enter, view.leave, view.has_answers

    def call_entering(happened: Any, ctx: Context) -> Any:
        seen = enter(ctx)
        outcome = inner(happened, seen)
        return ctx if outcome is seen else leave(event, ctx, seen, outcome)

    def call(happened: Any, ctx: Context) -> Any:
        seen = ctx if own is None else ctx.set("actions", own)  # as in `enter`, which takes longer
        if has_answers and "answers" in ctx:
            seen = view.show_answers(seen)
        outcome = inner(happened, seen)
        return ctx if outcome is seen else leave(event, ctx, seen, outcome)

    async def call_async(happened: Any, ctx: Context) -> Any:
        seen = enter(ctx)
        outcome = await inner(happened, seen)
        return ctx if outcome is seen else leave(event, ctx, seen, outcome)

    plain = call if view.facts is None else call_entering
    function: Any = call_async if handler.is_async else plain
    function.__wrapped__ = inner  # logs name the user's function
    asking = handler.asking
    if asking is None:
        return evolve(handler, function=function)
    return evolve(handler, function=function, asking=lambda given, ctx: asking(given, enter(ctx)))
