"""Waiting for a signal that ends a command."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def until_signal() -> AsyncIterator["asyncio.Future[None]"]:
    """A future that is done when the program is told to end; its exception, if any, ends it at once."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, tell, told, None)
    try:
        yield told
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def tell(told: "asyncio.Future[None]", error: OSError | None) -> None:
    """Let a future of `until_signal` be done, if it is not."""
    if told.done():
        return
    if error is None:
        told.set_result(None)
    else:
        told.set_exception(error)
