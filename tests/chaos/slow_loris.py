"""Slow-loris: ``python -m tests.chaos.slow_loris``: many who say a byte a second, and one who works.

Prints the good client's times for a message without and with them; 1 if the 99th of a hundred is more
than three times what it was (and more than a few milliseconds).
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.chaos.clients import Client, LeftError, Tally, send_message
from tests.chaos.run import Milter, Plan, descriptors
from tests.drivers.peer import offer, packet

FEW: float = 0.005


async def _times(address: tuple[str, int], count: int) -> list[float]:
    """Seconds for each of some messages, a new session every ten."""
    tally, found = Tally(), []
    while len(found) < count:
        client = await Client.connect(address)
        await client.begin()
        for _ in range(10):
            started = time.perf_counter()
            await send_message(client, f"good-{len(found)}", 4000, tally)
            found.append(time.perf_counter() - started)
        client.close()
    if tally.wrong or tally.interrupted:
        raise AssertionError(tally)
    return sorted(found)


async def _drip(address: tuple[str, int], done: asyncio.Event) -> None:
    """A byte a second, until the milter has had enough."""
    data = packet(offer()) * 1000
    with suppress(ConnectionError, LeftError):
        client = await Client.connect(address)
        for byte in data:
            client.send(bytes((byte,)))
            await client.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), 1.0)
            if done.is_set():
                break
        client.close()


async def run(driver: str, drips: int, messages: int) -> tuple[float, float, int]:
    """The good client's 99th percentile before and meanwhile, in seconds; descriptors meanwhile."""
    with tempfile.TemporaryDirectory(prefix="demyjpy-loris-") as place:
        milter = Milter(Plan(driver, 0, 0, 0, 1, 0, 0), Path(place))
        address = await milter.start()
        try:
            before = await _times(address, messages)
            done = asyncio.Event()
            dripping = [asyncio.create_task(_drip(address, done)) for _ in range(drips)]
            while descriptors(milter.process.pid) < drips:  # noqa: ASYNC110  # of another process
                await asyncio.sleep(0.1)
            count = descriptors(milter.process.pid)
            meanwhile = await _times(address, messages)
            done.set()
            await asyncio.gather(*dripping)
        finally:
            milter.process.terminate()
            await milter.process.wait()
    at = int(0.99 * messages)
    return before[at], meanwhile[at], count


def main() -> int:
    """Against each driver."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.slow_loris")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    found = parser.parse_args()
    status = 0
    for driver in found.driver or ("asyncio", "threads"):
        before, meanwhile, count = asyncio.run(run(driver, found.connections, found.messages))
        print(
            f"{driver}: p99 {1000 * before:.2f} ms alone, {1000 * meanwhile:.2f} ms beside "
            f"{found.connections} slow ones ({count} descriptors)",
            flush=True,
        )
        status |= meanwhile > max(3 * before, FEW)
    return status


if __name__ == "__main__":
    sys.exit(main())
