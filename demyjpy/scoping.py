"""A filter in a corner of its own: its keys are those of one map in the context."""

from collections.abc import Callable
from typing import Any, Final

from attrs import evolve
from pyrsistent import PMap

from demyjpy.context import ENGINE_KEYS, KEYS_FROM_THE_START, USED_LATER, Context
from demyjpy.declarations import Corner
from demyjpy.engine.smallmap import as_small_map, changed_keys, entries_of, small_map
from demyjpy.errors import HandlerError
from demyjpy.registry import Handler, Redeclared, Registry

_EMPTY: Final = small_map({})


def scoped(name: str, registry: Registry) -> Registry:
    """The same filter in a corner of its own: its keys are those of the map ``ctx[name]``.

    It sees neither the other keys of the context nor what other filters remember; macros, events,
    findings and actions are shared. Several merged filters are in the corner together.
    """
    return in_corner(name, registry)


def in_corner(name: str, registry: Registry, called: str | None = None) -> Registry:
    """As `scoped`; ``called`` is the name of the filter from now on, if it is not None.

    Of several merged filters each that has a name keeps it behind that one: ``called.name``.
    """
    if name in ENGINE_KEYS:
        raise HandlerError(f"expected a scope of your own, got {name!r}, which is the engine's")
    corner = Corner(name)
    is_group = sum(bool(leaf) or leaf.name is not None for leaf in registry.leaves) > 1

    def in_it(part: Registry) -> Registry:
        keeps_name = is_group and called is not None and part.name is not None
        return Scoped(corner, part, f"{called}.{part.name}" if keeps_name else called)

    return registry.with_parts(in_it)


class Scoped(Redeclared):
    """One filter in its corner."""

    def __init__(self, corner: Corner, inner: Registry, called: str | None = None) -> None:
        self._corner = corner
        declared = inner.declarations
        policy = declared.policy.with_functions(lambda function: _on_error_in(corner.name, function))
        super().__init__(
            inner,
            evolve(
                declared,
                policy=policy,
                state={corner.name: small_map(declared.state)},
                corners=(corner, *declared.corners),
                name=declared.name if called is None else called,
            ),
        )

    def __getitem__(self, event: str) -> Handler[Any]:
        inner = self._inner[event]
        return evolve(wrap_scope(self._corner.name, inner), filter=self.name or inner.filter)


def wrap_scope(name: str, handler: Handler[Any]) -> Handler[Any]:
    """A handler that works in the corner ``name`` of the context that it gets.

    It is two functions in place of a generator for `wrap_handler`, which takes several times as long.
    """
    inner = handler.function

    def call(event: Any, ctx: Context) -> Any:
        seen = enter_scope(name, ctx)
        outcome = inner(event, seen)
        return ctx if outcome is seen else leave_scope(name, ctx, seen, outcome)

    async def call_async(event: Any, ctx: Context) -> Any:
        seen = enter_scope(name, ctx)
        outcome = await inner(event, seen)
        return ctx if outcome is seen else leave_scope(name, ctx, seen, outcome)

    function: Any = call_async if handler.is_async else call
    function.__wrapped__ = inner  # logs name the user's function
    asking = handler.asking
    if asking is None:
        return evolve(handler, function=function)
    return evolve(
        handler,
        function=function,
        asking=lambda event, ctx: asking(event, enter_scope(name, ctx)),
    )


def _on_error_in(name: str, on_error: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a filter's policy that works in the corner ``name``, as its handlers do."""

    def answer(error: Exception, event: Any, ctx: Context) -> Any:
        seen = enter_scope(name, ctx)
        return leave_scope(name, ctx, seen, on_error(error, event, seen))

    return answer


def enter_scope(name: str, ctx: Context) -> Context:
    """The context as seen from its corner ``name``."""
    entries = dict(entries_of(ctx.get(name, _EMPTY)))
    for key in KEYS_FROM_THE_START:
        entries[key] = ctx[key]
    for key in USED_LATER:
        if key in ctx:
            entries[key] = ctx[key]
    entries["connection"] = ctx["connection"].get(name, _EMPTY)
    return as_small_map(entries)


def leave_scope(name: str, outer: Context, seen: Context, inner: Any) -> Any:
    """The outer context after what its corner ``name`` saw has become ``inner``."""
    if not isinstance(inner, PMap):
        return inner  # the engine says what is wrong with it
    changed, now = changed_keys(seen, inner), entries_of(inner)
    shared = ENGINE_KEYS.intersection(changed)
    if not now.keys() >= shared:
        return inner  # the same: it lacks what is the engine's
    after = dict(entries_of(outer))
    for key in shared:
        after[key] = now[key]
    if "connection" in shared:
        connection, remembered = outer["connection"], now["connection"]
        is_kept = remembered or name in connection
        after["connection"] = connection.set(name, remembered) if is_kept else connection
    if len(shared) < len(changed):
        corner = {key: value for key, value in now.items() if key not in ENGINE_KEYS}
        after[name] = as_small_map(corner)
    return as_small_map(after)
