"""What nobody foresaw, within the asyncio driver: it ends a session, and leaves nothing behind."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from attrs import frozen

from demyjpy import Body, Mail, Question, Recipient, ask, define_event_handlers, serve
from demyjpy.drivers import aio_session
from demyjpy.engine import hot_path
from tests.drivers.filters import wait_until
from tests.drivers.peer import CONNECT, Peer


@pytest.fixture
def broken(monkeypatch):
    """Set it, and nothing can be reported any more."""
    report = aio_session.report
    found = threading.Event()

    def try_to_report(connection, notes):
        if found.is_set():
            raise OSError("no report")
        report(connection, notes)

    monkeypatch.setattr(aio_session, "report", try_to_report)
    return found


@asynccontextmanager
async def served(handlers, told):
    """A server whose loop tells what it is told."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with serve("inet:0@127.0.0.1", handlers, grace=1) as server:
        yield server


async def until(condition):
    """Until it holds, in a thread."""
    await asyncio.to_thread(wait_until, condition)


def waiting(gate):
    """A filter that waits at MAIL until the gate opens."""
    handlers = define_event_handlers()
    handlers.mail(lambda event, ctx: ctx if gate.wait(20) else None, blocking=True)
    return handlers


@frozen
class Slow(Question):
    """Answered when the gate is open."""

    gate: threading.Event

    def perform(self, resources):
        return self.gate.wait(20)


def asking(gate):
    """A filter that asks at MAIL, and is answered when the gate opens."""
    handlers = define_event_handlers()
    handlers.mail(lambda event, ctx: ctx, asking=lambda event, ctx: {"q": Slow(gate)})
    return handlers


def test_after_a_handler(broken, gate):
    """The connection is closed, so that the MTA knows."""
    told = []

    async def main():
        async with served(waiting(gate), told) as server:
            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.begin)
                peer.say(Mail("a"))
                await until(lambda: any(one._running for one in server._sessions))
                broken.set()
                gate.set()
                await until(lambda: not server._sessions)
                assert await asyncio.to_thread(peer.has_ended)

    asyncio.run(main())
    assert [str(one["exception"]) for one in told] == ["no report"] * 2


def test_after_a_handler_when_the_peer_has_gone(broken, gate):
    """The session is forgotten all the same."""
    told = []

    async def main():
        async with served(waiting(gate), told) as server:
            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.begin)
                peer.say(Mail("a"))
                await until(lambda: any(one._running for one in server._sessions))
            await until(lambda: all(one._transport is None for one in server._sessions))
            broken.set()
            gate.set()
            await until(lambda: not server._sessions)
            assert server._door.served == 0

    asyncio.run(main())
    assert [str(one["exception"]) for one in told] == ["no report"]


def test_when_the_peer_goes(broken):
    """The session is forgotten all the same."""
    told = []

    async def main():
        async with served({}, told) as server:
            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.negotiate)
                broken.set()
            await until(lambda: not server._sessions)
            assert server._door.served == 0

    asyncio.run(main())
    assert [str(one["exception"]) for one in told] == ["no report"]


def test_when_accepting_cannot_go_on(monkeypatch):
    """A session that has ended is forgotten once."""
    told = []

    def refuse():
        raise OSError("no more")

    async def main():
        async with served({}, told) as server:
            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.negotiate)
                monkeypatch.setattr(server._acceptor, "resume", refuse)
            await until(lambda: not server._sessions)
            assert server._door.served == 0

    asyncio.run(main())
    assert [str(one["exception"]) for one in told] == ["no more"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["resume", "take_answer"])
def test_what_ends_a_program_ends_it(monkeypatch, gate, error, where):
    """It is not held back after a handler, nor after an answer."""
    handlers = waiting(gate) if where == "resume" else asking(gate)
    known = getattr(hot_path, where)

    def stop(*arguments):
        monkeypatch.setattr(hot_path, where, known)  # the server is closed while the program ends
        raise error

    async def main():
        async with served(handlers, []) as server:
            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.begin)
                monkeypatch.setattr(hot_path, where, stop)
                peer.say(Mail("a"))
                gate.set()
                await asyncio.sleep(20)

    with pytest.raises(error):
        asyncio.run(main())


def test_what_comes_while_handlers_run_is_not_piled_up():
    """Of a peer that does not wait for answers no more is kept than one read."""
    handlers = define_event_handlers()
    sizes = []
    chunk = Body(b"x" * 65_000)

    async def main():
        async with served(handlers, []) as server:

            @handlers.body(reply=False, blocking=True)
            def body(event, ctx):
                kept = [one._line.leave().backlog.packets for one in server._sessions]
                sizes.append(sum(len(payload) for packets in kept for _, payload in packets))
                return ctx

            def talk():
                with Peer(server.address) as peer:
                    peer.negotiate()
                    peer.ask(CONNECT)
                    data = peer.bytes_of(chunk)
                    for _ in range(100):
                        peer.send(data)
                    peer.vanish()

            await asyncio.to_thread(talk)

    asyncio.run(main())
    assert len(sizes) > 50
    assert max(sizes) <= 2 * 262_144


def asking_early(gate, answered):
    """A filter that asks at MAIL, and whose recipient handler waits at the gate."""
    handlers = define_event_handlers()
    handlers.mail(lambda event, ctx: ask(ctx, "q", Slow(answered)))
    handlers.recipient(lambda event, ctx: ctx if gate.wait(20) else None, blocking=True)
    return handlers


def test_after_an_answer(broken, gate):
    """The connection is closed, so that the MTA knows."""
    told = []

    async def main():
        async with served(asking(gate), told) as server:
            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.begin)
                peer.say(Mail("a"))
                await until(lambda: any(one._waits for one in server._sessions))
                broken.set()
                gate.set()
                await until(lambda: not server._sessions)
                assert await asyncio.to_thread(peer.has_ended)

    asyncio.run(main())
    assert [str(one["exception"]) for one in told] == ["no report"] * 2


def test_after_an_answer_when_the_peer_has_gone(broken, gate):
    """While a handler runs that nobody can stop: the session is forgotten all the same."""
    told, answered = [], threading.Event()

    async def main():
        async with served(asking_early(gate, answered), told) as server:
            with Peer(server.address) as peer:
                await asyncio.to_thread(peer.begin)
                peer.say(Mail("a"), Recipient("b"))
                await until(lambda: any(one._running for one in server._sessions))
            await until(lambda: all(one._transport is None for one in server._sessions))
            broken.set()
            answered.set()
            await until(lambda: not server._sessions)
            gate.set()

    asyncio.run(main())
    assert [str(one["exception"]) for one in told][:1] == ["no report"]
