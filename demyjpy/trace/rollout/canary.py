"""A canary: a candidate answers for a share of the messages, the live filter for the others."""

import hashlib
import random
from collections.abc import Callable
from typing import Any, Final

from demyjpy import events as ev
from demyjpy.context import Context, take_actions
from demyjpy.drivers.report import log
from demyjpy.errors import HandlerError
from demyjpy.handlers import Around, merge_handlers, scoped, wrap_handler
from demyjpy.registry import Declarations, Handler, Registry
from demyjpy.shorthands import skip
from demyjpy.trace.rollout.optional import as_optional

KEY: Final = "demyjpy.canary"
"""Where the context says that the candidate answers for this message."""

By = Callable[[ev.Mail, Context], str]

_CORNER: Final = "demyjpy.canary.candidate"
_OF_MESSAGE: Final = frozenset(
    {"mail", "recipient", "data", "header", "end_of_headers", "body", "end_of_message", "abort"}
)
_SENDABLE: Final = _OF_MESSAGE | {"connect", "hello", "unknown", "quit"}


def sender_domain(event: ev.Mail, ctx: Context) -> str:
    """The domain of the sender: all mail of one goes the same way."""
    return event.sender.rpartition("@")[2].lower()


def canary(live: Registry, candidate: Registry, *, share: float, by: By | None = None) -> Registry:
    """A filter in which the candidate answers for a share (from 0 to 1) of the messages.

    ``by`` is a function of the MAIL event and the context that gives a text: messages with the same
    text go the same way, always; without it each goes by chance. Connection and HELO are the live
    filter's: the candidate's handlers run there, in its own corner of the context, but say nothing and
    may fail.
    """
    if not 0 <= share <= 1:
        raise HandlerError(f"expected share from 0 to 1, got {share!r}")
    chooser = Registry(None, Declarations(optional_events={"mail"}))

    def choose(event: ev.Mail, ctx: Context) -> Context:
        return ctx.set(KEY, _place(event, ctx, by) < share)

    chooser.add("mail", choose, reply=False)
    corner = scoped(_CORNER, candidate)
    return merge_handlers(
        chooser,
        *(_part(part, is_candidate=False) for part in live.parts),
        *(_part(part, is_candidate=True) for part in corner.parts),
    )


def _place(event: ev.Mail, ctx: Context, by: By | None) -> float:
    """Where a message lies between 0 and 1; above 1 if that cannot be said."""
    if by is None:
        return random.random()  # noqa: S311  # no secret hangs on it
    try:
        text = by(event, ctx)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    except Exception:  # noqa: BLE001  # it is the user's
        log.exception("canary: the live filter answers, for by= has failed")
        return 2.0
    return int.from_bytes(digest[:8], "big") / (1 << 64)


def _part(part: Registry, *, is_candidate: bool) -> Registry:
    handlers = {name: _gate(part[name], is_candidate) for name in part}
    if not is_candidate:
        return Registry(handlers, part.declarations)
    handlers.pop("options", None)  # what is negotiated is the live filter's
    return Registry(handlers, as_optional(part.declarations, frozenset(handlers) & _SENDABLE))


def _gate(handler: Handler[Any], is_candidate: bool) -> Handler[Any]:
    """A handler that is called for the messages of its own filter."""
    if handler.event not in _OF_MESSAGE:
        return _mute(handler) if is_candidate else handler

    def around(event: Any, ctx: Context) -> Around:
        if bool(ctx.get(KEY)) is is_candidate:
            return (yield ctx)
        # the other one answers: this one says nothing, and wants no more of the body
        return skip(ctx) if handler.event == "body" and handler.reply else ctx

    return wrap_handler(handler, around)


def _mute(handler: Handler[Any]) -> Handler[Any]:
    """A handler of the candidate at what the live filter answers alone."""

    def around(event: Any, ctx: Context) -> Around:
        try:
            return take_actions((yield ctx))[1]
        except Exception:  # noqa: BLE001  # the live filter must not notice
            log.exception("canary: the candidate has failed at %s, unfelt", handler.event)
            return ctx

    return wrap_handler(handler, around)
