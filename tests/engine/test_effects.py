"""Effects: who may ask for one, and what has to become of the message so that it is done."""

from typing import Any

import pytest
from attrs import define, frozen

from demyjpy import (
    Accept,
    HandlerError,
    accept,
    define_event_handlers,
    discard,
    do,
    merge_handlers,
    new_context,
    reject,
    tempfail,
)
from demyjpy.effects import MOST_EFFECTS, is_due
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.testing import Postfix, run, session
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.wire.framing import join_frame
from tests.engine.harness import ABORT, MAIL, MESSAGE, OPENING


@frozen
class Note:
    """An effect."""

    text: Any

    def perform(self, resources):
        """Never called here."""
        raise AssertionError


@frozen
class Bare:
    """An effect that nobody performs."""


ALL = ("accepted", "refused", "ended")


def at(event, decide=lambda ctx: ctx, effects=ALL, **declared):
    """A filter that asks for effects at an event, and then decides."""
    handlers = define_event_handlers(**declared)

    def handler(_, ctx):
        for one in effects:
            ctx = do(ctx, Note(f"{event} {one}"), one)
        return decide(ctx)

    handlers.add(event, handler)
    return handlers


def done(handlers, script=None):
    """The texts of the effects that would be done."""
    script = script or session().mail("a@example.org").rcpt("b@example.org").message()
    return [one.text for one in run(handlers, script, mta=Postfix()).done]


REFUSALS = {
    "reject": reject,
    "tempfail": tempfail,
    "discard": discard,
    "code": lambda ctx: reject(ctx, "5.7.1", "no", code=550),
}
EVENTS = ["mail", "data", "header", "end_of_headers", "body", "message", "end_of_message"]


@pytest.mark.parametrize("event", [*EVENTS, "recipient"])
def test_those_of_an_accepted_message_are_done_in_order(event):
    """And not those for a refused one."""
    handlers = at(event)
    assert done(handlers)[:2] == [f"{event} accepted", f"{event} ended"]


@pytest.mark.parametrize("how", REFUSALS)
@pytest.mark.parametrize("event", EVENTS)
def test_those_of_a_refused_message_are_done(event, how):
    """At whatever event it was refused."""
    script = session().mail("a@example.org").rcpt("b@example.org").message()
    handlers = at(event, REFUSALS[how])
    if (event, how) == ("data", "discard"):
        handlers = at(event, reject)
    assert done(handlers, script)[:2] == [f"{event} refused", f"{event} ended"]


def test_a_message_that_is_given_up_has_ended_and_nothing_else():
    """As one whose recipients are all refused."""
    script = session().mail("a@example.org").rcpt("b@example.org").rset()
    assert done(at("mail"), script) == ["mail ended"]
    assert done(at("recipient", reject)) == ["recipient ended"]


def test_an_early_accept_ends_it():
    """For this filter it is accepted."""
    assert done(at("mail", accept)) == ["mail accepted", "mail ended"]


def test_of_several_filters_the_verdict_of_all_counts():
    """Though the one that asked is content."""
    refusing = define_event_handlers({"end_of_message": lambda event, ctx: reject(ctx)})
    assert done(merge_handlers(at("mail", accept), refusing)) == ["mail refused", "mail ended"]
    content = define_event_handlers({"end_of_message": lambda event, ctx: ctx}, name="content")
    assert done(merge_handlers(at("mail", accept), content)) == ["mail accepted", "mail ended"]


def test_those_of_a_handler_that_fails_are_not_kept():
    """Whatever it had queued before."""

    def fail(ctx):
        raise ValueError

    handlers = at("mail", fail)
    assert done(handlers) == []

    def illegal(ctx):
        return accept(reject(ctx))

    assert done(at("mail", illegal)) == []


@pytest.mark.parametrize("event", ["connect", "hello", "disconnect", "quit"])
def test_outside_of_a_message_they_are_done_after_the_event(event):
    """Only those that are for whatever happens."""
    assert done(at(event, effects=["ended"])) == [f"{event} ended"]
    result = run(at(event), session().mail("a@example.org"), mta=Postfix())
    assert result.done == ()
    said = f'expected when="ended" for an effect at {event}, because no message is open then'
    assert [str(trouble.error) for trouble in result.troubles] == [f"{said}, got 'accepted'"]


def test_an_effect_at_abort_is_done():
    """The message has ended already."""
    handlers = define_event_handlers({**at("abort", effects=["ended"]), **at("mail", effects=["ended"])})
    script = session().mail("a@example.org").rset()
    assert done(handlers, script) == ["mail ended", "abort ended"]


def test_each_message_of_a_session_has_its_own():
    """Nothing is left for the next one."""
    handlers = define_event_handlers()

    @handlers.mail
    def mail(event, ctx):
        return do(ctx, Note(event.sender))

    @handlers.end_of_message
    def end_of_message(event, ctx):
        return ctx

    script = session()
    for name in "abc":
        script = script.mail(name).rcpt("x@example.org").message()
    assert done(handlers, script) == ["a", "b", "c"]


def test_too_many_are_a_failure_of_the_handler():
    """The message is deferred, and nothing of this handler is done."""
    handlers = at("mail", effects=["ended"] * MOST_EFFECTS)
    more = at("end_of_message", effects=["ended"])
    result = run(merge_handlers(handlers, more), session().mail("a").rcpt("b").message(), mta=Postfix())
    assert len(result.done) == MOST_EFFECTS
    assert "expected at most 100 effects of a message, got 101" in str(result.troubles[0].error)


def test_somebody_has_to_perform_it():
    """Itself, or a performer of the filter."""
    handlers = define_event_handlers({"mail": lambda event, ctx: do(ctx, Bare(), "ended")})
    script = session().mail("a@example.org")
    result = run(handlers, script, mta=Postfix())
    assert result.done == ()
    assert "give it a perform(self, resources), or declare asks={Bare: perfo" in str(
        result.troubles[0].error
    )
    declared = define_event_handlers(handlers, asks={Bare: lambda effect, resources: None})
    assert run(declared, script, mta=Postfix()).done == (Bare(),)


@define
class Holder:
    """An effect that holds something."""

    held: Any

    def perform(self, resources):
        """Never called."""


BAD = [
    (Note, "accepted", "expected an effect, an instance of a frozen class"),
    (print, "accepted", "expected an effect"),
    ("text", "accepted", "expected an effect"),
    (Note("x"), "later", "expected when= as one of 'accepted', 'refused', 'ended', got 'later'"),
    (Holder(new_context()), "ended", "expected an effect that can be kept, got Holder: it holds a cont"),
]


@pytest.mark.parametrize(("effect", "when", "said"), BAD)
def test_what_is_no_effect_raises(effect, when, said):
    """With what is wrong."""
    with pytest.raises(HandlerError, match=said):
        do(new_context(), effect, when)


def test_a_verdict_says_which_are_due():
    """None: it was given up."""
    assert [is_due(when, Accept()) for when in ALL] == [True, False, True]
    assert [is_due(when, None) for when in ALL] == [False, False, True]


def test_resources_cannot_have_the_name_of_the_key():
    """Effects get it beside them."""
    with pytest.raises(HandlerError, match="expected another name for a resource, got 'effect_key'"):
        define_event_handlers(resources={"effect_key": dict})


def test_each_effect_has_a_key_of_its_own():
    """Whatever filter asks for it, at whatever event, in whatever message."""
    events = ("connect", "mail", "recipient", "end_of_message", "abort")
    handlers = define_event_handlers({name: at(name, effects=["ended"] * 3)[name] for name in events})
    setup = Setup(as_on_connect(merge_handlers(handlers, define_event_handlers(handlers))))
    with FilterConnection(setup, "name") as connection:
        said = (*OPENING, *MESSAGE, *MESSAGE, MAIL, ABORT)
        connection.say(b"".join([join_frame(*one) for one in said]))
        connection.end()
        keys = [one.key for one in connection.requests]
        connection.forget_troubles()
        assert connection.requests == []
    assert len(keys) > 40
    assert len(set(keys)) == len(keys)
    assert all(key.startswith("name-") for key in keys)
