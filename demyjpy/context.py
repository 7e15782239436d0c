"""The context: a persistent map, and the functions that reach the engine's own keys in it.

Handlers get a context and return one. The keys in `ENGINE_KEYS` belong to the engine; all others are
the user's. Nothing here looks into handlers or packets.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from pyrsistent import PMap, PVector, pvector

from demyjpy.actions import Action
from demyjpy.engine.macros import NO_MACROS
from demyjpy.engine.smallmap import small_map
from demyjpy.errors import HandlerError, describe
from demyjpy.message import Message

Context: TypeAlias = PMap[str, Any]

ENGINE_KEYS: Final = frozenset(
    {
        "handlers",
        "actions",
        "optional_actions",
        "optional_events",
        "events",
        "macros",
        "queue",
        "connection",
        "findings",
        "owners",
        "answers",
        "facts",
    }
)
"""The keys that the engine owns."""

USED_LATER: Final = frozenset({"answers", "facts", "owners"})
"""Those of them that are there from when something is under them: each key makes a context slower."""

KEYS_FROM_THE_START: Final = ENGINE_KEYS - USED_LATER
"""Those that are in each context."""

_FEW: Final = 64  # actions that are kept in a tuple, which is the quickest for a few

_EMPTY: Final[Context] = small_map(
    {
        "handlers": small_map({}),
        "actions": frozenset(),
        "optional_actions": frozenset(),
        "optional_events": frozenset(),
        "events": frozenset(),
        "macros": NO_MACROS,
        "queue": (),
        "connection": small_map({}),
        "findings": (),
    }
)


def new_context(values: Mapping[str, Any] | None = None) -> Context:
    """The context of a connection that has just begun, with these values of the user's in it."""
    return update(_EMPTY, check_state(values or {}))


def update(ctx: Context, values: Mapping[str, Any]) -> Context:
    """The context with these values in it; ``PMap.update``, typed."""
    after: Context = ctx.update(values)
    return after


def check_mapping(what: str, given: Any) -> Mapping[Any, Any]:
    """A mapping as it is; anything else raises `HandlerError`."""
    if not isinstance(given, Mapping):
        raise HandlerError(f"expected {what} as a mapping, got {describe(given)}")
    return given


def check_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """State to put into a context; a key that is the engine's raises `HandlerError`."""
    taken = ENGINE_KEYS & check_mapping("state", state).keys()
    if taken:
        raise HandlerError(
            f"expected state under keys of your own, got {', '.join(sorted(taken))}: these belong to "
            "the engine"
        )
    return dict(state)


def send_action(ctx: Context, *actions: Action) -> Context:
    """Queue actions, to be sent when the handler has returned and the whole plan was checked."""
    queue = ctx["queue"]
    if len(queue) < _FEW:
        return ctx.set("queue", (*queue, *actions))
    # a handler may ask for an edit of each of 10,000 fields: a tuple would be copied at each
    kept = queue if isinstance(queue, PVector) else pvector(queue)
    return ctx.set("queue", kept.extend(actions))


def take_actions(ctx: Context) -> tuple[tuple[Any, ...], Context]:
    """The queued actions, and the context without them."""
    queue = ctx.get("queue", ())
    return (tuple(queue), ctx.set("queue", ())) if queue else ((), ctx)


def remember(ctx: Context, values: Mapping[str, Any] | None = None, /, **more: Any) -> Context:
    """Store values that outlive the message; read them from ``ctx["connection"]``.

    `HandlerError` for a `Message`, which ends with the mail.
    """
    kept = {**(values or {}), **more}
    for key, value in kept.items():
        if isinstance(value, Message):
            raise HandlerError(
                f"expected under {key!r} what you need of the message, got the Message: its body ends "
                "with the mail"
            )
    return ctx.set("connection", update(ctx["connection"], kept))


def get_macro(ctx: Context, name: str) -> str | None:
    """The macro in force, or None: ``get_macro(ctx, "i")``, ``"{auth_authen}"``, ``"auth_authen"``.

    Looked up from the latest step to the earliest, as libmilter's ``smfi_getsymval`` does.
    """
    value: str | None = ctx["macros"].get(name)
    return value


def is_rejected_recipient(ctx: Context) -> bool:
    """Whether the recipient at hand was refused by the MTA itself (``{rcpt_mailer}`` is ``error``)."""
    return get_macro(ctx, "rcpt_mailer") == "error"
