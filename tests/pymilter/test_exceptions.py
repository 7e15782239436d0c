"""What comes of a callback that raises, or takes too long."""

from typing import Any

import pytest

from demyjpy import (
    Abort,
    Accept,
    EndOfMessage,
    Header,
    Mail,
    Recipient,
    ReplyCode,
    new_context,
    with_handlers,
)
from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import filter_of
from demyjpy.testing import Postfix, Sendmail, run, session
from tests.pymilter.classes import LETTER, ONE, Logging


class Failing(Milter.Base):
    """It fails at the end of a message that asks for that, or where its sender says."""

    aborted: list[str]

    def envfrom(self, sender, *parameters):
        self.setreply("450", "4.7.1", "not this")
        if "fail" in sender:
            raise ValueError("asked for")
        return Milter.CONTINUE

    @Milter.noreply
    def header(self, name, value):
        if name == "X-Fail":
            raise ValueError("asked for")
        return Milter.REJECT if name == "X-Reject" else Milter.CONTINUE

    def eom(self):
        self.addheader("X-Before", "1")
        raise SystemExit("asked for")

    def abort(self):
        self.aborted.append("abort")
        return Milter.CONTINUE


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        (Milter.TEMPFAIL, ReplyCode(451, "4.3.0", "pymilter: untrapped exception in f")),
        (Milter.REJECT, ReplyCode(554, "5.3.0", "pymilter: untrapped exception in f")),
        (Milter.CONTINUE, Accept()),
        (Milter.ACCEPT, Accept()),
    ],
)
@pytest.mark.parametrize("mta", [Postfix(), Sendmail()])
def test_an_exception_is_answered_as_the_policy_says(policy: int, verdict: Any, mta: Any) -> None:
    """Edits that were asked for before it count, and abort is not called."""
    ours = type("Ours", (Failing,), {"aborted": []})
    found = run(filter_of(ours, name="f", policy=policy), ONE.message(LETTER), mta=mta)
    assert (found.verdict, ours.aborted) == (verdict, [])
    if verdict == Accept():
        assert found.message.get("X-Before") == "1"


def test_an_exception_at_the_first_callback_keeps_the_instance() -> None:
    """With what it had set."""
    ours = type("Ours", (Failing,), {"aborted": []})
    script = session().mail("fail@example.org").rset().mail("a@b.example").rcpt("c@d.example").rset()
    found = run(filter_of(ours, policy=Milter.CONTINUE), script, mta=Postfix())
    contexts = [one.after["connection"] for one in found.observed]
    made = {id(one["pymilter: Ours"]) for one in contexts if one}
    assert len(made) == 1
    assert ours.aborted == ["abort", "abort"]  # the first: with that policy the message went on


def test_an_exception_that_is_raised_again_and_again_holds_no_instance() -> None:
    """Each connection finds its own, also if two raise it at once."""
    always = ValueError("asked for")

    class Raising(Milter.Base):
        def envfrom(self, sender, *parameters):
            raise always

        def close(self):
            raise always

    registry = filter_of(Raising, name="f")
    ctx = with_handlers(new_context(), registry)
    events = (Mail("a@b"), Mail("c@d"))
    for event in events:
        with pytest.raises(ValueError, match="asked for"):
            registry["mail"](event, ctx)
    answer = registry.declarations.policy.on_error
    after = [answer(always, event, ctx)["connection"]["pymilter: f"] for event in events]
    assert after[0] is not after[1]
    assert [one.event for one in after] == ["mail", "mail"]
    with pytest.raises(ValueError, match="asked for"):
        registry["disconnect"](None, ctx.set("events", frozenset({"mail"})))
    assert not any(always.__dict__.values())
    answer(always, events[0], ctx)


def test_an_exception_in_a_callback_without_reply_refuses_at_the_next_answer() -> None:
    """So does a refusal, which is one. With libmilter the MTA would wait for that answer in vain."""

    class Quiet(Failing):
        def eom(self):
            return Milter.CONTINUE

    for field in ("X-Fail", "X-Reject"):
        found = run(filter_of(Quiet), ONE.message(f"{field}: 1\n\n"))
        text = "pymilter: untrapped exception in Quiet"
        assert found.verdict == ReplyCode(451, "4.3.0", text)


def test_a_message_goes_on_after_an_exception_that_nobody_hears_of() -> None:
    """So its abort is called if it is given up."""

    class Quiet(Failing):
        @Milter.noreply
        def envrcpt(self, to, *parameters):
            raise ValueError("asked for")

    ours = type("Ours", (Quiet,), {"aborted": []})
    run(filter_of(ours), session().mail("a@b.example").rcpt("c@d.example").rset(), mta=Postfix())
    assert ours.aborted == ["abort"]


def test_an_instance_in_which_a_callback_still_runs_is_left_to_it() -> None:
    """As when it took too long: what it does is lost, and the connection gets another."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    ctx = with_handlers(new_context(), registry)
    ctx = registry["mail"](Mail("a@b"), ctx)
    (old,) = ctx["connection"].values()
    old.begin("mail", ctx)  # and never ends
    after = registry["header"](Header("A", "b"), ctx)
    (new,) = after["connection"].values()
    assert new is not old
    assert registry["header"](Header("A", "b"), after) is after
    policy = registry.declarations.policy.on_error
    assert policy(ValueError(), Header("A", "b"), ctx)["connection"] == ctx["connection"]


def test_a_context_after_a_callback_that_asks_for_nothing_is_the_same() -> None:
    """The engine need not look at it."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    ctx = registry["recipient"](Recipient("a@b"), with_handlers(new_context(), registry))
    for event in (EndOfMessage(), Abort()):
        name = "abort" if isinstance(event, Abort) else "end_of_message"
        assert registry[name](event, ctx) is ctx


def test_a_connection_that_was_never_negotiated_has_no_instance() -> None:
    """A probe that connects and goes away."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    ctx = with_handlers(new_context(), registry)
    assert registry["disconnect"](None, ctx) is ctx
    assert ours.seen == []
