"""Defaults, merging and scoping, by calling handlers."""

import asyncio

import pytest
from attrs import evolve

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
    wrap_handler,
)
from demyjpy.registry import HANDLER_NAMES, Handler
from demyjpy.shorthands import skip
from demyjpy.testing import run, session
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
    assert list(wants.macros) == ["mail"]
    assert wants.macros["mail"][0] == "i"
    assert not wants_of(with_handlers(new_context(), one)).rejected


def test_every_event_has_a_decorator():
    """There is no event name without one, and it registers under that name."""
    handlers = define_event_handlers()
    assert all(getattr(handlers, name).event == name for name in HANDLER_NAMES)


# ---------------------------------------------------------------------------------------- wrapping
def counting(event, ctx):
    """Counts the calls and what they queued; gives the handler a context of its own."""
    after = yield ctx.set("asked", event.data)
    return after.set("calls", (*after.get("calls", ()), len(after["queue"])))


def forgiving(event, ctx):
    """What fails goes on."""
    try:
        return (yield ctx)
    except LookupError as error:
        return ctx.set("error", str(error))
    finally:
        ctx["log"].append("ended")


def plain_skip(event, ctx):
    """Skips where the body is spam."""
    return skip(ctx) if ctx["asked"] == b"spam\r\n" else ctx


async def async_skip(event, ctx):
    """The same, after a while."""
    await asyncio.sleep(0)
    return plain_skip(event, ctx)


@pytest.mark.parametrize("function", [plain_skip, async_skip])
def test_a_filter_of_wrapped_handlers_does_what_it_did_and_more(function):
    """One generator function serves plain and async handlers."""
    handlers = define_event_handlers({"body": wrap_handler(Handler("body", function), counting)})
    script = session().mail("a@example.org").rcpt("b@example.org").message("A: b\n\nspam")
    result = run(handlers, script)
    step = result.at("body")[-1]
    assert (step.actions, step.after["calls"]) == ((act.Skip(),), (1,))
    assert result.fate == "accepted"


def raising(event, ctx):
    """Has no answer."""
    raise KeyError(event.sender)


async def raising_later(event, ctx):
    """Has none either."""
    raise KeyError(event.sender)


@pytest.mark.parametrize("function", [raising, raising_later])
def test_what_a_handler_raises_is_raised_at_the_yield(function):
    """What stands around it may go on, and has its finally in any case."""
    wrapped = wrap_handler(Handler("mail", function), forgiving)
    ctx = new_context({"log": []})
    outcome = wrapped(ev.Mail("a"), ctx)
    after = asyncio.run(outcome) if wrapped.is_async else outcome
    assert (after["error"], after["log"]) == ("'a'", ["ended"])


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda event, ctx: ctx["nothing"], KeyError),
        (raising, KeyError),
        (lambda event, ctx: next(iter(())), StopIteration),
    ],
)
def test_what_is_not_caught_is_the_failure_of_the_handler(function, error):
    """The same exception, as if nothing stood around it; also that which ends generators."""
    wrapped = wrap_handler(Handler("mail", function), lambda event, ctx: (yield ctx))
    with pytest.raises(error):
        wrapped(ev.Mail("a"), new_context())


def test_a_plain_handler_beside_async_ones_fails_as_in_a_coroutine():
    """Python makes another error of a `StopIteration` there; it is a failure all the same."""

    async def later(event, ctx):
        return ctx

    def exhausted(event, ctx):
        return next(iter(()))

    both = merge_handlers(
        define_event_handlers({"mail": later}), define_event_handlers({"mail": exhausted})
    )
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(both["mail"](ev.Mail("a"), new_context()))


def test_an_error_of_what_stands_around_is_its_own():
    """Also one that comes of the handler's."""

    def around(event, ctx):
        try:
            yield ctx
        except KeyError:
            raise RuntimeError("no") from ValueError()

    with pytest.raises(RuntimeError, match=r"^no$"):
        wrap_handler(Handler("mail", raising), around)(ev.Mail("a"), new_context())


def forgetful(event, ctx):
    """Has no return."""
    yield ctx


def empty_handed(event, ctx):
    """Yields no context."""
    return (yield)


def never(event, ctx):
    """Calls no handler, and has no return."""
    if ctx["never"]:
        yield ctx


@pytest.mark.parametrize(
    ("around", "says"),
    [
        (forgetful, "forgetful to return a context, got None; is there a return at its end"),
        (empty_handed, "empty_handed to yield the context for tests.engine.harness.keep, got None"),
        (never, "never to return a context, got None"),
    ],
)
def test_what_stands_around_is_named_if_it_is_to_blame(around, says):
    """And a handler that returns None if that one is."""
    ctx = new_context({"never": False})
    with pytest.raises(HandlerError, match=says):
        wrap_handler(Handler("mail", keep), around)(ev.Mail("a"), ctx)
    assert wrap_handler(Handler("mail", lambda event, ctx: None), forgetful)(ev.Mail("a"), ctx) is None


def test_a_handler_may_be_left_out_or_called_again():
    """It is called as often as there is a yield."""

    def around(event, ctx):
        for _ in range(ctx["times"]):
            ctx = yield ctx
        return ctx

    wrapped = wrap_handler(Handler("mail", lambda event, ctx: ctx.set("n", ctx["n"] + 1)), around)
    for times in (0, 1, 3):
        assert wrapped(ev.Mail("a"), new_context({"n": 0, "times": times}))["n"] == times


def test_a_wrapped_handler_keeps_its_options_and_its_name():
    """However many stand around it."""
    handler = Handler("recipient", keep, reply=False, blocking=True, rejected=True, progress=None)
    wrapped = wrap_handler(wrap_handler(handler, counting), forgiving)
    assert wrapped.name == handler.name == "tests.engine.harness.keep"
    assert wrapped == evolve(handler, function=wrapped.function)


def test_what_stands_around_a_handler_has_to_yield():
    """The error says so when it is defined, not when the first mail comes. So for a bare function."""
    with pytest.raises(HandlerError, match=r"expected a Handler, .* got a function"):
        wrap_handler(keep, counting)
    with pytest.raises(
        HandlerError, match=r"expected around= as a function .* yields .* got a function"
    ):
        wrap_handler(Handler("mail", keep), keep)
