"""A filter in a corner of the context: by calling its handlers."""

import asyncio

import pytest
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.context import new_context, remember, send_action
from demyjpy.errors import HandlerError
from demyjpy.handlers import (
    define_event_handlers,
    merge_handlers,
    scoped,
    with_handlers,
)
from demyjpy.registry import Registry
from tests.engine.harness import keep


def test_a_scoped_filter_works_in_its_corner():
    """Its keys are those of ctx[name]; what it queues and sees of macros is everybody's."""

    def count(event, ctx):
        assert "outside" not in ctx
        return send_action(ctx.set("n", ctx["n"] + 1), act.Reject())

    inside = scoped("acl", define_event_handlers({"mail": count}, state={"n": 1}))
    assert inside.state == {"acl": pmap({"n": 1})}
    before = with_handlers(new_context({"outside": 1}), inside)
    after = inside["mail"](ev.Mail("a"), before)
    assert after["acl"] == pmap({"n": 2})
    assert after["queue"] == (act.Reject(),)
    assert after.remove("acl").remove("queue") == before.remove("acl").remove("queue")


def test_a_scoped_filter_remembers_in_its_corner():
    """Others' memories are out of sight, and it may forget its own."""
    inside = scoped(
        "acl",
        define_event_handlers(
            {
                "mail": lambda event, ctx: remember(ctx, seen=len(ctx["connection"])),
                "data": lambda event, ctx: ctx.set("connection", pmap()),
            }
        ),
    )
    ctx = inside["mail"](ev.Mail("a"), remember(new_context(), other=1))
    assert ctx["connection"] == pmap({"other": 1, "acl": pmap({"seen": 0})})
    assert inside["data"](ev.Data(), ctx)["connection"] == pmap({"other": 1, "acl": pmap()})
    quiet = scoped("acl", define_event_handlers({"data": keep}))
    assert quiet["data"](ev.Data(), new_context())["connection"] == pmap()


def test_a_scoped_handler_that_changes_nothing_leaves_the_context_as_it_is():
    """An engine that compares contexts has nothing to do."""
    inside = scoped("a", define_event_handlers({"mail": keep}, state={"k": 1}))
    ctx = new_context(inside.state)
    assert inside["mail"](ev.Mail("x"), ctx) is ctx


def test_what_is_removed_in_a_corner_is_gone_from_it():
    """A key of its own, and all that it remembers."""

    def forget(event, ctx):
        return ctx.remove("k").set("connection", pmap())

    inside = scoped("a", define_event_handlers({"mail": forget}, state={"k": 1, "l": 2}))
    after = inside["mail"](ev.Mail("x"), new_context(inside.state))
    assert (after["a"], after["connection"]) == (pmap({"l": 2}), pmap())


def test_a_corner_may_have_many_keys():
    """More than a context keeps as a dict."""
    many = {f"k{number}": number for number in range(100)}
    inside = scoped(
        "a", define_event_handlers({"mail": lambda event, ctx: ctx.set("k0", -1)}, state=many)
    )
    after = inside["mail"](ev.Mail("x"), new_context(inside.state))
    assert after["a"] == pmap({**many, "k0": -1})


def test_scopes_nest():
    """A corner of a corner."""
    inner = scoped("b", define_event_handlers({"mail": lambda event, ctx: ctx.set("k", 1)}))
    outer = scoped("a", inner)
    assert outer["mail"](ev.Mail("x"), new_context())["a"] == pmap({"b": pmap({"k": 1})})
    assert (inner.scope, outer.scope) == (("b",), ("a", "b"))
    assert outer.state == {"a": pmap({"b": pmap()})}


def test_a_scoped_handler_may_be_awaited():
    """An async handler stays one."""

    async def awaited(event, ctx):
        return ctx.set("k", 1)

    inside = scoped("a", define_event_handlers({"mail": awaited}))
    assert inside["mail"].is_async
    assert asyncio.run(inside["mail"](ev.Mail("x"), new_context()))["a"] == pmap({"k": 1})


def test_a_scoped_handler_keeps_its_options_and_its_name():
    """The log names the user's function."""
    handlers = define_event_handlers()
    handlers.recipient(reply=False, blocking=True, rejected=True)(keep)
    handlers.end_of_message(progress=None)(keep)
    inside = scoped("a", handlers)
    found = inside["recipient"]
    assert (found.reply, found.blocking, found.rejected) == (False, True, True)
    assert inside["end_of_message"].progress is None
    assert found.name == handlers["recipient"].name == "tests.engine.harness.keep"


@pytest.mark.parametrize("returned", [None, 5, pmap(), pmap({"queue": ()})])
def test_what_a_scoped_handler_should_not_return_goes_to_the_engine(returned):
    """It is not hidden in the corner: the engine says what is wrong with it."""
    inside = scoped("a", define_event_handlers({"mail": lambda event, ctx: returned}))
    assert inside["mail"](ev.Mail("x"), new_context()) is returned


def test_a_scoped_filter_takes_handlers():
    """They are registered with the filter inside."""
    handlers = define_event_handlers()
    inside = scoped("a", handlers)
    inside.mail(keep)
    assert list(inside) == list(handlers) == ["mail"]
    assert len(inside) == 1
    assert isinstance(inside, Registry)


def test_a_scope_may_not_be_one_of_the_engines_keys():
    """The message names it."""
    with pytest.raises(
        HandlerError, match="expected a scope of your own, got 'queue', which is the engine's"
    ):
        scoped("queue", define_event_handlers())


def test_a_merged_filter_is_scoped_as_one():
    """Its filters share the corner, and start with the state of all."""
    one = define_event_handlers({"mail": lambda event, ctx: ctx.set("a", ctx["b"])}, state={"a": 1})
    two = define_event_handlers({"mail": keep}, state={"b": 2})
    inside = scoped("x", merge_handlers(one, two))
    assert inside.state == {"x": pmap({"a": 1, "b": 2})}
    assert [part.state for part in inside.parts] == [{"x": pmap({"a": 1})}, {"x": pmap({"b": 2})}]
    assert [part.scope for part in inside.parts] == [("x",), ("x",)]
    ctx = inside["mail"](ev.Mail("x"), with_handlers(new_context(), inside))
    assert ctx["x"] == pmap({"a": 2, "b": 2})


def test_a_scoped_filter_keeps_what_it_declares():
    """Its name, its place in the order, its optional events, also of handlers that come later."""
    handlers = define_event_handlers(
        {"mail": keep}, name="acl", after={"spf"}, edits="body", optional_events={"unknown"}
    )
    inside = scoped("x", handlers)
    assert (inside.name, inside.after, inside.actions) == ("acl", {"spf"}, {"change_body"})
    assert (inside.optional_events, inside.size) == ({"unknown"}, 1)
    inside.unknown(keep)
    assert (handlers["unknown"].filter, inside["unknown"].filter, inside.size) == ("acl", "acl", 2)
