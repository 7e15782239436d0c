"""A class of a pymilter filter as a registry: its callbacks under the names of events.

Each connection has an instance of the class. It is made when the first callback is called, and lies in
``ctx["connection"]``, where all that watches a filter finds it. What a callback asks for goes through
its `MilterContext`.
"""

import inspect
import socket
from collections.abc import Callable, Mapping
from functools import reduce, wraps
from operator import or_
from typing import Any, Final, TypeAlias

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import ReplyCode, Verdict
from demyjpy.codec import name_of
from demyjpy.context import Context, is_rejected_recipient, remember, send_action
from demyjpy.declarations import EDITS
from demyjpy.engine.macros import NO_MACROS
from demyjpy.engine.negotiation import action_names, offered_flags
from demyjpy.errors import HandlerError, describe
from demyjpy.handlers import default_event_handler, define_event_handlers
from demyjpy.policies import with_policy
from demyjpy.pymilter.base import Base, all_decoded, decoded, strategy_of
from demyjpy.pymilter.constants import (
    ACCEPT,
    ALL_OPTS,
    CONTINUE,
    OPTIONAL_CALLBACKS,
    P_HDR_LEADSPC,
    P_RCPT_REJ,
    REJECT,
    TEMPFAIL,
)
from demyjpy.pymilter.decorators import WANTED
from demyjpy.pymilter.milter_context import MilterContext
from demyjpy.registry import Registry
from demyjpy.verdicts import ends_message
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.fields import encode_text

_EVENTS: Final = {
    "connect": "connect",
    "hello": "hello",
    "envfrom": "mail",
    "envrcpt": "recipient",
    "data": "data",
    "header": "header",
    "eoh": "end_of_headers",
    "body": "body",
    "unknown": "unknown",
    "eom": "end_of_message",
    "abort": "abort",
    "close": "disconnect",
}
"""pymilter's callbacks, and the events at which they are called."""

_OF_MESSAGE: Final = frozenset(
    {"mail", "recipient", "data", "header", "end_of_headers", "body", "end_of_message"}
)
"""The events whose macros are still found when the message has ended."""

_BEFORE_MESSAGE: Final = frozenset({"connect", "hello"})
"""The events at which nothing is left of the message before."""

_UNHEARD: Final = frozenset({"abort", "disconnect"})
"""The events at which nobody hears what a callback returns, or that it failed."""

_ANY_EDIT: Final = EDITS["all"] | {"add_recipient_par"}

_OFF: Final = reduce(or_, (ProtocolFlag(off) for _, off in OPTIONAL_CALLBACKS.values()))
"""The protocol bits that switch events off."""

_CALL: Final = "demyjpy_call"
"""The attribute of an exception: by event (its `id`), a `MilterContext` that no context holds yet."""

_SIGNATURE: Final = inspect.signature(default_event_handler)

Arguments: TypeAlias = Callable[[Any], tuple[Any, ...]]


def filter_of(
    factory: Callable[[], Any],
    *,
    name: str | None = None,
    flags: int | None = None,
    policy: int = TEMPFAIL,
) -> Registry:
    """A filter of pymilter's as a registry, with the callbacks that it overrides and no others.

    ``factory`` is what pymilter has under ``Milter.factory``: a class derived from `Base`, or a function
    that makes an instance. ``name`` is that of the filter, the class's if it is None. ``flags`` are the
    edits that the MTA has to grant (``ADDHDRS | CHGHDRS`` ...), all if it is None. All others are asked
    for, too: one that the MTA does not grant is a `DisabledAction` where a callback uses it. A script
    needs none, as with pymilter: its flags are 0. ``policy`` is what is answered if a callback raises:
    ``TEMPFAIL`` (451 4.3.0), ``REJECT`` (554 5.3.0), ``CONTINUE`` or ``ACCEPT``. `HandlerError` for a
    factory that makes no such instance, or a policy that is none.
    """
    klass = _class_of(factory)
    called = klass.__name__ if name is None else name
    if policy not in POLICIES:
        raise HandlerError(f"expected policy= as TEMPFAIL, REJECT, CONTINUE or ACCEPT, got {policy!r}")
    found = {callback: _overridden(klass, callback) for callback in _EVENTS}
    possible = _ANY_EDIT if found["eom"] else frozenset()  # without eom there is no place for an edit
    needed = possible if flags is None else possible & action_names(ActionFlag(flags))
    has_events = any(is_there for callback, is_there in found.items() if callback != "close")
    maker = _Maker(factory, klass, f"pymilter: {called}", has_events)
    registry = define_event_handlers(
        name=called,
        actions=needed,
        optional_actions=possible - needed,
        optional_events={_EVENTS[one] for one, is_there in found.items() if is_there} - {"disconnect"},
        macros={
            _EVENTS[one]: getattr(klass, one).milter_symlist
            for one in found
            if hasattr(getattr(klass, one), "milter_symlist")
        },
    )
    for callback, is_there in found.items():
        if is_there:
            options: dict[str, bool] = {}
            if not _is_answered(klass, callback):
                options["reply"] = False
            if callback == "envrcpt" and maker.wants(P_RCPT_REJ):
                options["rejected"] = True
            registry.add(_EVENTS[callback], _handler(maker, callback), **options)
    if klass.negotiate is not Base.negotiate:
        registry.add("options", _negotiating(maker))
    return with_policy(registry, on_error=_on_error(maker, called, policy))


def _class_of(factory: Callable[[], Any]) -> type[Any]:
    """The class of the instances that it makes; a function is called once to see."""
    if not callable(factory):
        raise HandlerError(f"expected Milter.factory as a class, or a function, got {describe(factory)}")
    klass = factory if isinstance(factory, type) else type(factory())
    if not issubclass(klass, Base):
        raise HandlerError(f"expected instances of Milter.Base from Milter.factory, got {klass!r}")
    return klass


def _overridden(klass: type[Any], callback: str) -> bool:
    method = getattr(klass, callback)
    if callback in OPTIONAL_CALLBACKS:
        return not getattr(method, "milter_protocol", 0) & OPTIONAL_CALLBACKS[callback][1]
    return method is not getattr(Base, callback)


def _is_answered(klass: type[Any], callback: str) -> bool:
    quiet = OPTIONAL_CALLBACKS.get(callback, (0, 0))[0]
    return not getattr(getattr(klass, callback), "milter_protocol", 0) & quiet


# ------------------------------------------------------------------------------- the instance
@frozen(eq=False)
class _Maker:
    """How a connection gets its instance. ``key`` is where that lies.

    ``has_events``: the MTA is asked for some.
    """

    factory: Callable[[], Any]
    klass: type[Any]
    key: str
    has_events: bool

    def wants(self, protocol: int) -> bool:
        return bool(getattr(self.klass, WANTED, 0) & protocol)

    def new(self, ctx: Context) -> tuple[MilterContext, Context]:
        """Another for the connection, and the context with it."""
        link = MilterContext(is_raw=self.wants(P_HDR_LEADSPC), recipient=f"{self.key} recipient")
        link.filter = self.factory()
        link.filter._setctx(link.way())  # noqa: SLF001  # pymilter's name for it
        return link, remember(ctx, {self.key: link})


def _handler(maker: _Maker, callback: str) -> Callable[[Any, Context], Context]:
    """The handler that calls this callback."""
    event_name, key = _EVENTS[callback], maker.key
    method, arguments = _method_of(maker, callback)

    is_of_message, is_before = event_name in _OF_MESSAGE, event_name in _BEFORE_MESSAGE

    @wraps(getattr(maker.klass, callback))  # whose name logs say
    def handle(event: Any, ctx: Context) -> Context:
        link: MilterContext | None = ctx["connection"].get(key)
        # if its callback still runs, it is late: the instance is left to that
        is_new = False
        if link is None or link.ctx is not None:
            if event_name == "disconnect" and maker.has_events and not ctx["events"]:
                return ctx  # nothing was negotiated, as with a probe: nobody has begun
            is_new = True
            link, ctx = maker.new(ctx)
        if event_name == "abort" and link.is_message_over:
            link.is_message_over = False
            return ctx
        if is_of_message:
            link.macros = ctx["macros"]
            if event_name == "recipient":
                ctx = link.with_recipient(ctx)
            elif event_name == "mail":
                link.of_recipient = NO_MACROS
        elif is_before:
            link.macros = link.of_recipient = NO_MACROS
        link.event, link.ctx = event_name, ctx  # as `MilterContext.begin`, without the call
        try:
            said = getattr(link.filter, method)(*arguments(event))
            if said == CONTINUE and type(said) is int and not link.edits:
                return ctx
            return ctx if _is_unanswered(event_name, ctx) else link.answered(ctx, said, callback)
        except BaseException as error:
            if is_new and event_name not in _UNHEARD:  # `on_error` has to find it
                error.__dict__.setdefault(_CALL, {})[id(event)] = link
            raise
        finally:
            link.ctx = None

    return _as_handler(handle)


def _as_handler(handle: Callable[[Any, Context], Context]) -> Callable[[Any, Context], Context]:
    """It has the name of the callback, but its own parameters."""
    handle.is_of_pymilter = True  # type: ignore[attr-defined]  # `demyjpy check` asks
    handle.__signature__ = _SIGNATURE  # type: ignore[attr-defined]  # `inspect` looks for it
    return handle


def _is_unanswered(event: str, ctx: Context) -> bool:
    """Whether nobody hears what a callback returns."""
    return event in _UNHEARD or (event == "recipient" and is_rejected_recipient(ctx))


def _method_of(maker: _Maker, callback: str) -> tuple[str, Arguments]:
    """The method that is called, and what it gets of an event."""
    klass = maker.klass
    in_bytes = f"{callback}_bytes"
    if callback not in ("header", "envfrom", "envrcpt"):
        return callback, _ARGUMENTS[callback]
    is_own = getattr(klass, in_bytes) is not getattr(Base, in_bytes)
    strategy = "bytes" if is_own else strategy_of(getattr(klass, callback))
    texts = _texts_of(callback, is_raw=maker.wants(P_HDR_LEADSPC))
    method = in_bytes if is_own else callback
    if strategy == "surrogateescape":
        return method, texts
    if callback == "header":
        return method, lambda event: (event.name, decoded(encode_text(texts(event)[1]), strategy))
    return method, lambda event: tuple(all_decoded(map(encode_text, texts(event)), strategy))


def _texts_of(callback: str, *, is_raw: bool) -> Arguments:
    if callback != "header":
        return lambda event: (event.raw, *event.parameters.as_words())
    if is_raw:
        return lambda event: (event.name, event.raw)
    return lambda event: (event.name, event.value)


def _of_connect(event: ev.Connect) -> tuple[Any, ...]:
    """The host's name, the family and the address as `socket` has them."""
    match event.family:
        case "4":
            return event.host_name, int(socket.AF_INET), (str(event.address), event.port)
        case "6":
            return event.host_name, int(socket.AF_INET6), (str(event.address), event.port, 0, 0)
        case "L":
            return event.host_name, int(socket.AF_UNIX), event.address
        case _:
            return event.host_name, int(socket.AF_UNSPEC), None


def _nothing(event: Any) -> tuple[Any, ...]:
    return ()


_ARGUMENTS: Final[Mapping[str, Arguments]] = {
    "connect": _of_connect,
    "hello": lambda event: (event.greeting,),
    "data": _nothing,
    "eoh": _nothing,
    "body": lambda event: (event.data,),
    "unknown": lambda event: (event.command,),
    "eom": _nothing,
    "abort": _nothing,
    "close": _nothing,
}


# ---------------------------------------------------------------------------------- what goes wrong
POLICIES: Final[Mapping[int, tuple[int, str] | Verdict | None]] = {
    TEMPFAIL: (451, "4.3.0"),
    REJECT: (554, "5.3.0"),
    ACCEPT: act.Accept(),
    CONTINUE: None,
}
"""What is answered if a callback raises, by what ``set_exception_policy`` may say."""


def _on_error(maker: _Maker, name: str, policy: int) -> Callable[[Exception, Any, Context], Context]:
    """What is answered if a callback raises. The edits that it had asked for before it count.

    If no answer is due, it is the answer to the next event that has one.
    """
    found = POLICIES[policy]
    if isinstance(found, tuple):
        answer: Any = ReplyCode(*found, f"pymilter: untrapped exception in {name}")
    else:
        answer = found

    def on_error(error: Exception, event: Any, ctx: Context) -> Context:
        event_name = name_of(event)
        link = ctx["connection"].get(maker.key) or _call_of(error, event)
        is_heard = answer is not None and not _is_unanswered(event_name, ctx)
        if link is not None and link.ctx is None:
            ctx = link.edited(remember(ctx, {maker.key: link}))
            if event_name == "recipient":
                ctx = link.with_recipient(ctx)
            link.is_message_over = ends_message(event_name, answer if is_heard else act.Continue())
            if isinstance(answer, ReplyCode):
                link.forget_reply()
        return send_action(ctx, answer) if is_heard else ctx

    return on_error


def _call_of(error: Exception, event: Any) -> MilterContext | None:
    """Of an exception in the first callback of a connection: its instance's. It is forgotten there.

    One exception may be raised in several connections at once, so it is found by the event.
    """
    for one in (error, error.__cause__):
        found = getattr(one, _CALL, None) or {}
        if id(event) in found:
            link: MilterContext = found.pop(id(event))
            return link
    return None


# -------------------------------------------------------------------------------------- negotiation
def _negotiating(maker: _Maker) -> Callable[[ev.Options, Context], Context]:
    """The handler of a class that overrides ``negotiate``."""

    @wraps(maker.klass.negotiate)
    def negotiate(event: ev.Options, ctx: Context) -> Context:
        link, ctx = maker.new(ctx)
        opts = [int(event.actions), int(event.protocol), 0, 0]
        link.macro_lists = {}
        link.begin("options", ctx)
        try:
            said = link.filter.negotiate(opts)
        finally:
            link.ctx = None
            lists, link.macro_lists = link.macro_lists, None
        if said not in (CONTINUE, ALL_OPTS):
            raise HandlerError(f"expected negotiate to return CONTINUE or ALL_OPTS, got {said!r:.80}")
        ctx = default_event_handler(event, ctx)
        if said == ALL_OPTS:
            return ctx
        return _narrowed(event, ctx, opts, lists)

    return _as_handler(negotiate)


def _narrowed(offer: ev.Options, ctx: Context, opts: list[int], lists: Mapping[int, str]) -> Context:
    """The answer to an offer, with fewer actions and events, and other macros, if a filter says so.

    What is to be answered, and how header values come, follows from the class.
    """
    *others, reply = ctx["queue"]
    actions = reply.actions & ActionFlag(opts[0])
    macros = {**dict(reply.macros), **{stage: tuple(names.split()) for stage, names in lists.items()}}
    if lists:
        actions |= ActionFlag.SETSYMLIST
    reply = evolve(
        reply,
        actions=actions,
        protocol=reply.protocol | (ProtocolFlag(opts[1]) & _OFF & offered_flags(offer)[1]),
        macros=tuple(sorted(macros.items())),
    )
    return ctx.set("queue", (*others, reply)).set("actions", action_names(actions))
