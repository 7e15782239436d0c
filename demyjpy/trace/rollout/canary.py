"""A canary: a candidate answers for a share of the messages, the live filter for the others.

The filters of both are in one chain. At MAIL those that are not to answer are done with the message, as
if they accepted it: so the others work as they would alone.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final, Literal

from attrs import evolve

from demyjpy import events as ev
from demyjpy.context import Context, take_actions
from demyjpy.declarations import Declarations
from demyjpy.drivers.report import log
from demyjpy.errors import HandlerError
from demyjpy.handlers import Around, merge_handlers, scoped, wrap_handler
from demyjpy.registry import Handler, Registry
from demyjpy.shorthands import accept

KEY: Final = "demyjpy.canary"
"""Where the context says that the candidate answers for this message."""

By = Callable[[ev.Mail, Context], str]

_CORNER: Final = "demyjpy.canary.candidate"
_OF_MESSAGE: Final = frozenset(
    {
        *("mail", "recipient", "data", "header", "end_of_headers", "body", "message"),
        *("end_of_message", "abort"),
    }
)
_SENDABLE: Final = (_OF_MESSAGE - {"message"}) | {"connect", "hello", "unknown", "quit"}
_LIVE: Final = "live"
_CANDIDATE: Final = "candidate"


def sender_domain(event: ev.Mail, ctx: Context) -> str:
    """The domain of the sender: all mail of one goes the same way."""
    return event.sender.rpartition("@")[2].lower()


def sender(event: ev.Mail, ctx: Context) -> str:
    """The sender: a mail that is tried again, as after a greylist, goes the same way."""
    return event.sender.lower()


def canary(
    live: Registry, candidate: Registry, *, share: float, by: By | Literal["sender"] = "sender"
) -> Registry:
    """A filter in which the candidate answers for a share (from 0 to 1) of the messages.

    ``by`` is a function of the MAIL event and the context that gives a text: messages with the same
    text go the same way, always, so that a mail that is tried again meets the same filter. It is by
    ``"sender"`` if nothing else is said. Connection and HELO are the live
    filter's: the candidate's handlers run there, in its own corner of the context, but say nothing and
    may fail. Either may be several filters, merged.
    """
    if not 0 <= share <= 1:
        raise HandlerError(f"expected share from 0 to 1, got {share!r}")
    if by != "sender" and not callable(by):
        raise HandlerError(
            f'expected by= as "sender" or a function (event, ctx) that returns a text, got {by!r:.80}: '
            "a mail that is tried again has to meet the same filter"
        )
    place: By = by if callable(by) else sender
    declared = Declarations(
        optional_events={"mail"}, state={KEY: False}, name="canary", alternative="canary"
    )
    chooser = Registry(None, declared)

    def choose(event: ev.Mail, ctx: Context) -> Context:
        return accept(ctx.set(KEY, _place(event, ctx, place) < share))

    chooser.add("mail", choose)
    corner = scoped(_CORNER, candidate)
    return merge_handlers(
        chooser,
        *(_part(part, is_candidate=False) for part in live.parts),
        *(_part(part, is_candidate=True) for part in corner.parts),
    )


def _place(event: ev.Mail, ctx: Context, by: By) -> float:
    """Where a message lies between 0 and 1; above 1 if that cannot be said."""
    try:
        text = by(event, ctx)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    except Exception:  # noqa: BLE001  # it is the user's
        log.exception("canary: the live filter answers, because by= has failed")
        return 2.0
    return int.from_bytes(digest[:8], "big") / (1 << 64)


def _part(part: Registry, *, is_candidate: bool) -> Registry:
    handlers = {name: part[name] for name in part}
    declared = evolve(
        part.declarations,
        alternative=_CANDIDATE if is_candidate else _LIVE,
        after=(),  # was checked; the filters of both may have the same names
        optional_events=part.optional_events | ({"mail"} - part.keys()),
    )
    if is_candidate:
        handlers = {
            name: handler if name in _OF_MESSAGE or name == "message" else _mute(handler)
            for name, handler in handlers.items()
            if name != "options"  # what is negotiated is the live filter's
        }
        # if an MTA lacks what it wants, the live filter is served all the same
        declared = evolve(
            declared,
            actions=(),
            optional_actions=declared.actions | declared.optional_actions,
            optional_events=frozenset(handlers) & _SENDABLE | {"mail"},
        )
    handlers["mail"] = _gate(handlers.get("mail") or Handler("mail", _go_on), is_candidate)
    return Registry(handlers, declared)


def _go_on(event: Any, ctx: Context) -> Context:
    return ctx


def _gate(handler: Handler[Any], is_candidate: bool) -> Handler[Any]:
    """The handler at MAIL. If the message is not for its filter, that is done with it."""

    def around(event: Any, ctx: Context) -> Around:
        return (yield ctx) if bool(ctx[KEY]) is is_candidate else accept(ctx)

    return wrap_handler(evolve(handler, reply=True), around)


def _mute(handler: Handler[Any]) -> Handler[Any]:
    """A handler of the candidate at what the live filter answers alone."""

    def around(event: Any, ctx: Context) -> Around:
        try:
            return take_actions((yield ctx))[1]
        except Exception:  # noqa: BLE001  # the live filter must not notice
            log.exception(
                "canary: the candidate has failed at %s; the mail is not affected", handler.event
            )
            return ctx

    return wrap_handler(handler, around)
