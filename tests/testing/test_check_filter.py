"""`check_filter` finds each planted bug, shows it in a short dialogue, and passes good filters."""

import asyncio
import re

import pytest

from demyjpy import (
    LocalProtocolError,
    accept,
    add_header,
    add_recipient,
    default_event_handler,
    define_event_handlers,
    delete_header,
    delete_headers,
    merge_handlers,
    quarantine,
    reject,
    remember,
    scoped,
    tempfail,
    testing,
    with_handlers,
)
from demyjpy.events import Options
from demyjpy.testing import Postfix, Sendmail
from demyjpy.testing.strategies import check_filter
from demyjpy.testing.strategies.properties import PROPERTIES
from tests.testing import planted
from tests.testing.planted import PLANTED


def story_of(handlers, **options) -> str:
    with pytest.raises(AssertionError) as caught:
        check_filter(handlers, **{"max_examples": 1, **options})
    return str(caught.value)


@pytest.mark.parametrize("make", PLANTED, ids=lambda make: make.__name__)
def test_a_planted_bug_is_found_and_reads_at_a_glance(make):
    """The story tells the property in words, a dialogue of few lines, and the code that plays it."""
    story = story_of(make())
    first, *lines = story.splitlines()
    assert first.startswith(f"expected of a filter: {PROPERTIES[PLANTED[make]][0]}; got: ")
    dialogue = [line for line in lines if re.match(r"(C|S|--): ?|-- ", line)]
    assert 3 < len(dialogue) <= 22
    assert lines[-1].startswith("run(handlers, session(")
    assert len(lines[-1]) < 200


def test_a_story_shows_what_differs():
    """Here the recipients of a message that was given up are counted with the next."""
    story = story_of(planted.keeps_by_client())
    assert "got: message 2 has another result than alone" in story
    assert "C: RSET" in story
    assert "-X-Recipients: 1\n+X-Recipients: 2" in story


def test_a_story_names_the_handler_that_fails():
    """With its event and its error."""
    story = story_of(planted.raises())
    assert "got: it fails at recipient" in story
    assert "judge(Recipient(address='postmaster'" in story
    assert "ValueError: not enough values to unpack" in story


def test_chance_finds_what_no_classic_session_has():
    """A third message on a connection is none of the classics."""
    handlers = define_event_handlers()

    @handlers.mail
    def judge(event, ctx):
        count = ctx["connection"].get("count", 0) + 1
        return 1 / 0 if count == 3 else remember(ctx, count=count)

    story = story_of(handlers, max_examples=50, mta=Postfix())
    assert "ZeroDivisionError" in story
    assert story.count("MAIL FROM") == 3


ARCHIVE = "archive@example.org"


def good_filter():
    """Does many things, and all of them well."""
    handlers = define_event_handlers(
        actions={"add_header", "change_header", "add_recipient"},
        optional_actions={"quarantine"},
        optional_events={"data", "unknown"},
        macros={"end_of_message": ("i",)},
        state={"n": 0, "seen": 0, "hello": None, "to": frozenset()},
    )

    @handlers.hello(reply=False)
    def note_hello(event, ctx):
        return ctx.set("hello", event.greeting)

    @handlers.unknown
    def unknown(event, ctx):
        return tempfail(ctx) if event.command.startswith("GET") else ctx

    @handlers.data
    async def data(event, ctx):
        await asyncio.sleep(0)
        return ctx

    @handlers.mail
    def greet(event, ctx):
        return remember(ctx, mails=ctx["connection"].get("mails", 0) + 1)

    @handlers.recipient(reply=False)
    def note_recipient(event, ctx):
        return ctx.set("to", ctx["to"] | {event.address})

    @handlers.header(reply=False)
    def note(event, ctx):
        return ctx.set("seen", ctx["seen"] + 1) if event.name.lower() == "x-test" else ctx

    @handlers.body
    def count(event, ctx):
        return ctx.set("n", ctx["n"] + len(event.data))

    @handlers.end_of_message
    def write(event, ctx):
        ctx = add_header(ctx, "X-Seen", f"{ctx['n']} of {ctx['connection']['mails']}, {ctx['hello']!a}")
        ctx = delete_headers(ctx, "X-Test", range(1, ctx["seen"] + 1))
        if ARCHIVE not in ctx["to"]:  # Postfix would deliver it twice
            ctx = add_recipient(ctx, ARCHIVE)
        if ctx["n"] > 1000 and "quarantine" in ctx["actions"]:
            return quarantine(ctx, "large")
        return ctx

    return handlers


def judging_filter():
    """Refuses early."""
    handlers = define_event_handlers()

    @handlers.connect
    def judge_client(event, ctx):
        return reject(ctx) if event.family == "6" else ctx

    @handlers.recipient
    def judge(event, ctx):
        return reject(ctx, "5.1.1", "No such user") if event.address == "postmaster" else ctx

    @handlers.header
    def done(event, ctx):
        return accept(ctx) if event.value == "hello" else ctx

    return handlers


@pytest.mark.parametrize(
    "handlers",
    [
        define_event_handlers(),
        good_filter(),
        merge_handlers(scoped("a", good_filter()), judging_filter()),
        lambda ctx: with_handlers(ctx, good_filter()),
    ],
    ids=["empty", "good", "merged", "function"],
)
def test_a_good_filter_passes(handlers):
    """Whatever is remembered on purpose, asked for by macro or done only where it is granted."""
    check_filter(handlers, max_examples=4)


def test_one_mta_may_be_meant():
    """The other is not played."""
    check_filter(planted.differs_between_mtas(), mta=Sendmail(), max_examples=1)
    assert "C: MAIL" in story_of(planted.mangles_a_header(), mta=Sendmail())


def test_errors_may_be_answered_on_purpose():
    """With on_error= a handler may raise; other properties must hold nevertheless."""
    check_filter(planted.raises(), on_error="reject", max_examples=1)
    assert "exactly one verdict" in story_of(planted.answers_twice(), on_error="accept")


def test_properties_that_do_not_hold_on_purpose_are_skipped():
    """By their short names; another name is an error."""
    check_filter(planted.counts_forever(), skip={"leaks", "chunks", "mtas"}, max_examples=1)
    with pytest.raises(LocalProtocolError, match=r"names among negotiation, .*; got leak$"):
        check_filter(good_filter(), skip={"leak"})


def test_what_no_mta_grants_is_no_negotiation():
    """A filter that answers the offer itself, and asks for too much or not at all, is found."""
    wrong = define_event_handlers({"options": lambda event, ctx: ctx})
    assert "the session is broken off" in story_of(wrong)


def test_a_filter_that_is_refused_by_the_mta_is_told():
    """NegotiationError names what is missing."""
    handlers = define_event_handlers(actions={"quarantine"})
    story = story_of(handlers, mta=Postfix(offer=Options(6, 0x1, 0x1FFFFF)))
    assert "it asks for what is not offered" in story
    assert "quarantine" in story


def test_a_filter_that_never_works_is_played_to_the_end():
    """Where errors are answered on purpose, a filter that the MTA cannot use is no error."""
    unusable = define_event_handlers({"options": lambda event, ctx: ctx})
    check_filter(unusable, on_error="accept", max_examples=1)


def test_a_filter_may_serve_one_connection_at_a_time():
    """The other connection is then refused, which changes nothing for the first."""
    open_connections = []

    def negotiate(event, ctx):
        open_connections.append(event)
        return ctx if len(open_connections) > 1 else default_event_handler(event, ctx)

    def leave(event, ctx):
        open_connections.pop()
        return ctx

    handlers = define_event_handlers({"options": negotiate, "disconnect": leave})
    check_filter(handlers, on_error="accept", max_examples=1)


def test_a_filter_may_need_events_of_later_versions():
    """An MTA that offers only what it requires offers those."""
    handlers = define_event_handlers(
        {"data": lambda event, ctx: ctx, "unknown": lambda event, ctx: ctx},
        optional_actions={"quarantine"},
    )
    check_filter(handlers, max_examples=1)


def test_a_filter_may_change_what_it_added():
    """The place of the field is then no longer the MTA's."""
    handlers = define_event_handlers(actions={"add_header", "change_header"}, state={"is_marked": False})

    @handlers.header
    def look(event, ctx):
        return ctx.set("is_marked", ctx["is_marked"] or event.name.lower() == "x-mark")

    @handlers.end_of_message
    def mark(event, ctx):
        return ctx if ctx["is_marked"] else delete_header(add_header(ctx, "X-Mark", "one"), 1, "X-Mark")

    check_filter(handlers, max_examples=1)


def test_a_filter_that_cannot_begin_is_an_error():
    """on_connect is the filter's, too."""

    def on_connect(ctx):
        raise KeyError("settings")

    assert story_of(on_connect) == (
        "expected of a filter: it never raises; got: on_connect failed: KeyError: 'settings'"
    )


def test_what_is_no_action_is_an_error_of_the_handler():
    """Anything may be queued."""
    handlers = define_event_handlers()

    @handlers.mail
    def judge(event, ctx):
        return ctx.set("queue", ("no action",))

    assert "expected an action, got text of 9 characters" in story_of(handlers)


def test_it_can_be_imported_from_the_kit():
    """As the other names of `demyjpy.testing`."""
    assert testing.check_filter is check_filter
