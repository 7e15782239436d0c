"""What is the threads driver's own."""

import threading
from typing import Any

import pytest

from demyjpy import Continue, HandlerError, define_event_handlers, merge_handlers, running
from demyjpy.drivers import ThreadServer
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.options import ServerOptions
from tests.drivers.filters import noting
from tests.drivers.peer import Peer


def test_each_connection_has_its_thread(notes):
    """All handlers of a connection run in one thread, those of another in another."""
    handlers = define_event_handlers()

    def note(event: Any, ctx: Any) -> Any:
        notes.add(threading.get_ident())
        return ctx

    for event in ("connect", "mail", "end_of_message", "disconnect"):
        handlers.add(event, note)
    with (
        ThreadServer(parse_address("inet:0@127.0.0.1"), handlers) as server,
        Peer(server.address) as first,
        Peer(server.address) as second,
    ):
        for peer in (first, second):
            assert peer.begin().message() == (Continue(),)
        for peer in (first, second):
            peer.vanish()
    threads = notes.all()
    assert len(threads) == 8
    assert len(set(threads)) == 2
    assert threading.get_ident() not in threads


async def async_handler(event: Any, ctx: Any) -> Any:
    """One that needs an event loop."""
    return ctx


def test_async_handlers_are_refused(notes):
    """A server refuses a filter with async handlers, also one that is merged in."""
    merged = merge_handlers(noting(notes), define_event_handlers({"mail": async_handler}))
    with pytest.raises(HandlerError, match=r'async_handler at mail: use driver="asyncio"'):
        ThreadServer(parse_address("inet:0@127.0.0.1"), merged)


def test_a_connection_for_which_there_is_no_thread(log):
    """Where the system has no thread to spare, a connection is closed, and others are served."""
    handlers = define_event_handlers()

    def use_up(event: Any, ctx: Any) -> Any:
        threading.stack_size(1 << 47)  # more than there are addresses
        return ctx

    def give_back(event: Any, ctx: Any) -> Any:
        threading.stack_size(0)
        return ctx

    handlers.add("mail", use_up)
    handlers.add("end_of_message", give_back)
    with running(handlers, driver="threads") as address, Peer(address) as first:
        first.begin().begin_message()
        with Peer(address) as second:
            assert second.has_ended()
        assert log.take_one() == "cannot serve a connection: can't start new thread"
        assert first.finish_message() == (Continue(),)
        with Peer(address) as third:
            third.begin()


def test_who_is_to_retire_while_it_closes_does():
    """As a worker whose parent sends SIGUSR2 at that moment."""
    server = ThreadServer(parse_address("inet:0@127.0.0.1"), {}, ServerOptions())
    with server:
        pass
    ended: list[int] = []
    server.retire(lambda: ended.append(1))
    assert ended == [1]
