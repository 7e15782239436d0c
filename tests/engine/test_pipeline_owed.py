"""Verdicts that fall where no answer is due: owed to the next event that is answered."""

import pytest

from demyjpy import actions as act
from demyjpy.context import get_macro, send_action
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.shorthands import tempfail
from tests.engine.harness import (
    ABORT,
    BODY,
    DATA,
    EOH,
    EOM,
    MAIL,
    OPENING,
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


def quiet(name, handler, *more):
    """A filter with an observer, and other handlers that do nothing."""
    handlers = define_event_handlers(dict.fromkeys(more, keep))
    getattr(handlers, name)(reply=False)(handler)
    return handlers


def test_an_observer_that_fails_owes_its_verdict_to_the_next_answer():
    """Nothing is said where nothing is due; the next answer is it, and handlers do not run."""
    session = play(quiet("mail", fail, "recipient", "data", "body"), *OPENING)
    assert session.say(MAIL) == ""
    assert session.say(RCPT, DATA) == "tt"
    assert session.say(MAIL, RCPT) == "t"
    assert len(session.troubles) == 2


def test_what_one_of_several_filters_owes_is_answered_where_it_may_answer_itself():
    """As if it were alone; until then the others go on."""
    other, calls = note("recipient", "data", "body", "end_of_message")
    session = play(merge_handlers(quiet("mail", fail), other), *OPENING)
    assert session.say(MAIL) == ""
    assert session.say(RCPT, DATA, BODY) == "ccs"
    assert [name for name, _ in calls] == ["Recipient", "Data"]  # content would be for nothing
    assert session.say(EOM) == "t"
    assert session.say(MAIL, RCPT) == "c"
    assert len(session.troubles) == 2


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


@pytest.mark.parametrize("verdict", [act.Reject(), act.Continue()])
def test_an_observer_may_not_answer(verdict):
    """A queued verdict is its error, even if it says nothing, and whether the MTA waits or not."""
    for steps, answer in ((0x1FFFFF, ""), (0x7F, "t")):
        session = play(
            quiet("mail", lambda event, ctx: send_action(ctx, verdict), "end_of_message"),
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
    handlers, calls = note("abort", "mail")
    session = play(merge_handlers(quiet("mail", fail, "data"), handlers), *OPENING)
    assert session.say(MAIL, DATA) == "ct"
    assert [name for name, _ in calls] == ["Mail", "Abort"]


def test_headers_end_a_message_with_an_owed_verdict():
    """The first answer that is due may come late."""
    session = play(quiet("header", fail, "end_of_headers"), *OPENING)
    assert session.say((ord("L"), b"X\0v\0"), (ord("L"), b"Y\0v\0"), EOH) == "t"
    assert len(session.errors) == 1


def test_a_filter_that_accepted_by_failing_says_nothing_of_rejected_recipients():
    """These are answered with continue, whoever is done."""
    handlers = quiet("mail", fail, "end_of_message")
    handlers.recipient(rejected=True)(keep)
    session = play(handlers, *OPENING, MAIL, on_error="accept")
    assert session.say(macros("R", rcpt_mailer="error"), RCPT) == "c"
