"""`become` on the engine: which edits a wish means, when it may be, and what is wrong with some."""

from typing import Any

import pytest
from attrs import evolve

from demyjpy import actions as act
from demyjpy.actions import Modification
from demyjpy.engine.chain_edits import AT_END
from demyjpy.errors import HandlerError, LocalProtocolError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.message import Message
from demyjpy.shorthands import accept, add_header, reject
from demyjpy.wishes import become
from tests.engine.harness import (
    DATA,
    EOH,
    EOM,
    MAIL,
    MESSAGE,
    OPENING,
    RCPT,
    WAYS,
    Session,
    keep,
    packet,
)
from tests.engine.messages import ACTIONS, keeping, wishing

BOTH_WAYS = pytest.mark.parametrize("way", WAYS)
BOTH_EVENTS = pytest.mark.parametrize("at", ["message", "end_of_message"])
CONTENT = (
    *(MAIL, RCPT, packet("R", b"<eve@example.org>\0"), DATA),
    *(packet("L", b"Subject\0 hello\0"), packet("L", b"X-A\0 1\0"), packet("L", b"x-a\0 2\0")),
    *(EOH, packet("B", b"text\r\n")),
)


def answers_to(handlers: Any, way: Any = WAYS[0], **setup: Any) -> tuple[Session, list[Any]]:
    """The session, and what a message comes to."""
    session = Session.open(handlers, way=way, **setup)
    session.say(*OPENING, *CONTENT)
    return session, session.answers(EOM)


def edits_of(handlers: Any, way: Any = WAYS[0]) -> list[Modification]:
    """The edits of a message that is let through."""
    session, answers = answers_to(handlers, way)
    assert session.troubles == []
    assert answers[-1] == act.Continue()
    return answers[:-1]


# ------------------------------------------------------------------------------------ differences
DIFFERENCES: dict[str, tuple[Any, list[Modification]]] = {
    "nothing": (lambda one: one, []),
    "the same value": (lambda one: one.set("Subject", "hello").with_sender("alice@example.org"), []),
    "set": (lambda one: one.set("subject", "new"), [act.ChangeHeader(1, "Subject", raw=" new")]),
    "set of the second": (
        lambda one: evolve(one, fields=(*one.fields[:2], evolve(one.fields[2], raw=" new"))),
        [act.ChangeHeader(2, "x-a", raw=" new")],
    ),
    "set of a new name": (lambda one: one.set("X-B", "1"), [act.AddHeader("X-B", raw=" 1")]),
    "set_only": (
        lambda one: one.set_only("X-A", "3"),
        [act.ChangeHeader(1, "X-A", raw=" 3"), act.DeleteHeader(2, "x-a")],
    ),
    "set to nothing": (lambda one: one.set("X-A", ""), [act.ChangeHeader(1, "X-A", raw=" ")]),
    "add": (lambda one: one.add("X-A", "3"), [act.InsertHeader(AT_END, "X-A", raw=" 3")]),
    "prepend twice": (
        lambda one: one.prepend("X-B", "1").prepend("X-B", "2"),
        [act.InsertHeader(0, "X-B", raw=" 1"), act.InsertHeader(0, "X-B", raw=" 2")],
    ),
    "without": (
        lambda one: one.without("X-*"),
        [act.DeleteHeader(2, "x-a"), act.DeleteHeader(1, "X-A")],
    ),
    "first_only": (lambda one: one.first_only("X-A"), [act.DeleteHeader(2, "x-a")]),
    "with_body": (lambda one: one.with_body(b"new"), [act.ReplaceBody(b"new\r\n")]),
    "the same body": (lambda one: one.with_body(b"text\r\n").with_body(one.body), []),
    "an empty body": (lambda one: one.with_body(b""), [act.ReplaceBody(b"")]),
    "with_sender": (lambda one: one.with_sender("n@test"), [act.ChangeSender("n@test")]),
    "the null sender": (lambda one: one.with_sender(""), [act.ChangeSender("")]),
    "sender with parameters": (
        lambda one: one.with_sender("n@test", "RET=HDRS"),
        [act.ChangeSender("n@test", "RET=HDRS")],
    ),
    "add_recipient": (lambda one: one.add_recipient("n@test"), [act.AddRecipient("n@test")]),
    "add_recipient with parameters": (
        lambda one: one.add_recipient("n@test", "NOTIFY=NEVER"),
        [act.AddRecipient("n@test", "NOTIFY=NEVER")],
    ),
    "one who is there": (lambda one: one.add_recipient("bob@example.org"), []),
    "drop_recipient": (
        lambda one: one.drop_recipient("BOB@example.org"),
        [act.DeleteRecipient("bob@example.org")],
    ),
    "dropped and added": (
        lambda one: one.drop_recipient("bob@example.org").add_recipient("bob@example.org"),
        [],
    ),
    "all of them": (
        lambda one: one.drop_recipient("bob@example.org", "eve@example.org"),
        [act.DeleteRecipient("bob@example.org"), act.DeleteRecipient("eve@example.org")],
    ),
    "append_text": (lambda one: one.append_text("more"), [act.ReplaceBody(b"text\r\nmore\r\n")]),
}


@BOTH_WAYS
@BOTH_EVENTS
@pytest.mark.parametrize("what", DIFFERENCES)
def test_each_difference(way: Any, at: str, what: str) -> None:
    """The edits that it means, and no others; alone and before another filter."""
    make, wanted = DIFFERENCES[what]
    assert edits_of(wishing(make, at=at), way) == wanted
    assert edits_of(merge_handlers(wishing(make, at=at), keeping([])), way) == wanted


@BOTH_WAYS
@BOTH_EVENTS
def test_of_two_wishes_the_later_counts(way: Any, at: str) -> None:
    """In one handler, and at the two events; also if the later one is for what came."""
    for make, wanted in (
        (lambda one: one.add("X-B", "2"), [act.AddHeader("X-B", raw=" 2")]),
        (lambda one: one, []),
    ):

        def twice(event: Any, ctx: Any, make: Any = make) -> Any:
            got = ctx["got"] if at == "end_of_message" else event
            ctx = ctx.set("got", got)
            if at == "message":
                ctx = become(ctx, got.prepend("X-First", "1"))
            return become(ctx, make(got))

        events = {"message": twice}
        if at == "end_of_message":
            events = {
                "message": lambda event, ctx: become(ctx, event.prepend("X-First", "1")).set(
                    "got", event
                ),
                at: twice,
            }
        assert edits_of(define_event_handlers(events, actions=ACTIONS), way) == wanted


@BOTH_WAYS
@BOTH_EVENTS
def test_low_level_edits_are_applied_after_it(way: Any, at: str) -> None:
    """Their numbers count what the filter was shown; of two edits of one field the later counts."""
    filter_ = wishing(
        lambda one: one.without("X-A").add("X-B", "wish").with_body(b"wish").prepend("X-Top", "wish"),
        *(
            act.ChangeHeader(2, "X-A", "edit"),
            act.AddHeader("X-B", "edit"),
            act.ReplaceBody(b"edit\r\n"),
        ),
        *(act.InsertHeader(0, "X-Top", "edit"), act.AddRecipient("n@test")),
        at=at,
    )
    assert edits_of(filter_, way) == [
        *(act.ChangeHeader(2, "x-a", raw=" edit"), act.DeleteHeader(1, "X-A")),
        *(act.InsertHeader(0, "X-Top", raw=" wish"), act.InsertHeader(0, "X-Top", raw=" edit")),
        *(act.InsertHeader(AT_END, "X-B", raw=" wish"), act.InsertHeader(AT_END, "X-B", raw=" edit")),
        *(act.AddRecipient("n@test"), act.ReplaceBody(b"edit\r\n")),
    ]


@BOTH_WAYS
@pytest.mark.parametrize("is_merged", [False, True])
def test_recipients_beside_a_wish(way: Any, is_merged: bool) -> None:
    """One who stands is not added again; a deletion is for whoever stands, however he is spelled."""
    filter_ = wishing(
        lambda one: one.set("Subject", "new"),
        act.AddRecipient("bob@example.org"),
        act.DeleteRecipient("EVE@example.org"),
    )
    reader = define_event_handlers({"end_of_message": keep}, actions=ACTIONS)
    assert edits_of(merge_handlers(filter_, reader) if is_merged else filter_, way) == [
        act.ChangeHeader(1, "Subject", raw=" new"),
        act.DeleteRecipient("eve@example.org"),
    ]


@BOTH_WAYS
def test_edits_before_a_wish_are_applied_after_it_too(way: Any) -> None:
    """The order in which a filter queues them does not matter, nor at which of the two events."""
    filter_ = define_event_handlers(
        {
            "message": lambda event, ctx: add_header(ctx, "X-B", "edit").set("got", event),
            "end_of_message": lambda event, ctx: become(ctx, ctx["got"].add("X-B", "wish")),
        },
        actions=ACTIONS,
    )
    assert edits_of(filter_, way) == [
        *(act.InsertHeader(AT_END, "X-B", raw=" wish"), act.InsertHeader(AT_END, "X-B", raw=" edit")),
    ]


@BOTH_WAYS
def test_without_a_wish_the_edits_go_out_as_they_are(way: Any) -> None:
    """Whatever a filter with a message handler asks for, if it is alone."""
    edits = (act.AddHeader("X", "1"), act.InsertHeader(2, "Y", "1"), act.ChangeHeader(9, "X-A", "9"))
    filter_ = define_event_handlers(
        {"message": lambda event, ctx: ctx.set("queue", edits)}, actions=ACTIONS
    )
    assert edits_of(filter_, way) == list(edits)


@BOTH_WAYS
@pytest.mark.parametrize("verdict", ["reject", "accept"])
def test_with_a_verdict(way: Any, verdict: str) -> None:
    """Nothing is edited in a message that is refused; if it is accepted the edits are made."""
    give = {"reject": reject, "accept": accept}[verdict]
    filter_ = define_event_handlers(
        {"message": lambda event, ctx: give(become(ctx, event.add("X-B", "1")))}, actions=ACTIONS
    )
    _, answers = answers_to(filter_, way)
    if verdict == "reject":
        assert answers == [act.Reject()]
    else:
        assert answers == [act.AddHeader("X-B", raw=" 1"), act.Accept()]


def test_a_change_of_the_header_alone_may_add_fields() -> None:
    """Without ``add_header`` a new field goes by a change beyond the last of its name."""
    changing = wishing(
        lambda one: one.set("Subject", "new"),
        act.ChangeHeader(1, "X-B", "1"),
        actions=("change_header",),
    )
    assert edits_of(changing) == [
        *(act.ChangeHeader(1, "Subject", raw=" new"), act.ChangeHeader(AT_END, "X-B", raw=" 1")),
    ]


# ----------------------------------------------------------------------------------------- errors
def failure_of(handlers: Any, **setup: Any) -> str:
    """What is logged of a message that is refused for now."""
    session, answers = answers_to(handlers, **setup)
    assert answers == [act.TemporaryFailure()]
    (error,) = session.errors
    return str(error)


def _moved(one: Message) -> Message:
    return evolve(one, fields=(one.fields[1], one.fields[0], one.fields[2]))


@BOTH_EVENTS
def test_a_field_that_moved(at: str) -> None:
    """The error names it, and what to do."""
    error = failure_of(wishing(_moved, at=at))
    assert "Subject moved: an MTA cannot move a field" in error
    assert "take it out with without() and put it in again with add() or prepend()" in error


def test_a_field_that_the_filter_never_got() -> None:
    """Twice the same, another name, or one of another message."""
    twice = wishing(lambda one: evolve(one, fields=(*one.fields, one.fields[-1])))
    assert "x-a moved" in failure_of(twice)
    renamed = wishing(
        lambda one: evolve(one, fields=(evolve(one.fields[0], name="Other"), *one.fields[1:]))
    )
    assert "Subject became Other" in failure_of(renamed)
    other = wishing(lambda one: Message.of([("A", " 1"), ("B", " 2"), ("C", " 3"), ("D", " 4")]))
    assert "became" in failure_of(other)


@BOTH_EVENTS
@pytest.mark.parametrize("is_merged", [False, True])
def test_an_action_that_was_not_declared(at: str, is_merged: bool) -> None:
    """The error names the filter and the action."""
    filter_ = wishing(lambda one: one.with_body(b"new"), at=at, actions=("add_header",), name="tagger")
    error = failure_of(merge_handlers(filter_, define_event_handlers({"data": keep}), keeping([]))
                       if is_merged else filter_)  # fmt: skip
    assert "tagger" in error
    assert "ReplaceBody" in error
    assert "'change_body'" in error


@pytest.mark.parametrize("index", [2, 3])
def test_an_index_between_fields_beside_a_wish(index: int) -> None:
    """Sendmail and Postfix count those in different ways."""
    filter_ = wishing(lambda one: one.add("X-B", "1"), act.InsertHeader(index, "X-C", "1"))
    assert (
        "InsertHeader: in a chain of filters, or beside become, the index of X-C must be 0"
        in failure_of(filter_)
    )
    filter_ = wishing(lambda one: one.add("X-B", "1"), act.InsertHeader(4, "X-C", "1"))
    assert len(edits_of(filter_)) == 2


@pytest.mark.parametrize("event", ["end_of_message", "body", "mail"])
def test_a_filter_that_got_no_message(event: str) -> None:
    """A filter without message handler, beside one that has such a handler, or alone."""
    wish = {event: lambda event, ctx: become(ctx, Message.parse(b"A: 1\r\n\r\n"))}
    filter_ = define_event_handlers(wish, actions=ACTIONS)
    for handlers in (filter_, merge_handlers(filter_, keeping([]))):
        session = Session.open(handlers)
        assert session.answers(*OPENING, *CONTENT[: 4 if event == "mail" else None])
        if event == "end_of_message":
            session.say(EOM)
        assert "got one that has not: register a handler" in str(session.errors[0])


@pytest.mark.parametrize("event", ["header", "body", "abort"])
def test_before_the_message_has_come(event: str) -> None:
    """A filter with a message handler wishes where there is no message yet."""
    events = {
        event: lambda event, ctx: become(ctx, Message.parse(b"A: 1\r\n\r\n")),
        "message": keep,
        "mail": keep,
    }
    session = Session.open(define_event_handlers(events, actions=ACTIONS))
    session.say(*OPENING, *CONTENT)
    if event == "abort":
        session.say(packet("A"))
    assert "has got this message as a value, got one that has not" in str(session.errors[0])


@pytest.mark.parametrize("what", ["Subject: x", None, b"", 1])
def test_something_else_than_a_message(what: Any) -> None:
    """The error says what came."""
    filter_ = define_event_handlers({"message": lambda event, ctx: become(ctx, what)}, actions=ACTIONS)
    assert "become: expected a Message, as the message handler gets one, got" in failure_of(filter_)
    with pytest.raises(HandlerError, match="expected a Message"):
        become({}, what)  # type: ignore[arg-type]  # it is what is tried


def test_the_message_in_place_of_the_context() -> None:
    """The two are easily exchanged: the error shows how it is called."""
    exchanged = lambda message, ctx: become(message, ctx)  # noqa: E731, PLW0108  # as a beginner does
    filter_ = define_event_handlers({"message": exchanged}, actions=ACTIONS)
    assert "become: expected the context first, as in become(ctx, message)" in failure_of(filter_)


def test_a_message_handler_that_returns_the_message() -> None:
    """The error says how a filter has its message sent."""
    filter_ = define_event_handlers({"message": lambda event, ctx: event.without("X")}, actions=ACTIONS)
    assert failure_of(filter_).endswith(
        "got Message(...); to have the mail become this message, return become(ctx, message)"
    )


@pytest.mark.parametrize("queue", [1, None, "text", ("text",), (None,), [1]])
def test_a_queue_of_garbage(queue: Any) -> None:
    """The handler fails, as at any event."""
    filter_ = define_event_handlers({"message": lambda event, ctx: ctx.set("queue", queue)})
    assert failure_of(filter_)


def test_a_message_of_an_earlier_mail() -> None:
    """What was kept of it has no body any more; the wish for it fails, and the next mail is served."""
    kept: list[Message] = []

    def handle(event: Message, ctx: Any) -> Any:
        kept.append(event)
        return become(ctx, kept[0])

    session = Session.open(define_event_handlers({"message": handle}, actions=ACTIONS))
    session.say(*OPENING, *MESSAGE)
    session.say(*MESSAGE[:-2], packet("B", b"TEXT\r\n"))
    assert session.answers(EOM) == [act.TemporaryFailure()]
    (error,) = session.errors
    assert isinstance(error, LocalProtocolError)
    assert "this message has ended" in str(error)
    kept.clear()
    assert session.say(*MESSAGE)[-1] == "c"


@BOTH_WAYS
@pytest.mark.parametrize("is_merged", [False, True])
def test_the_policy_of_a_failure_may_wish(way: Any, is_merged: bool) -> None:
    """What it wishes for is compared with what the handler got; what that wished for is dropped."""
    fails = wishing(
        lambda one: one.prepend("X-First", "1"), events={"end_of_message": lambda event, ctx: 1 / 0}
    )
    got = Message.of(_FIELDS, b"text\r\n", "alice@example.org", _TO)
    session, answers = answers_to(
        *(merge_handlers(fails, keeping([])) if is_merged else fails, way),
        on_error=lambda error, event, ctx: become(ctx, got.add("X-Failed", "1")),
    )
    assert answers == [act.AddHeader("X-Failed", raw=" 1"), act.Continue()]
    assert [type(one) for one in session.errors] == [ZeroDivisionError]


@BOTH_WAYS
@pytest.mark.parametrize("at", ["message", "end_of_message"])
def test_what_a_filter_asked_for_stays_if_a_later_one_fails(way: Any, at: str) -> None:
    """Whether or not that one had asked for something, and whether or not it may edit."""
    added = [act.AddRecipient("new@example.org"), act.Continue()]
    first = wishing(lambda one: one.add_recipient("new@example.org"), actions=("add_recipient",))
    for actions in ((), ("add_recipient",)):
        wish = wishing(lambda one: one, events={"end_of_message": _fails}, actions=actions)
        fails = define_event_handlers({"message": _fails}, actions=actions) if at == "message" else wish
        session, answers = answers_to(merge_handlers(first, fails), way, on_error="accept")
        assert answers == added
        assert [type(one) for one in session.errors] == [ZeroDivisionError]


def _fails(event: Any, ctx: Any) -> Any:
    return 1 / 0


_TO = ("bob@example.org", "eve@example.org")
_FIELDS = (("Subject", " hello"), ("X-A", " 1"), ("x-a", " 2"))


@pytest.mark.parametrize("make", [_moved, lambda one: one.with_body(b"not declared")])
def test_a_wish_of_the_policy_that_cannot_be(make: Any) -> None:
    """The message is refused for now, and both errors are logged."""
    fails = define_event_handlers({"message": lambda event, ctx: 1 / 0}, actions=("add_header",))
    session, answers = answers_to(fails, on_error=lambda error, event, ctx: become(ctx, make(event)))
    assert answers == [act.TemporaryFailure()]
    assert [type(one) for one in session.errors] == [ZeroDivisionError, LocalProtocolError]
    session, answers = answers_to(fails, on_error=lambda error, event, ctx: ValueError("no context"))
    assert answers == [act.TemporaryFailure()]
    assert isinstance(session.errors[1], HandlerError)
