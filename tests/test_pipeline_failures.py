"""Handlers that fail: the policy answers, the log tells once, the session goes on."""

import pytest
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import get_macro, send_action
from demyjpy.errors import HandlerError, LocalProtocolError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.shorthands import accept, add_header, reject, tempfail
from tests.engine import (
    ABORT,
    BODY,
    DATA,
    EOH,
    EOM,
    HELO,
    MAIL,
    OPENING,
    QUIT,
    RCPT,
    UNKNOWN,
    Session,
    keep,
    macros,
    note,
    offer,
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
    (lambda event, ctx: {}, HandlerError, "to return a context, got {}"),
    (
        lambda event, ctx: pmap({"a": 1}),
        HandlerError,
        "made from the one it got, got a map without the engine's keys",
    ),
    (lambda event, ctx: ctx.remove("connection"), HandlerError, "got a map without the engine's keys"),
    (lambda event, ctx: ctx.set("queue", 5), TypeError, "int"),
    (
        lambda event, ctx: send_action(ctx, "reject"),
        LocalProtocolError,
        "expected an action, got 'reject'",
    ),
    (lambda event, ctx: accept(reject(ctx)), LocalProtocolError, "expected one verdict at mail"),
    (
        lambda event, ctx: add_header(ctx, "X", "v"),
        LocalProtocolError,
        "expected modifications at end_of_message only",
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
    assert "needs 'quarantine'" in str(session.errors[0])


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


# ------------------------------------------------------------------------------------------- owed
def quiet(name, handler, *more):
    """A filter with an observer, and other handlers that do nothing."""
    handlers = define_event_handlers(dict.fromkeys(more, keep))
    getattr(handlers, name)(reply=False)(handler)
    return handlers


def test_an_observer_that_fails_owes_its_verdict_to_the_next_answer():
    """Nothing is said where nothing is due; the next answer is it, and handlers do not run."""
    other, calls = note("recipient", "data", "body")
    session = play(merge_handlers(quiet("mail", fail), other), *OPENING)
    assert session.say(MAIL) == ""
    assert session.say(RCPT, DATA) == "tt"
    assert session.say(MAIL, RCPT) == "t"
    assert len(session.troubles) == 2
    assert calls == []


def test_an_owed_verdict_ends_with_its_message():
    """The next message is handled as if nothing had been."""
    handlers = quiet(
        "mail",
        lambda event, ctx: ctx if not event.sender else fail(event, ctx),
        "data",
        "end_of_message",
    )
    session = play(handlers, *OPENING)
    assert session.say(MAIL, DATA) == "t"
    assert session.say((ord("M"), b"<>\0"), DATA, EOM) == "cc"
    assert session.say(MAIL, ABORT, (ord("M"), b"<>\0"), DATA, EOM) == "cc"


def test_what_fails_at_connect_is_owed_to_every_message():
    """It was a verdict on the connection."""
    handlers = quiet("connect", fail, "mail")
    assert play(handlers, *OPENING).say(MAIL, MAIL, MAIL) == "ttt"


def test_an_unknown_command_is_not_answered_with_what_is_owed():
    """It says nothing about the message."""
    session = play(quiet("mail", fail, "unknown", "end_of_message"), *OPENING)
    assert session.say(MAIL, UNKNOWN, EOM) == "ct"


OWED = [
    ("accept", "c"),
    ("reject", "r"),
    (lambda error, event, ctx: ctx, "c"),
    (lambda e, v, ctx: tempfail(ctx), "t"),
]


@pytest.mark.parametrize(("on_error", "answer"), OWED)
def test_the_policy_decides_what_is_owed(on_error, answer):
    """Accept is not owed: that filter is done with the message."""
    one = quiet("body", fail, "mail")
    other, calls = note("end_of_message")
    session = play(merge_handlers(one, other), *OPENING, MAIL, on_error=on_error)
    assert session.say(BODY) == ""
    assert session.say(EOM) == answer
    assert len(calls) == (answer == "c")


def test_a_filter_that_accepted_by_failing_gets_no_more_of_the_message():
    """As if it had said so; what others say still counts."""
    one, calls = note("data", "end_of_message")
    one.mail(reply=False)(fail)
    session = play(one, *OPENING, on_error="accept")
    assert session.say(MAIL, DATA) == "a"
    assert calls == []
    assert session.say(MAIL, DATA) == "a"


def test_an_observer_where_an_answer_is_due_answers_at_once():
    """If the MTA cannot do without an answer, the policy's verdict is that answer."""
    handlers = quiet("mail", fail)
    session = play(handlers, offer(steps=0x7F), *OPENING[1:])
    assert session.say(MAIL) == "t"


def test_an_observer_may_not_answer():
    """A queued verdict is its error, whether the MTA waits or not."""
    for steps, answer in ((0x1FFFFF, ""), (0x7F, "t")):
        session = play(
            quiet("mail", lambda event, ctx: reject(ctx), "end_of_message"),
            offer(steps=steps),
            *OPENING[1:],
        )
        assert session.say(MAIL) == answer
        assert "expected no answer at mail" in str(session.errors[0])


def test_macros_of_a_message_with_an_owed_verdict_are_in_force():
    """Whether they are kept by the engine, by a macro handler, or under an observer."""
    for setup in ({}, {"observer": lambda step: None}):
        seen = []

        def mail(event, ctx, seen=seen):
            seen.append(get_macro(ctx, "i"))
            return fail(event, ctx) if seen[-1] == "1" else ctx

        session = Session.open(quiet("mail", mail, "end_of_message"), **setup)
        session.say(*OPENING)
        assert session.say(macros("M", i="1"), MAIL, macros("M", i="2"), MAIL, EOM) == "c"
        assert seen == ["1", "2"]


def test_the_abort_of_a_message_with_an_owed_verdict_is_told():
    """The filters did not end it themselves."""
    handlers, calls = note("abort")
    session = play(merge_handlers(quiet("mail", fail, "data"), handlers), *OPENING)
    assert session.say(MAIL, DATA) == "t"
    assert [name for name, _ in calls] == ["Abort"]


def test_headers_end_a_message_with_an_owed_verdict():
    """The first answer that is due may come late."""
    session = play(quiet("header", fail, "end_of_headers"), *OPENING)
    assert session.say((ord("L"), b"X\0v\0"), (ord("L"), b"Y\0v\0"), EOH) == "t"
    assert len(session.errors) == 1
