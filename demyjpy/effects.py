"""Effects: what is to be done in the world because of a message, as data.

A handler asks for one with `do`. The engine keeps it until the message has ended, and the driver
performs it when the verdict has left (`demyjpy.drivers.effects`). Nothing here does I/O.
"""

from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from attrs import frozen

from demyjpy.actions import Verdict
from demyjpy.context import Context, send_action
from demyjpy.errors import HandlerError, describe
from demyjpy.questions import fault_of
from demyjpy.requests import Request
from demyjpy.verdicts import refuses

When: TypeAlias = Literal["accepted", "refused", "ended"]
"""What has to become of the message."""

MOST_EFFECTS: Final = 100
"""Effects of one message."""


@frozen
class Do(Request):
    """An effect that a handler has queued; see `do`."""

    effect: Any
    when: When = "accepted"


class EffectKeeper(Protocol):
    """Keeps effects of one message; it is the driver's."""

    def keep(self) -> None:
        """Keep them, all or none; whatever stands in the way is raised. It may block."""

    def leave(self) -> None:
        """They are not to be done, although `keep` may still be at it."""


def do(ctx: Context, effect: Any, when: When = "accepted") -> Context:
    """Queue an effect: something to be done in the world when the message has ended.

    It is a frozen instance with ``perform(self, resources)``, plain or async, or one of a class in
    ``asks=``. ``when="accepted"``: this filter, with those merged with it, lets the message through.
    ``"refused"``: they reject, defer or discard it. ``"ended"``: however it ends, also when the client
    gives it up. If it ends in another way, nothing is done. Outside of a message (at connect, hello,
    abort, quit and disconnect) only ``"ended"`` may be said: it is done after that event.

    ``resources`` are those that the filter declares, and under the name ``effect_key`` a text that is
    the same whenever this effect is tried. It is tried again when it raises (docs/effects.md).
    It may hold the `Message` of this event, whose body can be read until the effect is done.

    `HandlerError` for what is no effect, or holds a context. The handler fails if nobody performs it, if
    it holds a message that has ended, and at more than `MOST_EFFECTS` of a message.
    """
    if when not in get_args(When):
        known = ", ".join(map(repr, get_args(When)))
        raise HandlerError(f"expected when= as one of {known}, got {when!r:.80}")
    if isinstance(effect, type) or callable(effect) or type(effect).__module__ == "builtins":
        raise HandlerError(
            "expected an effect, an instance of a frozen class with perform(self, resources), got "
            f"{describe(effect)}"
        )
    fault = fault_of(effect)
    if fault is not None:
        raise HandlerError(f"expected an effect that can be kept, got {type(effect).__name__}: {fault}")
    return send_action(ctx, Do(effect, when))  # type: ignore[arg-type]  # no action for the MTA


def is_due(when: When, verdict: Verdict | None) -> bool:
    """Whether an effect is to be done when this verdict has ended its message; None: it was given up."""
    if when == "ended" or verdict is None:
        return when == "ended"
    return refuses(verdict) == (when == "refused")
