"""How long a peer may be silent or deaf, and how many there may be."""

import time
from typing import Any

import pytest

from demyjpy import Continue, EndOfMessage, define_event_handlers, replace_body, running
from tests.drivers.filters import noting, without
from tests.drivers.peer import Peer, offer

SHORT = 0.3


def test_a_silent_peer_is_left(driver, notes, log):
    """After the idle timeout the connection is closed, and the open message given up."""
    with running(noting(notes), driver=driver, idle_timeout=SHORT) as address, Peer(address) as peer:
        peer.begin().begin_message()
        assert peer.has_ended()
        notes.wait_for("disconnect")
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    assert log.take_one().endswith(": queue id -: closed: the MTA said nothing for 0.3 s")


def test_a_peer_that_never_speaks_is_left(driver, log):
    """The idle timeout holds from the first byte on."""
    with running({}, driver=driver, idle_timeout=SHORT) as address, Peer(address) as peer:
        assert peer.has_ended()
    assert "said nothing" in log.take_one()


def test_every_byte_restarts_the_idle_timeout(driver):
    """A peer that says something now and then is not idle."""
    with running({}, driver=driver, idle_timeout=0.7) as address, Peer(address) as peer:
        data = peer.bytes_of(offer())
        for byte in data:
            peer.send(bytes((byte,)))
            time.sleep(1.0 / len(data))
        peer.hear()


def test_the_time_of_a_handler_is_not_the_peers(way, gate):
    """While a handler runs the peer has nothing to say: its idle time begins with the answer."""
    handlers = define_event_handlers()
    way.add_slow(handlers, "end_of_message", gate)
    options: dict[str, Any] = {"idle_timeout": 0.5}
    with running(handlers, driver=way.driver, **options) as address, Peer(address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        time.sleep(0.8)
        gate.set()
        assert peer.hear_answer() == (Continue(),)
        assert peer.message() == (Continue(),)


def test_the_time_of_a_plain_handler_is_not_the_peers(log):
    """A handler that blocks the event loop does not make the peer idle."""
    handlers = define_event_handlers()

    def mail(event: Any, ctx: Any) -> Any:
        time.sleep(0.8)
        return ctx

    handlers.add("mail", mail)
    with running(handlers, idle_timeout=0.4) as address, Peer(address) as peer:
        assert peer.begin().message() == (Continue(),)
    assert "has blocked the event loop" in log.take_one()


def large_answer(notes: Any) -> Any:
    """A filter whose answer no socket buffer holds."""
    handlers = noting(notes, without("end_of_message"), actions={"change_body"})
    handlers.add("end_of_message", lambda event, ctx: replace_body(ctx, bytes(32_000_000)))
    return handlers


def test_a_deaf_peer_is_left(driver, notes, log):
    """A peer that does not read its answer is left after the write timeout."""
    with running(large_answer(notes), driver=driver, write_timeout=SHORT) as address:
        with Peer(address) as peer:
            peer.begin().begin_message().say(EndOfMessage())
            notes.wait_for("disconnect")
        assert notes.all() == ["connect", "mail", "disconnect"]
        assert log.take_one().endswith(": closed: the MTA read nothing for 0.3 s")
        with Peer(address) as peer:
            assert peer.begin().message()[-1] == Continue()


def test_a_slow_reader_is_not_deaf(driver, notes):
    """Whoever goes on reading gets all, however long that takes altogether."""
    with (
        running(large_answer(notes), driver=driver, write_timeout=0.6) as address,
        Peer(address) as peer,
    ):
        peer.begin().begin_message().say(EndOfMessage())
        for _ in range(12):
            peer.take(500_000)
            time.sleep(0.1)
        assert peer.hear_answer()[-1] == Continue()


def test_too_many_connections_wait(driver):
    """More connections than allowed wait in the backlog until one has ended."""
    with (
        running({}, driver=driver, max_connections=2) as address,
        Peer(address) as first,
        Peer(address) as second,
        Peer(address) as third,
        Peer(address) as fourth,
    ):
        first.begin()
        second.begin()
        third.say(offer())
        third.socket.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            third.hear()
        second.vanish()
        third.hear()
        first.vanish()
        fourth.begin()


def test_a_peer_in_the_backlog_may_give_up(driver):
    """A connection that is closed before it was accepted does no harm."""
    with running({}, driver=driver, max_connections=1) as address, Peer(address) as first:
        first.begin()
        with Peer(address) as second:
            second.reset()
        first.vanish()
        with Peer(address) as third:
            third.begin()


def test_for_ever():
    """An infinite time is as long as the system can wait."""
    forever = float("inf")
    for driver in ("asyncio", "threads"):
        options: dict[str, Any] = {"idle_timeout": forever, "write_timeout": forever, "grace": forever}
        with running({}, driver=driver, **options) as address, Peer(address) as peer:
            assert peer.begin().message() == (Continue(),)
