"""Handlers that fail: the policy answers, the log tells once, the session goes on."""

import pytest
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import send_action
from demyjpy.errors import HandlerError, LocalProtocolError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.shorthands import accept, add_header, reject, tempfail
from tests.engine.harness import (
    ABORT,
    EOM,
    HELO,
    MAIL,
    OPENING,
    QUIT,
    RCPT,
    UNKNOWN,
    keep,
    macros,
    note,
    play,
)


class OopsError(Exception):
    """What a handler raises here."""


def fail(event, ctx):
    raise OopsError("handler")


def leave(event, ctx):
    raise SystemExit(3)


async def awaited(event, ctx):
    return ctx


BAD_HANDLERS = [
    (fail, OopsError, "handler"),
    (leave, HandlerError, "expected a handler to return a context, got SystemExit(3)"),
    (
        lambda event, ctx: None,
        HandlerError,
        "to return a context, got None; is there a return at its end?",
    ),
    (lambda event, ctx: 5, HandlerError, "to return a context, got 5"),
    (lambda event, ctx: {}, HandlerError, "to return a context, got a dict"),
    (
        lambda event, ctx: pmap({"a": 1}),
        HandlerError,
        "made from the one it got, got a map without the engine's keys",
    ),
    (lambda event, ctx: ctx.remove("connection"), HandlerError, "got a map without the engine's keys"),
    (lambda event, ctx: ctx.remove("queue"), HandlerError, "got a map without the engine's keys"),
    (lambda event, ctx: ctx.set("queue", 5), TypeError, "int"),
    (
        lambda event, ctx: send_action(ctx, "reject"),
        LocalProtocolError,
        "expected an action, got text of 6 characters",
    ),
    (lambda event, ctx: accept(reject(ctx)), LocalProtocolError, "expected one verdict at mail"),
    (
        lambda event, ctx: reject(send_action(ctx, act.Continue())),
        LocalProtocolError,
        "expected one verdict",
    ),
    (
        lambda event, ctx: add_header(ctx, "X", "v"),
        LocalProtocolError,
        "expected modifications at message and end_of_message only",
    ),
    (lambda event, ctx: send_action(ctx, act.Skip()), LocalProtocolError, "SKIP works at body only"),
    (lambda event, ctx: reject(ctx, "4.7.1"), LocalProtocolError, "one class"),
]


@pytest.mark.parametrize(("handler", "error", "message"), BAD_HANDLERS)
def test_a_handler_that_fails_meets_the_policy(handler, error, message):
    """Tempfail by default; told once, with event, handler and queue id; the next message is handled."""
    handlers = define_event_handlers(
        {"mail": lambda event, ctx: handler(event, ctx) if event.sender else ctx}
    )
    session = play(handlers, *OPENING)
    assert session.say(macros("M", i="abc"), MAIL) == "t"
    (trouble,) = session.troubles
    assert type(trouble.error) is error
    assert message in str(trouble.error)
    assert (trouble.event, trouble.queue_id) == ("mail", "abc")
    assert trouble.handler.endswith("<lambda>")
    assert session.say((ord("M"), b"<>\0"), EOM) == "cc"
    assert len(session.troubles) == 1


def test_the_cause_of_an_exit_is_kept():
    """The traceback of a handler that called sys.exit is there."""
    (error,) = play({"mail": leave}, *OPENING, MAIL).errors
    assert isinstance(error.__cause__, SystemExit)


def test_an_async_handler_needs_a_driver_that_awaits():
    """Called inline it is refused, and its coroutine is closed without a warning."""
    session = play({"mail": awaited}, *OPENING, defers=lambda handler: False)
    assert session.say(MAIL) == "t"
    assert 'async def handlers need driver="asyncio"' in str(session.errors[0])


def test_nothing_of_a_bad_plan_is_sent():
    """Good edits beside a bad action stay here, too."""
    handlers = define_event_handlers(
        {
            "end_of_message": lambda event, ctx: send_action(
                ctx, act.AddHeader("X", "v"), act.Quarantine("x")
            )
        },
        actions={"add_header"},
    )
    session = play(handlers, *OPENING)
    assert session.say(EOM) == "t"
    assert "needs the permission 'quarantine'" in str(session.errors[0])


def test_what_a_failed_handler_did_to_the_context_is_gone():
    """The next handler sees what this one was given."""
    handlers, calls = note("end_of_message")
    bad = define_event_handlers({"recipient": lambda event, ctx: reject(accept(ctx.set("half", 1)))})
    assert play(merge_handlers(bad, handlers), *OPENING[:1], RCPT).say(EOM) == "c"
    assert "half" not in calls[0][1]


# ---------------------------------------------------------------------------------------- policies
POLICIES = [
    ("tempfail", "t"),
    ("accept", "a"),
    ("reject", "r"),
    (lambda error, event, ctx: tempfail(ctx, "4.3.0", str(error)), "y"),
    (lambda error, event, ctx: ctx, "c"),
    (lambda error, event, ctx: accept(ctx), "a"),
    (lambda error, event, ctx: send_action(ctx, act.Discard()), "d"),
]


@pytest.mark.parametrize(("on_error", "answer"), POLICIES)
def test_a_policy_is_a_verdict_or_a_function(on_error, answer):
    """A function gets the error, the event and the context that the handler got."""
    assert play({"mail": fail}, *OPENING, on_error=on_error).say(MAIL) == answer


def test_a_policy_function_may_change_the_context():
    """What it puts there is seen by the handlers that follow, in this message."""
    handlers, calls = note("end_of_message")
    bad = define_event_handlers({"recipient": fail})
    session = play(
        merge_handlers(bad, handlers),
        *OPENING,
        on_error=lambda error, event, ctx: ctx.set("failed", (type(error), event.address)),
    )
    assert session.say(RCPT, EOM, EOM) == "ccc"
    assert calls[0][1]["failed"] == (OopsError, "bob@example.org")
    assert "failed" not in calls[1][1]


def test_a_policy_function_may_modify_the_message():
    """Its plan is checked like a handler's."""
    handlers = define_event_handlers({"end_of_message": fail}, actions={"add_header"})
    session = play(
        handlers, *OPENING, on_error=lambda error, event, ctx: add_header(ctx, "X-Failed", "yes")
    )
    assert session.say(EOM) == "hc"


BAD_POLICIES = [
    lambda error, event, ctx: 1 / 0,
    lambda error, event, ctx: None,
    lambda error, event, ctx: leave(event, ctx),
    lambda error, event, ctx: add_header(ctx, "X", "v"),
    lambda error, event, ctx: reject(accept(ctx)),
]


@pytest.mark.parametrize("on_error", BAD_POLICIES)
def test_a_policy_function_that_fails_is_a_temporary_failure(on_error):
    """Both errors are told."""
    session = play({"mail": fail}, *OPENING, on_error=on_error)
    assert session.say(MAIL) == "t"
    assert len(session.errors) == 2
    assert isinstance(session.errors[0], OopsError)


ILLEGAL = [
    ("unknown", "accept", UNKNOWN),
    ("hello", lambda e, v, ctx: send_action(ctx, act.Continue()), HELO),
]


@pytest.mark.parametrize(("name", "on_error", "one"), ILLEGAL)
def test_a_policy_that_means_nothing_at_an_event_lets_it_pass(name, on_error, one):
    """Accept at an unknown command would say nothing to an MTA."""
    assert play({name: fail}, *OPENING, on_error=on_error).say(one) == "c"


@pytest.mark.parametrize("name", ["abort", "quit", "disconnect"])
def test_where_nothing_is_answered_a_failure_is_only_told(name):
    """No policy is asked; the session ends as it would."""
    handlers, calls = note("disconnect")
    asked = []
    session = play(
        merge_handlers(define_event_handlers({name: fail, "mail": keep}), handlers),
        *OPENING,
        MAIL,
        ABORT,
        QUIT,
        on_error=lambda error, event, ctx: asked.append(error),
    )
    assert session.is_closed
    assert [(type(one.error), one.event) for one in session.troubles] == [(OopsError, name)]
    assert asked == []
    assert len(calls) == 1


def test_a_policy_that_accepts_an_unknown_command_accepts_nothing_else():
    """The filter still gets the rest of the message."""
    handlers, calls = note("mail", "end_of_message")
    handlers.unknown(fail)
    assert play(handlers, *OPENING, MAIL, on_error="accept").say(UNKNOWN, EOM) == "cc"
    assert len(calls) == 2
