"""Signs of life while a handler takes its time at end of message."""

import time
from contextlib import ExitStack
from typing import Any

import pytest

from demyjpy import (
    AddHeader,
    Continue,
    EndOfMessage,
    Progress,
    Registry,
    ReplaceBody,
    add_header,
    define_event_handlers,
    merge_handlers,
    replace_body,
    running,
    with_handlers,
)
from demyjpy.drivers.signs import period_of
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect, open_connection, receive_data
from tests.drivers.filters import Way, editor
from tests.drivers.peer import CONTENT, ENVELOPE, Peer, offer, packet

OFTEN = 0.05
RARELY = 60.0


def hear_progress(peer: Peer, count: int) -> None:
    """Wait for so many signs of life."""
    assert [peer.hear() for _ in range(count)] == [Progress()] * count


@pytest.mark.parametrize("event", ["message", "end_of_message"])
def test_progress_is_sent_while_a_handler_works(way, gate, event):
    """The MTA gets PROGRESS again and again until the verdict."""
    handlers = define_event_handlers()
    way.add_slow(handlers, event, gate, progress=OFTEN)
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        hear_progress(peer, 5)
        gate.set()
        assert peer.hear_answer()[-1] == Continue()


def test_no_progress_after_the_verdict(way, gate):
    """After the verdict nothing comes that was not asked for."""
    handlers = define_event_handlers()
    way.add(handlers, "mail", lambda event, ctx: ctx)
    way.add_slow(handlers, "end_of_message", gate, progress=OFTEN)
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        hear_progress(peer, 1)
        gate.set()
        assert peer.hear_answer()[-1] == Continue()
        time.sleep(5 * OFTEN)
        assert peer.ask(ENVELOPE[0]) == Continue()


def test_no_progress_among_modifications(way, gate):
    """Signs of life come before the modifications, never among them."""

    def edit(event: Any, ctx: Any) -> Any:
        return add_header(replace_body(ctx, b"x" * 1_000_000), "X-Name", "value")

    handlers = define_event_handlers(actions={"add_header", "change_body"})
    way.add_slow(handlers, "end_of_message", gate, edit, progress=OFTEN)
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        hear_progress(peer, 2)
        gate.set()
        kinds = [type(action) for action in peer.hear_answer()]
    while kinds[0] is Progress:
        kinds.pop(0)
    assert kinds == [AddHeader, *[ReplaceBody] * 16, Continue]


@pytest.mark.parametrize("event", ["message", "end_of_message"])
def test_no_progress_where_none_is_wanted(way, gate, event):
    """With progress=None the MTA hears nothing until the verdict."""
    handlers = define_event_handlers()
    way.add_slow(handlers, event, gate, progress=None)
    with running(handlers, driver=way.driver) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        time.sleep(0.2)
        gate.set()
        assert peer.hear_answer() == (Continue(),)


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_no_progress_before_the_end_of_message(kind, gate):
    """A handler of another event sends no sign of life: Sendmail would take it for garbage."""
    way, handlers = Way("asyncio", kind), define_event_handlers()
    handlers.add("end_of_message", lambda event, ctx: ctx, progress=OFTEN)
    way.add_slow(handlers, "body", gate)
    with running(handlers, driver="asyncio") as address, Peer(address) as peer:
        peer.begin().say(*ENVELOPE, *CONTENT)
        time.sleep(4 * OFTEN)
        gate.set()
        assert peer.hear_answers(*ENVELOPE, *CONTENT)[-1] == (Continue(),)
        assert peer.finish_message() == (Continue(),)


@pytest.mark.parametrize("periods", [(RARELY, OFTEN), (OFTEN, RARELY)])
def test_each_session_has_its_own_period(way, gate, periods):
    """Handlers at work at the same time are each reported in their own time, whichever began first."""
    to_come = list(periods)

    def on_connect(ctx: Any) -> Any:
        handlers = define_event_handlers()
        way.add_slow(handlers, "end_of_message", gate, progress=to_come.pop(0))
        return with_handlers(ctx, handlers)

    with running(on_connect, driver=way.driver) as address, ExitStack() as stack:
        # One begins after the other: on_connect gives the periods in this order.
        peers = [stack.enter_context(Peer(address)).begin().begin_message() for _ in periods]
        for peer in peers:
            peer.say(EndOfMessage())
        hear_progress(peers[periods.index(OFTEN)], 3)
        gate.set()
        assert peers[periods.index(RARELY)].hear_answer() == (Continue(),)
        assert peers[periods.index(OFTEN)].hear_answer()[-1] == Continue()


@pytest.mark.parametrize("event", ["header", "end_of_headers", "body"])
def test_progress_is_sent_while_a_filter_is_shown_the_content_at_the_end(way, gate, event):
    """It waited for those before it, and the MTA waits for it; the shortest progress= counts."""
    second = define_event_handlers()
    way.add_slow(second, event, gate)
    second.add("end_of_message", lambda event, ctx: ctx, progress=OFTEN)
    with running(merge_handlers(editor(), second), driver=way.driver) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        hear_progress(peer, 3)
        gate.set()
        assert peer.hear_answer()[-1] == Continue()


def test_progress_is_sent_if_many_handlers_take_a_little_time(way):
    """None of them takes as long as progress= says, but the MTA waits for all."""

    def take_time(event: Any, ctx: Any) -> Any:
        time.sleep(0.03)
        return ctx

    filters = [define_event_handlers() for _ in range(10)]
    way.add(filters[0], "mail", lambda event, ctx: ctx)
    for one in filters:
        way.add(one, "end_of_message", take_time, progress=0.1)
    with running(merge_handlers(*filters), driver=way.driver) as address, Peer(address) as peer:
        peer.begin()
        for _ in range(2):
            peer.begin_message().say(EndOfMessage())
            *before, answer = peer.hear_answer()
            assert answer == Continue()
            assert before
            assert before == [Progress()] * len(before)
        assert peer.ask(ENVELOPE[0]) == Continue()


@pytest.mark.parametrize("periods", [(None, OFTEN), (OFTEN, None)])
def test_one_filter_that_wants_progress_is_enough(way, gate, periods):
    """The MTA waits for the answer of all, whoever takes the time."""
    filters = [define_event_handlers() for _ in periods]
    for one, period in zip(filters, periods, strict=True):
        way.add_slow(one, "end_of_message", gate, progress=period)
    with running(merge_handlers(*filters), driver=way.driver) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        hear_progress(peer, 2)
        gate.set()
        assert peer.hear_answer()[-1] == Continue()


def test_how_often_progress_is_sent():
    """As often as the shortest progress= says; every 5 s if there is no handler that could say."""

    def period(*filters: Registry) -> float | None:
        opened = open_connection(Setup(as_on_connect(merge_handlers(*filters))))
        return period_of(receive_data(opened, packet(offer())).agreed)

    def ending(progress: float | None, event: str = "end_of_message") -> Registry:
        found = define_event_handlers()
        found.add(event, lambda event, ctx: ctx, progress=progress)
        return found

    body = define_event_handlers({"body": lambda event, ctx: ctx})
    assert period(ending(3), ending(None), ending(2)) == 2
    assert period(ending(3), ending(2, "message")) == 2
    assert period(ending(None)) is None
    assert period(ending(None, "message")) is None
    assert period(body) == 5
