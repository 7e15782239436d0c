"""A canary: the candidate answers for a share of the messages, and for nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from demyjpy import (
    ChangeHeader,
    HandlerError,
    InsertHeader,
    ReplaceBody,
    accept,
    add_header,
    define_event_handlers,
    merge_handlers,
    reject,
    scoped,
    send_action,
    skip,
)
from demyjpy.testing import Postfix, run, session
from demyjpy.trace import canary, sender_domain
from tests.engine.harness import BODY, CONNECT, MAIL, OPENING, Session, offer


def tagging(word: str, **options: Any) -> Any:
    """A filter that counts recipients in its state, and says who it is."""
    handlers = define_event_handlers(actions={"add_header"}, state={"count": 0}, **options)

    @handlers.recipient
    def count(event: Any, ctx: Any) -> Any:
        return ctx.set("count", ctx["count"] + 1)

    @handlers.end_of_message
    async def tag(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-By", f"{word} {ctx['count']}")

    return handlers


def said(handlers: Any, *senders: str) -> list[str]:
    """What the messages of these senders are tagged with."""
    script = session()
    for sender in senders:
        script = script.mail(sender).rcpt("b@example.net").message()
    result = run(handlers, script, mta=Postfix())
    assert result.troubles == ()
    return [message.actions[0].value for message in result.messages]


@pytest.mark.parametrize(("share", "word"), [(0.0, "live"), (1.0, "candidate")])
@pytest.mark.parametrize("by", ["sender", sender_domain])
def test_none_and_all(share: float, word: str, by: Any) -> None:
    """Each with its own state."""
    both = canary(tagging("live"), tagging("candidate"), share=share, by=by)
    assert said(both, "a@x", "b@y") == [f"{word} 1"] * 2


def test_messages_of_one_kind_go_one_way() -> None:
    """Always the same one; about as many as asked for."""
    both = canary(tagging("live"), tagging("candidate"), share=0.3, by=sender_domain)
    senders = [f"a@example{number}.org" for number in range(200)]
    first = said(both, *senders)
    assert said(both, *senders) == first
    assert 30 < first.count("candidate 1") < 90
    assert len(set(said(both, "a@EXAMPLE7.org", "b@example7.org", ""))) <= 2


def test_a_mail_that_is_tried_again_meets_the_same_filter() -> None:
    """By its sender, if nothing else is said: a greylist sees both attempts, or neither."""
    both = canary(tagging("live"), tagging("candidate"), share=0.5)
    senders = [f"a{number}@example.org" for number in range(100)]
    first = said(both, *senders)
    assert said(both, *[one.upper() for one in senders]) == first
    assert 20 < first.count("candidate 1") < 80


def test_chance_is_no_way_to_choose() -> None:
    """A retry would meet another filter."""
    with pytest.raises(HandlerError, match='expected by= as "sender" or a function'):
        canary(tagging("live"), tagging("candidate"), share=0.5, by=None)  # type: ignore[arg-type]


def test_a_share_that_is_none_is_refused() -> None:
    """From 0 to 1."""
    with pytest.raises(HandlerError, match="expected share from 0 to 1, got 2"):
        canary(tagging("live"), tagging("candidate"), share=2)


def test_by_that_fails_leaves_it_to_the_live_filter(caplog: pytest.LogCaptureFixture) -> None:
    """And is logged."""
    both = canary(tagging("live"), tagging("candidate"), share=1, by=lambda event, ctx: 1 / 0)
    assert said(both, "a@x") == ["live 1"]
    assert "ZeroDivisionError" in caplog.text


def test_merged_filters_may_be_either() -> None:
    """Several live ones, several candidates."""
    handlers = define_event_handlers({"mail": lambda event, ctx: ctx})
    live, candidate = merge_handlers(handlers, tagging("live")), merge_handlers(tagging("candidate"))
    assert said(canary(live, candidate, share=1), "a@x") == ["candidate 1"]
    assert said(canary(live, candidate, share=0), "a@x") == ["live 1"]
    assert said(merge_handlers(handlers, canary(live, candidate, share=0)), "a@x") == ["live 1"]


def failing(event: Any, ctx: Any) -> Any:
    raise ValueError("candidate")


async def failing_async(event: Any, ctx: Any) -> Any:
    raise ValueError("candidate")


@pytest.mark.parametrize("fail", [failing, failing_async])
def test_the_candidate_says_nothing_about_the_connection(
    fail: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It may refuse it or fail: unfelt. What it stores there it finds at its messages."""

    async def remember_client(event: Any, ctx: Any) -> Any:
        return reject(ctx.set("client", event.host_name))

    def store(event: Any, ctx: Any) -> Any:
        return reject(ctx.set("greeting", event.greeting))

    def tell(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-By", f"{ctx['client']} {ctx['greeting']}")

    candidate = define_event_handlers(
        {"connect": remember_client, "hello": store, "end_of_message": tell, "disconnect": fail},
        actions={"add_header"},
    )
    assert said(canary(tagging("live"), candidate, share=1), "a@x") == ["[192.0.2.1] client.example"]
    assert caplog.text.count("the candidate has failed at disconnect; the mail is not affected") == 1


def test_the_mta_need_not_offer_what_the_candidate_wants() -> None:
    """The live filter is served all the same; its own demands hold."""
    live = define_event_handlers({"recipient": lambda event, ctx: ctx})
    needy = define_event_handlers(
        {"unknown": lambda event, ctx: ctx, "options": failing}, actions={"quarantine"}
    )
    both = canary(live, needy, share=1)
    opened = Session.open(both)
    assert opened.say(offer(version=2, actions=1, steps=0x7F)) == "O"
    assert opened.say(CONNECT) == "c"
    assert opened.troubles == []


def test_the_one_that_answers_may_skip_the_body() -> None:
    """The other wants nothing of it, and is done with the message."""
    skipping = define_event_handlers({"body": lambda event, ctx: skip(ctx)})
    reading = define_event_handlers({"body": lambda event, ctx: ctx})
    watching = define_event_handlers()
    watching.body(reply=False)(lambda event, ctx: ctx)
    cases = ((skipping, reading, "s"), (reading, skipping, "c"), (skipping, watching, "s"))
    for live, candidate, letter in cases:
        opened = Session.open(canary(live, candidate, share=0))
        opened.say(*OPENING, MAIL)
        assert opened.say(BODY) == letter


# --------------------------------------------------------------------------------------- chains
LONG = session().mail("a@x").rcpt("b@example.net").message()


def editor(word: str, index: int = 1) -> Any:
    """A filter that sees the subject, and changes it and the body, refusing where it is told to."""
    handlers = define_event_handlers(
        actions={"add_header", "change_header", "change_body"}, state={"subject": ""}
    )

    @handlers.header
    def see(event: Any, ctx: Any) -> Any:
        return ctx.set("subject", event.value) if event.name == "Subject" else ctx

    @handlers.end_of_message
    def edit(event: Any, ctx: Any) -> Any:
        edits = InsertHeader(index, "X-Seen", ctx["subject"]), ChangeHeader(1, "Subject", word)
        return send_action(ctx, *edits, ReplaceBody(word.encode()))

    return handlers


def refusing(event_name: str) -> Any:
    return define_event_handlers({event_name: lambda event, ctx: reject(ctx)})


CHAINS = {
    "one": [editor("one", 5)],
    "two": [editor("one"), editor("two")],
    "refuses early": [editor("one"), refusing("header")],
    "refuses at its end": [refusing("end_of_message"), editor("two")],
    "accepts": [define_event_handlers({"recipient": lambda event, ctx: accept(ctx)})],
    "edits and refuses": [
        define_event_handlers(
            {"end_of_message": lambda event, ctx: reject(add_header(ctx, "X-A", "b"))},
            actions={"add_header"},
        )
    ],
}


@pytest.mark.parametrize("other", CHAINS)
@pytest.mark.parametrize("name", CHAINS)
def test_the_one_that_answers_works_as_it_would_alone(name: str, other: str) -> None:
    """It does not wait for the other, is asked whatever the other says, and its edits are its own."""
    chains = [merge_handlers(*map(scoped, ("a", "b"), CHAINS[one])) for one in (name, other)]
    plain = run(chains[0], LONG, mta=Postfix())
    for both in (canary(*chains, share=0), canary(*reversed(chains), share=1)):
        result = run(both, LONG, mta=Postfix())
        assert result.troubles == plain.troubles
        assert (result.actions, result.verdict) == (plain.actions, plain.verdict)
        assert result.is_delivered == plain.is_delivered


def test_a_canary_among_other_filters_is_one_of_the_chain() -> None:
    """It gets what those before it have made, and its edits are part of the plan of all."""
    both = canary(editor("live"), editor("candidate"), share=1)
    result = run(merge_handlers(tagging("first"), both), LONG, mta=Postfix())
    assert result.troubles == ()
    assert [type(one).__name__ for one in result.actions[:2]] == ["ChangeHeader", "InsertHeader"]
