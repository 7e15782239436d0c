"""Connections that are used in threads: what becomes of one for which nobody waits any longer."""

import asyncio
import threading

import pytest

from demyjpy.lookups.thread_connections import ThreadConnections


@pytest.mark.parametrize("fails", [False, True])
def test_a_connection_that_comes_too_late_is_closed(fails):
    """Else it would stay open until the garbage collector finds it; if it fails, there is none."""
    begun, may_go, has_closed = threading.Event(), threading.Event(), threading.Event()

    def connect():
        begun.set()
        may_go.wait(5)
        if fails:
            raise OSError("away")
        return "connection"

    closed = []

    def close(connection):
        closed.append(connection)
        has_closed.set()

    async def main():
        connections = ThreadConnections(1, connect, close, lambda connection: None)
        asking = asyncio.create_task(connections.call(len))
        assert await asyncio.to_thread(begun.wait, 5)
        asking.cancel()
        await asyncio.wait((asking,))
        may_go.set()
        if not fails:
            assert await asyncio.to_thread(has_closed.wait, 5)
        connections.close()

    asyncio.run(main())
    assert closed == ([] if fails else ["connection"])


def test_a_connection_that_was_not_begun_is_none():
    """All threads are busy with others, so nothing has to be closed."""
    begun, may_go = threading.Event(), threading.Event()

    def connect():
        begun.set()
        may_go.wait(5)
        return "connection"

    closed = []

    async def main():
        connections = ThreadConnections(1, connect, closed.append, lambda connection: None)
        first = asyncio.create_task(connections.call(len))
        assert await asyncio.to_thread(begun.wait, 5)
        second = asyncio.create_task(connections.call(len))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait((second,))
        may_go.set()
        assert await first == len("connection")
        connections.close()

    asyncio.run(main())
    assert closed == ["connection"]
