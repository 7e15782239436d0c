"""Waiting has an end, also in a task that was cancelled and cleans up."""

import asyncio

import pytest

from demyjpy import define_event_handlers, serve
from demyjpy.drivers.waiting import within
from tests.drivers.peer import WAIT, Peer


def test_what_ends_in_time_and_what_does_not():
    """It says which; what is raised comes through; what takes too long is cancelled."""

    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        never = asyncio.Event()
        assert await within(WAIT, asyncio.sleep(0))
        assert not await within(0.01, never.wait())
        with pytest.raises(ValueError, match="no"):
            await within(WAIT, fail())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_task_that_is_cancelled_waits_for_the_last_handlers(notes, log):
    """A server in a task that is cancelled closes as in another: what it ends is told so first."""
    handlers = define_event_handlers()
    handlers.add("mail", lambda event, ctx: ctx)

    @handlers.disconnect
    async def leave(event, ctx):
        await asyncio.sleep(0.05)
        notes.add("disconnect")
        return ctx

    async def serve_it(address: "asyncio.Future[str]") -> None:
        async with serve("inet:0@127.0.0.1", handlers, grace=0.01) as server:
            address.set_result(server.address)
            await asyncio.Event().wait()

    async def main() -> None:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve_it(address))
        with Peer(await address) as peer:
            await asyncio.to_thread(lambda: peer.begin().begin_message())
            task.cancel()
            await asyncio.wait((task,))
            assert notes.all() == ["disconnect"]

    asyncio.run(main())
    assert "it had not finished" in log.take_one()
