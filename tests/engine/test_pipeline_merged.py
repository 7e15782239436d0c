"""Several filters on one connection: who is asked, what is answered, who is told of the end."""

import pytest

from demyjpy import actions as act
from demyjpy.context import send_action
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.shorthands import accept, add_header, reject, replace_body, skip, tempfail
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOM,
    HELO,
    MAIL,
    OPENING,
    QUIT,
    RCPT,
    keep,
    letters,
    note,
    offer,
    play,
)


def saying(shorthand):
    """A handler that queues this."""
    return lambda event, ctx: shorthand(ctx)


def doing(**handlers):
    """A filter of shorthands by event."""
    return define_event_handlers({name: saying(one) for name, one in handlers.items()})


def discard(ctx):
    return send_action(ctx, act.Discard())


# ------------------------------------------------------------------------------------------ accept
def test_a_filter_that_accepts_is_done_while_others_go_on():
    """It gets no more of this message, all of the next; the merged answer is what the others say."""
    other, calls = note("mail", "recipient", "end_of_message")
    first, seen = note("recipient", "end_of_message")
    first.mail(saying(accept))
    session = play(merge_handlers(first, other), *OPENING)
    assert session.say(MAIL, RCPT, EOM) == "ccc"
    assert (len(seen), len(calls)) == (0, 3)


def test_when_all_have_accepted_the_message_is_accepted():
    """Each at its own time."""
    session = play(
        merge_handlers(doing(mail=accept), doing(mail=lambda ctx: ctx, data=accept)), *OPENING
    )
    assert session.say(MAIL, DATA) == "ca"
    assert session.say(MAIL, DATA) == "ca"


def test_accept_at_connect_or_hello_is_for_the_connection():
    """That filter gets no message at all."""
    for name in ("connect", "hello"):
        first, seen = note("mail", "end_of_message", "abort")
        first.add(name, saying(accept))
        other, calls = note("mail", "end_of_message")
        session = play(merge_handlers(first, other), offer())
        session.say(CONNECT, HELO)
        assert session.say(MAIL, EOM, MAIL, ABORT, MAIL, EOM) == "ccccc"
        assert (len(seen), len(calls)) == (0, 5)


def test_when_all_accept_the_connection_the_mta_is_told():
    """Then it says no more."""
    assert (
        play(merge_handlers(doing(connect=accept), doing(hello=accept)), offer()).say(CONNECT, HELO)
        == "ca"
    )


VERDICTS = [
    ((reject, accept), "r"),
    ((accept, discard), "d"),
    ((reject, lambda ctx: ctx), "r"),
    ((tempfail, reject), "t"),
    ((lambda ctx: reject(ctx, "5.7.1", "a"), reject), "y"),
    ((reject, discard), "r"),
    ((discard, reject), "d"),
]


@pytest.mark.parametrize(("both", "answer"), VERDICTS)
def test_the_first_refusal_is_the_answer(both, answer):
    """Not the strictest."""
    session = play(merge_handlers(*[doing(mail=one) for one in both]), *OPENING)
    assert session.say(MAIL) == answer


def test_a_refused_recipient_ends_only_that_recipient():
    """The message goes on for all filters; those behind do not get that recipient."""
    other, calls = note("recipient", "end_of_message")
    session = play(merge_handlers(doing(recipient=reject), other), *OPENING)
    assert session.say(RCPT, RCPT, EOM) == "rrc"
    assert [name for name, _ in calls] == ["EndOfMessage"]


def test_an_accepted_recipient_accepts_the_message():
    """For the filter that said so."""
    session = play(doing(recipient=accept), *OPENING)
    assert session.say(RCPT) == "a"
    assert session.say(ABORT, RCPT) == "a"


def test_at_an_unknown_command_filters_that_are_done_do_not_count():
    """Accept is not said there; a refusal is."""
    merged = merge_handlers(doing(mail=accept), doing(unknown=reject, mail=lambda ctx: ctx))
    assert play(merged, *OPENING, MAIL).say((ord("U"), b"FOO\0")) == "r"
    alone = define_event_handlers({"connect": saying(accept), "unknown": keep})
    assert play(alone, offer(), CONNECT).say((ord("U"), b"FOO\0")) == "c"


# -------------------------------------------------------------------------------------------- skip
SKIPS = [
    (0x1FFFFF, "s"),
    (0x1FFFFF & ~0x400, "c"),
]


@pytest.mark.parametrize(("steps", "answer"), SKIPS)
def test_skip_ends_the_bodies_of_this_message(steps, answer):
    """Where the MTA does not know SKIP, the engine no longer calls the handler."""
    calls = []
    handlers = define_event_handlers(
        {
            "mail": keep,
            "body": lambda event, ctx: calls.append(event) or skip(ctx),
            "end_of_message": keep,
        }
    )
    session = play(handlers, offer(steps=steps), CONNECT, HELO, MAIL)
    assert session.say(BODY) == answer
    assert session.say(BODY, EOM) == f"{answer}c"
    assert len(calls) == 1
    session.say(MAIL, BODY)
    assert len(calls) == 2


@pytest.mark.parametrize(("steps", "answers"), SKIPS)
def test_the_mta_skips_when_no_filter_wants_more(steps, answers):
    """One that goes on reading keeps the body coming; one that never reads does not."""
    chunks = []

    def second(event, ctx):
        chunks.append(event.data)
        return skip(ctx) if len(chunks) == 2 else ctx

    merged = merge_handlers(
        doing(body=skip), define_event_handlers({"body": second}), define_event_handlers({"mail": keep})
    )
    session = play(merged, offer(steps=steps), CONNECT, MAIL)
    assert session.say(BODY, BODY) == f"c{answers}"
    assert len(chunks) == 2
    assert session.say(EOM) == "c"


def test_a_filter_that_is_done_does_not_keep_the_body_coming():
    """Accept is milder than skip."""
    merged = merge_handlers(doing(mail=accept, body=lambda ctx: ctx), doing(body=skip))
    assert play(merged, *OPENING, MAIL).say(BODY) == "s"


# ------------------------------------------------------------------------------------------- abort
def test_who_did_not_end_the_message_is_told_of_its_end():
    """The filter that refused it knows; the one that accepted does not care; the rest get abort."""
    ended, ended_calls = note("abort")
    ended.data(saying(discard))
    done, done_calls = note("abort")
    done.mail(saying(accept))
    rest, rest_calls = note("abort", "mail")
    never, never_calls = note("abort", "data")  # of which it has seen nothing
    session = play(merge_handlers(done, rest, ended, never), *OPENING)
    assert session.say(MAIL, DATA) == "cd"
    assert [name for name, _ in rest_calls] == ["Mail", "Abort"]
    assert (ended_calls, done_calls, never_calls) == ([], [], [])
    assert session.say(ABORT) == ""
    assert len(rest_calls) == 2


def test_nobody_is_told_of_a_message_whose_end_was_seen():
    """End of message is the end for all, whatever was said."""
    handlers, calls = note("abort", "mail")
    for verdict in (reject, accept, lambda ctx: ctx):
        session = play(
            merge_handlers(handlers, doing(end_of_message=verdict)), *OPENING, MAIL, EOM, ABORT, QUIT
        )
        assert session.is_closed
    assert {name for name, _ in calls} == {"Mail"}


def test_the_abort_handler_sees_the_message_that_ended():
    """Not the one that ends it."""
    seen = []
    handlers = define_event_handlers(
        {
            "mail": lambda event, ctx: ctx.set("sender", event.sender),
            "abort": lambda event, ctx: seen.append(ctx["sender"]) or ctx.set("lost", True),
            "end_of_message": lambda event, ctx: (
                seen.append(("end", ctx["sender"], "lost" in ctx)) or ctx
            ),
        }
    )
    session = play(handlers, *OPENING, MAIL, (ord("M"), b"<carol>\0"), EOM, MAIL, HELO, MAIL)
    session.hang_up()
    assert seen == [
        "alice@example.org",
        ("end", "carol", False),
        "alice@example.org",
        "alice@example.org",
    ]


def test_the_edits_of_all_filters_are_sent_in_order():
    """Header first, whoever asked for it; one body may have several parts from one filter."""
    one = define_event_handlers(
        {"end_of_message": lambda event, ctx: replace_body(replace_body(ctx, b"a"), b"b")},
        actions={"change_body"},
    )
    two = define_event_handlers(
        {"end_of_message": lambda event, ctx: add_header(ctx, "X", "v")}, actions={"add_header"}
    )
    session = play(merge_handlers(one, two), *OPENING)
    sent = session.say_bytes(EOM)
    assert letters(sent) == "hbc"
    assert b"\0\0\0\3bab" in sent


def test_a_filter_that_is_done_does_not_edit():
    """Its end_of_message handler is not called."""
    one = define_event_handlers(
        {"mail": saying(accept), "end_of_message": lambda event, ctx: add_header(ctx, "X", "v")},
        actions={"add_header"},
    )
    assert (
        play(merge_handlers(one, doing(end_of_message=lambda ctx: ctx)), *OPENING, MAIL).say(EOM) == "c"
    )
