"""`run` with a list: filters that an MTA asks one after another."""

import logging

import pytest

from demyjpy import (
    Abort,
    Accept,
    AddHeader,
    Body,
    Discard,
    EndOfMessage,
    Quit,
    Recipient,
    ReplaceBody,
    ReplyCode,
    add_header,
    define_event_handlers,
    discard,
    quarantine,
    reject,
    replace_body,
    with_handlers,
)
from demyjpy.errors import LocalProtocolError
from demyjpy.testing import Postfix, Sendmail, run, session

LETTER = session().mail("a@example.net").rcpt("b@example.org").message("Subject: s\n\nhi\n")


def keeper(answer=lambda ctx: ctx):
    """A filter that keeps the body and says something at the end."""
    handlers = define_event_handlers(
        actions={"add_header", "change_body", "quarantine"}, state={"body": b"", "recipients": 0}
    )
    handlers.add("recipient", lambda event, ctx: ctx.set("recipients", ctx["recipients"] + 1))
    handlers.add("body", lambda event, ctx: ctx.set("body", ctx["body"] + event.data))
    handlers.add("end_of_message", lambda event, ctx: answer(ctx))
    return handlers


def disclaimer():
    return keeper(lambda ctx: replace_body(ctx, ctx["body"] + b"legal\r\n"))


def signer():
    return keeper(lambda ctx: add_header(ctx, "X-Size", str(len(ctx["body"]))))


def test_the_second_sees_what_the_first_has_made():
    """The client's part of the result is that of all, each filter has its own."""
    result = run([disclaimer(), signer()], LETTER)
    assert result.verdict == Accept()
    assert (result.message.body, result.message.get("X-Size")) == (b"hi\r\nlegal\r\n", "11")
    assert result.actions == (ReplaceBody(b"hi\r\nlegal\r\n"), AddHeader("X-Size", "11"))
    first, second = result.filters
    assert (first.actions, second.actions) == (result.actions[:1], result.actions[1:])
    assert first.at("body")[-1].after["body"] == b"hi\r\n"
    assert second.at("body")[-1].after["body"] == b"hi\r\nlegal\r\n"
    assert second.steps[3].context["recipients"] == 1
    assert [type(one.verdict) for one in first.steps] == [type(one.verdict) for one in second.steps]
    assert second.context["recipients"] == 0
    assert [type(one) for one in second.seen][:3] == [Recipient, Body, EndOfMessage]
    assert second.trace.exchanges


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_one_is_the_filter_itself(kind):
    """Nothing else comes of it, and what is in the result can be asked in the same way."""
    alone, listed = run(signer(), LETTER), run(kind([signer()]), LETTER)
    assert alone == listed
    assert alone.filters[0].seen == listed.filters[0].seen
    assert alone.filters[0].steps == alone.steps
    assert alone.filters[0].observed == alone.observed
    assert alone.steps[3].context["recipients"] == listed.steps[3].context["recipients"] == 1
    assert len(alone.at("body")) == len(listed.at("body")) == 1
    assert alone.trace.exchanges == listed.trace.exchanges


def test_of_several_filters_one_must_say_which_is_meant():
    """Steps of the engine belong to one filter; the whole result has none, and says so."""
    result = run([signer(), disclaimer(), keeper()], LETTER)
    assert (result.observed, dict(result.steps[3].context)) == ((), {})
    with pytest.raises(AssertionError, match=r"one filter, got 3: use result\.filters"):
        result.at("body")
    with pytest.raises(AssertionError, match=r"one filter, got 3: use result\.filters"):
        _ = result.trace


def test_an_empty_list_is_an_error():
    """There is nothing to play."""
    with pytest.raises(LocalProtocolError, match=r"expected a filter, or a list .* got an empty list"):
        run([], LETTER)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(lambda ctx: reject(ctx, "5.7.1", "no"), ReplyCode(550, "5.7.1", "no")), (discard, Discard())],
)
def test_the_first_refusal_is_the_answer(answer, verdict):
    """The filters behind it see that the message is given up."""
    result = run([keeper(answer), keeper(lambda ctx: reject(ctx, "5.7.2", "never"))], LETTER)
    assert result.verdict == verdict
    first, second = result.filters
    assert [type(event) for event in second.seen][:2] == [Recipient, Abort]
    assert EndOfMessage() in first.seen
    assert (first.steps[4].verdict, second.steps[4].verdict) == (verdict, None)


def test_what_the_mtas_do_differently_is_shown():
    """Quarantine ends the row under Postfix, and does not under Sendmail."""
    row = [keeper(lambda ctx: quarantine(ctx, "odd")), keeper(reject)]
    with pytest.raises(AssertionError, match="expected Postfix and Sendmail to do the same"):
        run(row, LETTER)
    assert run(row, LETTER, mta=Postfix()).quarantine == "odd"
    assert run(row, LETTER, mta=Sendmail()).fate == "rejected"


def test_troubles_are_those_of_all_and_the_log_tells_whose(caplog):
    """Each filter's own are in its part."""

    def fail(ctx):
        raise RuntimeError("it failed")

    with caplog.at_level(logging.ERROR, "demyjpy"):
        result = run([signer(), keeper(fail)], LETTER, mta=Postfix())
    assert result.reply.code == 451
    first, second = result.filters
    assert (first.troubles, result.troubles) == ((), second.troubles)
    assert len(second.troubles) == 1
    assert "test (postfix, filter 2)" in caplog.text


def test_a_filter_that_cannot_be_used_is_named():
    """Failures are in the part of the filter that failed."""

    def lost(ctx):
        return with_handlers(ctx, {"connect": "no function"})

    result = run([signer(), lost], LETTER, mta=Postfix())
    assert (result.filters[0].failures, result.filters[1].failures) == ((), result.failures)
    assert len(result.failures) >= 1


def test_each_filter_is_cut_in_pieces():
    """``chunk`` is for all of them."""
    result = run([signer(), signer()], LETTER, chunk=1)
    assert [len(one.at("body")) for one in result.filters] == [4, 4]


def test_both_see_the_end_of_the_connection():
    """A filter that accepted the message is closed as the others are."""
    result = run([signer(), disclaimer()], LETTER.drop(), mta=Sendmail())
    assert [len(one.at("disconnect")) for one in result.filters] == [1, 1]
    assert Quit() in result.filters[0].seen
