"""What is the asyncio driver's own."""

import asyncio
import sys
import threading
from contextlib import ExitStack
from typing import Any

import pytest

from demyjpy import (
    AddressError,
    Continue,
    EndOfMessage,
    HandlerError,
    Progress,
    TemporaryFailure,
    define_event_handlers,
    running,
    serve,
)
from demyjpy.drivers import AsyncServer
from demyjpy.drivers.address import parse_address
from tests.drivers.filters import Way, noting, without
from tests.drivers.peer import CONNECT, ENVELOPE, WAIT, Peer
from tests.drivers.program import program

ANYWHERE = "inet:0@127.0.0.1"


def talk(address: str) -> tuple[Any, ...]:
    """A session with one message."""
    with Peer(address) as peer:
        return peer.begin().message()


def test_serve_in_a_loop_of_ones_own():
    """Several milters can be served within a program that has its own event loop."""

    async def main() -> None:
        async with serve(ANYWHERE, {}) as one, serve(ANYWHERE, {}, idle_timeout=100) as two:
            for server in (one, two):
                assert await asyncio.to_thread(talk, server.address) == (Continue(),)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(talk, one.address)

    asyncio.run(main())


def test_the_parts_of_a_server(notes, log):
    """A server can be started and closed by hand, with a grace period of one's own."""

    async def main() -> None:
        server = AsyncServer(parse_address(ANYWHERE), noting(notes))
        await server.start()
        with Peer(server.address) as peer:
            await asyncio.to_thread(lambda: peer.begin().begin_message())
            await server.close(grace=0)
            await server.close()
            assert await asyncio.to_thread(peer.has_ended)

    asyncio.run(main())
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    assert "had not finished when the milter stopped" in log.take_one()


def test_an_address_that_is_taken():
    """A server that cannot listen says so when it is entered."""

    async def main() -> None:
        async with serve(ANYWHERE, {}) as one:
            with pytest.raises(AddressError, match="Address already in use"):
                async with serve(one.address, {}):
                    pass

    asyncio.run(main())


def test_closing_that_is_cancelled(notes, log):
    """Where a program does not wait for the grace period, sessions are ended at once."""

    async def main() -> None:
        server = serve(ANYWHERE, noting(notes), grace=1000)
        await server.start()
        with Peer(server.address) as peer:
            await asyncio.to_thread(lambda: peer.begin().begin_message())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await server.close()
            assert await asyncio.to_thread(peer.has_ended)

    asyncio.run(main())
    assert notes.all() == ["connect", "mail", "abort", "disconnect"]
    assert "it had not finished" in log.take_one()


def test_more_connections_at_once_than_are_taken_at_once(gate):
    """Connections that all come while the loop is busy are all served."""
    handlers = define_event_handlers()

    def connect(event: Any, ctx: Any) -> Any:
        gate.wait(WAIT)
        return ctx

    handlers.add("connect", connect)
    with running(handlers) as address, ExitStack() as stack:
        peers = [stack.enter_context(Peer(address)) for _ in range(100)]
        peers[0].negotiate()
        peers[0].say(CONNECT)
        more = [stack.enter_context(Peer(address)) for _ in range(100)]
        gate.set()
        assert peers[0].hear() == Continue()
        for peer in (*peers[1:], *more):
            assert peer.begin().message() == (Continue(),)


def test_more_blocking_handlers_than_threads(notes, gate):
    """With all threads taken a handler waits for one; its MTA is kept waiting, too."""
    handlers = define_event_handlers()
    Way("asyncio", "blocking").add_slow(
        handlers,
        "end_of_message",
        gate,
        lambda event, ctx: notes.add(threading.get_ident()) or ctx,
        progress=0.05,
    )
    with running(handlers, blocking_threads=2) as address, ExitStack() as stack:
        peers = [stack.enter_context(Peer(address)) for _ in range(5)]
        for peer in peers:
            peer.begin().begin_message().say(EndOfMessage())
        for peer in peers:
            assert peer.hear() == Progress()
        gate.set()
        for peer in peers:
            assert peer.hear_answer()[-1] == Continue()
    assert len(notes.all()) == 5
    assert len(set(notes.all())) == 2


def test_threads_are_used_again(notes):
    """One blocking handler after the other needs one thread."""
    handlers = define_event_handlers()

    def mail(event: Any, ctx: Any) -> Any:
        notes.add(threading.get_ident())
        return ctx

    handlers.add("mail", mail, blocking=True)
    with running(handlers) as address, Peer(address) as peer:
        peer.begin()
        for _ in range(10):
            assert peer.message() == (Continue(),)
    assert notes.all()[0] != threading.get_ident()
    assert len(set(notes.all())) <= 2  # the first may not have sat down again


def test_handlers_not_begun_when_it_stops(notes, gate, log):
    """A handler that still waits for a thread when the grace period is over does not run."""
    handlers = noting(notes, without("end_of_message", "connect"))

    @handlers.end_of_message(blocking=True)
    def run_slowly(event: Any, ctx: Any) -> Any:
        notes.add("begun")
        gate.wait(WAIT)
        notes.add("ran")
        return ctx

    with ExitStack() as stack:
        with running(handlers, blocking_threads=1, grace=0) as address:
            for _ in range(3):
                peer = stack.enter_context(Peer(address))
                peer.begin().begin_message().say(EndOfMessage())
            notes.wait_for("mail", 3)
            notes.wait_for("begun")
            stack.enter_context(Peer(address)).negotiate()
        assert notes.all().count("abort") == notes.all().count("disconnect") - 1 == 3
        gate.set()
        notes.wait_for("ran")
    assert notes.all().count("begun") == notes.all().count("ran") == 1
    assert len(log.take()) == 3


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_last_handlers_when_it_stops(kind, notes, gate):
    """Handlers of the end of a connection may finish even when the grace period is over."""
    handlers = define_event_handlers()
    way = Way("asyncio", kind)
    way.add(handlers, "connect", lambda event, ctx: ctx)
    way.add_slow(handlers, "disconnect", gate, lambda event, ctx: notes.add("disconnect") or ctx)
    opening = threading.Timer(0.2, gate.set)
    with running(handlers, grace=0) as address, Peer(address) as peer:
        peer.begin()
        opening.start()
    opening.join()
    assert notes.all() == ["disconnect"]


def interrupt(event: Any, ctx: Any) -> Any:
    """As a handler does in which Ctrl-C is made up."""
    raise KeyboardInterrupt


def test_a_thread_cannot_interrupt_the_program(log):
    """What a blocking handler raises, whatever it is, is a failure of that handler."""
    handlers = define_event_handlers()
    handlers.add("mail", interrupt, blocking=True)
    with running(handlers) as address, Peer(address) as peer:
        assert peer.begin().ask(ENVELOPE[0]) == TemporaryFailure()
    assert "got KeyboardInterrupt()" in log.take_one()


def test_a_peer_that_goes_just_before_the_answer(notes, gate):
    """A peer that goes before the answer is sent was not answered."""
    handlers = noting(notes, without("end_of_message"))

    async def end_of_message(event: Any, ctx: Any) -> Any:
        notes.add("at work")
        gate.wait(WAIT)  # the loop sees nothing meanwhile
        return ctx

    handlers.add("end_of_message", end_of_message)
    with running(handlers) as address:
        with Peer(address) as peer:
            peer.begin().begin_message().say(EndOfMessage())
            notes.wait_for("at work")
            peer.reset()
        gate.set()
        notes.wait_for("disconnect")
    assert notes.all() == ["connect", "mail", "at work", "abort", "disconnect"]


def test_a_program_that_cancels_all_tasks(notes, log):
    """Where a program cancels what runs in its loop, connections that begin do not notice."""

    async def main() -> None:
        async with serve(ANYWHERE, noting(notes)) as server:
            with Peer(server.address) as peer:
                for _ in range(10):
                    await asyncio.sleep(0)
                    for task in asyncio.all_tasks() - {asyncio.current_task()}:
                        task.cancel()
                await asyncio.to_thread(lambda: peer.begin().vanish())
            assert await asyncio.to_thread(talk, server.address) == (Continue(),)

    asyncio.run(main())
    assert notes.all() == ["connect", "disconnect", "connect", "mail", "end_of_message", "disconnect"]


UVLOOP = """
import asyncio, uvloop
from contextlib import ExitStack

def serve_one(way, loop):
    gate, notes = threading.Event(), Notes()
    handlers = noting(notes, without("end_of_message"))
    way.add_slow(handlers, "end_of_message", gate, progress=0.05)

    def talk(address):
        with Peer(address) as peer, Peer(address) as other, Peer(address) as third:
            peer.begin().begin_message().say(*MESSAGE[-1:], *MESSAGE)
            assert peer.hear() == Progress()
            third.begin().begin_message().reset()
            gate.set()
            peer.hear_answer()
            assert peer.hear_answers(*MESSAGE)[-1][-1] == Continue()
            other.begin().begin_message()
            peer.vanish()
            return address

    async def main():
        assert type(asyncio.get_running_loop()).__module__.startswith("uvloop") == (loop == "uvloop")
        async with serve("inet:0@127.0.0.1", handlers, grace=0.1) as server:
            await asyncio.to_thread(talk, server.address)
    asyncio.run(main())
    say(loop, way, sorted(notes.all()))

for loop in "asyncio", "uvloop":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy() if loop == "uvloop" else None)
    for way in WAYS[:2]:
        serve_one(way, loop)

start_milter("inet:0@127.0.0.1", handlers, on_ready=on_ready)
say("stopped")
"""


def test_uvloop():
    """Under uvloop the driver does the same as under asyncio's own loop."""
    pytest.importorskip("uvloop")
    with program(UVLOOP) as milter:
        seen = [milter.wait_for(f"^{loop} (.*)") for loop in ("asyncio", "asyncio", "uvloop", "uvloop")]
        assert seen[:2] == seen[2:]
        with Peer(milter.address()) as peer:
            peer.begin()
            milter.tell()
            assert peer.has_ended()
        milter.end()


def test_a_loop_is_chosen_by_name():
    """``loop="uvloop"`` runs the milter in a uvloop; `serve` runs where it is called."""
    pytest.importorskip("uvloop")
    found: list[str] = []
    handlers = define_event_handlers()

    @handlers.mail
    async def mail(event, ctx):
        found.append(type(asyncio.get_running_loop()).__module__)
        return ctx

    for loop in ("asyncio", "uvloop"):
        with running(handlers, loop=loop) as address:
            assert talk(address) == (Continue(),)
    assert [name.partition(".")[0] for name in found] == ["asyncio", "uvloop"]
    with pytest.raises(HandlerError, match=r"in a loop of your own, got loop='uvloop'"):
        serve(ANYWHERE, handlers, loop="uvloop")


def test_a_loop_that_cannot_be_had(monkeypatch):
    """What is not installed, not known, or not the driver's own is said before anything is opened."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with (
        pytest.raises(HandlerError, match=r'expected uvloop to be installed.*pip install "demyjpy'),
        running({}, loop="uvloop"),
    ):
        pass
    with pytest.raises(ValueError, match="loop"), running({}, loop="trio"):
        pass
    with (
        pytest.raises(HandlerError, match='loop= with driver="asyncio" only'),
        running({}, loop="uvloop", driver="threads"),
    ):
        pass
