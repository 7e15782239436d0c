"""A message as it is sent to a server: in pieces, read one after the other from where they lie."""

import asyncio
from collections.abc import AsyncIterator

from demyjpy.message import Message


async def message_pieces(message: Message) -> AsyncIterator[bytes]:
    """The pieces of a message, none of them empty; a body that is in a file is read in threads.

    `LocalProtocolError` if the body is not there, or not any more.
    """
    pieces = filter(None, message.pieces())
    if isinstance(message.content, bytes):
        for piece in pieces:
            yield piece
        return
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
