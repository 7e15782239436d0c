"""Several filters in a row: who waits, what each sees of the message, and which edits are sent."""

from typing import Any

import pytest

from demyjpy import actions as act
from demyjpy.context import send_action
from demyjpy.engine.limits import Budget
from demyjpy.engine.pipeline import go_on
from demyjpy.handlers import define_event_handlers, merge_handlers, scoped
from demyjpy.shorthands import accept, add_header, reject, skip
from tests.engine.chains import HEADERS, Seen, editing, message
from tests.engine.harness import (
    EOH,
    EOM,
    HEADER,
    MAIL,
    MESSAGE,
    OPENING,
    WAYS,
    Session,
    join,
    letters,
    macros,
    packet,
    play,
)


@pytest.mark.parametrize("way", WAYS)
def test_a_filter_gets_the_content_as_those_before_it_made_it(way):
    """It waits for their end; its own numbers count what it was shown."""
    seen = Seen()
    first = editing(
        act.ChangeHeader(1, "subject", "two"),
        act.DeleteHeader(1, "X-Multi"),
        act.AddHeader("X-A", "a"),
        act.ReplaceBody(b"new"),
    )
    second = seen.handlers(
        "header", "end_of_headers", "body", "end_of_message", actions={"change_header"}
    )
    third = define_event_handlers(
        {"end_of_message": lambda event, ctx: send_action(ctx, act.ChangeHeader(1, "X-Multi", "c"))},
        actions={"change_header"},
    )
    session = Session.open(merge_handlers(first, second, third), way=way)
    session.say(*OPENING)
    assert set(session.say(*message(*HEADERS)[:-1])) == {"c"}
    assert seen == []
    answers = session.answers(EOM)
    assert seen == [
        "Subject: two",
        "X-Multi: 2",
        "X-Multi: 3",
        "X-A: a",
        "end_of_headers",
        b"new\r\n",
        "end_of_message",
    ]
    assert answers == [
        act.ChangeHeader(1, "Subject", "two"),
        act.ChangeHeader(2, "X-Multi", "c"),
        act.DeleteHeader(1, "X-Multi"),
        act.AddHeader("X-A", "a"),
        act.ReplaceBody(b"new"),
        act.Continue(),
    ]
    assert session.errors == []


def test_a_filter_behind_one_that_edits_nothing_of_it_gets_content_at_once():
    """Header handlers wait for header edits only, body handlers for a new body."""
    seen = Seen()
    first = define_event_handlers({"end_of_message": lambda event, ctx: ctx}, actions={"change_body"})
    second = seen.handlers("header", "end_of_headers", "body", "end_of_message")
    session = play(merge_handlers(first, second), *OPENING)
    session.say(*message(*HEADERS)[:-1])
    assert seen == ["Subject: one", "X-Multi: 1", "X-Multi: 2", "X-Multi: 3", "end_of_headers"]
    session.say(EOM)
    assert seen[-2:] == [b"text\r\n", "end_of_message"]


def test_nobody_waits_for_a_filter_that_has_accepted():
    """It is done before the content begins."""
    seen = Seen()
    first = editing(act.AddHeader("X", "x"), mail=lambda event, ctx: accept(ctx))
    session = play(merge_handlers(first, seen.handlers("header", "body")), *OPENING)
    assert session.say(*message(*HEADERS)[:-1]) == "ccccccccc"
    assert len(seen) == 5
    assert session.say(EOM) == "c"


def test_what_waits_sees_what_earlier_filters_left_in_the_context():
    """A filter may read the keys of another."""
    found = []
    first = editing(
        act.AddHeader("X", "x"),
        mail=lambda event, ctx: ctx.set("score", 1),
    )
    first_end = first["end_of_message"].function
    first = define_event_handlers(
        {
            "mail": first["mail"].function,
            "end_of_message": lambda event, ctx: first_end(event, ctx.set("score", 2)),
        },
        actions={"add_header"},
    )
    second = define_event_handlers({"header": lambda event, ctx: found.append(ctx["score"]) or ctx})
    play(merge_handlers(first, second), *OPENING, *message(*HEADERS))
    assert found == [2] * 5


def test_a_refusal_at_content_waits_for_the_filters_before():
    """Theirs is the answer if they refuse, too; else it is this one."""
    for end, answer in ((lambda ctx: ctx, "r"), (act_reply, "y"), (accept, "r")):
        one, two, three = Seen(), Seen(), Seen()
        first = one.handlers("mail", "abort", end_of_message=end)
        second = two.handlers("mail", "abort", header=reject)
        third = three.handlers("mail", "abort", "header", "end_of_message")
        session = play(merge_handlers(first, second, third), *OPENING)
        assert session.say(MAIL, HEADER, HEADER, EOH) == "cccc"
        assert session.say(EOM) == answer
        assert one == ["mail", "end_of_message"]
        assert two == ["mail", "Subject:hello"]  # it is not asked again, nor gets an abort
        assert three == ["mail", "abort"]


def act_reply(ctx):
    return reject(ctx, "5.7.1", "no")


def test_a_refusal_at_content_is_said_at_once_if_nobody_before_can_refuse():
    """No filter before it has a handler for what is to come."""
    first = define_event_handlers({"mail": lambda event, ctx: ctx})
    session = play(merge_handlers(first, Seen().handlers(header=reject)), *OPENING)
    assert session.say(MAIL, HEADER) == "cr"


def test_a_refusal_waits_no_longer_than_the_filters_before_go_on():
    """They accept while it waits."""
    first = define_event_handlers(
        {
            "header": lambda event, ctx: accept(ctx) if event.name == "X-Last" else ctx,
            "end_of_message": lambda event, ctx: ctx,
        }
    )
    session = play(merge_handlers(first, Seen().handlers(header=reject)), *OPENING)
    assert session.say(MAIL, HEADER, packet("L", b"X-Last\0 1\0")) == "ccr"


def test_no_edit_leaves_with_a_refusal():
    """Nor with a discard; whether one or two filters may edit."""
    for verdict in (reject, lambda ctx: send_action(ctx, act.Discard())):
        refusing = Seen().handlers(end_of_message=verdict)
        for filters in ([editing(act.AddHeader("X", "x")), refusing], [editing(), editing(), refusing]):
            assert len(play(merge_handlers(*filters), *OPENING).say(MAIL, EOM)) == 2


def test_only_the_filters_before_a_refusal_get_the_end():
    """Those behind it get abort."""
    one, two, three = Seen(), Seen(), Seen()
    session = play(
        merge_handlers(
            one.handlers("mail", "end_of_message", "abort"),
            two.handlers("mail", "abort", end_of_message=reject),
            three.handlers("mail", "end_of_message", "abort"),
        ),
        *OPENING,
    )
    assert session.say(MAIL, EOM) == "cr"
    assert (one, two, three) == (
        ["mail", "end_of_message"],
        ["mail", "end_of_message"],
        ["mail", "abort"],
    )


def test_a_waiting_filter_may_skip_the_rest_of_the_body():
    """The pieces of a long body come one by one."""
    seen = Seen()
    first = editing(act.ReplaceBody(b"x" * 200_000))
    session = play(merge_handlers(first, seen.handlers("end_of_message", body=skip)), *OPENING)
    session.say(*message(*HEADERS))
    assert seen == [b"x" * 65535, "end_of_message"]
    whole = Seen()
    play(merge_handlers(first, whole.handlers("body")), *OPENING, *message(*HEADERS))
    assert b"".join(whole) == b"x" * 200_000 + b"\r\n"
    assert [len(one) for one in whole] == [65535, 65535, 65535, 3397]


def test_an_index_that_merged_filters_cannot_have_is_a_failure():
    """Nothing of that plan is sent; the message names filter and field."""
    for other in (editing(), Seen().handlers("mail")):
        first = editing(act.AddHeader("X", "x"), act.InsertHeader(2, "Y", "y"))
        session = play(merge_handlers(first, other), *OPENING)
        assert session.say(*message(*HEADERS))[-1] == "t"
        (error,) = session.errors
        assert "InsertHeader" in str(error)
        assert "got 2" in str(error)


def test_an_action_that_only_a_neighbour_declared_is_a_failure():
    """Each filter has its own."""
    first = define_event_handlers(actions={"add_header"})
    second = define_event_handlers({"end_of_message": lambda event, ctx: add_header(ctx, "X", "x")})
    first.end_of_message(lambda event, ctx: ctx)
    for way in WAYS:
        session = Session.open(merge_handlers(first, second), way=way)
        assert session.say(*OPENING, MAIL, EOM)[-1] == "t"
        assert "needs the permission 'add_header'" in str(session.errors[0])


def test_a_key_belongs_to_the_filter_that_sets_it_first():
    """Another one that changes it fails; so it is with what is remembered."""

    def remembering(ctx, value):
        return ctx.set("connection", ctx["connection"].set("k", value))

    cases = [
        (lambda ctx: ctx.set("k", 1), lambda ctx: ctx.set("k", 2), "the key 'k'"),
        (lambda ctx: ctx.set("k", 1), lambda ctx: ctx.remove("k"), "the key 'k'"),
        (
            lambda ctx: remembering(ctx, 1),
            lambda ctx: remembering(ctx, 2),
            "what is remembered under 'k'",
        ),
    ]
    for one, two, words in cases:
        session = play(merge_handlers(Seen().handlers(mail=one), Seen().handlers(mail=two)), *OPENING)
        assert session.say(MAIL) == "t"
        assert words in str(session.errors[0])


def test_who_owns_a_key_holds_for_the_connection():
    """Also when the message in which it was set is over."""
    first = Seen().handlers(mail=lambda ctx: ctx if "again" in ctx["connection"] else ctx.set("k", 1))
    second = Seen().handlers(
        mail=lambda ctx: ctx.set("k", 2) if "again" in ctx["connection"] else ctx,
        end_of_message=lambda ctx: ctx.set("connection", ctx["connection"].set("again", 1)),
    )
    session = play(merge_handlers(first, second), *OPENING)
    assert session.say(MAIL, EOM, MAIL) == "cct"
    assert "belongs to" in str(session.errors[0])


def test_filters_in_one_corner_have_keys_of_their_own_there():
    """As in the whole context."""
    both = merge_handlers(
        Seen().handlers(mail=lambda ctx: ctx.set("k", 1)),
        Seen().handlers(mail=lambda ctx: ctx.set("k", 2)),
    )
    session = play(merge_handlers(scoped("x", both), Seen().handlers("mail")), *OPENING)
    assert session.say(MAIL) == "t"
    outside = Seen().handlers(mail=lambda ctx: ctx.set("x", 1))
    session = play(merge_handlers(scoped("x", Seen().handlers("mail")), outside), *OPENING)
    assert session.say(MAIL) == "t"


@pytest.mark.parametrize("way", WAYS)
def test_the_edits_of_a_filter_are_not_in_the_queue_of_the_next(way):
    """A filter behind the only editor may change the context at the end of the message."""
    queues = []

    def keep(event, ctx):
        queues.append(ctx["queue"])
        return ctx.set("k", 1)

    editor = define_event_handlers(
        {"end_of_message": lambda event, ctx: add_header(ctx, "X-A", "a")}, actions={"add_header"}
    )
    both = merge_handlers(editor, define_event_handlers({"end_of_message": keep}))
    session = Session.open(both, way=way)
    session.say(*OPENING, *message()[:-1])
    assert session.answers(EOM) == [act.AddHeader("X-A", "a"), act.Continue()]
    assert (queues, session.errors) == ([()], [])


def test_both_bodies_are_one_after_the_other():
    """The last one counts, and the second filter saw the first."""
    seen = Seen()
    second = define_event_handlers(
        {
            "body": lambda event, ctx: seen.append(event.data) or ctx,
            "end_of_message": lambda event, ctx: send_action(ctx, act.ReplaceBody(b"two\r\n")),
        },
        actions={"change_body"},
    )
    session = play(merge_handlers(editing(act.ReplaceBody(b"one\r\n")), second), *OPENING)
    answers = session.answers(*message(HEADER))
    assert seen == [b"one\r\n"]
    assert answers[-2:] == [act.ReplaceBody(b"two\r\n"), act.Continue()]


def test_the_budget_of_a_connection_counts_what_is_shown_at_the_end():
    """Ten thousand fields do not keep other connections waiting."""
    seen = Seen()
    session = Session.open(
        merge_handlers(editing(), seen.handlers("header", "end_of_message")), budget=Budget(packets=20)
    )
    session.say(*OPENING, MAIL)
    for _ in range(100):
        session.say(HEADER)
    session.feed(join([EOM]))
    turns = 1
    while session.connection.is_behind:
        assert not session.connection.is_idle
        session._note(go_on(session.connection))
        turns += 1
    assert (len(seen), turns) == (101, 6)
    assert letters(session.sent)[-1] == "c"
    # the peer may go in the middle of it
    session.say(MAIL, *[HEADER] * 50)
    session.feed(join([EOM]))
    assert session.connection.is_behind
    session.hang_up()
    assert session.is_closed
    assert len(seen) < 150


def test_what_a_filter_queued_on_the_hot_path_is_not_the_next_ones():
    """One that may not edit sees the end of the message after one that did, and changes the context."""
    editor = define_event_handlers(
        {"end_of_message": lambda event, ctx: add_header(ctx, "X-A", "b")}, actions={"add_header"}
    )
    last = define_event_handlers({"end_of_message": lambda event, ctx: ctx.set("seen", ctx["queue"])})
    for packets in ((*OPENING, *message()), (*OPENING, *message(), *message())):
        session = Session.open(merge_handlers(editor, last))
        assert session.say(*packets).endswith("hc")
        assert session.troubles == []


def test_a_filter_that_was_never_asked_gets_no_abort():
    """Also if a recipient that another refused was counted before the hot path goes on."""
    one, two = Seen(), Seen()
    first = one.handlers("abort", recipient=reject)
    second = two.handlers("recipient", "abort")
    for way in WAYS:
        session = Session.open(merge_handlers(first, second), way=way)
        session.say(*OPENING, MAIL)
        assert session.say(packet("R", b"<bob@example.org>\0")) == "r"
        session.say(macros("A", i="1"), packet("A"))
        assert two == []
    assert one == ["recipient", "abort"] * 2


def test_a_filter_that_owes_a_refusal_for_its_failure_gets_an_abort():
    """It did not refuse itself, and saw no end: also if it failed at a recipient."""
    one, two = Seen(), Seen()
    second = two.handlers("mail", "end_of_message", "abort")

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError("no")

    second.recipient(reply=False)(fail)
    session = play(merge_handlers(one.handlers("mail", "end_of_message", "abort"), second), *OPENING)
    assert session.say(*MESSAGE)[-1] == "t"
    assert (one, two) == (["mail", "end_of_message"], ["mail", "abort"])
