"""Defaults, merging and scoping, by calling handlers."""

import pytest

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.context import new_context, take_actions
from demyjpy.engine.macros import NO_MACROS
from demyjpy.errors import HandlerError, NegotiationError
from demyjpy.handlers import (
    as_registry,
    default_event_handler,
    define_event_handlers,
    merge_handlers,
    wants_of,
    with_handlers,
)
from demyjpy.registry import HANDLER_NAMES
from demyjpy.wire.codes import Command
from demyjpy.wire.codes import ProtocolFlag as P
from tests.engine.harness import keep

OFFER = ev.Options(6, 0x1FF, 0x1FFFFF)


# ---------------------------------------------------------------------------------------- defaults
def test_the_default_negotiates():
    """It queues the answer and puts what was agreed into the context."""
    handlers = define_event_handlers(
        {"mail": keep, "abort": keep, "disconnect": keep},
        actions={"add_header"},
        optional_actions={"quarantine"},
    )
    ctx = default_event_handler(OFFER, with_handlers(new_context(), handlers))
    (reply,), _ = take_actions(ctx)
    assert reply == act.Negotiate(6, 0x21, 0x37B | P.SKIP | P.HDR_LEADSPC)
    assert ctx["events"] == {"mail", "abort"}
    assert ctx["actions"] == {"add_header", "quarantine"}


def test_the_default_refuses_what_does_not_suffice():
    """The error goes to whoever called."""
    ctx = with_handlers(new_context(), define_event_handlers(actions={"quarantine"}))
    with pytest.raises(NegotiationError, match="actions quarantine"):
        default_event_handler(ev.Options(2, 0x1F, 0x7F), ctx)


def test_optional_events_that_do_not_come_are_not_agreed():
    """ctx["events"] holds those that an MTA of this version sends."""
    handlers = define_event_handlers({"data": keep, "mail": keep}, optional_events={"data"})
    ctx = default_event_handler(ev.Options(2, 0x1F, 0x7F), with_handlers(new_context(), handlers))
    assert ctx["events"] == {"mail"}


@pytest.mark.parametrize(("event", "letter"), [("mail", Command.MAIL), ("X", ord("X"))])
def test_the_default_keeps_macros(event, letter):
    """As if they had come from the wire."""
    given = ev.DefineMacros(event, [("i", "1"), ("j", None)])
    ctx = default_event_handler(given, new_context())
    assert ctx["macros"] == NO_MACROS.define(letter, b"i\x001\0j\0")


@pytest.mark.parametrize("event", [ev.Mail("a"), ev.Abort(), ev.Disconnect(), ev.EndOfMessage()])
def test_the_default_does_nothing_else(event):
    """The context is the same object."""
    ctx = new_context()
    assert default_event_handler(event, ctx) is ctx


def test_a_filter_is_put_into_a_context():
    """Its handlers, its declarations and its state; a plain map will do."""
    handlers = define_event_handlers(
        {"mail": keep}, actions={"add_header"}, optional_events={"mail"}, state={"n": 0}
    )
    ctx = with_handlers(new_context({"mine": 1}), handlers)
    assert ctx["handlers"] is handlers
    assert (ctx["actions"], ctx["optional_events"]) == ({"add_header"}, {"mail"})
    assert (ctx["n"], ctx["mine"]) == (0, 1)
    assert list(with_handlers(new_context(), {"mail": keep})["handlers"]) == ["mail"]


@pytest.mark.parametrize("given", [5, None, [("mail", keep)], keep])
def test_what_is_no_map_is_no_filter(given):
    """The message shows what came."""
    with pytest.raises(HandlerError, match="expected a registry or a map of event names, got "):
        as_registry(given)


def test_what_a_filter_wants_is_read_off_its_handlers():
    """Quiet is what no handler answers; rejected what one asks for."""
    one, two = define_event_handlers(macros={"mail": ("i",)}), define_event_handlers()
    one.body(reply=False)(keep)
    one.header(reply=False)(keep)
    one.disconnect(keep)
    two.header(keep)
    two.recipient(rejected=True)(keep)
    wants = wants_of(with_handlers(new_context(), merge_handlers(one, two)))
    assert wants.events == {"body", "header", "recipient"}
    assert wants.quiet == {"body"}
    assert wants.rejected
    assert wants.macros == {"mail": ("i",)}
    assert not wants_of(with_handlers(new_context(), one)).rejected


def test_every_event_has_a_decorator():
    """There is no event name without one, and it registers under that name."""
    handlers = define_event_handlers()
    assert all(getattr(handlers, name).event == name for name in HANDLER_NAMES)
