"""Merging filters: by calling what comes out of it."""

import asyncio

import pytest
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.conditions import only_if
from demyjpy.context import new_context, send_action
from demyjpy.engine.negotiation import DEFAULT_MACROS, MACRO_EVENTS
from demyjpy.errors import HandlerError
from demyjpy.findings import find, findings
from demyjpy.handlers import (
    chain_of,
    define_event_handlers,
    merge_handlers,
    scoped,
    wants_of,
    with_handlers,
)
from demyjpy.mta.postfix import Postfix
from demyjpy.mta.sendmail import Sendmail
from demyjpy.registry import Registry
from tests.engine.harness import keep


def saying(*actions):
    """A handler that queues these."""
    return lambda event, ctx: send_action(ctx, *actions)


def test_merged_handlers_run_in_order_each_on_the_others_context():
    """Each sees what the one before left, but not what it queued."""

    def add(name):
        def handle(event, ctx):
            assert ctx["queue"] == ()
            return send_action(ctx.set("seen", (*ctx.get("seen", ()), name)), act.AddHeader(name, "v"))

        return define_event_handlers({"end_of_message": handle})

    merged = merge_handlers(add("A"), add("B"), define_event_handlers({"mail": keep}))
    ctx = merged["end_of_message"](ev.EndOfMessage(), send_action(new_context(), act.Quarantine("x")))
    assert ctx["seen"] == ("A", "B")
    assert [getattr(one, "name", "") for one in ctx["queue"]] == ["", "A", "B"]
    assert [number for number, _ in chain_of(merged, "mail")] == [2]


COMPOSED = [
    (("accept", "accept"), "aa", [act.Accept()]),
    (("accept", "nothing"), "an", []),
    (("accept", "reject", "accept"), "ar", [act.Reject()]),
    (("tempfail", "reject"), "t", [act.TemporaryFailure()]),
    (("nothing", "reply", "discard"), "nr", [act.ReplyCode(550, "5.7.1", "no")]),
    (("discard", "accept"), "d", [act.Discard()]),
]


@pytest.mark.parametrize(("names", "called", "queue"), COMPOSED)
def test_the_first_refusal_is_the_answer_of_a_merged_handler(names, called, queue):
    """Those behind it are not called; nothing is queued if one goes on; Accept needs all filters."""
    say = {
        "accept": act.Accept(),
        "reject": act.Reject(),
        "reply": act.ReplyCode(550, "5.7.1", "no"),
        "discard": act.Discard(),
        "tempfail": act.TemporaryFailure(),
        "nothing": act.Continue(),
    }
    calls = []

    def handler(name):
        return lambda event, ctx: calls.append(name[0]) or send_action(ctx, say[name])

    merged = merge_handlers(*[define_event_handlers({"mail": handler(name)}) for name in names])
    assert list(merged["mail"](ev.Mail("a"), new_context())["queue"]) == queue
    assert "".join(calls) == called
    others = merge_handlers(merged, define_event_handlers({"body": keep}))
    silent = [] if queue == [act.Accept()] else queue
    assert list(others["mail"](ev.Mail("a"), new_context())["queue"]) == silent


def test_a_merged_handler_wants_no_more_of_the_body_if_none_of_them_does():
    """One that goes on needs it, one that accepts does not."""

    def merged(*said):
        return merge_handlers(*[define_event_handlers({"body": saying(one)}) for one in said])

    for said, queue in (
        ((act.Skip(), act.Accept()), (act.Skip(),)),
        ((act.Skip(), act.Continue()), ()),
        ((act.Skip(), act.Reject()), (act.Reject(),)),
    ):
        assert merged(*said)["body"](ev.Body(b"x"), new_context())["queue"] == queue


def test_findings_pass_from_handler_to_handler():
    """A merged handler that is called by hand writes author and event on them, as the engine does."""

    def look(event, ctx):
        (found,) = findings(ctx, "spf")
        assert (found.value, found.author, found.event) == ("fail", "spf", "mail")
        return find(ctx, "seen", True)

    spf = define_event_handlers({"mail": lambda event, ctx: find(ctx, "spf", "fail")}, name="spf")
    merged = merge_handlers(spf, define_event_handlers({"mail": look}))
    ctx = merged["mail"](ev.Mail("a"), new_context())
    assert ctx["queue"] == ()
    assert ctx["findings"][1].author == f"{__name__}.{look.__qualname__}"


def test_a_merged_handler_is_awaited_if_one_of_them_is():
    """Plain ones among them are called, if no other has refused."""

    async def awaited(event, ctx):
        await asyncio.sleep(0)
        return ctx.set("awaited", True)

    merged = merge_handlers(
        define_event_handlers({"mail": awaited}), define_event_handlers({"mail": saying(act.Reject())})
    )
    assert merged["mail"].is_async
    ctx = asyncio.run(merged["mail"](ev.Mail("a"), new_context()))
    assert (ctx["awaited"], ctx["queue"]) == (True, (act.Reject(),))


def test_a_merged_handler_has_the_options_of_all():
    """It answers, blocks, gets the rejected, and shows life as often as one of them would."""
    one, two, three = define_event_handlers(), define_event_handlers(), define_event_handlers()
    one.recipient(reply=False, blocking=True)(keep)
    two.recipient(rejected=True)(keep)
    one.end_of_message(progress=None)(keep)
    two.end_of_message(progress=2.0)(keep)
    three.end_of_message(progress=3.0)(keep)
    merged = merge_handlers(one, two, three)
    found = merged["recipient"]
    assert (found.reply, found.blocking, found.rejected) == (True, True, True)
    assert merged["end_of_message"].progress == 2.0
    assert merge_handlers(one, define_event_handlers({"mail": keep}))["end_of_message"].progress is None


def test_a_merged_filter_is_a_map_of_all_their_events():
    """It takes no handlers of its own: the message says where they belong."""
    merged = merge_handlers(
        define_event_handlers({"mail": keep, "body": keep}), define_event_handlers({"mail": keep})
    )
    assert list(merged) == ["mail", "body"]
    assert len(merged) == 2
    with pytest.raises(KeyError):
        merged["data"]
    with pytest.raises(
        HandlerError, match="expected a handler for 'data' to be registered with one of the filters"
    ):
        merged.data(keep)


def test_a_merged_filter_has_as_many_handlers_as_all():
    """One that is still empty counts as soon as it has a handler."""
    late = define_event_handlers()
    merged = merge_handlers(define_event_handlers({"mail": keep, "body": keep}), late)
    assert (merged.size, merged.sizes, len(merged.parts), len(merged.leaves)) == (2, (2,), 1, 2)
    late.mail(keep)
    assert (merged.size, merged.sizes, len(merged.parts), len(merged.leaves)) == (3, (2, 1), 2, 2)


def test_a_map_of_functions_may_be_merged():
    """It is made a registry; anything else is refused."""
    assert list(merge_handlers({"mail": keep})) == ["mail"]
    with pytest.raises(HandlerError, match="expected a registry or a map of event names, got 5"):
        merge_handlers(define_event_handlers(), 5)


def test_declarations_are_united():
    """Optional is only what none requires."""
    one = define_event_handlers({"data": keep}, actions={"add_header"}, state={"a": 1, "n": 0})
    two = define_event_handlers(
        {"data": keep, "unknown": keep},
        optional_actions={"add_header", "quarantine"},
        optional_events={"data", "unknown"},
        state={"b": 2},
    )
    merged = merge_handlers(one, two)
    assert merged.actions == {"add_header"}
    assert merged.optional_actions == {"quarantine"}
    assert merged.optional_events == {"unknown"}
    assert merged.state == {"a": 1, "b": 2, "n": 0}
    assert [part.actions for part in merged.parts] == [{"add_header"}, set()]
    assert [part.state for part in merged.parts] == [{"a": 1, "n": 0}, {"b": 2}]
    assert merge_handlers(two, define_event_handlers({"mail": keep})).optional_events == {
        "data",
        "unknown",
    }


def test_a_filter_stays_one_beside_an_empty_one():
    """What is declared and who handles what are the same."""
    one = define_event_handlers({"mail": keep}, macros={"end_of_headers": ("j",)}, state={"n": 0})
    merged = merge_handlers(one, define_event_handlers())
    assert merged.parts == one.parts
    assert (merged.macros, merged.state) == (one.macros, one.state)


# ------------------------------------------------------------------------------------------ keys
def named(name, **declared):
    """A filter with this name and one handler."""
    return define_event_handlers({"mail": keep}, name=name, **declared)


def conflict(key, one, other):
    """The beginning and the end of what is said of a key that two filters declare."""
    return (
        rf"expected each key of the context in the state= of one filter, got {key!r} from {one!r} and "
        rf"from {other!r}: give each filter a corner of its own with scoped\(\), or by keyword"
    )


@pytest.mark.parametrize("other", [0, 1])
def test_a_key_that_two_filters_declare_is_refused(other):
    """Also with the same value. The message names both, and what to do."""
    with pytest.raises(HandlerError, match=conflict("n", "acl", "tests.engine.harness.keep")):
        merge_handlers(named("acl", state={"n": 0}), named(None, state={"n": other}))
    assert merge_handlers(
        acl=named(None, state={"n": 0}), other=named(None, state={"n": other})
    ).state == {"acl": pmap({"n": 0}), "other": pmap({"n": other})}


def test_a_filter_with_state_is_merged_once():
    """The message names it twice; one without state is as good as two."""
    one = named("acl", state={"n": 0})
    with pytest.raises(HandlerError, match=conflict("n", "acl", "acl")):
        merge_handlers(one, one)
    assert len(merge_handlers(named("a"), named("a")).parts) == 2


def test_a_corner_belongs_to_what_was_scoped_at_once():
    """Two filters in corners of one name are refused, one filter twice, and a corner beside a key."""
    corner = scoped("x", named("one"))
    for other in (scoped("x", named("two")), corner, named("two", state={"x": 1})):
        name = other.parts[0].name
        is_corner = other.parts[0].scope == ("x",)
        in_corners = (
            f"expected a corner of its own for each filter, got 'one' and '{name}', .* corner 'x'"
        )
        with pytest.raises(HandlerError, match=in_corners if is_corner else conflict("x", "one", name)):
            merge_handlers(corner, other)
    with pytest.raises(HandlerError, match=conflict("x", "two", "one")):
        merge_handlers(named("two", state={"x": 1}), corner)
    inside = merge_handlers(named("one", state={"a": 1}), named("two", state={"b": 2}))
    both = merge_handlers(scoped("x", inside), scoped("y", scoped("x", named("three"))))
    assert both.state == {"x": pmap({"a": 1, "b": 2}), "y": pmap({"x": pmap()})}
    assert [part.scope for part in both.parts] == [("x",), ("x",), ("y", "x")]
    assert [part.state for part in both.parts] == [
        {"x": pmap({"a": 1})},
        {"x": pmap({"b": 2})},
        {"y": pmap({"x": pmap()})},
    ]


@pytest.mark.parametrize("group", [named("a"), merge_handlers(named("a"), named(None))])
def test_a_keyword_is_given_once(group):
    """Also if it is that of several filters."""
    first = merge_handlers(x=group)
    with pytest.raises(HandlerError, match="got two filters by the keyword 'x'"):
        merge_handlers(first, x=named("b"))


@pytest.mark.parametrize(("name", "called"), [(None, "without a name"), ("a", "called 'a'")])
def test_only_if_filters_have_names_of_their_own(name, called):
    """Under its name each keeps whether it was chosen."""
    one, two = (only_if(lambda event, ctx: True, named(name)) for _ in range(2))
    with pytest.raises(HandlerError, match=f"only_if filter to have a name .* got two {called}: give"):
        merge_handlers(one, two)
    assert len(merge_handlers(one=one, two=two).parts) == 2


@pytest.mark.parametrize("several", [[named("a"), named("b")], (named("a"),), []])
def test_filters_are_arguments_of_their_own(several):
    """A list of them is unpacked by who has it."""
    with pytest.raises(HandlerError, match=r"as an argument of its own, got .*merge_handlers\(\*list\)"):
        merge_handlers(several)


def test_a_part_that_is_made_anew_stays_in_its_corner():
    """From its handlers and its declarations, as tools make it."""
    inside = scoped("x", merge_handlers(named("one", state={"a": 1}), named("two", state={"b": 2})))
    again = merge_handlers(*[Registry(dict(part), part.declarations) for part in inside.parts])
    assert again.state == inside.state
    assert [part.scope for part in again.parts] == [("x",), ("x",)]


# ---------------------------------------------------------------------------------------- names
def test_a_keyword_names_and_scopes_a_filter():
    """It comes behind those without one, and has its keys in its corner; several share it.

    Of several each that has a name keeps it behind the keyword. An empty one makes no group.
    """
    count = define_event_handlers(
        {"mail": lambda event, ctx: ctx.set("n", ctx["n"] + 1)}, name="old", state={"n": 0}
    )
    merged = merge_handlers(named("first"), acl=count, pair=merge_handlers(named("a"), named(None)))
    assert [part.name for part in merged.parts] == ["first", "acl", "pair.a", "pair"]
    assert merged.parts[2]["mail"].filter == "pair.a"
    again = merge_handlers(outer=merged)
    assert [part.name for part in again.parts] == [
        "outer.first",
        "outer.acl",
        "outer.pair.a",
        "outer.pair",
    ]
    alone = merge_handlers(x=merge_handlers(count, define_event_handlers()))
    assert [part.name for part in alone.parts] == ["x"]
    assert [part.scope for part in merged.parts] == [(), ("acl",), ("pair",), ("pair",)]
    assert merged.parts[1]["mail"].filter == "acl"
    assert merged.parts[1]["mail"].name.startswith("acl: tests.test_merging.")
    ctx = merged["mail"](ev.Mail("a"), with_handlers(new_context(), merged))
    assert ctx["acl"] == pmap({"n": 1})
    assert count["mail"].filter == "old"


def test_a_filter_that_was_scoped_keeps_its_name():
    """And so do handlers with a name in a filter that has none."""
    assert scoped("x", named("acl"))["mail"].name == "acl: tests.engine.harness.keep"
    assert scoped("x", named("acl")).name == "acl"
    inner = define_event_handlers({"mail": named("acl")["mail"]})
    assert scoped("x", inner)["mail"].filter == "acl"


@pytest.mark.parametrize(("name", "problem"), [("queue", "a scope of your own"), ("a\nb", "printable")])
def test_a_keyword_has_to_do_as_name_and_as_scope(name, problem):
    """A key of the engine's is refused, and what cannot stand in a log."""
    with pytest.raises(HandlerError, match=problem):
        merge_handlers(**{name: named(None)})


@pytest.mark.parametrize("name", ["spf", "x.y.spf", "x", "x.y"])
def test_after_knows_the_filters_of_a_group(name):
    """By the last part of the name, by all of it, and by the group."""
    group = merge_handlers(
        x=merge_handlers(named("dkim"), y=merge_handlers(named("spf"), named("dmarc")))
    )
    score = named("score", after={name})
    assert len(merge_handlers(group, score).parts) == 4
    with pytest.raises(HandlerError, match="expected 'score' to stand behind 'x"):
        merge_handlers(score, group)
    assert len(merge_handlers(named("score", after={"y", "x.spf"}), group).parts) == 4


def test_a_filter_stands_behind_those_that_it_names():
    """An absent name is no error, nor is a filter of the same name that stands before it, too."""
    spf, score = named("spf"), named("score", after={"spf", "dkim"})
    assert len(merge_handlers(spf, score).parts) == 2
    assert len(merge_handlers(score, named("acl")).parts) == 2
    message = "expected 'score' to stand behind 'spf', as its after= says"
    for wrong in ((score, spf), (spf, score, spf), (score, scoped("x", spf))):
        with pytest.raises(HandlerError, match=message):
            merge_handlers(*wrong)
    with pytest.raises(HandlerError, match=message):
        merge_handlers(merge_handlers(named("acl"), score), named("b"), spf=named("x"))


# --------------------------------------------------------------------------------------- macros
def asking(**macros):
    """A filter that asks for these."""
    return define_event_handlers({"mail": keep}, macros=macros)


def test_the_default_macros_are_those_of_both_mtas():
    """As their models have them."""
    for event, names in DEFAULT_MACROS.items():
        found = {*Postfix().macros[event], *Sendmail().macros.get(event, ())}
        assert (set(names), len(names)) == (found, len(found))
    assert DEFAULT_MACROS.keys() == set(MACRO_EVENTS)


def test_macros_are_asked_for_once_each():
    """If all filters ask, the list is what they ask for."""
    merged = merge_handlers(asking(mail=("i", "j")), asking(mail=("j", "k")))
    assert merged.macros == {"mail": ("i", "j", "k")}


def test_what_one_asks_for_takes_nothing_from_the_others():
    """The own ones first, then the queue id, then what both MTAs send unasked."""
    merged = merge_handlers(asking(recipient=("{x}",), connect=("j",), hello=("h",)), asking())
    assert merged.macros == {
        "recipient": ("{x}", "i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
        "connect": ("j", "_", "{daemon_name}", "{daemon_addr}", "v", "{if_name}", "{if_addr}"),
        "hello": ("h", *DEFAULT_MACROS["hello"]),
    }


def test_the_ends_of_headers_and_of_the_message_go_together():
    """Whoever asks at one of them asks at both, for Sendmail's sake; the others keep {msg_id}."""
    merged = merge_handlers(asking(end_of_headers=("j",)), asking())
    assert merged.macros == {"end_of_headers": ("j", "i"), "end_of_message": ("j", "i", "{msg_id}")}
    assert wants_of(with_handlers(new_context(), merged)).macros == merged.macros


def test_too_many_macros_are_said_with_the_filters():
    """Those that ask for some at that event."""
    lists = [tuple(f"{{{name}{number}}}" for number in range(30)) for name in "ab"]
    one, two = (named(f"f{place}", macros={"mail": names}) for place, names in enumerate(lists))
    message = "at most 50 macros for 'mail' from all filters together, .* got 60 from 'f0' and 'f1'"
    with pytest.raises(HandlerError, match=message):
        merge_handlers(one, named("other"), two)


def test_a_list_of_macros_holds_no_more_than_sendmail_takes():
    """What does not fit is left out of the defaults; of what was asked for it is an error."""
    many = tuple(f"{{m{number}}}" for number in range(48))
    merged = merge_handlers(asking(mail=many), asking())
    assert merged.macros["mail"] == (*many, "i", "{auth_type}")
    full = merge_handlers(asking(mail=(*many, "j", "k")), asking())
    assert full.macros["mail"] == (*many, "j", "k")
    with pytest.raises(HandlerError, match="expected at most 50 macros for 'mail'"):
        merge_handlers(asking(mail=many), asking(mail=("1", "2", "3")))


def test_a_filter_without_handlers_misses_no_macros():
    """Until it has one: merging looks at it again."""
    late = define_event_handlers()
    merged = merge_handlers(asking(data=("j",)), late)
    assert merged.macros == {"data": ("j",)}
    late.mail(keep)
    assert merged.macros == {"data": ("j", "i")}
