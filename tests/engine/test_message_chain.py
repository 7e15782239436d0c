"""Message handlers of several filters: who is asked when, what each gets, refusals, failures, limits."""

from typing import Any

import pytest

from demyjpy import actions as act
from demyjpy.conditions import only_if
from demyjpy.errors import LimitError
from demyjpy.handlers import define_event_handlers, merge_handlers, scoped
from demyjpy.message import Message
from demyjpy.shorthands import accept, add_header, add_recipient, discard, reject, replace_body, tempfail
from demyjpy.trace.rollout.canary import canary
from tests.engine.harness import (
    ABORT,
    BODY,
    DATA,
    EOH,
    EOM,
    HEADER,
    MAIL,
    MESSAGE,
    OPENING,
    RCPT,
    WAYS,
    Session,
    join,
    packet,
)
from tests.engine.messages import keeping, noting, wishing

BOTH_WAYS = pytest.mark.parametrize("way", WAYS)
HEADER_SIZE = len(b"Subject:hello\r\n\r\n")
HEADERS = ("add_header", "change_header")


def play(way: Any, *filters: Any, **setup: Any) -> tuple[Session, list[Any]]:
    """A session with one message; the answers to its end."""
    session = Session.open(merge_handlers(*filters), way=way, **setup)
    session.say(*OPENING, *MESSAGE[:-1])
    return session, session.answers(EOM)


# ------------------------------------------------------------------------------------- the order
@BOTH_WAYS
def test_messages_of_those_that_wait_for_nobody_come_first(way: Any) -> None:
    """In order; then comes the end, filter by filter."""
    seen: list[str] = []
    events = ("body", "message", "end_of_message")
    session, answers = play(way, *(noting(seen, name, *events) for name in "abc"))
    assert seen == [
        *("a body", "b body", "c body", "a message", "b message", "c message"),
        *("a end_of_message", "b end_of_message", "c end_of_message"),
    ]
    assert answers == [act.Continue()]
    assert session.troubles == []


@BOTH_WAYS
@pytest.mark.parametrize("actions", [("add_header",), ("change_header",), ("change_body",)])
def test_one_waits_for_those_that_may_edit_what_it_gets(way: Any, actions: Any) -> None:
    """What it gets at the end is header, end of header, body, message, end of message."""
    seen: list[str] = []
    events = ("header", "end_of_headers", "body", "message", "end_of_message")
    play(
        way,
        noting(seen, "a", "message"),
        noting(seen, "b", "message", "end_of_message", actions=actions),
        noting(seen, "c", "message", "end_of_message"),
        noting(seen, "d", *events),
    )
    waited = [one for one in seen if one.startswith("d")]
    assert waited == [f"d {one}" for one in events]
    rest = seen[seen.index("a message") :]
    if actions == ("change_body",):  # header handlers do not wait for that
        rest = [one for one in rest if one not in ("d header", "d end_of_headers")]
        waited = ["d body", "d message", "d end_of_message"]
    assert rest == [
        *("a message", "b message", "b end_of_message", "c message", "c end_of_message"),
        *waited,
    ]


@BOTH_WAYS
def test_nobody_waits_for_edits_of_the_envelope(way: Any) -> None:
    """A message shows the envelope as the client gave it, whoever edits it."""
    got: list[Message] = []
    edits = {"end_of_message": lambda event, ctx: add_recipient(ctx, "x@test")}
    first = define_event_handlers(edits, actions={"add_recipient"})
    second = wishing(
        lambda message: message.with_sender("n@test").drop_recipient("bob@example.org"),
        actions={"change_sender", "delete_recipient"},
    )
    _, answers = play(way, first, second, keeping(got))
    assert answers == [
        *(act.DeleteRecipient("bob@example.org"), act.AddRecipient("x@test")),
        *(act.ChangeSender("n@test"), act.Continue()),
    ]
    assert (got[0].sender, [one.address for one in got[0].recipients]) == (
        *("alice@example.org", ["bob@example.org"]),
    )


@BOTH_WAYS
def test_each_gets_what_those_before_it_have_made(way: Any) -> None:
    """Low-level edits and wishes, header and body, with one that has accepted among them."""
    got: list[bytes] = []
    look = {"message": lambda event, ctx: got.append(bytes(event)) or ctx}
    low = define_event_handlers(
        {"end_of_message": lambda event, ctx: replace_body(add_header(ctx, "X-Low", "1"), b"low")},
        actions={"add_header", "change_body"},
    )
    high = wishing(lambda message: message.set("Subject", "two").with_body(message.body + b"high\r\n"))
    done = define_event_handlers({"message": lambda event, ctx: accept(add_header(ctx, "X-Done", "1"))},
                                 actions={"add_header"})  # fmt: skip
    session, answers = play(way, *(define_event_handlers(look), low, define_event_handlers(look)), high,
                            define_event_handlers(look), done, define_event_handlers(look))  # fmt: skip
    assert got == [
        b"Subject:hello\r\n\r\ntext\r\n",
        b"Subject:hello\r\nX-Low: 1\r\n\r\nlow\r\n",
        b"Subject:two\r\nX-Low: 1\r\n\r\nlow\r\nhigh\r\n",
        b"Subject:two\r\nX-Low: 1\r\nX-Done: 1\r\n\r\nlow\r\nhigh\r\n",
    ]
    assert act.ReplaceBody(b"low\r\nhigh\r\n") in answers
    assert session.troubles == []


@BOTH_WAYS
def test_a_recipient_that_some_filter_refused_is_in_nobodys_message(way: Any) -> None:
    """Not even of one that let him pass before."""
    got: list[Message] = []
    refusing = define_event_handlers(
        {"recipient": lambda event, ctx: reject(ctx) if event.address == "no@test" else ctx}
    )
    session = Session.open(merge_handlers(keeping(got), refusing, keeping(got)), way=way)
    session.say(*OPENING, MAIL, packet("R", b"<no@test>\0"), RCPT, DATA, HEADER, EOH, BODY, EOM)
    assert [[one.address for one in each.recipients] for each in got] == [["bob@example.org"]] * 2


# -------------------------------------------------------------------------------------- verdicts
@BOTH_WAYS
@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (reject, act.Reject()),
        (tempfail, act.TemporaryFailure()),
        (discard, act.Discard()),
        (lambda ctx: reject(ctx, "5.7.1", "no"), act.ReplyCode(550, "5.7.1", "no")),
    ],
)
@pytest.mark.parametrize("waits", [False, True])
def test_a_refusal_waits_for_those_before(way: Any, verdict: Any, answer: Any, waits: bool) -> None:
    """They get their end, those behind it an abort if they saw the beginning; no edit is sent."""
    seen: list[str] = []
    events = ("mail", "message", "end_of_message", "abort")
    edit = {"end_of_message": lambda event, ctx: add_header(ctx, "X", "1")} if waits else {}
    session, answers = play(
        way,
        noting(seen, "a", *events, actions=HEADERS if waits else (), **edit),
        noting(seen, "b", *events, message=lambda event, ctx: verdict(ctx)),
        noting(seen, "c", *events),
        noting(seen, "d", "message", "end_of_message", "abort"),
    )
    assert answers == [answer]
    session.say(ABORT)
    order = (
        ["a message", "a end_of_message", "b message"]
        if waits
        else ["a message", "b message", "a end_of_message"]
    )
    assert seen == ["a mail", "b mail", "c mail", *order, "c abort"]
    assert session.troubles == []


@BOTH_WAYS
def test_of_two_refusals_that_of_the_filter_before_counts(way: Any) -> None:
    """One that refuses at its message is passed over by one before it that refuses at the end."""
    seen: list[str] = []
    session, answers = play(
        way,
        noting(seen, "a", "mail", "abort", end_of_message=lambda event, ctx: tempfail(ctx)),
        noting(seen, "b", "mail", "abort", message=lambda event, ctx: reject(ctx)),
    )
    assert answers == [act.TemporaryFailure()]
    session.say(ABORT)
    assert seen == ["a mail", "b mail", "b message", "a end_of_message"]


@BOTH_WAYS
def test_all_accept(way: Any) -> None:
    """One at its message, one at the end: then the MTA is told so."""
    seen: list[str] = []
    _, answers = play(
        way,
        noting(seen, "a", "end_of_message", message=lambda event, ctx: accept(ctx)),
        noting(seen, "b", "message", end_of_message=lambda event, ctx: accept(ctx)),
    )
    assert answers == [act.Accept()]
    assert seen == ["a message", "b message", "b end_of_message"]


@BOTH_WAYS
@pytest.mark.parametrize("at", ["connect", "mail", "recipient", "header", "body"])
def test_one_that_has_accepted_before_gets_no_message(way: Any, at: str) -> None:
    """The others do, and whole."""
    seen: list[str] = []
    got: list[bytes] = []
    whole = define_event_handlers({"message": lambda event, ctx: got.append(bytes(event)) or ctx})
    _, answers = play(
        way,
        noting(seen, "a", "message", "abort", **{at: lambda event, ctx: accept(ctx)}),
        *([whole] if at != "body" else [whole, noting(seen, "b", body=lambda event, ctx: ctx)]),
    )
    assert answers == [act.Continue()]
    assert got == [b"Subject:hello\r\n\r\ntext\r\n"]
    assert "a message" not in seen


@BOTH_WAYS
def test_what_an_observer_owes_is_due_at_its_place(way: Any) -> None:
    """A handler that never answers has failed: who is before gets its end, who is behind an abort."""
    seen: list[str] = []
    events = ("mail", "message", "end_of_message", "abort")
    owing = noting(seen, "b", *events)
    owing.add("header", _fails, reply=False)
    session, answers = play(way, noting(seen, "a", *events), owing, noting(seen, "c", *events))
    assert answers == [act.TemporaryFailure()]
    session.say(ABORT)
    assert seen == [
        *("a mail", "b mail", "c mail", "a message", "a end_of_message", "b abort", "c abort"),
    ]


# -------------------------------------------------------------------------------------- failures
def _fails(event: Any, ctx: Any) -> Any:
    raise ValueError("odd")


@BOTH_WAYS
@pytest.mark.parametrize("at", ["message", "end_of_message"])
def test_the_edits_of_a_failing_filter_are_dropped_and_those_of_others_kept(way: Any, at: str) -> None:
    """Its wish, too; the next filter gets the message without it."""
    got: list[bytes] = []
    first = wishing(lambda message: message.add("X-First", "1"))
    if at == "message":
        failing = define_event_handlers({"message": _fails}, actions=HEADERS)
    else:
        failing = wishing(
            lambda message: message.add("X-Failing", "1"), events={"end_of_message": _fails}
        )
    look = define_event_handlers({"message": lambda event, ctx: got.append(bytes(event)) or ctx})
    session, answers = play(way, first, failing, look, on_error="accept")
    assert answers == [act.AddHeader("X-First", raw=" 1"), act.Continue()]
    assert got == [b"Subject:hello\r\nX-First: 1\r\n\r\ntext\r\n"]
    assert [type(one) for one in session.errors] == [ValueError]


@BOTH_WAYS
@pytest.mark.parametrize(
    ("on_error", "answer"), [("tempfail", act.TemporaryFailure()), ("reject", act.Reject())]
)
def test_a_failure_that_refuses(way: Any, on_error: Any, answer: Any) -> None:
    """Nothing is edited; who saw the beginning and not the end gets an abort, the failed one too."""
    seen: list[str] = []
    first = wishing(lambda message: message.add("X-First", "1"))
    events = ("mail", "abort", "end_of_message")
    session, answers = play(
        *(way, first, noting(seen, "b", *events, message=_fails), noting(seen, "c", *events, "message")),
        on_error=on_error,
    )
    assert answers == [answer]
    session.say(ABORT)
    assert seen == ["b mail", "c mail", "b message", "b abort", "c abort"]


@BOTH_WAYS
def test_a_policy_that_is_a_function_may_edit(way: Any) -> None:
    """What it asks for is done as if the filter had asked for it, in place of what that had said."""
    got: list[bytes] = []
    failing = wishing(lambda message: message.add("X-Failing", "1"), events={"end_of_message": _fails})
    look = define_event_handlers({"message": lambda event, ctx: got.append(bytes(event)) or ctx})
    _session, answers = play(
        *(way, failing, look), on_error=lambda error, event, ctx: add_header(ctx, "X-Policy", "1")
    )
    assert answers == [act.AddHeader("X-Policy", raw=" 1"), act.Continue()]
    assert got == [b"Subject:hello\r\nX-Policy: 1\r\n\r\ntext\r\n"]


# ---------------------------------------------------------------------------------------- limits
@BOTH_WAYS
@pytest.mark.parametrize("waits", [False, True])
def test_each_filter_has_its_own_limit(way: Any, waits: bool) -> None:
    """The body is kept for those that take it; it counts as those before have made it."""
    got: list[Any] = []

    def filter_of(limit: int) -> Any:
        found = define_event_handlers()
        found.add("message", lambda event, ctx: got.append((limit, event.is_whole)) or ctx, limit=limit)
        return found

    first = wishing(lambda message: message.with_body(b"x" * 18 + b"\r\n")) if waits else noting([], "a")
    session, _answers = play(way, first, *map(filter_of, (HEADER_SIZE + 5, HEADER_SIZE + 6, 1000)))
    assert got == [(HEADER_SIZE + 5, False), (HEADER_SIZE + 6, not waits), (1000, True)]
    assert session.troubles == []


@BOTH_WAYS
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(("beyond", "code"), [("tempfail", 452), ("reject", 552)])
def test_beyond_the_limit_of_one(way: Any, waits: bool, beyond: Any, code: int) -> None:
    """That is as if it refused; those before get their end first, those behind an abort. Logged once."""
    seen: list[str] = []
    events = ("mail", "message", "end_of_message", "abort")
    session, answers = play(
        way,
        noting(seen, "a", *events, actions=HEADERS if waits else ()),
        noting(seen, "b", *events, limit=HEADER_SIZE + 5, beyond=beyond),
        noting(seen, "c", *events),
    )
    detail = "4.3.4" if code == 452 else "5.3.4"
    assert answers == [act.ReplyCode(code, detail, "Message too big for this filter")]
    session.say(ABORT)
    assert seen == [
        *("a mail", "b mail", "c mail", "a message", "a end_of_message", "b abort", "c abort"),
    ]
    (error,) = session.errors
    assert isinstance(error, LimitError)
    session.say(MAIL, RCPT, DATA, HEADER, EOH)
    assert session.answers(EOM) == [act.Continue()]


@BOTH_WAYS
def test_one_that_refuses_before_passes_over_a_limit(way: Any) -> None:
    """The filter before the one with the limit says no at the end: its answer counts."""
    _, answers = play(
        way,
        noting([], "a", end_of_message=lambda event, ctx: tempfail(ctx)),
        noting([], "b", "message", limit=1, beyond="reject"),
    )
    assert answers == [act.TemporaryFailure()]


# ------------------------------------------------------------------------- scopes and conditions
@BOTH_WAYS
@pytest.mark.parametrize("is_for", [True, False])
def test_only_if(way: Any, is_for: bool) -> None:
    """A filter that is not for this message gets none, and nothing waits for it in vain."""
    got: list[bytes] = []
    first = only_if(
        lambda event, ctx: is_for if type(event).__name__ == "Recipient" else None,
        wishing(lambda message: message.set("Subject", "new").drop_recipient("bob@example.org")),
    )
    look = define_event_handlers({"message": lambda event, ctx: got.append(bytes(event)) or ctx})
    session, answers = play(way, first, scoped("look", look))
    subject = b"new" if is_for else b"hello"
    assert got == [b"Subject:" + subject + b"\r\n\r\ntext\r\n"]
    assert len(answers) == 1 + 2 * is_for
    assert session.troubles == []


@BOTH_WAYS
@pytest.mark.parametrize("is_candidate", [False, True])
def test_a_canary(way: Any, is_candidate: bool) -> None:
    """Of the two one gets the message, and has its wish and its edits."""

    def tagging(text: str) -> Any:
        return wishing(lambda message: message.set("Subject", text), act.AddHeader("X-Low", text))

    both = canary(tagging("live"), tagging("candidate"), share=float(is_candidate))
    session, answers = play(way, both)
    tag = "candidate" if is_candidate else "live"
    assert answers == [
        *(act.ChangeHeader(1, "Subject", raw=tag), act.AddHeader("X-Low", tag), act.Continue()),
    ]
    assert session.troubles == []


@BOTH_WAYS
def test_edits_of_the_filters_of_a_canary_go_out_as_they_are(way: Any) -> None:
    """Each is alone, so without a wish its edits are literal: an index between others, too."""

    def low(text: str) -> Any:
        return define_event_handlers(
            {"message": lambda event, ctx: ctx.set("queue", (act.InsertHeader(2, "X-Low", text),))},
            actions=HEADERS,
        )

    session, answers = play(way, canary(low("live"), low("candidate"), share=1.0))
    assert answers == [act.InsertHeader(2, "X-Low", "candidate"), act.Continue()]
    assert session.troubles == []


# ------------------------------------------------------------------------------------ the driver
def test_a_driver_calls_what_it_defers_in_order() -> None:
    """All that filters get one after the other at the end, with PROGRESS; what it defers, else."""
    for defers, called in (
        (lambda handler: True, ["message", "message", *("header", "message"), *["end_of_message"] * 2]),
        (lambda handler: handler.event == "message", ["message", "message", "message"]),
    ):
        seen: list[str] = []
        merged = merge_handlers(
            noting(seen, "a", "message"),
            noting(seen, "b", "message", "end_of_message", actions=HEADERS),
            noting(seen, "c", "header", "message", "end_of_message"),
        )
        session = Session.open(merged, defers=defers)
        session.say(*OPENING, *MESSAGE[:-1])
        session.feed(join([EOM]))
        found = []
        while (call := session.connection.call) is not None:
            found.append((call.handler.event, call.progress))
            session.call()
        assert sorted(event for event, _ in found) == sorted(called)
        assert {progress for _, progress in found} == {5.0}
        assert seen == [
            *("a message", "b message", "b end_of_message"),
            *("c header", "c message", "c end_of_message"),
        ]


def test_the_peer_goes_while_a_message_handler_of_one_is_out() -> None:
    """Its outcome is taken, nobody else is asked, and each is told the end once."""
    seen: list[str] = []
    events = ("mail", "message", "end_of_message", "abort")
    blocking = noting(seen, "b", *events, blocking=True)
    merged = merge_handlers(noting(seen, "a", *events), blocking, noting(seen, "c", *events))
    session = Session.open(merged)
    session.say(*OPENING, *MESSAGE[:-1])
    session.feed(join([EOM]))
    session.hang_up()
    session.finish_calls()
    assert session.is_closed
    assert seen == [
        "a mail",
        "b mail",
        "c mail",
        "a message",
        "b message",
        *(f"{one} abort" for one in "abc"),
    ]
    assert session.troubles == []
