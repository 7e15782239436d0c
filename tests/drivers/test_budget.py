"""What one connection may use before others have their turn: by counts, of calls, packets, bytes."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from demyjpy import ReplaceBody, accept, define_event_handlers, running, send_action, serve
from demyjpy.engine.limits import Budget
from tests.drivers.filters import Notes, noting, wait_until
from tests.drivers.peer import WAIT, Peer
from tests.engine.harness import BODY, EOM, HELO, MAIL, UNKNOWN, join, letters, macros, packet

MOST = Budget().packets
MESSAGES = 1200
"""38 kB of them."""

FLOODS = {
    "messages": join([MAIL, EOM] * MESSAGES),
    "unknown": join([UNKNOWN] * 3000),
    "hello": join([HELO] * 3000),
    "bodies": join([MAIL, *[BODY] * 3000]),
    "macros": join([MAIL, EOM, *[macros("M"), macros("C")] * 1500, MAIL, EOM]),
}


def hear_all(peer: Peer) -> str:
    """The letters of all that is said until the milter closes the connection."""
    heard = b""
    with suppress(ConnectionResetError):  # where it is cut
        while data := peer.socket.recv(1 << 20):
            heard += data
    return letters(heard)


class Tally:
    """A filter that counts its calls for a hostile peer; the first one waits."""

    def __init__(self) -> None:
        self.calls = self.before_good = 0
        self.is_begun = False
        self.has_come, self.may_go_on = threading.Event(), threading.Event()
        self.handlers = define_event_handlers()
        for name in ("hello", "mail", "body", "end_of_message", "unknown"):
            self.handlers.add(name, self._count)

    def _count(self, event: Any, ctx: Any) -> Any:
        if getattr(event, "sender", "") == "good@example.org":
            self.before_good = self.calls
        elif self.is_begun:
            self.calls += 1
            self.has_come.set()
            assert self.may_go_on.wait(WAIT)
        return ctx


@pytest.mark.parametrize("observer", [None, lambda step: None], ids=["plain", "observed"])
@pytest.mark.parametrize("flood", FLOODS)
def test_a_peer_that_says_very_much_at_once_is_served_a_little_at_a_time(flood, observer):
    """Another that has spoken meanwhile is answered after two turns' packets, not after all of it."""
    tally = Tally()
    options = {"driver": "asyncio", "warn_blocked": WAIT, "observer": observer}
    with running(tally.handlers, **options) as address, Peer(address) as bad, Peer(address) as good:
        bad.begin()
        good.begin()
        tally.is_begun = True
        bad.send(FLOODS[flood])
        assert tally.has_come.wait(WAIT)
        good.send(join([packet("M", b"<good@example.org>\0")]))
        tally.may_go_on.set()
        good.hear()
        bad.socket.shutdown(socket.SHUT_WR)
        hear_all(bad)
    assert tally.before_good <= 2 * MOST
    assert tally.before_good < tally.calls


def test_what_was_said_before_the_end_of_the_stream_is_answered(notes):
    """A peer that says no more is served to the last packet, a turn after the other."""
    with (
        running(noting(notes, ("mail", "disconnect")), driver="asyncio") as address,
        Peer(address) as peer,
    ):
        peer.negotiate()
        peer.send(FLOODS["messages"])
        peer.socket.shutdown(socket.SHUT_WR)
        assert hear_all(peer) == "c" * 2 * MESSAGES
        notes.wait_for("disconnect")


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_handlers_that_run_apart_have_a_turn_each(kind):
    """All that was said at once is answered, in order."""
    handlers = define_event_handlers()
    if kind == "async":

        @handlers.mail
        async def wait(event, ctx):
            await asyncio.sleep(0)
            return accept(ctx)
    else:

        @handlers.mail(blocking=True)
        def keep(event, ctx):
            return accept(ctx)

    with running(handlers, driver="asyncio") as address, Peer(address) as peer:
        peer.negotiate()
        peer.send(join([MAIL, UNKNOWN] * MESSAGES))
        heard = [chr(peer.hear_packet()[0]) for _ in range(2 * MESSAGES)]
    assert heard == ["a", "c"] * MESSAGES


def test_nothing_is_done_for_a_peer_that_takes_no_answers(tmp_path):
    """Whatever it had sent before: what is unsent is bounded, until it reads; then all is answered."""
    calls = Notes()
    handlers = define_event_handlers(actions={"change_body"})

    @handlers.end_of_message
    def replace(event, ctx):
        calls.add("end")
        return send_action(ctx, ReplaceBody(bytes(50_000)))

    address = f"unix:{tmp_path}/socket"
    with running(handlers, driver="asyncio", address=address), Peer(address) as bad:
        bad.negotiate()
        bad.send(join([MAIL, EOM] * 200))
        calls.wait_for("end")
        with Peer(address) as good:
            assert len(good.begin().message()) == 2
        buffers = bad.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert calls.all().count("end") * 50_000 < 2 * buffers + 4 * Budget().answer + 2 * 50_000
        bad.socket.shutdown(socket.SHUT_WR)
        assert hear_all(bad).count("b") == 200
    assert calls.all().count("end") == 201


def in_a_loop(handlers: Any, act: Callable[[Any, Peer], Any], times: int = 5, **options: Any) -> str:
    """What a peer hears that has sent many messages, when this has been done at the first of them."""
    heard: list[str] = []

    async def main() -> None:
        async with serve("inet:0@127.0.0.1", handlers, **options) as server:
            begun = asyncio.Event()
            loop = asyncio.get_running_loop()

            @handlers.end_of_message
            def begin(event, ctx):
                loop.call_soon(begun.set)
                return ctx

            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.negotiate)
                await asyncio.to_thread(peer.send, FLOODS["messages"] * times)
                await begun.wait()
                await act(server, peer)
                if peer.socket.fileno() != -1:
                    heard.append(await asyncio.to_thread(hear_all, peer))

    asyncio.run(main())
    return "".join(heard)


def test_a_milter_that_stops_finishes_what_was_said(notes):
    """Within the grace period: a connection with work left is not idle."""

    async def stop(server: Any, peer: Peer) -> None:
        await server.close()

    heard = in_a_loop(noting(notes, ("disconnect",)), stop, times=1, grace=WAIT)
    assert heard == "c" * 2 * MESSAGES
    assert notes.all() == ["disconnect"]


def test_a_connection_with_work_left_is_cut_when_the_grace_period_is_over(notes, log):
    """Its last handlers run; what is left is dropped."""

    async def stop(server: Any, peer: Peer) -> None:
        await server.close(grace=0)

    heard = in_a_loop(noting(notes, ("disconnect",)), stop)
    assert len(heard) < 10 * MESSAGES
    assert notes.all() == ["disconnect"]
    (record,) = log.take()
    assert "it had not finished when the milter stopped" in record


def test_a_peer_that_is_gone_with_work_left(notes):
    """Is noticed when it is answered, and what is left is dropped; the others are served."""

    async def leave(server: Any, peer: Peer) -> None:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.socket.close()
        await asyncio.to_thread(notes.wait_for, "disconnect")
        await asyncio.to_thread(wait_until, lambda: not server._sessions)

    in_a_loop(noting(notes, ("mail", "disconnect")), leave)
    assert notes.all().count("mail") < 5 * MESSAGES
    assert notes.all().count("disconnect") == 1
