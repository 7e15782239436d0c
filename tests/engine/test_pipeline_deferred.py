"""Handlers that the driver calls: handed out, waited for, and never left behind."""

import asyncio

import pytest

from demyjpy.context import new_context, send_action
from demyjpy.engine.connection import Call
from demyjpy.engine.pipeline import PROGRESS, run_call, run_call_async
from demyjpy.errors import HandlerError
from demyjpy.handlers import default_event_handler, define_event_handlers, merge_handlers
from demyjpy.registry import Handler
from demyjpy.shorthands import accept, add_header, reject
from tests.engine.harness import (
    ABORT,
    CONNECT,
    EOM,
    HELO,
    MAIL,
    OPENING,
    QUIT,
    QUIT_NC,
    Session,
    join,
    keep,
    note,
    offer,
    play,
)

MARKED = ("connect", "hello", "mail", "end_of_message", "abort", "quit", "disconnect")


def blocking(*names, **more):
    """A filter of handlers that may block, and what they were called with."""
    handlers, calls = note(*names)
    found = define_event_handlers(**more)
    for name in names:
        found.add(name, handlers[name].function, blocking=True)
    return found, calls


def test_a_blocking_handler_is_handed_out():
    """The call says what to run; nothing is answered before it has come back."""
    handlers, calls = blocking("hello")
    session = play(handlers, offer())
    assert session.feed(join([HELO])) == b""
    call = session.connection.call
    assert (call.handler, call.event.greeting) == (handlers["hello"], "client.example")
    assert call.ctx is session.connection.scope.context
    assert session.call() == b"\0\0\0\1c"
    assert session.connection.call is None
    assert len(calls) == 1


def test_what_is_handed_out_is_the_drivers_choice():
    """defers= decides; by default what blocks or is awaited."""
    for defers, is_out in (
        (lambda handler: True, True),
        (lambda handler: handler.event == "mail", False),
    ):
        session = Session.open({"hello": keep}, defers=defers)
        session.say(offer())
        session.feed(join([HELO]))
        assert (session.connection.call is not None) is is_out

    async def awaited(event, ctx):
        return ctx

    session = play({"hello": awaited}, offer())
    session.feed(join([HELO]))
    assert session.connection.call.handler.is_async


PROGRESSES = [({}, 5.0), ({"progress": 0.5}, 0.5), ({"progress": None}, None)]


@pytest.mark.parametrize(("options", "wanted"), PROGRESSES)
def test_signs_of_life_are_for_the_end_of_message(options, wanted):
    """Only there may PROGRESS be sent while a handler runs."""
    handlers = define_event_handlers()
    handlers.mail(blocking=True)(keep)
    handlers.end_of_message(blocking=True, **options)(keep)
    session = play(handlers, offer())
    session.feed(join([MAIL]))
    assert session.connection.call.progress is None
    session.call()
    session.feed(join([EOM]))
    assert session.connection.call.progress == wanted
    assert PROGRESS == b"\0\0\0\1p"


def test_packets_that_come_meanwhile_wait():
    """They are kept, in order, and answered when the call has come back."""
    handlers, calls = blocking("hello")
    handlers.mail(lambda event, ctx: reject(ctx))
    session = play(handlers, offer())
    assert session.feed(join([HELO])) == session.feed(join([MAIL, HELO])) == b""
    assert session.call() == b"\0\0\0\1c\0\0\0\1r"
    assert session.call() == b"\0\0\0\1c"
    assert len(calls) == 2


def test_several_filters_are_called_one_after_the_other():
    """Each on the context of the one before; plain ones between are called inline."""

    def put(key):
        return lambda event, ctx: send_action(ctx.set(key, len(ctx["handlers"].parts)))

    filters = [define_event_handlers() for _ in range(3)]
    filters[0].mail(blocking=True)(put("a"))
    filters[1].mail(put("b"))
    filters[2].mail(blocking=True)(lambda event, ctx: reject(ctx) if "a" in ctx and "b" in ctx else ctx)
    session = play(merge_handlers(*filters), offer())
    session.feed(join([MAIL]))
    assert session.call() == b""
    assert session.call() == b"\0\0\0\1r"


OUTCOMES = [
    (lambda event, ctx: reject(ctx), "r"),
    (lambda event, ctx: None, "t"),
    (lambda event, ctx: 1 / 0, "t"),
    (lambda event, ctx: (_ for _ in ()).throw(SystemExit(1)), "t"),
    (lambda event, ctx: add_header(ctx, "X", "v"), "t"),
]


@pytest.mark.parametrize(("handler", "answer"), OUTCOMES)
def test_what_comes_back_is_taken_like_any_outcome(handler, answer):
    """Failures of all kinds meet the policy, told once."""
    handlers = define_event_handlers()
    handlers.mail(blocking=True)(handler)
    session = play(handlers, offer())
    assert session.say(MAIL) == answer
    assert len(session.errors) == (answer == "t")


def test_a_call_of_an_async_handler_is_awaited():
    """Its context or its exception is the outcome."""

    async def awaited(event, ctx):
        await asyncio.sleep(0)
        if event == "leave":
            raise SystemExit(1)
        if event == "fail":
            raise ValueError("x")
        return ctx

    handler, ctx = Handler("mail", awaited), new_context()
    assert asyncio.run(run_call_async(Call(handler, "go", ctx, None))) is ctx
    assert isinstance(asyncio.run(run_call_async(Call(handler, "fail", ctx, None))), ValueError)
    assert isinstance(asyncio.run(run_call_async(Call(handler, "leave", ctx, None))), HandlerError)


def test_a_plain_call_of_an_async_handler_is_refused_in_the_end():
    """The thread driver cannot await; the policy answers, and nothing is left unawaited."""

    async def awaited(event, ctx):
        return ctx

    session = play({"mail": awaited}, offer())
    session.feed(join([MAIL]))
    outcome = run_call(session.connection.call)
    assert asyncio.iscoroutine(outcome)
    outcome.close()
    assert session.call() == b"\0\0\0\1t"
    assert 'need driver="asyncio"' in str(session.errors[0])


# ------------------------------------------------------------------------------------- hanging up
@pytest.mark.parametrize("name", MARKED)
def test_a_peer_may_go_during_any_call(name):
    """What is needed to end runs, once; nothing more is sent; what comes late is not read."""
    handlers, calls = note("mail", "abort", "quit", "disconnect")
    slow, slow_calls = blocking(*{name, "mail"})
    session = play(merge_handlers(slow, handlers), offer())
    session.feed(join([CONNECT, HELO, MAIL, ABORT, MAIL, EOM, QUIT]))
    while session.connection.call and session.connection.call.handler.event != name:
        session.call()
    session.hang_up()
    session.hang_up()
    sent = session.sent
    assert not session.is_closed
    assert session.feed(join([MAIL])) == b""
    session.finish_calls()
    assert session.is_closed
    assert session.sent == sent
    assert [one for one, _ in calls].count("Disconnect") == 1
    assert len([one for one, _ in slow_calls if one == "Disconnect"]) <= 1
    assert session.errors == []


ENDS = {
    "hello": ["Disconnect"],
    "mail": ["Disconnect"],  # the handler that is out is another filter's
    "end_of_message": ["Abort", "Disconnect"],
    "abort": ["Abort", "Disconnect"],
    "quit": ["Quit", "Disconnect"],
    "disconnect": ["Quit", "Disconnect"],
}


@pytest.mark.parametrize("name", ENDS)
def test_what_is_told_of_the_end_depends_on_where_it_came(name):
    """An open message is aborted; a QUIT that was said is handled; disconnect comes last."""
    handlers, calls = note("mail", "abort", "quit", "disconnect")
    slow, _ = blocking(*{name, "mail"})
    session = play(merge_handlers(slow, handlers), offer())
    last = {"hello": [HELO], "mail": [MAIL], "end_of_message": [MAIL, EOM], "abort": [MAIL, ABORT]}.get(
        name, [QUIT]
    )
    session.feed(join(last))
    while session.connection.call.handler.event != name:
        session.call()
    session.hang_up()
    session.finish_calls()
    assert [one for one, _ in calls if one != "Mail"] == ENDS[name]


@pytest.mark.parametrize("name", ["abort", "quit", "disconnect"])
def test_a_peer_may_go_while_a_session_is_renewed(name):
    """QUIT_NC and then the end: each session is ended once."""
    slow, _ = blocking(*{name, "mail"})
    handlers, calls = note("disconnect")
    session = play(merge_handlers(slow, handlers, define_event_handlers({"mail": keep})), offer())
    session.feed(join([MAIL, QUIT_NC]))
    while session.connection.call.handler.event != name:
        session.call()
    session.hang_up()
    session.finish_calls()
    assert session.is_closed
    assert len(calls) == 1


def test_a_negotiation_may_be_handed_out():
    """An override that blocks; if the peer goes meanwhile, nothing is answered."""
    handlers = define_event_handlers()
    handlers.options(blocking=True)(default_event_handler)
    assert play(handlers).say(offer()) == "O"
    session = play(handlers)
    session.feed(join([offer()]))
    session.hang_up()
    session.finish_calls()
    assert (session.sent, session.is_closed) == (b"", True)


def test_a_negotiation_that_was_handed_out_may_fail():
    """While the peer waits, or when it has gone: the connection ends, once."""
    for goes in (False, True):
        handlers, calls = note("disconnect")
        handlers.options(blocking=True)(lambda event, ctx: None)
        session = play(handlers)
        session.feed(join([offer()]))
        if goes:
            session.hang_up()
        session.finish_calls()
        assert (session.sent, session.is_closed, len(calls)) == (b"", True, 1)
        assert len(session.errors) == 1


def test_the_outcome_of_a_call_that_came_too_late_is_not_said():
    """The peer has gone: what the handler queued goes nowhere, and it may have accepted."""
    handlers = define_event_handlers()
    handlers.mail(blocking=True)(lambda event, ctx: accept(ctx))
    session = play(handlers, *OPENING)
    session.feed(join([MAIL]))
    session.hang_up()
    assert session.call() == b""
    assert session.is_closed
