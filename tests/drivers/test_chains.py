"""Several filters in a row under real drivers: handlers that wait, of every kind."""

import threading
import time

from demyjpy import (
    AddHeader,
    Body,
    Continue,
    EndOfMessage,
    Header,
    ReplaceBody,
    TemporaryFailure,
    add_header,
    define_event_handlers,
    merge_handlers,
    replace_body,
    running,
)
from tests.drivers.filters import Notes, editor, noting
from tests.drivers.peer import Peer


def test_a_filter_that_takes_too_long_at_the_end_fails(way, gate, log):
    """Also with the content that it waited for, as under its end_of_message handler."""
    second = define_event_handlers()
    way.add_slow(second, "body", gate)
    merged = merge_handlers(editor(), second)
    with running(merged, driver=way.driver, handler_timeout=0.2) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        assert peer.hear_answer()[-1] == TemporaryFailure()
        gate.set()
    assert "to return within 0.2 s" in log.take_one()


class NotedGate(threading.Event):
    """A gate that says when somebody stands before it."""

    def __init__(self, notes: Notes) -> None:
        super().__init__()
        self._notes = notes

    def wait(self, timeout: float | None = None) -> bool:
        self._notes.add("out")
        return super().wait(timeout)

    def is_set(self) -> bool:
        self._notes.add("out")
        return super().is_set()


def test_a_peer_that_goes_while_a_filter_is_shown_the_content(way, notes):
    """Nobody is asked about the rest of the message; those whose end had not come get its abort."""
    gate = NotedGate(notes)
    first, second, third = (noting(notes, ["mail", "abort", "disconnect"]) for _ in range(3))
    way.add_slow(second, "body", gate, lambda event, ctx: notes.add("body") or ctx)
    for one in (second, third):
        one.add("end_of_message", lambda event, ctx: notes.add("end") or ctx)
    with running(merge_handlers(editor(), first, second, third), driver=way.driver) as address:
        with Peer(address) as peer:
            peer.begin().begin_message().say(EndOfMessage())
            notes.wait_for("out")
            time.sleep(0.05)  # or it is too fast for a look at the peer to be worth it
        gate.set()
        notes.wait_for("disconnect", 3)
    found = notes.all()
    assert [found.count(name) for name in ("mail", "body", "end", "abort")] == [3, 1, 0, 2]


def test_filters_that_wait_see_what_those_before_made(way, notes):
    """Whatever their handlers are: header, end of headers and body come in order at the end."""
    first = define_event_handlers(actions={"add_header", "change_body"})
    way.add(
        first,
        "end_of_message",
        lambda event, ctx: add_header(replace_body(ctx, b"new\r\n"), "X-Name", "value"),
    )
    second = define_event_handlers()
    for event in ("header", "end_of_headers", "body", "end_of_message"):
        way.add(second, event, lambda event, ctx: notes.add(event) or ctx)
    with running(merge_handlers(first, second), driver=way.driver) as address, Peer(address) as peer:
        answer = peer.begin().message()
    assert answer == (AddHeader("X-Name", "value"), ReplaceBody(b"new\r\n"), Continue())
    names = [one.name if isinstance(one, Header) else type(one).__name__ for one in notes.all()]
    assert names == ["Subject", "X-Name", "EndOfHeaders", "Body", "EndOfMessage"]
    assert Body(b"new\r\n") in notes.all()
