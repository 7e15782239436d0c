"""Definitions: what may be registered and declared, and what is said where it may not."""

import functools
import math
import re

import pytest

from demyjpy.declarations import Declarations
from demyjpy.errors import HandlerError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.registry import (
    HANDLER_NAMES,
    QUIETABLE,
    Handler,
    Registry,
    name_of_filter,
    name_of_function,
)


def plain(event, ctx):
    return ctx


async def awaited(event, ctx):
    return ctx


class Callable:
    def __call__(self, event, ctx):
        return ctx


class AsyncCallable:
    async def __call__(self, event, ctx):
        return ctx


# ------------------------------------------------------------------------------------ registering
def test_a_decorator_that_is_none_tells_those_there_are():
    """As the map form does; what is private stays what Python says of it."""
    handlers = define_event_handlers()
    with pytest.raises(AttributeError, match=r"expected one of connect, hello, .*, got 'eom'"):
        handlers.eom  # noqa: B018  # it is the access that is tried
    with pytest.raises(AttributeError, match="'Registry' object has no attribute '_eom'"):
        handlers._eom  # noqa: B018  # as above
    assert not hasattr(merge_handlers(handlers, define_event_handlers()), "eom")


WRONG_OPTIONS = [
    ("message", "limt", "has no option limt=: its options are blocking=, progress=, limit=, beyond="),
    ("message", "reply", "a handler for message has no option reply=: its options are blocking="),
    ("end_of_message", "progres", "has no option progres=: its options are blocking=, progress="),
    ("mail", "progress", "handler for mail has no option progress=: its options are blocking=, reply="),
    ("mail", "limit", "a handler for mail has no option limit=: its options are blocking=, reply="),
    ("end_of_message", "reply", "has no option reply=: its options are blocking=, progress="),
    ("mail", "rejected", "handler for mail has no option rejected=: its options are blocking=, reply="),
    ("recipient", "refused", "its options are blocking=, reply=, rejected="),
    ("quit", "block", "a handler for quit has no option block=: its options are blocking="),
]


@pytest.mark.parametrize(("event", "option", "said"), WRONG_OPTIONS)
def test_an_option_that_the_event_does_not_have(event, option, said):
    """A decorator and `add` say the same: which options there are."""
    handlers = define_event_handlers()
    given = {option: option != "reply"}
    with pytest.raises(HandlerError) as caught:
        getattr(handlers, event)(**given)(plain)
    assert said in str(caught.value)
    with pytest.raises(HandlerError) as caught:
        handlers.add(event, plain, **given)
    assert said in str(caught.value)
    assert len(handlers) == 0


@pytest.mark.parametrize("name", HANDLER_NAMES)
def test_an_option_that_says_what_holds_anyway_is_no_error(name):
    """Whoever registers handlers for many events need not know which event has it."""
    handlers = define_event_handlers()
    handlers.add(name, plain, reply=True, rejected=False, blocking=False)
    assert handlers[name] == Handler(name, plain)


@pytest.mark.parametrize("name", HANDLER_NAMES)
def test_each_event_name_is_a_decorator(name):
    """It registers the function and gives it back, with options or without."""
    handlers = define_event_handlers()
    assert getattr(handlers, name)(plain) is plain
    assert handlers[name].function is plain
    assert list(handlers) == [name]
    others = define_event_handlers()
    assert getattr(others, name)(blocking=True)(plain) is plain
    assert others[name] == Handler(name, plain, blocking=True)


OPTIONS = [
    *((name, {"reply": False}) for name in QUIETABLE),
    ("recipient", {"rejected": True}),
    ("recipient", {"rejected": True, "reply": False, "blocking": True}),
    ("end_of_message", {"progress": None}),
    ("end_of_message", {"progress": 0.5, "blocking": True}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_decorator_takes_the_options_of_its_event(name, options):
    """They are kept with the handler."""
    handlers = define_event_handlers()
    getattr(handlers, name)(**options)(plain)
    assert handlers[name] == Handler(name, plain, **options)


def test_a_registry_is_a_map_of_its_handlers():
    """In the order in which they were registered; two registries are never the same."""
    handlers = define_event_handlers({"mail": plain, "body": awaited})
    assert list(handlers.items()) == [
        ("mail", Handler("mail", plain)),
        ("body", Handler("body", awaited)),
    ]
    assert len(handlers) == 2
    assert "data" not in handlers
    with pytest.raises(KeyError):
        handlers["data"]
    assert repr(handlers) == "<Registry mail body>"
    assert repr(define_event_handlers()) == "<Registry empty>"
    assert handlers != define_event_handlers({"mail": plain, "body": awaited})
    assert handlers == handlers  # noqa: PLR0124  # what is tested
    assert len({handlers, define_event_handlers()}) == 2
    assert handlers.parts == (handlers,)


def test_a_handler_of_one_registry_may_be_registered_in_another():
    """With all its options."""
    one = define_event_handlers()
    one.body(reply=False)(plain)
    assert define_event_handlers(one)["body"] is one["body"]


ERRORS = [
    ({"helo": plain}, "expected one of connect, hello, mail, recipient, ", "got 'helo'"),
    ({"quit_nc": plain}, "expected one of connect", "got 'quit_nc'"),
    ({5: plain}, "expected one of connect", "got 5"),
    ({"mail": 5}, "expected a function (event, ctx) -> ctx under 'mail', got 5", ""),
    ({"mail": None}, "expected a function (event, ctx) -> ctx under 'mail', got None", ""),
    ({"mail": Handler("body", plain)}, "expected a handler for 'mail', got one for 'body'", ""),
]


@pytest.mark.parametrize(("handlers", "expected", "got"), ERRORS)
def test_what_cannot_be_registered_is_refused(handlers, expected, got):
    """At definition time, with what was expected and what came."""
    with pytest.raises(HandlerError) as caught:
        define_event_handlers(handlers)
    assert str(caught.value).startswith(expected)
    assert got in str(caught.value)


def test_a_second_handler_for_an_event_is_refused():
    """The message names the first and tells what to do; the first stays."""
    handlers = define_event_handlers({"mail": plain})
    with pytest.raises(
        HandlerError,
        match=r"expected one handler for 'mail', got tests\.test_registry\.plain and another: .*merge",
    ):
        handlers.mail(awaited)
    assert handlers["mail"].function is plain


BAD_OPTIONS = [
    ("end_of_message", {"reply": False}, "expected reply=False only at connect, "),
    ("abort", {"reply": False}, "got it at 'abort'"),
    ("body", {"rejected": True}, "expected rejected=True only at 'recipient', got 'body'"),
    ("end_of_message", {"progress": 0}, "expected progress in seconds or None, got 0"),
    ("end_of_message", {"progress": -1.0}, "expected progress in seconds or None, got -1.0"),
    ("end_of_message", {"progress": math.nan}, "expected progress in seconds or None, got nan"),
    ("end_of_message", {"progress": "5"}, "expected progress in seconds or None, got '5'"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD_OPTIONS)
def test_options_that_make_no_sense_are_refused(name, options, message):
    """At definition time, with what was expected and what came."""
    with pytest.raises(HandlerError) as caught:
        Handler(name, plain, **options)
    assert message in str(caught.value)


def test_an_async_handler_does_not_block():
    """One or the other: a coroutine cannot be run in a thread."""
    with pytest.raises(
        HandlerError, match="expected either async def or blocking=True, got both at 'mail'"
    ):
        define_event_handlers().mail(blocking=True)(awaited)


# ---------------------------------------------------------------------------------------- handlers
KINDS = [
    (plain, False),
    (awaited, True),
    (Callable(), False),
    (AsyncCallable(), True),
    (functools.partial(plain), False),
    (functools.partial(awaited), True),
]


@pytest.mark.parametrize(("function", "is_async"), KINDS)
def test_a_handler_knows_whether_it_is_awaited(function, is_async):
    """Functions, partial ones, and objects that can be called."""
    assert Handler("mail", function).is_async is is_async


def test_calling_a_handler_calls_its_function():
    """So that a filter is tested by calling its handlers."""
    assert Handler("mail", lambda event, ctx: (event, ctx))("event", "ctx") == ("event", "ctx")


def test_a_handler_has_a_name_for_the_log():
    """Module and name of the function, also of one that is wrapped or has no name."""

    @functools.wraps(plain)
    def wrapper(event, ctx):
        return ctx

    assert Handler("mail", plain).name == "tests.test_registry.plain"
    assert Handler("mail", wrapper).name == "tests.test_registry.plain"
    assert Handler("mail", Callable()).name == "tests.test_registry.Callable"
    assert "partial" in Handler("mail", functools.partial(plain)).name


# ------------------------------------------------------------------------------------ declarations
def test_what_is_declared_is_kept():
    """Names as sets, macros spelled as they go over the wire, each once."""
    handlers = define_event_handlers(
        actions=["add_header", "add_header"],
        optional_actions={"quarantine"},
        optional_events=("data",),
        macros={"mail": ["i", "auth_type", "{auth_type}"], "end_of_message": ()},
        state={"count": 0},
    )
    assert handlers.actions == {"add_header"}
    assert handlers.optional_actions == {"quarantine"}
    assert handlers.optional_events == {"data"}
    assert handlers.macros == {"mail": ("i", "{auth_type}"), "end_of_message": ()}
    assert handlers.state == {"count": 0}
    assert Registry().declarations == Declarations()


DECLARATIONS = [
    ({"actions": {"addheader"}}, "expected actions among add_header, change_body, ", "; got addheader"),
    ({"actions": "add_header"}, "expected a set of names as actions, got the string 'add_header'", ""),
    ({"actions": {5, "b"}}, "expected actions among", "; got 5, b"),
    (
        {"actions": {"headers"}},
        "expected actions among",
        "; got headers: a kind of edits is declared by edits='headers'",
    ),
    ({"optional_actions": {"x"}}, "expected actions among", "; got x"),
    ({"optional_events": {"helo"}}, "expected optional events among connect, ", "; got helo"),
    (
        {"optional_events": "data"},
        "expected a set of names as optional events, got the string 'data'",
        "",
    ),
    ({"optional_events": {"disconnect"}}, "expected optional events among", "; got disconnect"),
    ({"macros": {"body": ("i",)}}, "expected events in macros= among connect, ", "; got body"),
    ({"macros": {"mail": "i"}}, "expected a tuple of macro names for 'mail', got the string 'i'", ""),
    (
        {"macros": {"mail": [f"m{n}" for n in range(51)]}},
        "expected at most 50 macros for 'mail'",
        "got 51",
    ),
    ({"macros": {"mail": ("a b",)}}, "expected a macro name such as i or {auth_type}, got 'a b'", ""),
    ({"macros": {"mail": ("a,b",)}}, "expected a macro name such as", "got 'a,b'"),
    ({"macros": {"mail": ("a\0",)}}, "expected a macro name such as", ""),
    ({"macros": {"mail": ("{}",)}}, "expected a macro name such as", "got '{}'"),
    ({"macros": {"mail": ("",)}}, "expected a macro name such as", "got ''"),
    ({"state": {"queue": ()}}, "expected state under keys of your own, got queue", ""),
    (
        {"state": {"macros": 1, "events": 1}},
        "expected state under keys of your own, got events, macros",
        "",
    ),
]


@pytest.mark.parametrize(("given", "expected", "got"), DECLARATIONS)
def test_what_cannot_be_declared_is_refused(given, expected, got):
    """At definition time, with what was expected and what came."""
    with pytest.raises(HandlerError) as caught:
        define_event_handlers(**given)
    assert str(caught.value).startswith(expected)
    assert got in str(caught.value)


WRONG_TYPES = [
    {"handlers": 5},
    {"handlers": [("mail", plain)]},
    {"actions": 5},
    {"actions": [["add_header"]]},
    {"optional_events": None},
    {"macros": 5},
    {"macros": {"mail": 5}},
    {"macros": {"mail": (5,)}},
    {"state": 5},
    {"state": [("a", 1)]},
]


@pytest.mark.parametrize("given", WRONG_TYPES, ids=range(len(WRONG_TYPES)))
def test_what_is_of_the_wrong_type_is_refused_in_the_same_way(given):
    """No TypeError from within: the message says what was expected and what came."""
    with pytest.raises(HandlerError, match=r"expected .* got "):
        define_event_handlers(**given)


def test_fifty_macros_are_not_too_many():
    """Sendmail cuts a list after that."""
    names = [f"m{n}" for n in range(50)]
    assert len(define_event_handlers(macros={"mail": [*names, *names]}).macros["mail"]) == 50


def test_sizes_say_whether_a_handler_was_added():
    """To any part of a merged filter."""
    one, other = define_event_handlers(), define_event_handlers({"mail": lambda event, ctx: ctx})
    merged = merge_handlers(one, other)
    before = merged.sizes
    assert before == merged.sizes
    one.add("body", lambda event, ctx: ctx)
    assert merged.sizes != before


# ---------------------------------------------------------------------------------- names, edits
def nothing(event, ctx):
    """A handler that does nothing."""
    return ctx


def test_a_filter_has_a_name_and_its_handlers_tell_it():
    """Whether they were registered as functions or as handlers; without a name all is as it was."""
    named = define_event_handlers({"mail": nothing}, name="greylist", after={"spf"})
    named.add("data", Handler("data", nothing, blocking=True, filter="other"))
    assert (named.name, named.after) == ("greylist", {"spf"})
    assert named["mail"].name == named["data"].name == f"greylist: {name_of_function(nothing)}"
    assert named["data"].blocking
    plain = define_event_handlers({"mail": nothing, "data": named["data"]})
    assert (plain.name, plain.after, plain.scope) == (None, frozenset(), ())
    assert plain["mail"].name == name_of_function(nothing)
    assert plain["data"].filter == "greylist"


def test_a_filter_is_called_something_in_errors():
    """Its name, or that of its first handler's function."""
    one = define_event_handlers({"mail": nothing})
    empty = define_event_handlers()
    assert name_of_filter(define_event_handlers(name="acl")) == "acl"
    assert name_of_filter(one) == name_of_filter(merge_handlers(empty, one)) == name_of_function(nothing)
    assert name_of_filter(empty) == name_of_filter(merge_handlers()) == "a filter without handlers"


@pytest.mark.parametrize("name", ["a", "x" * 64, "grey list", "grün"])
def test_a_name_is_a_short_text(name):
    """On one line, of up to 64 characters."""
    assert define_event_handlers(name=name).name == name


BAD_NAMES = [
    ({"name": 5}, "expected name= as a text, got 5"),
    ({"name": ""}, "expected name= as 1 to 64 printable characters, got ''"),
    ({"name": "  "}, "expected name= as 1 to 64 printable characters, got '  '"),
    ({"name": "a\nb"}, "expected name= as 1 to 64 printable characters, got 'a\\nb'"),
    ({"name": "x" * 65}, f"expected name= as 1 to 64 printable characters, got '{'x' * 64}'"),
    ({"after": "spf"}, "expected a set of names of filters as after, got the string 'spf'"),
    ({"after": {5}}, "expected a name in after= as a text, got 5"),
    ({"edits": "header"}, "expected edits= as one of headers, body, envelope, all, got 'header'"),
    (
        {"edits": {"headers"}},
        (
            "expected edits= as one of headers, body, envelope, all, got a set: for several kinds "
            'name one in edits= and the actions of the others in actions=, as in edits="headers", '
            'actions={"change_body"}'
        ),
    ),
]


@pytest.mark.parametrize(("wrong", "message"), BAD_NAMES)
def test_names_and_edits_are_checked(wrong, message):
    """The message says what was expected."""
    with pytest.raises(HandlerError) as error:
        define_event_handlers(**wrong)
    assert str(error.value) == message


EDITED = {
    "headers": {"add_header", "change_header"},
    "body": {"change_body"},
    "envelope": {"add_recipient", "delete_recipient", "change_sender"},
}
EDITED["all"] = {"quarantine"}.union(*EDITED.values())


@pytest.mark.parametrize("edits", EDITED)
def test_edits_declares_the_actions_of_a_kind(edits):
    """Beside those in actions=."""
    assert define_event_handlers(edits=edits).actions == EDITED[edits]
    both = define_event_handlers(edits=edits, actions={"quarantine"}, optional_actions={"add_header"})
    assert both.actions == EDITED[edits] | {"quarantine"}
    assert both.optional_actions == {"add_header"} - EDITED[edits]


@pytest.mark.parametrize(
    ("event", "options", "error"),
    [
        ("message", {"limit": 0}, "expected limit= as a number of bytes from 1, got 0"),
        ("message", {"limit": True}, "expected limit= as a number of bytes from 1, got True"),
        ("message", {"limit": 1.5}, "expected limit= as a number of bytes from 1, got 1.5"),
        ("message", {"beyond": "discard"}, "expected beyond= as one of 'headers', 'tempfail', 'reject'"),
        ("message", {"progress": 0}, "expected progress in seconds or None, got 0"),
        ("body", {"limit": 5}, "expected limit= and beyond= only at 'message', got them at 'body'"),
        ("body", {"beyond": "reject"}, "expected limit= and beyond= only at 'message'"),
    ],
)
def test_options_of_a_message_handler(event, options, error):
    """What is wrong with them is said when the handler is registered."""
    with pytest.raises(HandlerError, match=re.escape(error)):
        Handler(event, plain, **options)


def test_a_message_handler_has_options():
    """They are on the handler; without any it is as the documentation says."""
    handlers = define_event_handlers()
    handlers.message(lambda event, ctx: ctx)
    assert (handlers["message"].limit, handlers["message"].beyond) == (25_000_000, "headers")
    assert (handlers["message"].blocking, handlers["message"].progress) == (False, 5.0)
    other = define_event_handlers()

    @other.message(limit=7, beyond="reject", blocking=True, progress=None)
    def message(event, ctx):
        return ctx

    found = other["message"]
    assert (found.limit, found.beyond, found.blocking, found.progress) == (7, "reject", True, None)
