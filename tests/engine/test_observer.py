"""Every step can be watched: what an observer is told, and that it cannot do harm."""

from itertools import count, groupby

import pytest

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.context import get_macro, send_action
from demyjpy.engine.connection import Step
from demyjpy.errors import LocalProtocolError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.shorthands import accept, add_header, reject
from tests.engine.harness import (
    ABORT,
    EOM,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    QUIT_NC,
    RCPT,
    UNKNOWN,
    keep,
    macros,
    note,
    offer,
    play,
)


def watch(handlers, *packets, **setup):
    """The steps of a session."""
    steps: list[Step] = []
    session = play(handlers, *packets, observer=steps.append, **setup)
    return steps, session


def names(steps):
    return [type(step.event).__name__ for step in steps]


def test_each_event_is_a_step():
    """Also those without handler, macros, and the end."""
    steps, _ = watch(
        {"hello": keep}, offer(steps=0x40), *OPENING[1:], macros("M", i="1"), *MESSAGE, UNKNOWN, QUIT
    )
    assert names(steps) == [
        *("Options", "Connect", "Hello", "DefineMacros", "Mail", "Recipient", "Data", "Header"),
        *("EndOfHeaders", "Body", "EndOfMessage", "Unknown", "Quit", "Disconnect"),
    ]
    assert {step.session for step in steps} == {"session"}


def test_what_is_sent_is_in_the_steps():
    """Their bytes are the session's; the answer is the same as values."""
    handlers = define_event_handlers(
        {
            "mail": lambda event, ctx: reject(ctx) if not event.sender else ctx,
            "end_of_message": lambda event, ctx: add_header(ctx, "X", "v"),
        },
        actions={"add_header"},
    )
    steps, session = watch(handlers, offer(), MAIL, EOM, (ord("M"), b"<>\0"))
    assert b"".join(step.sent for step in steps) == session.sent
    assert [step.answer for step in steps[1:]] == [
        (act.Continue(),),
        (act.AddHeader("X", "v"), act.Continue()),
        (act.Reject(),),
    ]
    assert isinstance(steps[0].answer[0], act.Negotiate)


def test_each_handler_is_a_step():
    """With its context before and after and what it queued; the answer is with the last."""
    one = define_event_handlers({"mail": lambda event, ctx: accept(ctx.set("k", 1))})
    two = define_event_handlers({"mail": lambda event, ctx: send_action(ctx.set("l", 2), act.Discard())})
    steps, _ = watch(merge_handlers(one, two), *OPENING, MAIL)
    first, second = [step for step in steps if isinstance(step.event, ev.Mail)]
    assert [step.handler.name for step in (first, second)] == [one["mail"].name, two["mail"].name]
    assert (first.actions, second.actions) == ((act.Accept(),), (act.Discard(),))
    assert ("k" in first.before, first.after["k"], second.after["l"]) == (False, 1, 2)
    assert second.before == first.after
    assert (first.answer, first.sent) == ((), b"")
    assert (second.answer, second.sent) == ((act.Discard(),), b"\0\0\0\1d")
    assert first.after["queue"] == ()


def test_the_steps_of_an_event_have_its_number():
    """From 1, in order; also if the driver calls handlers, and if the MTA gives a message up."""
    one, two = define_event_handlers({"mail": keep, "abort": keep}), define_event_handlers()
    two.mail(blocking=True)(keep)
    two.body(keep)
    packets = (*OPENING, MAIL, RCPT, ABORT, ABORT, MAIL, (ord("E"), b"last chunk"), QUIT)
    steps, _ = watch(merge_handlers(one, two), *packets)
    found = [(number, list(said)) for number, said in groupby(steps, key=lambda step: step.exchange)]
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert all(one.event is said[0].event for _, said in found for one in said)
    assert [(names(said)[0], len(said)) for _, said in found] == [
        *(("Options", 1), ("Connect", 1), ("Hello", 1), ("Mail", 2), ("Recipient", 1), ("Abort", 1)),
        *(("Abort", 1), ("Mail", 2), ("Body", 1), ("EndOfMessage", 1), ("Quit", 1), ("Disconnect", 1)),
    ]


def test_a_step_without_handler_changes_nothing():
    """Before and after are one context, with the macros in force."""
    steps, _ = watch(
        {"hello": keep},
        offer(steps=0x40),
        *OPENING[1:],
        macros("M", i="1"),
        MAIL,
        EOM,
        macros("M"),
        MAIL,
    )
    for step in steps:
        if step.handler is None:
            assert step.before is step.after
            assert step.actions == ()
    seen = [get_macro(step.before, "i") for step in steps if isinstance(step.event, ev.Mail)]
    assert seen == ["1", None]


def test_an_error_is_in_the_step():
    """What was queued beside it, too; the context after is what the policy left."""

    def bad(event, ctx):
        return send_action(ctx.set("half", 1), act.Reject(), act.Accept())

    steps, _ = watch({"mail": bad}, *OPENING, MAIL)
    step = steps[-1]
    assert isinstance(step.error, LocalProtocolError)
    assert step.actions == (act.Reject(), act.Accept())
    assert "half" not in step.after
    assert step.answer == (act.TemporaryFailure(),)


def test_an_observed_event_that_is_not_answered_says_nothing():
    """reply=False: the step has no answer."""
    handlers = define_event_handlers()
    handlers.mail(reply=False)(keep)
    steps, _ = watch(handlers, *OPENING, MAIL)
    assert (steps[-1].handler, steps[-1].answer, steps[-1].sent) == (handlers["mail"], (), b"")


def test_the_time_is_told_where_there_is_a_clock():
    """In the driver's unit; without a clock there is none."""
    ticks = count(start=10, step=5)
    steps, _ = watch({"mail": keep}, *OPENING, MAIL, clock=lambda: float(next(ticks)))
    assert steps[-1].duration == 5.0
    steps, _ = watch({"mail": keep}, *OPENING, MAIL)
    assert steps[-1].duration is None
    steps, session = watch({"mail": keep}, offer(), clock=lambda: 0.0, defers=lambda handler: True)
    assert session.connection.call is None


ABORTS = [
    ([MAIL, ABORT], 1),
    ([MAIL, ABORT, ABORT], 2),
    ([ABORT], 1),
    ([MAIL, MAIL], 1),
    ([MAIL, RCPT, EOM, ABORT], 1),
    ([MAIL, EOM], 0),
]


@pytest.mark.parametrize(("packets", "number"), ABORTS)
def test_an_abort_is_a_step_where_a_message_was_given_up_or_it_was_said(packets, number):
    """With or without handlers for it."""
    steps, _ = watch({"mail": keep, "recipient": keep}, *OPENING, *packets)
    assert names(steps).count("Abort") == number


def test_a_step_has_the_packet_that_it_is_about():
    """All that the MTA said, in order, once for each event; None for what it did not say."""
    said = [*OPENING, macros("M", i="1"), MAIL, MAIL, RCPT, ABORT, ABORT, QUIT]
    steps, _ = watch({"mail": keep, "recipient": keep}, *said)
    assert [step.packet for step in steps if step.packet] == said
    silent = [type(step.event).__name__ for step in steps if step.packet is None]
    assert silent == ["Abort", "Disconnect"]


def test_a_renewed_session_ends_and_begins():
    """Disconnect, then events of the new one under the same name."""
    steps, _ = watch({"hello": keep}, offer(), HELO, QUIT_NC, HELO)
    assert names(steps) == ["Options", "Hello", "QuitNewConnection", "Disconnect", "Hello"]


def test_an_observer_that_fails_is_told_and_no_more():
    """Each time, as the observer's; the session is as it would be without."""

    def fail(step):
        raise ValueError("observer")

    def leave(step):
        raise SystemExit(1)

    for observer in (fail, leave):
        session = play({"hello": keep}, *OPENING, MAIL, QUIT, observer=observer)
        alone = play({"hello": keep}, *OPENING, MAIL, QUIT)
        assert session.sent == alone.sent
        assert session.is_closed
        assert {(one.event, one.handler) for one in session.troubles} == {("observer", None)}


def test_a_macro_handler_is_watched_like_any_other():
    """Its step has the macros in the context after it."""
    handlers, _ = note("mail")
    steps, _ = watch(handlers, *OPENING, macros("M", i="1"), MAIL, HELO)
    step = next(step for step in steps if isinstance(step.event, ev.DefineMacros))
    assert (get_macro(step.before, "i"), get_macro(step.after, "i")) == (None, "1")
    assert step.event == ev.DefineMacros("mail", {"i": "1"})


def test_the_abort_of_a_message_is_watched_with_that_messages_macros():
    """Not with those already sent for the next."""
    steps, _ = watch({"mail": keep}, *OPENING, macros("M", i="1"), MAIL, macros("M", i="2"), MAIL, ABORT)
    aborts = [step for step in steps if isinstance(step.event, ev.Abort)]
    assert [get_macro(step.before, "i") for step in aborts] == ["1", "2"]


def test_an_abort_between_messages_shows_no_macros_of_one():
    """Nor those of an unknown command that came where MAIL is hidden."""
    unknown = (macros("U", i="1"), UNKNOWN)
    steps, _ = watch({}, offer(steps=0x7F), *unknown, EOM, EOM, ABORT)
    aborted = steps[-1]
    assert isinstance(aborted.event, ev.Abort)
    assert get_macro(aborted.before, "i") is None


@pytest.mark.parametrize("observer", [None, lambda step: None], ids=["unwatched", "watched"])
def test_an_abort_handler_sees_the_last_macros_of_its_message(observer):
    """Also those of events without handler, whoever watches, where MAIL comes without macros."""
    seen = []
    handlers = {"abort": lambda event, ctx: seen.append(get_macro(ctx, "rcpt_mailer")) or ctx}
    recipient = (macros("R", rcpt_mailer="smtp"), RCPT)
    play(handlers, *OPENING, MAIL, *recipient, MAIL, observer=observer)
    assert seen[0] == "smtp"
