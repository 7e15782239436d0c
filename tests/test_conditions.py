"""Filters for some mail only: by calling their handlers."""

import asyncio
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.conditions import DECIDING, only_if
from demyjpy.context import get_macro, new_context, remember, send_action, take_actions
from demyjpy.engine.macros import NO_MACROS
from demyjpy.errors import HandlerError
from demyjpy.findings import find, findings
from demyjpy.handlers import (
    default_event_handler,
    define_event_handlers,
    merge_handlers,
    scoped,
    wants_of,
    with_handlers,
)
from demyjpy.wire.codes import Command
from tests.engine.harness import keep

CONNECT_EVENT = ev.Connect("client.example", "4", IPv4Address("192.0.2.1"), 25)
EVENTS = {
    "connect": CONNECT_EVENT,
    "hello": ev.Hello("client.example"),
    "mail": ev.Mail("ann@example.org"),
    "recipient": ev.Recipient("bob@example.org"),
    "data": ev.Data(),
    "header": ev.Header("Subject", "x"),
    "end_of_headers": ev.EndOfHeaders(),
    "body": ev.Body(b"x"),
    "end_of_message": ev.EndOfMessage(),
    "abort": ev.Abort(),
    "unknown": ev.Unknown("FOO"),
    "quit": ev.Quit(),
    "disconnect": ev.Disconnect(),
}
TELLING = (*DECIDING[:4], "recipient", *DECIDING[4:], "header", "body", "end_of_message")
"""The events of a session with one message for two recipients."""


def noting(calls, *events, **declared):
    """A filter that writes down what it gets, and counts it in the context."""

    def handler(name):
        def note(event, ctx):
            calls.append(name)
            return ctx.set("seen", (*ctx["seen"], name))

        return note

    handlers = {name: handler(name) for name in events or EVENTS}
    return define_event_handlers(handlers, state={"seen": ()}, **declared)


def choosing(at, answer=True):
    """A predicate that says this at the event with this number, and None before."""
    asked = []

    def choose(event, ctx):
        asked.append(event)
        return answer if len(asked) == at + 1 else None

    choose.asked = asked
    return choose


def tell(handlers, *names, ctx=None):
    """Call the handlers of these events in a row; the context, and what was answered to each."""
    ctx = with_handlers(new_context(), handlers) if ctx is None else ctx
    answers = []
    for name in names:
        if name in handlers:
            ctx = handlers[name](EVENTS[name], ctx)
        queue, ctx = take_actions(ctx)
        answers.append(queue)
    return ctx, answers


@given(
    st.integers(0, 6), st.sampled_from([True, False]), st.sets(st.sampled_from(TELLING)), st.booleans()
)
def test_a_filter_gets_all_or_nothing(at, answer, events, in_corner):
    """Whenever the predicate decides, the filter gets what came before, in order, and what follows.

    If it says no, or nothing up to data, the filter gets nothing and is done.
    """
    calls = []
    predicate = choosing(at, answer)
    inner = noting(calls, *events, "quit")
    chosen = only_if(predicate, scoped("x", inner) if in_corner else inner)
    ctx, answers = tell(chosen, *TELLING)
    is_chosen = answer and at < 6
    wanted = [name for name in TELLING if name in events] if is_chosen else []
    assert calls == wanted
    assert (ctx["x"] if in_corner else ctx)["seen"] == tuple(wanted)
    done = [] if is_chosen else [min(at, 5)]
    assert [number for number, queue in enumerate(answers) if queue] == done
    assert all(answers[number] == (act.Accept(),) for number in done)
    assert predicate.asked == [EVENTS[name] for name in TELLING][: min(at, 5) + 1]


def test_the_filter_is_asked_for_nothing_that_an_old_mta_lacks():
    """The predicate can do without DATA; what the filter itself requires is required."""
    chosen = only_if(keep_none, define_event_handlers({"body": keep}))
    assert set(chosen) == {*DECIDING, "body"}
    assert len(chosen) == 6
    assert chosen.optional_events == frozenset(DECIDING)
    late = define_event_handlers()
    strict = only_if(keep_none, late)
    assert (list(strict), strict.size) == ([], 0)
    late.data(keep)
    assert strict.size == 1
    assert "data" not in strict.optional_events
    for same in (scoped("x", strict), merge_handlers(strict, define_event_handlers({"body": keep}))):
        assert "data" not in same.optional_events
    strict.header(reply=False)(keep)
    assert "header" in late
    assert wants_of(with_handlers(new_context(), strict)).quiet == {"header"}


def keep_none(event, ctx):
    """A predicate that never decides."""


def test_without_data_nothing_is_decided_and_the_filter_gets_nothing():
    """As with protocol version 2."""
    calls = []
    chosen = only_if(keep_none, noting(calls))
    _, answers = tell(chosen, *[name for name in TELLING if name != "data"], "abort", "quit")
    assert calls == []
    assert not any(answers)


def test_what_is_over_once_is_got_once():
    """Of several HELOs the filter gets the last one, and macros as they were at each event."""
    seen = []

    def note(event, ctx):
        seen.append((event, get_macro(ctx, "i")))
        return ctx

    chosen = only_if(choosing(4), define_event_handlers(dict.fromkeys(DECIDING, note)))
    hello = ev.Hello("again.example")
    ctx = with_handlers(new_context(), chosen)
    told = [("connect", CONNECT_EVENT), ("hello", EVENTS["hello"]), ("hello", hello)]
    told += [("mail", EVENTS["mail"]), ("recipient", EVENTS["recipient"])]
    for number, (name, event) in enumerate(told):
        macros = NO_MACROS.define(Command.MAIL, b"i\0%d\0" % number)
        ctx = chosen[name](event, ctx.set("macros", macros))
        assert ctx["macros"] is macros
    assert seen == [
        (CONNECT_EVENT, "0"),
        (hello, "2"),
        (EVENTS["mail"], "3"),
        (EVENTS["recipient"], "4"),
    ]


@pytest.mark.parametrize("last", DECIDING[:3])
def test_an_event_that_comes_again_ends_what_was_before(last):
    """Connection, HELO and MAIL: the filter gets what came before it, and then the last one."""
    calls = []
    chosen = only_if(choosing(4), noting(calls))
    tell(chosen, *DECIDING[:4], last)
    assert calls == [*DECIDING[: DECIDING.index(last) + 1]]


# -------------------------------------------------------------------------------------- answers
def saying(**said):
    """A filter that queues one action at each of these events."""
    return define_event_handlers(
        {name: lambda event, ctx, one=one: send_action(ctx, one) for name, one in said.items()}
    )


@pytest.mark.parametrize("name", ["connect", "hello", "mail"])
def test_a_refusal_of_what_is_over_answers_the_present_event(name):
    """And all that follow, for the message is refused; the filter gets no more, not even abort."""
    calls = []
    inner = noting(calls, "recipient", "data", "abort")
    inner.add(name, lambda event, ctx: send_action(ctx, act.Reject()))
    _, answers = tell(only_if(choosing(3), inner), *DECIDING[:4], "recipient", "data", "abort")
    assert answers == [(), (), (), *[(act.Reject(),)] * 3, ()]
    assert calls == []


def test_an_earlier_recipient_can_not_be_refused_any_more():
    """It is a failure of the filter; a failed handler changes nothing, so it fails again."""
    chosen = only_if(choosing(4), saying(recipient=act.Reject()))
    ctx, _ = tell(chosen, *DECIDING[:4])
    with pytest.raises(HandlerError, match=r"to keep a recipient who has been accepted, got Reject\(\)"):
        tell(chosen, "recipient", ctx=ctx)
    last = only_if(choosing(3), saying(recipient=act.Reject()))
    assert tell(last, *DECIDING[:4])[1][3] == (act.Reject(),)


def test_an_accept_of_what_is_over_ends_it():
    """The filter is done."""
    calls = []
    inner = noting(calls, "recipient")
    inner.add("mail", lambda event, ctx: send_action(ctx, act.Accept()))
    assert tell(only_if(choosing(3), inner), *DECIDING[:4])[1][3] == (act.Accept(),)
    assert calls == []


def test_a_filter_that_was_chosen_answers_as_by_itself():
    """What it queues goes out as it is; what was in the queue before stays in front."""
    chosen = only_if(choosing(0), saying(mail=act.TemporaryFailure(), hello=act.Continue()))
    ctx, answers = tell(chosen, *DECIDING[:3])
    assert answers == [(), (act.Continue(),), (act.TemporaryFailure(),)]
    before = send_action(ctx, act.Quarantine("x"))
    assert chosen["mail"](EVENTS["mail"], before)["queue"] == (
        act.Quarantine("x"),
        act.TemporaryFailure(),
    )


def test_findings_of_what_is_over_come_first():
    """They are queued at the present event."""
    inner = define_event_handlers(
        {name: lambda event, ctx, name=name: find(ctx, name, 1) for name in ("mail", "recipient")}
    )
    chosen = only_if(choosing(3), inner)
    ctx, _ = tell(chosen, *DECIDING[:3])
    found = findings(chosen["recipient"](EVENTS["recipient"], ctx))
    assert [one.name for one in found] == ["mail", "recipient"]


REFUSED = NO_MACROS.define(Command.RCPT, b"{rcpt_mailer}\0error\0")


def test_a_recipient_whom_the_mta_refused_decides_nothing():
    """No answer is due there; a filter that wants to see them gets them, as they were."""
    seen = []
    inner = define_event_handlers({"data": keep})

    @inner.recipient(rejected=True)
    def note(event, ctx):
        seen.append((event.address, get_macro(ctx, "rcpt_mailer")))
        return ctx

    predicate = choosing(3)
    chosen = only_if(predicate, inner)
    assert chosen["recipient"].rejected
    ctx, _ = tell(chosen, *DECIDING[:3])
    ctx = chosen["recipient"](ev.Recipient("no@example.org"), ctx.set("macros", REFUSED))
    assert (len(predicate.asked), seen, ctx["queue"]) == (3, [], ())
    ctx, _ = tell(chosen, "recipient", ctx=ctx.set("macros", NO_MACROS))
    assert seen == [("no@example.org", "error"), ("bob@example.org", None)]
    chosen["recipient"](ev.Recipient("late@example.org"), ctx.set("macros", REFUSED))
    assert seen[2:] == [("late@example.org", "error")]


@pytest.mark.parametrize("said", [act.Accept(), act.Reject()])
def test_a_recipient_whom_the_mta_refused_has_no_answer_later(said):
    """Nor would it have had one in time."""
    inner = define_event_handlers()
    inner.recipient(rejected=True)(lambda event, ctx: send_action(ctx, said))
    chosen = only_if(choosing(3), inner)
    ctx, _ = tell(chosen, *DECIDING[:3])
    ctx = chosen["recipient"](EVENTS["recipient"], ctx.set("macros", REFUSED))
    with pytest.raises(HandlerError, match="to answer Continue at recipient, got "):
        tell(chosen, "recipient", ctx=ctx.set("macros", NO_MACROS))


def test_no_refusal_is_said_of_a_recipient_whom_the_mta_refused():
    """Nor any other answer, if the filter is done."""
    for answer, inner in ((True, saying(mail=act.Reject())), (False, saying(mail=act.Reject()))):
        chosen = only_if(choosing(3, answer), inner)
        ctx, _ = tell(chosen, *DECIDING[:4])
        after = chosen["recipient"](EVENTS["recipient"], ctx.set("macros", REFUSED))
        assert after["queue"] == ()


# ------------------------------------------------------------------------------------- failures
def failing(event, ctx):
    raise ValueError("secret")


async def awaited(event, ctx):
    return True


@pytest.mark.parametrize(
    ("predicate", "got"),
    [
        (failing, "but it raised ValueError: secret"),
        (lambda event, ctx: {}[event], "but it raised KeyError: Connect"),
        (lambda event, ctx: int("5" * 1000 + "x"), "but it raised ValueError: .{200}$"),
        (lambda event, ctx: 1, "got 1"),
        (lambda event, ctx: "no", "got text of 2 characters"),
        (lambda event, ctx: awaited(event, None), "got a coroutine"),
    ],
)
def test_a_predicate_that_is_none_is_named(predicate, got):
    """It is a failure of the filter."""
    chosen = only_if(predicate, define_event_handlers({"mail": keep}))
    message = (
        rf"expected tests\.test_conditions\.{predicate.__name__.replace('<', '.*<')}, the predicate of "
        f"only_if, to return True, False or None, {got}"
    )
    with pytest.raises(HandlerError, match=message):
        tell(chosen, "connect")


def test_what_cannot_be_a_condition_is_refused():
    """The predicate is a function, and the filter a registry or a map."""
    with pytest.raises(HandlerError, match=r"expected only_if to get a function .* got True"):
        only_if(True, define_event_handlers())
    with pytest.raises(
        HandlerError, match=r"to get a plain function, got .*awaited, which is async def"
    ):
        only_if(awaited, define_event_handlers())
    with pytest.raises(HandlerError, match="expected a registry or a map of event names"):
        only_if(keep_none, keep)
    assert "mail" in only_if(keep_none, {"mail": keep})


@pytest.mark.parametrize("returned", [None, 5, pmap()])
def test_what_a_handler_should_not_return_is_not_hidden(returned):
    """At the present event the engine says what is wrong with it; of what is over it is said here."""
    inner = define_event_handlers({"mail": lambda event, ctx: returned})
    live = only_if(choosing(2), inner)
    ctx, _ = tell(live, *DECIDING[:2])
    assert live["mail"](EVENTS["mail"], ctx) is returned
    late = only_if(choosing(3), inner)
    ctx, _ = tell(late, *DECIDING[:3])
    with pytest.raises(HandlerError, match="to return a context made from the one it got"):
        late["recipient"](EVENTS["recipient"], ctx)


@pytest.mark.parametrize("at", [2, 3])
def test_an_observer_does_not_answer(at):
    """Neither at the present event nor at one that is over."""
    inner = define_event_handlers()
    inner.mail(reply=False)(lambda event, ctx: send_action(ctx, act.Reject()))
    chosen = only_if(choosing(at), inner)
    assert chosen["mail"].reply
    with pytest.raises(HandlerError, match=r"expected no answer from .* reply=False, got Reject\(\)"):
        tell(chosen, *DECIDING[:4])


def test_an_answer_has_to_be_legal_at_its_own_event():
    """Discard at connect would be legal at the recipient at which it is said."""
    with pytest.raises(HandlerError, match=r"to answer .* at connect, got Discard\(\)"):
        tell(only_if(choosing(3), saying(connect=act.Discard())), *DECIDING[:4])


# --------------------------------------------------------------------------- kinds of handlers
def test_async_handlers_are_awaited():
    """Also at a later event, and beside plain ones; what comes before them is plain."""
    calls = []

    async def wait(event, ctx):
        await asyncio.sleep(0)
        calls.append(type(event).__name__)
        return ctx

    inner = noting(calls, "recipient", "header")
    inner.add("mail", wait)
    inner.add("body", wait)
    chosen = only_if(choosing(3), inner)
    assert [chosen[name].is_async for name in DECIDING] == [False, False, True, True, True]
    assert (chosen["header"].is_async, chosen["body"].is_async) == (False, True)

    async def play():
        ctx, _ = tell(chosen, *DECIDING[:2])
        for name in ("mail", "recipient", "data"):
            ctx = await chosen[name](EVENTS[name], ctx)
        ctx = chosen["header"](EVENTS["header"], ctx)
        await chosen["body"](EVENTS["body"], ctx)

    asyncio.run(play())
    assert calls == ["Mail", "recipient", "header", "Body"]


def test_a_handler_keeps_its_options_and_its_name():
    """If a handler may block, so may the condition from its event on; logs name the function."""
    inner = define_event_handlers(name="slow")
    inner.mail(blocking=True)(keep)
    inner.end_of_message(progress=2.0)(keep)
    chosen = only_if(keep_none, inner)
    assert [chosen[name].blocking for name in DECIDING] == [False, False, True, True, True]
    assert chosen["end_of_message"].progress == 2.0
    assert chosen["mail"].name == "slow: tests.engine.harness.keep"
    assert chosen["data"].name == "slow: tests.test_conditions.keep_none"
    assert chosen.name == "slow"
    with pytest.raises(KeyError):
        chosen["body"]


def test_overrides_are_not_conditional():
    """The negotiation comes before all else."""
    inner = define_event_handlers({"options": default_event_handler, "define_macros": keep})
    chosen = only_if(keep_none, inner)
    assert chosen["options"] is inner["options"]
    assert chosen["define_macros"] is inner["define_macros"]


# ------------------------------------------------------------------------------ several filters
def test_each_of_several_merged_filters_is_chosen_by_itself():
    """Also if they have one name; each has a key of its own."""
    calls = []
    filters = [define_event_handlers({"mail": keep}, name="a") for _ in range(2)]
    merged = only_if(lambda event, ctx: True, merge_handlers(*filters, noting(calls, name="b")))
    assert [part.name for part in merged.parts] == ["a", "a", "b"]
    assert merged.state.keys() == {"only_if a", "only_if a 2", "only_if b", "seen"}
    tell(merged, "connect", "mail")
    assert calls == ["connect", "mail"]


def test_conditions_nest_and_go_with_corners():
    """Both have to choose the filter; the predicate in the corner sees the corner."""
    calls, seen = [], []

    def look(event, ctx):
        seen.append("outside" in ctx)
        return True if isinstance(event, ev.Mail) else None

    inner = noting(calls, "connect", "recipient", name="f")
    for made in (
        only_if(look, scoped("x", only_if(choosing(1), inner))),
        scoped("x", only_if(look, only_if(choosing(1), inner))),
    ):
        calls.clear(), seen.clear()
        ctx = with_handlers(new_context({"outside": 1}), made)
        tell(made, *DECIDING[:4], ctx=ctx)
        assert calls == ["connect", "recipient"]
        assert set(seen) == {"only_if f" in made.state}
    assert made.scope == ("x",)
    assert made.state["x"].keys() == {"only_if f", "only_if f 2", "seen"}
    both = merge_handlers(
        only_if(look, scoped("y", merge_handlers(inner, define_event_handlers({"mail": keep})))), made
    )
    assert both.state["y"] == pmap({"seen": ()})


def test_what_the_filter_remembers_stays():
    """Beside the note that it was chosen."""
    inner = define_event_handlers({"mail": lambda event, ctx: remember(ctx, mails=1)}, name="f")
    ctx, _ = tell(only_if(choosing(2), inner), *DECIDING[:3])
    assert ctx["connection"] == pmap({"only_if f": True, "mails": 1})
