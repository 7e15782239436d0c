"""What differs between a recording and a filter, or between two filters; and why."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from demyjpy import (
    Accept,
    ReplyCode,
    add_header,
    change_sender,
    define_event_handlers,
    reject,
    replace_body,
    send_action,
    skip,
    with_handlers,
)
from demyjpy import actions as act
from demyjpy.testing import Postfix, run, session
from demyjpy.trace import Trace
from demyjpy.trace.format.json_events import dump_action
from demyjpy.trace.replay.comparing import compare_bytes, compare_filters, compare_messages
from demyjpy.trace.replay.replaying import Filter
from tests.engine.harness import (
    BODY,
    EOM,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    keep,
    offer,
    packet,
)
from tests.trace.sessions import WHOLE, recorded, tagger, watched

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


def test_the_first_difference_is_told_with_its_step_context_and_handler() -> None:
    """And which messages differ, in what."""
    trace = recorded(tagger("old"), *WHOLE)
    found = compare_bytes(trace, Filter(tagger("new")))
    assert not found.is_same
    difference = found.difference
    assert difference is not None
    assert (difference.number, difference.event) == (11, "end_of_message")
    assert difference.old == (act.AddHeader("X-Tag", "old 1"), act.Continue())
    assert difference.new == (act.AddHeader("X-Tag", "new 1"), act.Continue())
    assert difference.handler == "tests.trace.sessions.tagger.<locals>.tag"
    assert difference.ctx is not None
    assert difference.ctx["count"] == 1
    (one,) = found.differing
    assert (one.kinds, one.old.queue_id) == (("headers",), "Q1")
    assert one.why == difference


@pytest.mark.parametrize(
    ("event", "answer", "kinds"),
    [
        ("mail", reject, ("verdict",)),
        ("end_of_message", lambda ctx: reject(ctx, "5.7.1", "no"), ("verdict",)),
        ("end_of_message", lambda ctx: add_header(ctx, "A", "b"), ("headers",)),
        ("end_of_message", lambda ctx: replace_body(ctx, b"x"), ("body",)),
        (
            "end_of_message",
            lambda ctx: change_sender(add_header(ctx, "A", "b"), "x"),
            ("headers", "sender"),
        ),
        ("recipient", reject, ("verdict",)),
    ],
)
def test_two_filters_are_told_apart_by_what_they_do(
    event: str, answer: Callable[..., Any], kinds: tuple[str, ...]
) -> None:
    """Verdict, headers, recipients, sender, body; with the step where it begins."""
    actions = {"add_header", "change_body", "change_sender"}
    old = define_event_handlers({event: keep, "mail": keep}, actions=actions)
    new = define_event_handlers({"mail": keep, event: lambda event, ctx: answer(ctx)}, actions=actions)
    found = compare_filters(recorded(old, *WHOLE), Filter(old), Filter(new))
    (one,) = found.differing
    assert one.kinds == kinds
    assert one.why is not None
    assert one.why.event == event


def test_recipients_are_compared() -> None:
    """Those refused on the way, and those added at the end."""
    two = (*OPENING, MAIL, RCPT, packet("R", b"<bad@x>\0"), *MESSAGE[2:], QUIT)
    found = compare_filters(recorded(tagger(), *two), Filter({"recipient": keep}), Filter(tagger()))
    assert found.differing[0].kinds == ("headers", "recipients")
    why = found.differing[0].why
    assert why is not None
    assert why.new == (ReplyCode(550, "5.1.1", "nobody"),)
    add = define_event_handlers(actions={"add_recipient"})
    add.end_of_message(lambda event, ctx: send_action(ctx, act.AddRecipient("x@y")))
    found = compare_filters(recorded(add, *WHOLE), Filter(add), Filter({"mail": keep}))
    assert found.differing[0].kinds == ("recipients",)


def test_another_negotiation_differs_in_bytes_but_not_in_meaning() -> None:
    """A filter that declines more, or wants other header values, does the same to the mail."""
    trace = recorded(tagger(), *OPENING, MAIL, RCPT, *MESSAGE[2:], QUIT)
    lazy = define_event_handlers({"recipient": tagger()["recipient"]}, actions={"add_header"})
    lazy.end_of_message(lambda event, ctx: add_header(ctx, "X-Tag", f"yes {ctx['count']}"))
    played = Filter(define_event_handlers(lazy, actions={"add_header"}, state={"count": 0}))
    assert compare_messages(trace, played).is_same
    found = compare_bytes(recorded({"mail": keep}, *WHOLE), played)
    assert found.difference is not None
    assert found.difference.event == "options"


def test_other_bytes_that_mean_the_same_are_no_difference() -> None:
    """A foreign filter sends edits in another order, and a new body in other pieces."""

    def change(event: Any, ctx: Any) -> Any:
        ctx = replace_body(add_header(ctx, "A", "b"), b"new\r\n")
        return send_action(ctx, act.AddRecipient("c@example.net"))

    wanted = {"add_header", "change_body", "add_recipient"}
    handlers = define_event_handlers({"end_of_message": change}, actions=wanted)
    trace = Trace.of_steps(watched(handlers, *WHOLE)[0])
    edits = [
        act.AddRecipient("c@example.net"),
        act.AddHeader("A", "b"),
        act.ReplaceBody(b"new"),
        act.ReplaceBody(b"\r\n"),
    ]

    def recorded(*said: Any) -> Trace:
        answer = [dump_action(one) for one in said]
        records = [
            {**one, "answer": answer} if one.get("verdict") and one["event"] == "end_of_message" else one
            for one in trace.records
        ]
        return Trace("s", tuple(records))

    for verdict in (act.Continue(), act.Accept()):
        other = recorded(*edits, verdict)
        assert b"".join(one.reply for one in other.exchanges) != b"".join(
            one.reply for one in trace.exchanges
        )
        assert compare_bytes(other, Filter(handlers)).is_same
    difference = compare_bytes(recorded(*edits[:3], act.Continue()), Filter(handlers)).difference
    assert difference is not None
    assert difference.event == "end_of_message"


def test_what_goes_on_where_the_recording_ends_is_undecided() -> None:
    """The old filter had refused the message; what would have followed was never said."""
    found = compare_filters(
        recorded({"mail": lambda event, ctx: reject(ctx)}, *OPENING, MAIL, QUIT),
        Filter({"mail": lambda event, ctx: reject(ctx)}),
        Filter({"mail": keep}),
    )
    assert [(one.old.outcome, one.new.outcome) for one in found.differing] == [("rejected", "undecided")]


def test_an_answer_that_was_not_recorded_is_no_difference() -> None:
    """The recorded filter hung, or the recording ends there."""
    whole = recorded(tagger(), *WHOLE)
    cut = Trace(
        "s",
        whole.records[
            : next(n for n, one in enumerate(whole.records) if one["event"] == "end_of_message") + 1
        ],
    )
    assert compare_bytes(cut, Filter(tagger())).is_same
    assert compare_messages(cut, Filter(tagger())).is_same


def test_a_handler_that_is_not_pure_is_named() -> None:
    """It says something else when it is run again; once, nobody can tell."""
    ticks = itertools.count()
    handlers = define_event_handlers({"mail": keep}, actions={"add_header"})
    handlers.end_of_message(tick := lambda event, ctx: add_header(ctx, "X-Tick", str(next(ticks))))
    assert tick is not None
    trace = recorded({"mail": keep, "end_of_message": keep}, *WHOLE)
    for compare in (compare_bytes, compare_messages):
        (one,) = compare(trace, Filter(handlers)).impure
        assert (one.handler, one.event, one.queue_id) == (
            f"{__name__}.{tick.__qualname__}",
            "end_of_message",
            "Q1",
        )
        assert one.first != one.second
        assert compare(trace, Filter(handlers), twice=False).impure == ()


def test_a_handler_that_is_called_not_always_is_named() -> None:
    """Where it was missing at one of two times."""
    turns = itertools.count()
    start = {"mail": keep, "recipient": keep}

    def on_connect(ctx: Any) -> Any:
        return with_handlers(ctx, define_event_handlers(start if next(turns) % 2 else {"mail": keep}))

    trace = recorded(start, *WHOLE)
    (one,) = compare_bytes(trace, Filter(on_connect)).impure
    assert one.event == "options"


def test_a_handler_that_is_pure_after_all_is_not_named() -> None:
    """It differs from the recording only."""
    ticks = iter([1, *[2] * 99])
    handlers = define_event_handlers({"mail": keep}, actions={"add_header"})
    handlers.end_of_message(lambda event, ctx: add_header(ctx, "X", str(next(ticks))))
    trace = recorded({"mail": keep, "end_of_message": keep}, *WHOLE)
    found = compare_messages(trace, Filter(handlers))
    assert found.impure == ()
    assert len(found.differing) == 1


def test_a_filter_that_refuses_the_session_says_why() -> None:
    """What it requires was not offered, or it cannot even begin."""
    trace = recorded({"mail": keep}, offer(actions=0x2), *WHOLE[1:])
    found = compare_messages(trace, Filter(tagger()))
    assert "NegotiationError: the MTA does not offer" in found.failure
    assert not found.is_same
    found = compare_bytes(trace, Filter(lambda ctx: None))
    assert "HandlerError: expected on_connect" in found.failure
    assert found.difference is not None


def test_an_error_of_a_handler_is_the_reason() -> None:
    """With its text."""
    trace = recorded({"mail": keep}, *WHOLE)
    found = compare_bytes(trace, Filter({"mail": lambda event, ctx: 1 / 0}))
    assert found.difference is not None
    assert found.difference.error == "ZeroDivisionError: division by zero"
    assert compare_bytes(trace, Filter({"mail": lambda event, ctx: 1 / 0}, "accept")).differing == ()


def test_messages_that_never_begin_differ() -> None:
    """As where the filter leaves before."""
    trace = recorded({"mail": keep}, *OPENING, MAIL, EOM, MAIL, EOM, QUIT)
    part = Trace("s", trace.records)
    played = Filter({"mail": lambda event, ctx: ctx})
    assert compare_filters(part, played, played).is_same


def test_skipped_bodies_and_accepted_mail_mean_the_same() -> None:
    """Skip and Accept change nothing about the mail that goes on."""
    trace = recorded({"body": keep, "end_of_message": keep}, *OPENING, MAIL, BODY, BODY, EOM, QUIT)
    skipping = define_event_handlers({"body": lambda event, ctx: skip(ctx)})
    skipping.end_of_message(lambda event, ctx: send_action(ctx, Accept()))
    assert compare_messages(trace, Filter(skipping)).is_same


def test_messages_are_the_same_whatever_a_filter_is_told_of_them():
    """One that has a handler for the end only hears of no beginning: its messages begin there."""
    early = define_event_handlers(
        {"header": lambda event, ctx: ctx, "end_of_message": lambda event, ctx: ctx}
    )
    late = define_event_handlers(
        {"end_of_message": lambda event, ctx: add_header(ctx, "X", "y")}, actions={"add_header"}
    )
    letter = session().mail("a@b").rcpt("c@d").message()
    script = letter.mail("a@b").rcpt("c@d").message()
    trace = run(early, script, mta=Postfix()).trace
    found = compare_filters(trace, Filter(early), Filter(late))
    assert [(one.old.outcome, one.new.outcome, one.kinds) for one in found.differing] == [
        ("accepted", "accepted", ("headers",)),
        ("accepted", "accepted", ("headers",)),
    ]
