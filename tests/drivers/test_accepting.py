"""Accepting connections when the system has no more descriptors to give, and when that ends."""

import asyncio
import errno
import socket
import time
from contextlib import ExitStack

import pytest

from demyjpy import Continue
from demyjpy.drivers import accepting
from demyjpy.drivers.accepting import ProtocolServer
from tests.drivers.peer import Peer
from tests.drivers.program import program

FEW_DESCRIPTORS = """
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

def on_ready(address):
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, hard))
    say("ready", address)

start_milter("inet:0@127.0.0.1", handlers, driver=sys.argv[1], on_ready=on_ready)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
say("stopped")
"""


def test_accepting_is_tried_again(driver):
    """Who cannot be accepted waits, and those that are served notice nothing."""
    with program(FEW_DESCRIPTORS, driver) as milter, ExitStack() as stack:
        address = milter.address()
        peers = [stack.enter_context(Peer(address)) for _ in range(30)]
        peers[0].begin()
        milter.wait_for("ERROR cannot accept connections: .* Too many open files; trying again in 1.0 s")
        assert peers[0].message() == (Continue(),)
        for peer in peers[:20]:
            peer.vanish()
        assert peers[20].begin().message() == (Continue(),)
        milter.tell()
        milter.end()


def test_stopping_while_accepting_is_put_off(driver):
    """A milter that waits for descriptors can be stopped."""
    with program(FEW_DESCRIPTORS, driver) as milter, ExitStack() as stack:
        address = milter.address()
        peers = [stack.enter_context(Peer(address)) for _ in range(30)]
        milter.wait_for("ERROR cannot accept connections: .* Too many open files; trying again in 1.0 s")
        milter.tell()
        for peer in peers:
            peer.drain()
        assert milter.end()[-1] == "stopped"


@pytest.mark.parametrize("turns", range(6))
def test_nobody_is_left_open_who_came_at_the_end(turns):
    """However far the loop is with it: a connection gets its protocol, or ends with the listener."""
    made = []

    class Noted(asyncio.Protocol):
        def connection_made(self, transport):
            made.append(transport)

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            server = ProtocolServer(listener, Noted)
            client = socket.create_connection(listener.getsockname(), 10.0)
            for _ in range(turns):
                await asyncio.sleep(0)
            server.close()
        await server.wait_connected()
        for transport in made:
            transport.close()
        with client:
            try:
                return await asyncio.to_thread(client.recv, 1)
            except ConnectionResetError:
                return b""

    assert asyncio.run(main()) == b""
    assert len(made) == (turns > 1)


def test_who_comes_when_there_is_no_room_is_taken_later(monkeypatch, log):
    """Without asking again and again meanwhile."""
    monkeypatch.setattr(accepting, "PAUSE", 0.2)
    asked = []

    class Scarce:
        """A listening socket; for a tenth of a second the system has no descriptor for a connection."""

        def __init__(self, sock):
            self._sock, self.fileno = sock, sock.fileno

        def accept(self):
            asked.append(time.monotonic())
            if asked[-1] < asked[0] + 0.1:
                raise OSError(errno.EMFILE, "Too many open files")
            return self._sock.accept()

    async def main():
        made = asyncio.Event()

        class Noted(asyncio.Protocol):
            def connection_made(self, transport):
                made.set()
                transport.abort()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            server = ProtocolServer(Scarce(listener), Noted)
            with socket.create_connection(listener.getsockname(), 10.0):
                await asyncio.wait_for(made.wait(), 20)
            server.close()

    asyncio.run(main())
    assert len(asked) == 2
    assert log.take_one().endswith("Too many open files; trying again in 0.2 s")
