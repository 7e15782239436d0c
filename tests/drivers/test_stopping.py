"""How a milter stops: sessions between messages at once, others after theirs, all in the end."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from demyjpy import (
    AddHeader,
    Continue,
    EndOfMessage,
    Hello,
    TemporaryFailure,
    add_header,
    replace_body,
    running,
)
from demyjpy.drivers.threads import ThreadServer
from tests.drivers.filters import noting, wait_until, without
from tests.drivers.peer import CONNECT, ENVELOPE, MESSAGE, WAIT, EndedError, Peer, packet

UNFINISHED = "it had not finished when the milter stopped"


class Milter:
    """A milter that is told to stop while the test goes on."""

    def __init__(self, on_connect: Any, path: Path, **options: Any) -> None:
        self._path = path
        self._stack = ExitStack()
        options = {"address": path, "grace": WAIT, **options}
        self.address = self._stack.enter_context(running(on_connect, **options))
        self._stopping = threading.Thread(target=self._stack.close)

    def stop(self) -> None:
        """Tell it; return when it accepts no more connections."""
        self._stopping.start()
        wait_until(lambda: not self._path.exists())

    def join(self) -> None:
        """Wait until it has stopped."""
        if not self._stopping.ident:
            self._stopping.start()
        self._stopping.join(WAIT)
        assert not self._stopping.is_alive()


@contextmanager
def milter(tmp_path: Path, on_connect: Any, **options: Any) -> Iterator[Milter]:
    """One on a Unix socket, that has stopped when the block is left."""
    found = Milter(on_connect, tmp_path / "milter.sock", **options)
    try:
        yield found
    finally:
        found.join()


def test_idle_sessions_end_at_once(driver, notes, tmp_path):
    """Sessions between messages, and those that have not begun, are ended when the milter stops."""
    with milter(tmp_path, noting(notes), driver=driver) as server, ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(3)]
        peers[0].begin()
        peers[1].begin().message()
        peers[2].negotiate()
        server.stop()
        assert all(peer.has_ended() for peer in peers)
    assert set(notes.all()) == {"connect", "disconnect", "end_of_message", "mail"}
    assert notes.all().count("disconnect") == 3


def test_a_message_in_flight_is_finished(driver, notes, tmp_path):
    """A session in mid-message goes on to the end of its message."""
    with milter(tmp_path, noting(notes), driver=driver) as server, Peer(server.address) as peer:
        peer.begin().ask(ENVELOPE[0])
        server.stop()
        for event in MESSAGE[1:-1]:
            assert peer.ask(event) in (None, Continue())
        assert peer.finish_message() == (Continue(),)
        assert peer.has_ended()
    assert notes.all() == ["connect", "mail", "end_of_message", "disconnect"]


def test_a_message_that_is_given_up_ends_its_session(driver, notes, tmp_path):
    """A session whose message ends in another way ends as well."""
    with milter(tmp_path, noting(notes), driver=driver) as server, Peer(server.address) as peer:
        peer.begin().begin_message()
        server.stop()
        peer.vanish()
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]


def test_a_handler_at_work_is_waited_for(way, notes, gate, tmp_path):
    """A handler that runs when the milter stops may finish, and its answer is sent."""
    handlers = noting(notes, without("end_of_message"), actions={"add_header"})
    way.add_slow(handlers, "end_of_message", gate, lambda event, ctx: add_header(ctx, "X-Late", "yes"))
    with milter(tmp_path, handlers, driver=way.driver) as server, Peer(server.address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        server.stop()
        gate.set()
        assert peer.hear_answer() == (AddHeader("X-Late", "yes"), Continue())
        assert peer.has_ended()
    assert notes.all() == ["connect", "mail", "disconnect"]


def test_a_handler_between_messages_is_waited_for(way, notes, gate, tmp_path):
    """A handler that runs outside of a message may finish, too."""
    handlers = noting(notes, ("disconnect",))

    def hello(event: Any, ctx: Any) -> Any:
        notes.add("hello")
        return ctx

    way.add(handlers, "connect", hello)
    way.add_slow(handlers, "hello", gate, hello)
    with milter(tmp_path, handlers, driver=way.driver) as server, Peer(server.address) as peer:
        peer.negotiate()
        peer.ask(CONNECT)
        peer.say(Hello("client.example.org"))
        server.stop()
        gate.set()
        try:
            assert peer.hear() == Continue()
            assert peer.has_ended()
            assert notes.all() == ["hello", "hello", "disconnect"]
        except EndedError:  # it had not read HELO when it stopped
            assert notes.all() == ["hello", "disconnect"]


def test_what_takes_longer_than_the_grace_period_is_closed(driver, notes, log, tmp_path):
    """After the grace period a message in flight is given up."""
    with (
        milter(tmp_path, noting(notes), driver=driver, grace=0.2) as server,
        Peer(server.address) as peer,
    ):
        peer.begin().begin_message()
        server.stop()
        assert peer.has_ended()
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    assert UNFINISHED in log.take_one()


def test_a_handler_that_hangs_is_left_behind(way, notes, gate, log, tmp_path):
    """After the grace period the milter stops although a handler runs, whose outcome is dropped."""
    handlers = noting(notes, without("end_of_message"))
    way.add_slow(handlers, "end_of_message", gate)
    with (
        milter(tmp_path, handlers, driver=way.driver, grace=0.2) as server,
        Peer(server.address) as peer,
    ):
        peer.begin().begin_message().say(EndOfMessage(), *MESSAGE)
        server.stop()
        assert peer.has_ended()
        server.join()
    gate.set()
    notes.wait_for("disconnect")
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    assert UNFINISHED in log.take_one()


async def stay(event: Any, ctx: Any) -> Any:
    """A handler that does not let itself be cancelled."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def test_a_coroutine_that_swallows_its_cancellation_is_left_behind(notes, log, tmp_path):
    """Its session ends as any other whose handler has failed, and the milter ends."""
    handlers = noting(notes, without("end_of_message"))
    handlers.end_of_message(stay)
    with milter(tmp_path, handlers, grace=0.1) as server, Peer(server.address) as peer:
        peer.begin().begin_message().say(EndOfMessage())
        server.join()
        peer.drain()
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    failed, left = log.take()
    assert f"HandlerError: {UNFINISHED}; it was cancelled" in failed
    assert left == "tasks that were cancelled have not ended, and are left behind: 1"


def test_coroutines_that_are_left_behind_are_counted(notes, log, tmp_path):
    """When they are late, and when the milter ends."""
    handlers = noting(notes, without("end_of_message"))
    handlers.end_of_message(stay)
    with milter(tmp_path, handlers, handler_timeout=0.1) as server, ExitStack() as stack:
        for peer in [stack.enter_context(Peer(server.address)) for _ in range(2)]:
            assert peer.begin().message() == (TemporaryFailure(),)
        server.join()
    first, second, last = log.take()
    assert first.endswith("it was cancelled")
    assert second.endswith("it was cancelled, one of 2 that have not ended")
    assert last == "tasks that were cancelled have not ended, and are left behind: 2"


def test_a_handler_of_a_peer_that_is_gone_is_left_behind(way, notes, gate, log, tmp_path):
    """The same where the peer has gone before."""
    handlers = noting(notes, without("end_of_message"))
    way.add_slow(handlers, "end_of_message", gate)
    with milter(tmp_path, handlers, driver=way.driver, grace=0.2) as server:
        with Peer(server.address) as peer:
            peer.begin().begin_message().say(EndOfMessage())
        server.join()
    gate.set()
    notes.wait_for("disconnect")
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    assert UNFINISHED in log.take_one()


def test_a_peer_that_does_not_read_is_left_behind(driver, notes, log, tmp_path):
    """After the grace period the milter stops although its answer was not read."""
    handlers = noting(notes, ("disconnect",), actions={"change_body"})
    handlers.add("end_of_message", lambda event, ctx: replace_body(ctx, bytes(32_000_000)))
    with (
        milter(tmp_path, handlers, driver=driver, grace=0.2) as server,
        Peer(server.address) as peer,
    ):
        peer.begin().begin_message().say(EndOfMessage())
        peer.take(1)
    assert notes.all() == ["disconnect"]
    assert all(UNFINISHED in message for message in log.take())


def test_stopping_while_all_connections_are_taken(driver, notes, tmp_path):
    """A milter stops although it waits for a connection to end before it accepts another."""
    options: dict[str, Any] = {"driver": driver, "max_connections": 1}
    with milter(tmp_path, noting(notes), **options) as server, Peer(server.address) as peer:
        peer.begin()
        with Peer(server.address) as waiting:
            waiting.send(packet(CONNECT))
            server.join()
            waiting.drain()
        assert peer.has_ended()
    assert notes.all() == ["connect", "disconnect"]


@pytest.mark.parametrize("first", ["predecessor", "successor"])
def test_a_successor_may_listen_in_the_grace_period(driver, notes, tmp_path, first):
    """The file of a Unix socket goes when accepting stops; that of a successor stays."""
    where = tmp_path / "milter.sock"
    with ExitStack() as stack:
        server = stack.enter_context(milter(tmp_path, noting(notes), driver=driver))
        peer = stack.enter_context(Peer(server.address))
        peer.begin().begin_message()
        server.stop()
        with running(noting(notes), driver=driver, address=where) as address:
            if first == "predecessor":
                assert peer.finish_message() == (Continue(),)
                server.join()
            with Peer(address) as other:
                assert other.begin().message() == (Continue(),)
        if first == "successor":
            assert peer.finish_message() == (Continue(),)
    assert list(tmp_path.iterdir()) == []


def all_say(peers: list[Peer], events: tuple[Any, ...]) -> None:
    """What all peers say, one after the other."""
    for peer in peers:
        peer.say(*events)


def test_a_message_that_begins_while_it_stops(driver, notes, tmp_path):
    """Whatever the moment, a message is finished or has not begun; it is not given up."""
    handlers = noting(notes, ("mail", "end_of_message", "abort", "disconnect"))
    for _ in range(30):
        with milter(tmp_path, handlers, driver=driver) as server, ExitStack() as stack:
            peers = [stack.enter_context(Peer(server.address)).begin() for _ in range(5)]
            talking = threading.Thread(target=all_say, args=(peers, MESSAGE))
            talking.start()
            server.stop()
            for peer in peers:
                peer.drain()
            talking.join()
    assert notes.all().count("disconnect") == 150
    assert notes.all().count("mail") == notes.all().count("end_of_message")
    assert notes.all().count("abort") == 0


def test_nothing_is_left(driver):
    """A milter that has stopped leaves no thread behind."""
    before = set(threading.enumerate())
    with running({}, driver=driver) as address, Peer(address) as peer:
        peer.begin().message()
    wait_until(lambda: not set(threading.enumerate()) - before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_while_it_closes_does_not_keep_it_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for what has failed."""
    close = ThreadServer.close

    def fail(self: ThreadServer) -> None:
        close(self)
        raise OSError("unforeseen")

    monkeypatch.setattr(ThreadServer, "close", fail)
    milter = Milter({}, tmp_path / "milter", driver="threads")
    milter.join()
