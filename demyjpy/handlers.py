"""What handlers are made of and put together with: definition, defaults, merging, scoping.

Everything here maps registries to registries or contexts to contexts. Calling a handler on a packet's
way is `demyjpy.engine.pipeline`'s.
"""

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from attrs import evolve
from pyrsistent import PMap

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Verdict
from demyjpy.codec import encode_event
from demyjpy.context import ENGINE_KEYS, Context, send_action, take_actions, update
from demyjpy.engine.cache import Caches
from demyjpy.engine.negotiation import EVENT_NAMES, Wants, action_names, agree, sent_events
from demyjpy.engine.smallmap import small_map
from demyjpy.errors import HandlerError, describe
from demyjpy.registry import Declarations, Handler, Registry, name_of_function
from demyjpy.verdicts import is_verdict, strictest, verdicts_in

E = TypeVar("E")

_SENDABLE: Final = frozenset(EVENT_NAMES)
_DECLARED: Final = ("actions", "optional_actions", "optional_events")

Around: TypeAlias = Generator[Context, Context, Context]
"""What stands around one call of a handler: see `wrap_handler`."""


def define_event_handlers(
    handlers: Mapping[str, Callable[..., Any]] | None = None,
    *,
    actions: Iterable[str] = (),
    optional_actions: Iterable[str] = (),
    optional_events: Iterable[str] = (),
    macros: Mapping[str, Iterable[str]] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Registry:
    """A registry: a map from event names to handlers, to which its decorators add.

    ``actions`` (such as ``{"add_header"}``) must be granted by the MTA, ``optional_actions`` are used
    if they are; ``optional_events`` may be missing from its offer. ``macros`` asks for macros by
    event, where the MTA can be asked. ``state`` is what each connection's context starts with. What
    cannot be right raises `HandlerError`.
    """
    declared = Declarations(actions, optional_actions, optional_events, macros or {}, state or {})
    return Registry(handlers, declared)


def with_handlers(ctx: Context, handlers: Mapping[str, Callable[..., Any]]) -> Context:
    """The context with a filter in it: its handlers, declarations and state.

    This is what ``on_connect`` functions are for: ``lambda ctx: with_handlers(ctx, handlers)``.
    """
    registry = as_registry(handlers)
    declared = {key: getattr(registry, key) for key in _DECLARED}
    return update(ctx, {"handlers": registry, **declared, **registry.state})


def as_registry(handlers: Any) -> Registry:
    """A registry as it is; any other map of event names to functions as a registry."""
    if isinstance(handlers, Registry):
        return handlers
    if isinstance(handlers, Mapping):
        return Registry(handlers)
    raise HandlerError(f"expected a registry or a map of event names, got {describe(handlers)}")


def wants_of(ctx: Context) -> Wants:
    """What the filter in a context asks of the MTA."""
    registry = as_registry(ctx["handlers"])
    events = frozenset(registry) & _SENDABLE
    chains = {name: chain_of(registry, name) for name in events}
    return Wants(
        events=events,
        optional_events=frozenset(ctx["optional_events"]),
        quiet=frozenset(
            name for name, chain in chains.items() if not any(handler.reply for _, handler in chain)
        ),
        actions=frozenset(ctx["actions"]),
        optional_actions=frozenset(ctx["optional_actions"]),
        macros=registry.macros,
        rejected=any(handler.rejected for _, handler in chains.get("recipient", ())),
    )


# ------------------------------------------------------------------------------------- defaults
def default_event_handler(event: ev.Event, ctx: Context) -> Context:
    """What the library does where no handler is registered: negotiate, keep macros, continue."""
    match event:
        case ev.Options():
            registry = as_registry(ctx["handlers"])
            answers = _ANSWERS.of(registry)
            declared = (frozenset(ctx[key]) for key in _DECLARED)
            reply, agreed = answers.once((event, *registry.sizes, *declared), lambda: _agree(event, ctx))
            return send_action(update(ctx, agreed), reply)
        case ev.DefineMacros():
            _, payload = encode_event(event)
            return ctx.set("macros", ctx["macros"].define(payload[0], payload[1:]))
        case _:
            return ctx


_ANSWERS: Final = Caches()
"""What filters answer to offers."""


def _agree(offer: ev.Options, ctx: Context) -> tuple[act.Negotiate, dict[str, frozenset[str]]]:
    """The answer to an offer, and what it comes to, for the context."""
    reply = agree(offer, wants_of(ctx))
    events = sent_events(frozenset(ctx["handlers"]) & _SENDABLE, reply.version)
    return reply, {"events": events, "actions": action_names(reply.actions)}


# -------------------------------------------------------------------------------------- merging
def chain_of(registry: Registry, event: str) -> tuple[tuple[int, Handler[Any]], ...]:
    """The handlers of an event in order, each with the number of the filter that it belongs to."""
    return tuple((number, part[event]) for number, part in enumerate(registry.parts) if event in part)


def merge_handlers(*registries: Registry) -> Registry:
    """One filter out of several: for each event their handlers run in this order.

    Each sees the context that the one before returned. Declarations are united; two filters that
    start the same key of the context with different values raise `HandlerError`: see `scoped`.
    `Accept` from one means that it is done with the message (or connection), not that the mail is
    accepted; what is answered is the strictest verdict. Merging is associative, an empty registry is
    neutral, and merging one filter gives that filter.
    """
    return registries[0] if len(registries) == 1 else Merged(registries)


class Merged(Registry):
    """Several filters as one. They are read when asked, so they may still grow."""

    def __init__(self, registries: Iterable[Registry], state: Mapping[str, Any] | None = None) -> None:
        self.merged = tuple(registries)
        united = unite([one.declarations for one in self.merged])
        super().__init__(None, united if state is None else evolve(united, state=state))

    @property
    def parts(self) -> tuple[Registry, ...]:
        return tuple(part for one in self.merged for part in one.parts if part)

    @property
    def optional_events(self) -> frozenset[str]:
        """The events that are optional for each filter that has a handler for them."""
        required = {event for part in self.parts for event in part if event not in part.optional_events}
        return self.declarations.optional_events - required

    def add(self, event: str, handler: Callable[..., Any], **options: Any) -> None:
        raise HandlerError(
            f"expected a handler for {event!r} to be registered with one of the filters, "
            "got a merged registry: define it before merging, or merge one filter more"
        )

    def __getitem__(self, event: str) -> Handler[Any]:
        handlers = [handler for _, handler in chain_of(self, event)]
        if not handlers:
            raise KeyError(event)
        return compose(event, handlers, len(handlers) < len(self.parts))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(event for part in self.parts for event in part))

    def __len__(self) -> int:
        return len(tuple(iter(self)))


def unite(declarations: Iterable[Declarations]) -> Declarations:
    """All that several filters declare, as one; optional is only what none of them requires."""
    united = tuple(declarations)
    actions = frozenset[str]().union(*(one.actions for one in united))
    optional_actions = frozenset[str]().union(*(one.optional_actions for one in united))
    optional_events = frozenset[str]().union(*(one.optional_events for one in united))
    macros: dict[str, tuple[str, ...]] = {}
    state: dict[str, Any] = {}
    for one in united:
        for event, names in one.macros.items():
            macros[event] = tuple(dict.fromkeys((*macros.get(event, ()), *names)))
        for key, value in one.state.items():
            if key in state and state[key] != value:
                raise HandlerError(
                    f"expected one start value for {key!r}, got {state[key]!r} and {value!r} from "
                    "two filters: give each a corner of its own with scoped()"
                )
            state[key] = value
    return Declarations(actions, optional_actions - actions, optional_events, macros, state)


def compose(event: str, handlers: list[Handler[Any]], others: bool) -> Handler[Any]:
    """One handler that runs several, for calling by hand; the engine runs them one by one.

    ``others`` is whether there are filters with nothing to say at this event: those continue.
    """

    def run(event: Any, ctx: Context) -> Generator[tuple[Handler[Any], Context], Context, Context]:
        before, ctx = take_actions(ctx)
        edits: list[Any] = []
        verdicts: list[Verdict] = [act.Continue()] if others else []
        for handler in handlers:
            queue, ctx = take_actions((yield handler, ctx))
            edits += [action for action in queue if not is_verdict(action)]
            verdicts.append(next(iter(verdicts_in(queue)), act.Continue()))
        verdict = strictest(verdicts)
        return send_action(ctx, *before, *edits, *([] if verdict == act.Continue() else [verdict]))

    is_async = any(handler.is_async for handler in handlers)
    return Handler(
        event,
        _as_function(run, lambda event, asked: asked[0](event, asked[1]), is_async=is_async),
        reply=any(handler.reply for handler in handlers),
        blocking=not is_async and any(handler.blocking for handler in handlers),
        rejected=any(handler.rejected for handler in handlers),
        progress=min((h.progress for h in handlers if h.progress is not None), default=None),
    )


# ------------------------------------------------------------------------------ who only watches
ENVELOPE: Final = ("mail", "recipient")


def watch_envelope(registry: Registry, events: Iterable[str] = ENVELOPE) -> Registry:
    """The same filter, told of sender and recipients also if it has no handlers for them.

    For whoever watches it: explaining, recording. The MTA sends these ``events`` and need not wait for
    an answer (NR_MAIL, NR_RCPT). An MTA that does not offer that gets Continue.
    """
    missing = tuple(event for event in events if event not in registry)
    if not missing:
        return registry
    first, *others = registry.parts or (Registry(),)
    declared = evolve(
        first.declarations, optional_events=first.declarations.optional_events | set(missing)
    )
    watching = {event: Handler(event, watch_only, reply=False) for event in missing}
    watched = Registry({**first, **watching}, declared)
    return Merged((watched, *others), registry.state) if others else watched


def watch_only(event: Any, ctx: Context) -> Context:
    """The handler of `watch_envelope`: it does nothing."""
    return ctx


# ------------------------------------------------------------------------------------- wrapping
def wrap_handler(handler: Handler[E], around: Callable[[E, Context], Around]) -> Handler[E]:
    """A handler, plain or async, with something around it. It keeps its options, and its name in logs.

    ``around`` is a generator function of event and context. It yields the context that the handler gets.
    The ``yield`` gives what the handler returned, or raises what it raised. What ``around`` returns goes
    to the engine. If it returns before a ``yield``, the handler is not called. `HandlerError` if it is
    no generator function, or if ``handler`` is the bare function.
    """
    if not isinstance(handler, Handler):
        raise HandlerError(
            f"expected a Handler, which a registry has under its event, got {describe(handler)}"
        )
    if not inspect.isgeneratorfunction(around):
        raise HandlerError(
            "expected around= as a function (event, ctx) that yields the context for the handler, "
            f"got {describe(around)}"
        )

    def call(event: E, ctx: Any) -> Any:
        if not isinstance(ctx, PMap):
            raise HandlerError(
                f"expected {name_of_function(around)} to yield the context for {handler.name}, "
                f"got {describe(ctx)}"
            )
        return handler.function(event, ctx)

    run = _as_function(around, call, is_async=handler.is_async)
    run.__wrapped__ = handler.function  # logs name the user's function
    return evolve(handler, function=run)


_NOT_CALLED: Final[Any] = object()


def _returned(make: Callable[..., Any], value: Any, outcome: Any) -> Any:
    """What a generator returned; an error if it returned None, and the handler did not."""
    if value is None and outcome is not None:
        raise HandlerError(
            f"expected {name_of_function(make)} to return a context, got None; is there a return at its "
            "end, as in return (yield ctx)?"
        )
    return value


def _throw(running: Generator[Any, Any, Any], error: BaseException) -> Any:
    """As `Generator.throw`, which makes another error of a `StopIteration` (PEP 479)."""
    try:
        return running.throw(error)
    except RuntimeError as problem:
        if problem.__cause__ is not error:
            raise
    raise error


def _as_function(
    make: Callable[[Any, Context], Generator[Any, Any, Any]],
    call: Callable[[Any, Any], Any],
    *,
    is_async: bool,
) -> Any:
    """A function ``(event, ctx)`` that runs a generator; ``call`` does what it yields."""

    def run(event: Any, ctx: Context) -> Any:
        running, outcome = make(event, ctx), _NOT_CALLED
        failed: BaseException | None = None
        try:
            asked = next(running)
            while True:
                try:
                    outcome = call(event, asked)
                except BaseException as error:  # noqa: BLE001  # the generator may handle it
                    failed = error
                    asked = _throw(running, error)
                else:
                    asked = running.send(outcome)
        except StopIteration as end:
            if end is failed:
                raise
            return _returned(make, end.value, outcome)

    async def run_async(event: Any, ctx: Context) -> Any:
        running, outcome = make(event, ctx), _NOT_CALLED
        failed: BaseException | None = None
        try:
            asked = next(running)
            while True:
                try:
                    outcome = call(event, asked)
                    outcome = await outcome if inspect.isawaitable(outcome) else outcome
                except BaseException as error:  # noqa: BLE001  # as above
                    failed = error
                    asked = _throw(running, error)
                else:
                    asked = running.send(outcome)
        except StopIteration as end:
            if end is failed:
                raise
            return _returned(make, end.value, outcome)

    return run_async if is_async else run


# -------------------------------------------------------------------------------------- scoping
def scoped(name: str, registry: Registry) -> Registry:
    """The same filter in a corner of its own: its keys are those of the map ``ctx[name]``.

    It sees neither the other keys of the context nor what other filters remember; macros, events and
    actions are shared.
    """
    if name in ENGINE_KEYS:
        raise HandlerError(f"expected a scope of your own, got {name!r}, which is the engine's")
    return _scope(name, registry, {name: small_map(registry.state)})


def _scope(name: str, registry: Registry, state: Mapping[str, Any]) -> Registry:
    if isinstance(registry, Merged):
        return Merged([_scope(name, one, {}) for one in registry.merged], state)
    return Scoped(name, registry, state)


class Scoped(Registry):
    """One filter in its corner. The inner one is read when asked, so it may still grow."""

    def __init__(self, name: str, inner: Registry, state: Mapping[str, Any]) -> None:
        self._name, self._inner = name, inner
        super().__init__(None, evolve(inner.declarations, state=state))

    def add(self, event: str, handler: Callable[..., Any], **options: Any) -> None:
        self._inner.add(event, handler, **options)

    def __getitem__(self, event: str) -> Handler[Any]:
        return wrap_scope(self._name, self._inner[event])

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)


def wrap_scope(name: str, handler: Handler[Any]) -> Handler[Any]:
    """A handler that works in the corner ``name`` of the context that it gets."""

    def around(event: Any, ctx: Context) -> Around:
        return leave_scope(name, ctx, (yield enter_scope(name, ctx)))

    return wrap_handler(handler, around)


def enter_scope(name: str, ctx: Context) -> Context:
    """The context as seen from its corner ``name``."""
    shared = {key: ctx[key] for key in ENGINE_KEYS}
    own: PMap[str, Any] = ctx["connection"].get(name, small_map({}))
    return small_map({**ctx.get(name, {}), **shared, "connection": own})


def leave_scope(name: str, outer: Context, inner: Context) -> Context:
    """The outer context after its corner ``name`` has become ``inner``."""
    corner = dict(inner.items()) if isinstance(inner, PMap) else {}
    if not corner.keys() >= ENGINE_KEYS:
        return inner  # the engine says what is wrong with it
    shared = {key: corner.pop(key) for key in ENGINE_KEYS}
    connection, remembered = outer["connection"], shared["connection"]
    if remembered or name in connection:
        connection = connection.set(name, remembered)
    return update(outer, {**shared, "connection": connection, name: small_map(corner)})
