"""A filter with kilter.service: adds a header with the size of the body, refuses small ones."""

import contextlib
import sys

import anyio
from kilter.protocol.messages import Accept, ActionFlags, Header, Reject
from kilter.service import END, Runner, Session
from kilter.service.options import CanRespond, examine_body, examine_sender, modify_flags


@examine_sender(can_respond=True)
@examine_body(can_respond=CanRespond.DURING | CanRespond.AFTER)
@modify_flags(set_actions=ActionFlags.ADD_HEADERS)
async def add(session: Session):
    """Count, and say how many."""
    size = 0
    await session.envelope_from()
    async with session.body as body:
        async for chunk in body:
            size += len(chunk)
    if size < 10:
        return Reject()
    await session.headers.insert(Header("X-Kilter", b"%d" % size), END)
    return Accept()


async def guarded(stream):
    """One session; what goes wrong in kilter ends this one only."""
    with contextlib.suppress(Exception):
        await Runner(add)(stream)


async def main():
    """Serve until killed."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=int(sys.argv[1]))
    await listener.serve(guarded)


anyio.run(main)
