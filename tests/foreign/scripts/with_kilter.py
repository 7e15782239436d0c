"""A filter with kilter.service: refuses mail with an odd field, adds a header to other."""

import sys

import anyio
from kilter.protocol.messages import Accept, ActionFlags, Header, Reject
from kilter.service import END, Runner, Session
from kilter.service.options import modify_flags


@modify_flags(set_actions=ActionFlags.ADD_HEADERS)
async def add(session: Session):
    """Adds a header at the end."""
    await session.envelope_from()
    async with session.headers as headers:
        async for header in headers:
            if header.name == "X-Second":
                return Reject()
    await session.headers.insert(Header("X-Kilter", b"seen"), END)
    return Accept()


async def main():
    """Serve until killed."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=int(sys.argv[1]))
    await listener.serve(Runner(add))


anyio.run(main)
