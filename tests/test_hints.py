"""What is said to somebody who writes a filter for the first time: each error names the way out."""

import functools
import operator
from typing import Any

import pytest
from pyrsistent import pmap

from demyjpy import (
    EndOfMessage,
    HandlerError,
    LocalProtocolError,
    Mail,
    Recipient,
    Reject,
    change_header,
    define_event_handlers,
    facts,
    insert_header,
    recipients,
    reject,
)
from demyjpy.context import new_context
from demyjpy.errors import MissingKeyError
from demyjpy.hints import FACTS, attribute_hint
from demyjpy.registry import Handler
from demyjpy.testing import run, session

LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


# ------------------------------------------------------------------------------- at registration
class Callable2:
    """An object that is called."""

    def __call__(self, event: Any, ctx: Any) -> Any:
        return ctx

    def other(self, event: Any, ctx: Any) -> Any:
        return ctx


@pytest.mark.parametrize(
    "function",
    [
        lambda event, ctx: ctx,
        lambda message, ctx, more=None: ctx,
        lambda *arguments: arguments[1],
        lambda _, ctx: ctx,
        functools.partial(lambda table, event, ctx: ctx, {}),
        Callable2(),
        Callable2().other,
        operator.getitem,
        functools.wraps(lambda event: event)(lambda *arguments: arguments[1]),
        min,  # in C, and its arguments are not known
    ],
)
def test_what_can_be_called_with_event_and_context_is_a_handler(function: Any) -> None:
    handlers = define_event_handlers({"mail": function})
    assert handlers["mail"].function is function


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda event: event, "<lambda>(event)"),
        (lambda: None, "<lambda>()"),
        (lambda event, ctx, more: ctx, "<lambda>(event, ctx, more)"),
        (lambda event, ctx, *, more: ctx, "<lambda>(event, ctx, *, more)"),
        (lambda ctx, event: ctx, "<lambda>(ctx, event)"),
        (lambda context, event: context, "<lambda>(context, event)"),
        (lambda ctx, event, more=1: ctx, "<lambda>(ctx, event, more=1)"),
        (functools.partial(lambda event, ctx: ctx, 1), "(ctx)"),
    ],
)
def test_other_arguments_are_an_error_as_it_is_registered(function: Any, words: str) -> None:
    """With file and line of what is a function of Python."""
    handlers = define_event_handlers()
    with pytest.raises(HandlerError) as raised:
        handlers.mail(function)
    said = str(raised.value)
    assert "expected a handler for 'mail' as a function (event, ctx) -> ctx, got " in said
    assert said.endswith(words)
    if not isinstance(function, functools.partial):
        assert said.startswith(f"{__file__}:{function.__code__.co_firstlineno}: ")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("recipeint", "recipient"), ("rcpt", "recipient"), ("eom", "end_of_message"), ("HELO", "hello")],
)
def test_an_event_that_is_none_is_near_to_one(given: str, meant: str) -> None:
    handlers = define_event_handlers()
    with pytest.raises(AttributeError, match=f"got '{given}'; did you mean '{meant}'\\?"):
        getattr(handlers, given)
    with pytest.raises(HandlerError, match=f"did you mean '{meant}'\\?"):
        handlers.add(given, lambda event, ctx: ctx)


@pytest.mark.parametrize("given", ["xyzzy", 5])
def test_nothing_is_near_to_what_is_far(given: Any) -> None:
    with pytest.raises(HandlerError) as raised:
        define_event_handlers().add(given, lambda event, ctx: ctx)
    assert str(raised.value).endswith(f"got {given!r}")


@pytest.mark.parametrize(
    ("declared", "meant"),
    [
        ({"actions": {"add_haeder"}}, "add_header"),
        ({"actions": {"replace_body"}}, "change_body"),
        ({"actions": {"delrcpt"}}, "delete_recipient"),
        ({"macros": {"rcpt": ("i",)}}, "recipient"),
        ({"optional_events": {"dtaa"}}, "data"),
        ({"facts": {"sendr"}}, "sender"),
    ],
)
def test_what_is_declared_is_near_to_something(declared: Any, meant: str) -> None:
    with pytest.raises(HandlerError, match=f"; did you mean '{meant}'\\?"):
        define_event_handlers(**declared)


def test_a_handler_made_by_hand_is_looked_at() -> None:
    with pytest.raises(HandlerError, match="expected a handler for 'mail' as a function"):
        define_event_handlers({"mail": Handler("mail", lambda event: event)})


def test_define_event_handlers_is_no_decorator() -> None:
    with pytest.raises(HandlerError, match="write handlers = define_event_handlers"):
        define_event_handlers(lambda event, ctx: ctx)


# --------------------------------------------------------------------------------- in a handler
def test_a_key_that_is_not_in_the_context() -> None:
    """It is a KeyError still, with the key."""
    ctx = new_context({"count": 0})
    with pytest.raises(KeyError) as raised:
        ctx["cuont"]
    assert raised.value.args == ("cuont",)
    assert str(raised.value) == "'cuont' is not in the context; did you mean 'count'?"
    with pytest.raises(MissingKeyError, match="state= declares what is there from the start"):
        ctx["spam"]
    with pytest.raises(MissingKeyError, match=r"^5 is not in the context"):
        ctx[5]


@pytest.mark.parametrize("key", ["ann@example.org", "x" * 41, Mail("ann@example.org")])
def test_a_key_that_may_have_come_with_a_mail_is_not_shown(key: Any) -> None:
    """No error shows what is in a mail."""
    with pytest.raises(MissingKeyError) as raised:
        new_context()[key]
    assert "ann" not in str(raised.value)
    assert "xxx" not in str(raised.value)


def test_a_context_has_no_attributes() -> None:
    """A key can be read as one, as in any persistent map."""
    ctx: Any = new_context({"count": 0})
    assert ctx.count == 0
    with pytest.raises(
        AttributeError, match=r"no attribute 'x': ctx\['x'\] reads what a handler has kept"
    ):
        ctx.x  # noqa: B018  # that is the mistake
    with pytest.raises(AttributeError, match="_x"):
        ctx._x  # noqa: B018  # as above
    with pytest.raises(TypeError, match=r"cannot be changed: write ctx = ctx.set\('x', ...\)"):
        ctx.x = 1
    assert hash(pmap({"a": 1})) == hash(pmap({"a": 1}))
    assert hash(ctx.remove("count")) == hash(new_context())


@pytest.mark.parametrize(
    ("event", "name", "words"),
    [
        (Recipient("a@b"), "sender", ": declare facts={'sender'} and write facts(ctx).sender"),
        (EndOfMessage(), "recipients", ": declare facts={'recipients'} and write recipients(ctx)"),
        (Mail("a@b"), "queue_id", ": write facts(ctx).queue_id"),
        (Mail("a@b"), "set", ": a handler's arguments are (event, ctx), in this order"),
        (Mail("a@b"), "sendr", "; did you mean 'sender'?"),
        (Mail("a@b"), "xyzzy", "'Mail' object has no attribute 'xyzzy'"),
        (Mail("a@b"), "_sender", "'Mail' object has no attribute '_sender'"),
    ],
)
def test_an_event_without_such_an_attribute(event: Any, name: str, words: str) -> None:
    with pytest.raises(AttributeError) as raised:
        getattr(event, name)
    assert str(raised.value).endswith(words)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (True, "got True; write return ctx, or return reject(ctx)"),
        (Mail("a@b"), "got Mail(...); write return ctx"),
        (Reject(), "got Reject(); write return send_action(ctx, Reject(...))"),
        (reject, "got a function; call it with the context, as in return reject(ctx)"),
        (None, "got None; is there a return at its end?"),
        (5, "got 5"),
    ],
)
def test_what_is_returned_instead_of_the_context(returned: Any, words: str) -> None:
    result = run({"mail": lambda event, ctx: returned}, LETTER)
    assert str(result.troubles[0].error).endswith(words)


def test_an_await_was_forgotten() -> None:
    async def work(ctx: Any) -> Any:
        return ctx

    async def mail(event: Any, ctx: Any) -> Any:
        return work(ctx)

    result = run({"mail": mail}, LETTER)
    assert str(result.troubles[0].error).endswith("and what they return an await before it")


@pytest.mark.parametrize("name", FACTS)
def test_what_an_event_lacks_is_where_the_error_says(name: str) -> None:
    """The words that the error says to write are run: they raise nothing."""
    written = []

    def end(event: Any, ctx: Any) -> Any:
        words = attribute_hint(name, ()).partition(" and write ")[2]
        written.append(words)
        eval(words, {"facts": facts, "recipients": recipients, "ctx": ctx})  # its own
        return ctx

    result = run(define_event_handlers({"end_of_message": end}, facts={name}), LETTER)
    assert not result.troubles
    assert written


@pytest.mark.parametrize("call", [change_header, insert_header])
def test_the_number_of_a_field_was_forgotten(call: Any) -> None:
    with pytest.raises(
        LocalProtocolError, match="expected the number of the field before its name, as in"
    ):
        call(new_context(), "Subject", "x")


# ------------------------------------------------------------------------------------- in a test
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("headers", ": write result.message.fields"),
        ("code", ": write result.reply.code"),
        ("recipient", "; did you mean 'recipients'?"),
        ("xyzzy", "'Result' object has no attribute 'xyzzy'"),
        ("_x", "'Result' object has no attribute '_x'"),
    ],
)
def test_a_result_without_such_an_attribute(name: str, words: str) -> None:
    with pytest.raises(AttributeError) as raised:
        getattr(run({}, LETTER), name)
    assert str(raised.value).endswith(words)
