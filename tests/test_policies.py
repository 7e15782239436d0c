"""A filter's own policy: what is answered if it fails, what it may take, whether it counts."""

from itertools import count
from typing import Any

import pytest

from demyjpy import (
    AddHeader,
    HandlerError,
    Quarantine,
    Registry,
    Reject,
    ReplyCode,
    Skip,
    accept,
    add_header,
    become,
    define_event_handlers,
    discard,
    merge_handlers,
    only_if,
    reject,
    scoped,
    skip,
    with_policy,
)
from demyjpy.policies import check_timeouts
from demyjpy.testing import Postfix, run, session
from demyjpy.trace import canary
from demyjpy.verdicts import Fate
from tests.engine.harness import MAIL as MAIL_PACKET
from tests.engine.harness import OPENING, RCPT, Session, macros

MAIL = session().mail("alice@example.org").rcpt("bob@example.net").message("Subject: hello\n\ntext\n")


_NUMBERS = count()


def failing(event: str = "end_of_message", **options: Any) -> Registry:
    """A filter that fails at this event."""

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError("broken")

    return define_event_handlers({event: fail}, **options)


def doing(event: str, does: Any = None, **options: Any) -> Registry:
    """A filter whose handler does this, a function of a context, at the first of such events."""
    key = f"done {next(_NUMBERS)}"

    def handle(event: Any, ctx: Any) -> Any:
        return ctx if does is None or key in ctx else does(ctx.set(key, True))

    return define_event_handlers({event: handle}, **options)


# --------------------------------------------------------------------------------- if it fails
@pytest.mark.parametrize(
    ("on_error", "fate"),
    [("tempfail", Fate.TEMPFAILED), ("accept", Fate.ACCEPTED), ("reject", Fate.REJECTED)],
)
@pytest.mark.parametrize("beside", [(), (define_event_handlers({"mail": lambda event, ctx: ctx}),)])
def test_the_policy_of_a_filter_answers_its_failures(on_error, fate, beside):
    """Whatever the server says, alone and merged."""
    handlers = merge_handlers(with_policy(failing(), on_error=on_error), *beside)
    assert run(handlers, MAIL, on_error="reject").fate == fate
    assert run(handlers, MAIL, on_error="accept").fate == fate


def test_each_of_merged_filters_has_its_own():
    """A filter without a policy is answered as the server says."""
    handlers = merge_handlers(with_policy(failing("mail"), on_error="accept"), failing())
    assert run(handlers, MAIL, on_error="reject").fate == Fate.REJECTED
    both = with_policy(handlers, on_error="accept")
    assert run(both, MAIL, on_error="reject").fate == Fate.ACCEPTED


def test_a_function_answers_in_the_corner_of_its_filter():
    """It sees the context as the handlers of the filter that got it, with the error and the event."""

    def answer(error: Exception, event: Any, ctx: Any) -> Any:
        return reject(ctx.set("seen", True), "5.7.1", f"{error} {type(event).__name__} {ctx['own']}")

    inner = with_policy(failing(state={"own": 1}), on_error=answer)
    for handlers in (
        scoped("corner", inner),
        merge_handlers(corner=inner, other=define_event_handlers({"mail": lambda event, ctx: ctx})),
    ):
        result = run(handlers, MAIL)
        assert result.verdict == ReplyCode(550, "5.7.1", "broken EndOfMessage 1")
    outer = with_policy(
        scoped("corner", failing(state={"own": 1})),
        on_error=lambda error, event, ctx: reject(ctx, "5.7.1", str(ctx["corner"]["own"])),
    )
    assert run(outer, MAIL).verdict == ReplyCode(550, "5.7.1", "1")


@pytest.mark.parametrize(
    ("around", "expected"),
    [
        (lambda one: with_policy(one, timeout=5), "reject"),
        (lambda one: with_policy(one, on_error="accept"), "accept"),
        (lambda one: only_if(lambda event, ctx: True, one), "reject"),
        (lambda one: merge_handlers(one, define_event_handlers()), "reject"),
    ],
)
def test_a_later_policy_wins_for_what_it_names(around, expected):
    """The rest stays, through whatever is put around the filter."""
    (part,) = around(with_policy(failing(), on_error="reject")).parts
    assert part.declarations.policy.on_error == expected


def test_a_policy_by_origin():
    """An origin that is not in the map has the server's policy."""
    handlers = with_policy(
        failing(), on_error={"submission": "accept", "smtp": lambda error, event, ctx: discard(ctx)}
    )
    assert handlers.declarations.facts == {"origin"}
    assert run(handlers, MAIL).fate == Fate.DISCARDED
    by_user = session().auth("ann").mail("ann@example.org").rcpt("bob@example.net").message()
    assert run(handlers, by_user, mta=Postfix()).fate == Fate.ACCEPTED
    only_bounces = scoped("x", with_policy(failing(), on_error={"bounce": "accept"}))
    assert run(only_bounces, MAIL, on_error="reject").fate == Fate.REJECTED
    bounce = session().mail("").rcpt("bob@example.net").message()
    assert run(only_bounces, bounce, on_error="reject", mta=Postfix()).fate == Fate.ACCEPTED
    own = with_policy(
        failing(macros={"end_of_message": ("{client_addr}",)}), on_error={"local": "accept"}
    )
    near = session(client="127.0.0.1").mail("a@example.org").rcpt("bob@example.net").message()
    assert run(own, near, on_error="reject", mta=Postfix()).fate == Fate.ACCEPTED


def test_a_filter_with_a_policy_may_still_grow():
    """Its decorators and its map are those of the filter within."""
    inner = define_event_handlers(optional_events={"data"})
    handlers = with_policy(inner, on_error="accept")
    assert not handlers
    assert handlers.size == 0

    @handlers.data
    def data(event, ctx):
        return ctx

    assert list(inner) == list(handlers) == ["data"]
    assert handlers["data"].function is data
    assert handlers.optional_events == {"data"}
    assert handlers.parts == (handlers,)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"on_error": "drop"}, "expected on_error"),
        ({"on_error": {"smtp": 5}}, "expected on_error"),
        ({"on_error": {"mars": "accept"}}, "smtp, submission, local, bounce, got 'mars'"),
        ({"timeout": 0}, "timeout= in seconds"),
        ({"enforce": "no"}, "enforce= as True or False, got"),
    ],
)
def test_what_is_no_policy(policy, expected):
    """It is an error at once, that says what was expected."""
    with pytest.raises(HandlerError, match=expected):
        with_policy(failing(), **policy)


# --------------------------------------------------------------------------------- sums
def timed(name: str, **seconds: float) -> Registry:
    """A filter with a handler for each event, which may take so long."""
    handlers = define_event_handlers(name=name)
    for event, most in seconds.items():
        handlers.add(event, lambda event, ctx: ctx, **({"timeout": most} if most else {}))
    return handlers


@pytest.mark.parametrize(
    ("handlers", "expected"),
    [
        (timed("a", recipient=8.5), r"at recipient to be at most 8 s together, .* got 8.5 s: a 8.5 s"),
        (
            merge_handlers(timed("a", mail=5), timed("b", mail=0), timed("c", mail=4)),
            r"at mail .* got 9 s: a 5 s, c 4 s",
        ),
        (timed("a", message=200, end_of_message=41), r"at end_of_message .* 240 s .* 241 s: a 241 s"),
        (
            merge_handlers(with_policy(timed("a", message=1), timeout=200), timed("b", message=50)),
            "got 250 s: a 200 s, b 50 s",
        ),
    ],
)
def test_what_filters_may_take_together_is_checked(handlers, expected):
    """The error has the sum and who it is made of; so a milter with these does not start."""
    with pytest.raises(HandlerError, match=expected):
        check_timeouts(handlers)
    with pytest.raises(HandlerError, match=expected):
        run(handlers, MAIL)


def test_sums_that_an_mta_waits_for():
    """Only values that are given count, at each event for itself; nobody waits at the end of all."""
    check_timeouts(merge_handlers(timed("a", mail=8, recipient=8, quit=60), timed("b", mail=0)))
    check_timeouts(with_policy(timed("a", message=200, end_of_message=200), timeout=240))


def test_filters_that_are_alternatives_count_once():
    """Of a canary those count that may take longest."""
    live = merge_handlers(timed("a", end_of_message=100), timed("b", end_of_message=100))
    check_timeouts(canary(live, timed("c", end_of_message=200), share=0.5))
    with pytest.raises(HandlerError, match=r"got 241 s: .*c 241 s$"):
        check_timeouts(canary(live, timed("c", end_of_message=241), share=0.5))


def test_a_filter_that_is_chosen_late_has_the_time_of_one_handler():
    """What it runs at the present event, one after the other, may take what the slowest may."""
    chosen = only_if(lambda event, ctx: True, timed("a", mail=3, recipient=2, data=0))
    assert chosen["recipient"].timeout == 3
    assert chosen["connect"].timeout is None


# --------------------------------------------------------------------------------- only tried
SAYS = {
    "connect": (lambda ctx: reject(ctx, "5.7.1", "no"), ReplyCode(550, "5.7.1", "no")),
    "hello": (reject, Reject()),
    "mail": (reject, Reject()),
    "recipient": (reject, Reject()),
    "header": (reject, Reject()),
    "body": (skip, Skip()),
    "message": (reject, Reject()),
    "end_of_message": (reject, Reject()),
}


@pytest.mark.parametrize("event", SAYS)
@pytest.mark.parametrize("is_merged", [False, True])
def test_the_verdict_of_a_filter_that_is_only_tried_is_withheld(event, is_merged):
    """The mail goes on as if it had said Continue, and its step has what it would have said."""
    says, said = SAYS[event]
    handlers = with_policy(doing(event, says), enforce=False)
    seen: list[str] = []
    if is_merged:
        other = define_event_handlers({"end_of_message": lambda event, ctx: seen.append("") or ctx})
        handlers = merge_handlers(handlers, other)
    result = run(handlers, MAIL, mta=Postfix())
    assert result.fate == Fate.ACCEPTED
    assert result.withheld == (said,)
    assert result.filters[0].withheld == (said,)
    assert result.at(event)[0].withheld == (said,)
    assert result.at(event)[0].actions == (said,)
    assert seen == ([""] if is_merged else [])


def test_what_is_said_to_the_mta_is_what_a_silent_filter_says():
    """To the last byte: it cannot be told from one whose handlers do nothing."""
    tried = merge_handlers(*(with_policy(doing(event, SAYS[event][0]), enforce=False) for event in SAYS))
    silent = merge_handlers(*(doing(event) for event in SAYS))
    answers = [
        [one.sent for one in run(handlers, MAIL, mta=Postfix()).observed if one.sent]
        for handlers in (tried, silent)
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("does", [accept, reject, discard])
def test_a_filter_that_is_only_tried_sees_what_it_would_see(does):
    """After a verdict that ends the message for it, it is done with that, and begins the next one."""
    seen: list[str] = []
    two = MAIL.mail("carol@example.org").rcpt("bob@example.net").message("A: b\n\n")

    def note(event: Any, ctx: Any) -> Any:
        seen.append(type(event).__name__)
        return does(ctx) if seen == ["Mail"] else ctx

    handlers = with_policy(
        define_event_handlers(dict.fromkeys(("mail", "header", "end_of_message", "abort"), note)),
        enforce=False,
    )
    for one in (handlers, merge_handlers(handlers, define_event_handlers({"abort": lambda e, c: c}))):
        seen.clear()
        result = run(one, two, mta=Postfix())
        assert [message.fate for message in result.messages] == [Fate.ACCEPTED, Fate.ACCEPTED]
        assert seen == ["Mail", "Mail", "Header", "EndOfMessage"]


def test_the_edits_of_a_filter_that_is_only_tried_are_withheld():
    """Later filters and the MTA see the message as it was; wishes are worked out, and dropped."""
    tried = define_event_handlers(edits="all")

    @tried.message
    def wish(event, ctx):
        return become(ctx, event.set("Subject", "other"))

    @tried.end_of_message
    def edit(event, ctx):
        return add_header(ctx, "X-Tried", "yes")

    seen: list[Any] = []
    later = define_event_handlers(edits="headers")

    @later.message
    def look(event, ctx):
        seen.append((event.get("Subject"), event.get("X-Tried")))
        return add_header(ctx, "X-Later", "yes")

    result = run(merge_handlers(with_policy(tried, enforce=False), later), MAIL, mta=Postfix())
    assert seen == [("hello", None)]
    assert result.actions == (AddHeader("X-Later", "yes"),)
    wished, edited = result.withheld
    assert (wished.name, wished.value) == ("Subject", "other")
    assert edited == AddHeader("X-Tried", "yes")
    alone = run(with_policy(tried, enforce=False), MAIL)
    assert alone.message.get("Subject") == "hello"
    assert len(alone.withheld) == 2


def test_edits_that_are_not_legal_are_a_failure_also_of_a_filter_that_is_only_tried():
    """It is logged, and what its policy would have answered is withheld."""
    tried = doing("end_of_message", lambda ctx: add_header(ctx, "X", "y"))
    result = run(with_policy(tried, enforce=False), MAIL)
    assert result.fate == Fate.ACCEPTED
    assert [type(one.error).__name__ for one in result.troubles] == ["LocalProtocolError"]
    assert [type(one).__name__ for one in result.withheld] == ["TemporaryFailure"]


@pytest.mark.parametrize("event", ["connect", "mail", "recipient", "header", "end_of_message"])
@pytest.mark.parametrize("beside", [(), (define_event_handlers({"mail": lambda event, ctx: ctx}),)])
@pytest.mark.parametrize("quiet", [False, True])
def test_a_failure_of_a_filter_that_is_only_tried_is_felt_by_nobody(event, beside, quiet):
    """It is logged; the policy's answer is withheld, edits included, and nothing is owed later."""
    inner = define_event_handlers(edits="headers")
    options: Any = {"reply": False} if quiet and event != "end_of_message" else {}

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError

    inner.add(event, fail, **options)
    answers: list[Any] = [Reject()]
    policy: Any = "reject"
    if event == "end_of_message":
        answers.insert(0, AddHeader("X", "y"))

        def policy(error, event, ctx):
            return reject(add_header(ctx, "X", "y"))

    handlers = merge_handlers(with_policy(inner, on_error=policy, enforce=False), *beside)
    result = run(handlers, MAIL, mta=Postfix())
    assert result.fate == Fate.ACCEPTED
    assert len(result.troubles) == 1
    assert list(result.withheld) == answers


def test_a_filter_that_failed_while_it_is_tried_gets_abort():
    """Its message has not ended for it: as if the policy were to accept."""
    seen: list[str] = []
    inner = failing("header")
    inner.add("abort", lambda event, ctx: seen.append("abort") or ctx)
    inner.add("end_of_message", lambda event, ctx: seen.append("end") or ctx)
    for handlers in (
        with_policy(inner, enforce=False),
        merge_handlers(with_policy(inner, enforce=False), doing("mail")),
    ):
        seen.clear()
        assert run(handlers, MAIL, mta=Postfix()).fate == Fate.ACCEPTED
        assert seen == ["abort"]


def test_a_rejected_recipient_has_no_answer_to_withhold():
    """The MTA has refused it: what the policy would say was never to be sent."""
    inner = define_event_handlers()

    @inner.recipient(rejected=True)
    def fail(event, ctx):
        raise ValueError

    played = Session.open(with_policy(inner, enforce=False), observer=(seen := []).append)
    refused = macros("R", rcpt_mailer="error", rcpt_host="5.1.1", rcpt_addr="no such user")
    assert played.say(*OPENING, MAIL_PACKET, refused, RCPT) == "Occcc"
    assert len(played.errors) == 1
    assert [step.withheld for step in seen if step.error] == [()]


def test_a_message_too_large_for_a_filter_that_is_only_tried():
    """It is logged, and the mail goes on; the filter is done with it, waiting or not."""
    seen: list[str] = []
    inner = define_event_handlers()

    @inner.message(limit=10, beyond="reject")
    def look(event, ctx):
        seen.append("message")
        return ctx

    inner.add("end_of_message", lambda event, ctx: seen.append("end") or ctx)
    tried = with_policy(inner, enforce=False)
    for handlers in (
        tried,
        merge_handlers(doing("end_of_message", edits="all"), tried, doing("end_of_message")),
    ):
        result = run(handlers, MAIL)
        assert result.fate == Fate.ACCEPTED
        assert len(result.troubles) == 1
        assert seen == []


def test_enforcing_can_be_switched_on_again():
    """The last policy that names it wins."""
    tried = with_policy(doing("mail", reject), enforce=False)
    assert run(with_policy(tried, timeout=3), MAIL).fate == Fate.ACCEPTED
    assert run(with_policy(doing("mail", reject), enforce=True), MAIL).fate == Fate.REJECTED
    assert run(
        with_policy(with_policy(doing("mail", reject), enforce=False), enforce=True), MAIL
    ).fate == (Fate.REJECTED)


def test_permissions_are_asked_for_all_the_same():
    """So the filter can be enforced later without a surprise."""
    handlers = with_policy(doing("end_of_message", actions={"quarantine"}), enforce=False)
    assert handlers.actions == {"quarantine"}
    tried = doing("end_of_message", lambda ctx: Quarantine("x") and ctx, actions={"quarantine"})
    assert run(with_policy(tried, enforce=False), MAIL).withheld == ()


def test_all_that_accept_are_not_all_that_count():
    """With a filter that is only tried the MTA never hears that all are done."""
    handlers = merge_handlers(with_policy(doing("mail", accept), enforce=False), doing("mail", accept))
    result = run(handlers, MAIL, mta=Postfix())
    assert [type(step.answer[-1]).__name__ for step in result.at("mail") if step.answer] == ["Continue"]


def test_a_row_of_filters_has_what_each_withheld():
    """Filters on connections of their own."""
    tried = with_policy(doing("mail", reject), enforce=False)
    other = with_policy(doing("data", reject), enforce=False)
    result = run([tried, doing("mail"), other], MAIL, mta=Postfix())
    assert result.withheld == (Reject(), Reject())
