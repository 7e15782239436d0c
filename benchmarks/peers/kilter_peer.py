"""Two filters over kilter.service: kilter_peer.py noop|bytecount PORT|/PATH."""

import sys

import anyio
from kilter.protocol.messages import Accept, ActionFlags, Header
from kilter.service import END, Runner
from kilter.service.options import (
    CanRespond,
    examine_body,
    examine_headers,
    examine_helo,
    examine_recipients,
    examine_sender,
    modify_flags,
    responds_to_connect,
)


@responds_to_connect()
@examine_helo(can_respond=True)
@examine_sender(can_respond=True)
@examine_recipients(can_respond=True)
@examine_headers(can_respond=True)
@examine_body(can_respond=True)
async def noop(session):
    """Wait for every event, and let the mail go on."""
    await session.helo()
    await session.envelope_from()
    async for _ in session.envelope_recipients():
        pass
    async with session.headers as headers:
        async for _ in headers:
            pass
    async with session.body as body:
        async for _ in body:
            pass
    return Accept()


@examine_sender(can_respond=True)
@examine_body(can_respond=CanRespond.DURING | CanRespond.AFTER)
@modify_flags(set_actions=ActionFlags.ADD_HEADERS)
async def bytecount(session):
    """Add X-Message-Size."""
    size = 0
    await session.envelope_from()
    async with session.body as body:
        async for chunk in body:
            size += len(chunk)
    await session.headers.insert(Header("X-Message-Size", str(size).encode()), END)
    return Accept()


async def main(job, where):
    """Serve until killed."""
    if where[0] == "/":
        listener = await anyio.create_unix_listener(where, backlog=4096)
    else:
        listener = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=int(where), backlog=4096
        )
    await listener.serve(Runner({"noop": noop, "bytecount": bytecount}[job]))


anyio.run(main, *sys.argv[1:])
