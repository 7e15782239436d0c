"""Merging filters: by calling what comes out of it."""

import asyncio

import pytest

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.context import new_context, send_action
from demyjpy.errors import HandlerError
from demyjpy.handlers import (
    chain_of,
    define_event_handlers,
    merge_handlers,
)
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
    (("accept", "accept"), [act.Accept()]),
    (("accept", "nothing"), []),
    (("reject", "accept"), [act.Reject()]),
    (("accept", "discard", "tempfail"), [act.Discard()]),
]


@pytest.mark.parametrize(("names", "queue"), COMPOSED)
def test_a_merged_handler_queues_the_strictest_verdict(names, queue):
    """Nothing is queued where all together just go on; one with nothing to say goes on."""
    do = {
        "accept": saying(act.Accept()),
        "reject": saying(act.Reject()),
        "discard": saying(act.Discard()),
        "tempfail": saying(act.TemporaryFailure()),
        "nothing": keep,
    }
    merged = merge_handlers(*[define_event_handlers({"mail": do[name]}) for name in names])
    assert list(merged["mail"](ev.Mail("a"), new_context())["queue"]) == queue
    others = merge_handlers(merged, define_event_handlers({"body": keep}))
    silent = [] if queue == [act.Accept()] else queue
    assert list(others["mail"](ev.Mail("a"), new_context())["queue"]) == silent


def test_a_merged_handler_is_awaited_if_one_of_them_is():
    """Plain ones among them are called."""

    async def awaited(event, ctx):
        await asyncio.sleep(0)
        return ctx.set("awaited", True)

    merged = merge_handlers(
        define_event_handlers({"mail": saying(act.Reject())}), define_event_handlers({"mail": awaited})
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


def test_declarations_are_united():
    """Optional is only what none requires; macros are asked for once each."""
    one = define_event_handlers(
        {"data": keep}, actions={"add_header"}, macros={"mail": ("i", "j")}, state={"a": 1, "n": 0}
    )
    two = define_event_handlers(
        {"data": keep, "unknown": keep},
        optional_actions={"add_header", "quarantine"},
        optional_events={"data", "unknown"},
        macros={"mail": ("j", "k"), "data": ("i",)},
        state={"b": 2, "n": 0},
    )
    merged = merge_handlers(one, two)
    assert merged.actions == {"add_header"}
    assert merged.optional_actions == {"quarantine"}
    assert merged.optional_events == {"unknown"}
    assert merged.macros == {"mail": ("i", "j", "k"), "data": ("i",)}
    assert merged.state == {"a": 1, "b": 2, "n": 0}
    assert merge_handlers(two, define_event_handlers({"mail": keep})).optional_events == {
        "data",
        "unknown",
    }


def test_two_filters_that_start_a_key_differently_are_refused():
    """The message shows both values and tells of scoped()."""
    with pytest.raises(
        HandlerError, match=r"expected one start value for 'n', got 0 and 1 .*scoped\(\)"
    ):
        merge_handlers(define_event_handlers(state={"n": 0}), define_event_handlers(state={"n": 1}))
