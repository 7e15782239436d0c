"""What users define filters with, and what the library does itself if there is no handler.

Merging, scoping and wrapping have modules of their own; their names are here, too. Calling a handler on
a packet's way is `demyjpy.engine.pipeline`'s.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import evolve

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.codec import encode_event
from demyjpy.context import Context, send_action, update
from demyjpy.declarations import Declarations, actions_of
from demyjpy.engine.cache import Caches
from demyjpy.engine.negotiation import EVENT_NAMES, Wants, action_names, agree, sent_events
from demyjpy.errors import HandlerError, describe
from demyjpy.merging import chain_of, merge_handlers, watched_events, watched_for_edits
from demyjpy.registry import Handler, Registry, as_registry
from demyjpy.scoping import scoped
from demyjpy.wrapping import Around, wrap_handler

__all__ = [
    "ENVELOPE",
    "Around",
    "as_registry",
    "chain_of",
    "default_event_handler",
    "define_event_handlers",
    "merge_handlers",
    "scoped",
    "wants_of",
    "watch_envelope",
    "watch_only",
    "with_handlers",
    "wrap_handler",
]

_SENDABLE: Final = frozenset(EVENT_NAMES)
_DECLARED: Final = ("actions", "optional_actions", "optional_events")


def define_event_handlers(
    handlers: Mapping[str, Callable[..., Any]] | None = None,
    *,
    name: str | None = None,
    actions: Iterable[str] = (),
    optional_actions: Iterable[str] = (),
    edits: str | None = None,
    optional_events: Iterable[str] = (),
    macros: Mapping[str, Iterable[str]] | None = None,
    state: Mapping[str, Any] | None = None,
    after: Iterable[str] = (),
    facts: Iterable[str] = (),
    asks: Mapping[type, Callable[..., Any]] | None = None,
    every: Mapping[float, Any] | None = None,
    resources: Mapping[str, Callable[..., Any]] | None = None,
) -> Registry:
    """A registry: a map from event names to handlers, to which its decorators add.

    - ``name``: what logs, traces and errors call the filter.
    - ``actions``, such as ``{"add_header"}``: the MTA must grant them.
    - ``optional_actions``: used if the MTA grants them.
    - ``edits``: all actions of a kind: ``"headers"``, ``"body"``, ``"envelope"`` or ``"all"``.
    - ``optional_events``: may be missing from the MTA's offer.
    - ``macros``: macros to ask for, by event, if the MTA can be asked.
    - ``state``: what each connection's context starts with.
    - ``after``: names of filters that may not stand behind this one in `merge_handlers`.
    - ``facts``: those that the filter reads with `demyjpy.facts` and `demyjpy.recipients`.
    - ``asks``: who answers the questions of this filter, by class: functions ``(question, resources)``.
    - ``every``: jobs by their period in seconds.
    - ``resources``: functions of the settings, by name; each returns a context manager for performers.

    `HandlerError` for a declaration that cannot be right.
    """
    if callable(handlers):
        raise HandlerError(
            f"expected handlers as a map of event names to functions, got {describe(handlers)}: write "
            "handlers = define_event_handlers(), and @handlers.mail above the function"
        )
    required = actions_of(edits)
    declared = Declarations(
        actions,
        optional_actions,
        optional_events,
        macros or {},
        state or {},
        name,
        after,
        facts=facts,
        asks=asks or {},
        every=every or {},
        resources=resources or {},
    )
    if required:
        declared = evolve(declared, actions=declared.actions | required)
    return Registry(handlers, declared)


def with_handlers(ctx: Context, handlers: Mapping[str, Callable[..., Any]]) -> Context:
    """The context with a filter in it: its handlers, declarations and state.

    This is what ``on_connect`` functions are for: ``lambda ctx: with_handlers(ctx, handlers)``.
    """
    registry = as_registry(handlers)
    declared = {key: getattr(registry, key) for key in _DECLARED}
    return update(ctx, {"handlers": registry, **declared, **registry.state})


def wants_of(ctx: Context) -> Wants:
    """What the filter in a context asks of the MTA."""
    registry = as_registry(ctx["handlers"])
    events = frozenset(registry) & _SENDABLE
    watched = watched_events(registry)
    chains = {name: chain_of(registry, name) for name in events | watched}
    actions, optional = frozenset(ctx["actions"]), frozenset(ctx["optional_actions"])
    if "header" in watched_for_edits(registry) and "add_header" not in actions:
        # a change beyond the last field of a name adds one, which goes to the end by add_header
        optional |= {"add_header"}
    return Wants(
        events=events | watched,
        optional_events=frozenset(ctx["optional_events"]) | (watched - events),
        quiet=frozenset(
            name for name, chain in chains.items() if not any(handler.reply for _, handler in chain)
        ),
        actions=actions,
        optional_actions=optional,
        macros=registry.macros,
        rejected=any(handler.rejected for _, handler in chains.get("recipient", ())),
    )


# ------------------------------------------------------------------------------------- defaults
def default_event_handler(event: ev.Event, ctx: Context) -> Context:
    """What the library does if no handler is registered: negotiate, keep macros, continue."""
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
    """The answer to an offer, and what was agreed, for the context."""
    reply = agree(offer, wants_of(ctx))
    events = sent_events(frozenset(ctx["handlers"]) & _SENDABLE, reply.version)
    return reply, {"events": events, "actions": action_names(reply.actions)}


# ------------------------------------------------------------------------------ who only watches
ENVELOPE: Final = ("mail", "recipient")


def watch_envelope(registry: Registry, events: Iterable[str] = ENVELOPE) -> Registry:
    """The same filter, told of sender and recipients also if it has no handlers for them.

    Watchers need that: the explain line, recordings. The MTA sends these ``events`` and need not
    wait for an answer (NR_MAIL, NR_RCPT). An MTA that does not offer that gets Continue.
    """
    missing = tuple(event for event in events if event not in registry)
    if not missing:
        return registry
    watching = {event: Handler(event, watch_only, reply=False) for event in missing}
    leaves = registry.leaves or (Registry(),)
    first = next((one for one in leaves if one), leaves[0])
    declared = first.declarations
    declared = evolve(declared, optional_events=declared.optional_events | set(missing))
    watched = Registry({**first, **watching}, declared)
    if not registry.leaves:
        return watched
    return registry.with_parts(lambda one: watched if one is first else one)


def watch_only(event: Any, ctx: Context) -> Context:
    """The handler of `watch_envelope`: it does nothing."""
    return ctx
