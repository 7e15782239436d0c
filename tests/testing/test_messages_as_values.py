"""The test kit with filters that get messages as values."""

from typing import Any

import pytest

from demyjpy import become, define_event_handlers, merge_handlers
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.message import Message
from demyjpy.testing import Postfix, Result, Sendmail, run, session
from demyjpy.testing.strategies import check_filter
from demyjpy.testing.strategies.content import PARTS, multipart
from demyjpy.testing.strategies.properties import check_identity, check_values
from demyjpy.testing.strategies.trial import Example, Trial

CONTENT = b"Subject: one\r\nX-A: 1\r\nX-A:2\r\n\r\nhi\r\n"


def editing() -> Any:
    """A filter that edits header, body and envelope."""
    handlers = define_event_handlers(edits="all")

    @handlers.message
    def edit(event: Any, ctx: Any) -> Any:
        changed = event.set("Subject", "other").with_body(b"one\r\n\xff\r\n").with_sender("x@y")
        return become(ctx, changed.add_recipient("e@f").drop_recipient("c@d"))

    return handlers


def test_the_message_of_a_result_is_a_value() -> None:
    """As a message handler gets it, without what the MTA puts in: header, body, envelope."""
    letter = session().mail("a@b", SIZE="9").rcpt("c@d").rcpt("g@h", NOTIFY="NEVER")
    result = run(editing(), letter.message(CONTENT))
    message = result.message
    assert isinstance(message, Message)
    assert bytes(message) == b"Subject: other\r\nX-A: 1\r\nX-A:2\r\n\r\none\r\n\xff\r\n"
    assert (message.get("subject"), message.get_all("X-A")) == ("other", ("1", "2"))
    assert message.body == message.parts()[0].content
    assert message.sender == "x@y"
    assert [one.address for one in message.recipients] == ["g@h", "e@f"]
    assert message.recipients[0].parameters == {"NOTIFY": "NEVER"}
    assert message == result.only.message == run(editing(), letter.message(CONTENT)).message
    assert message != run({}, letter.message(CONTENT)).message


def test_the_message_that_a_handler_got_is_in_its_step() -> None:
    """With what the edits of its wish are."""
    result = run(editing(), session().mail("a@b").rcpt("c@d").message(CONTENT))
    (step,) = result.filters[0].at("message")
    assert isinstance(step.event, Message)
    assert (step.event.get("Subject"), step.event.sender) == ("one", "a@b")
    kinds = [type(one).__name__ for one in step.actions]
    assert set(kinds) == {type(one).__name__ for one in result.actions}


def careful() -> Any:
    """A filter that edits each kind of message, however it is made."""
    handlers = define_event_handlers(name="careful", edits="headers")

    @handlers.message(limit=10_000, beyond="reject")
    def tag(event: Any, ctx: Any) -> Any:
        kinds = [one.type for one in event.parts()]
        return become(ctx, event.without("X-Spam-*").set("X-Parts", str(len(kinds))))

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        return ctx

    return handlers


def test_good_filters_with_message_handlers_have_all_properties() -> None:
    """Alone, and behind others, with and without such a handler."""
    check_filter(careful(), max_examples=20)
    other = define_event_handlers({"header": lambda event, ctx: ctx}, name="other")
    check_filter(merge_handlers(other, careful()), max_examples=3)


def test_messages_of_many_shapes_reach_the_handler() -> None:
    """Also multipart ones, whose bodies come in pieces."""
    seen: set[str] = set()
    handlers = define_event_handlers()

    @handlers.message
    def look(event: Any, ctx: Any) -> Any:
        seen.update(one.type for one in event.parts())
        return ctx

    check_filter(handlers, max_examples=1)
    assert {"text/html", "multipart/mixed", "message/rfc822", "application/pgp-signature"} <= seen


def test_a_message_may_be_in_the_context_until_it_ends() -> None:
    """From message to end_of_message, say."""
    handlers = define_event_handlers(state={"message": None}, edits="headers")

    @handlers.message
    def keep(event: Any, ctx: Any) -> Any:
        return ctx.set("message", event)

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        return become(ctx, ctx["message"].prepend("X-A", "b"))

    check_filter(handlers, max_examples=5)


class EditsAnyway(Trial):
    """A trial in which the identity is not one: what the filter does stands in its place."""

    def play_identity(self) -> Result:
        return self.result


@pytest.mark.parametrize("mta", [Postfix(), Sendmail()], ids=lambda one: one.name)
def test_a_wish_for_the_same_that_changes_something_is_found(mta: Any) -> None:
    """The edits, and what they do."""
    letter = session().mail("a@b").rcpt("c@d").message(b"Subject: x\r\n" + multipart(PARTS))
    setup = Setup(as_on_connect(editing()))
    found = list(check_identity(EditsAnyway(setup, (mta,), Example(letter))))
    assert [one.words for one in found] == [
        "become(ctx, event) sends edits",
        "become(ctx, event) changes what becomes of the mail",
    ]
    assert "ChangeSender" in found[0].details
    trial = Trial(setup, (mta,), Example(letter))
    assert [*check_identity(trial), *check_values(trial)] == []
    assert trial.play_identity().delivered == run({}, letter, mta=mta).delivered
