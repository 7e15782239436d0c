"""Signals: those that end a command, and the alarm that ends what takes too long."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def until_signal() -> AsyncIterator["asyncio.Future[None]"]:
    """A future that is done when a signal ends the program; its exception, if any, ends it at once."""
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
    if not told.done():
        if error is None:
            told.set_result(None)
        else:
            told.set_exception(error)


@contextmanager
def alarm(seconds: float, ring: Callable[..., None], again: float) -> Iterator[None]:
    """While the block runs, ``ring`` is called after some seconds, and then every ``again`` seconds.

    Outside of the main thread, where Python handles no signals, it is never called.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
