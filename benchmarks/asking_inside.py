"""Questions measured in this process: the engine alone, and what is left after sessions that are cut.

python -m benchmarks.asking_inside engine           # JSON: µs of CPU a message, by filter
python -m benchmarks.asking_inside cut asyncio      # JSON: counts before and after 1,000 sessions
"""

import asyncio
import gc
import json
import os
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import asking_filters
from benchmarks.sessions import reads_of
from demyjpy import Registry, define_event_handlers, running
from demyjpy.drivers.asker import Asker
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.questions import Outcome

PAIRS: Final = {"mail": "M", "recipient": "R", "early": "M"}
"""Each with ``_alone`` and ``_asks`` behind it is the name of a filter; what it is told but the end."""

Reads = tuple[bytes, ...]

_MESSAGES: Final = 2_000
_ROUNDS: Final = 7
_SESSIONS: Final = 1_000
_KINDS: Final = ("Task", "Asked", "_Flight", "_Errand", "Line")


# ------------------------------------------------------------------------------------ the engine
async def engine() -> dict[str, float]:
    """CPU of a message in µs, by filter: the median of rounds in which each has its turn."""
    loop = asyncio.get_running_loop()
    asker = Asker(lambda: loop)
    rounds: list[dict[str, float]] = []
    for _ in range(_ROUNDS):
        rounds.append({})
        for pair, letters in PAIRS.items():
            reads = reads_of(letters, 2048)
            for name in (f"{pair}_alone", f"{pair}_asks"):
                handlers: Registry = getattr(asking_filters, name)
                setup = Setup(as_on_connect(handlers), known_answer=asker.known_answer)
                await _teach(asker, setup, reads)
                rounds[-1][name] = _cost(setup, reads)
    asker.close()
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


async def _teach(asker: Asker, setup: Setup, reads: Reads) -> None:
    """Have each question of a session answered once, so that the answer is remembered."""
    connection = _line(setup)
    for read in reads:
        connection.receive_data(read)
        while asked := connection.leave().open_questions:
            number, one = next(iter(asked.items()))
            told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

            def tell(outcome: Outcome, seconds: float, told: asyncio.Future[Outcome] = told) -> None:
                told.set_result(outcome)

            asker.begin(one, tell)
            connection.take_answer(number, await told, None)


def _line(setup: Setup) -> Line:
    return Line(open_connection(setup, "benchmark"))


def _cost(setup: Setup, reads: Reads) -> float:
    """µs of CPU of a message, of many on one connection."""
    line = _line(setup)
    _receive(line, reads[0])
    begun = time.process_time()
    for _ in range(_MESSAGES):
        for read in reads[1:-1]:
            _receive(line, read)
    return (time.process_time() - begun) / _MESSAGES * 1e6


def _receive(line: Line, data: bytes) -> None:
    if line.receive_data(data) is None:
        connection = line.leave()
        if connection.open_questions or connection.troubles:
            raise RuntimeError(f"expected an answer that is known, got {connection}")
        line.hold(connection)


# --------------------------------------------------------------------------- sessions that are cut
def cut(driver: Any) -> dict[str, Any]:
    """What is there before and after sessions that end at random points."""
    performed: list[type] = []

    async def sleep(question: Any, resources: Any) -> bool:
        performed.append(type(question))
        return await asking_filters.Sleep().perform({})

    def block(question: Any, resources: Any) -> bool:
        performed.append(type(question))
        return asking_filters.Block().perform({})

    questions = {"async": asking_filters.Sleep(), "plain": asking_filters.Block()}
    both = define_event_handlers(asks={asking_filters.Sleep: sleep, asking_filters.Block: block})
    both.mail(asking=lambda event, ctx: questions)(asking_filters.let_go_on)
    chance = random.Random(17)
    packets = list(_packets(b"".join(reads_of("CHMRTLNB", 2048))))
    with running(both, driver=driver, blocking_threads=16) as address:
        port = int(address.partition(":")[2].partition("@")[0])
        for _ in range(_SESSIONS // 2):  # until there are as many threads as there will be
            _session(port, packets, chance)
        before = _settled()
        for _ in range(_SESSIONS):
            _session(port, packets, chance)
        after = _settled()
    return {"before": before, "after": after, "performed": len(performed)}


def _packets(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4])
        yield data[at:end]
        at = end


def _session(port: int, packets: list[bytes], chance: random.Random) -> None:
    """One that says so much and goes, at once or after a moment."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as mta:
        mta.sendall(b"".join(packets[: chance.randrange(len(packets))]))
        time.sleep(chance.choice((0, 0, 0.001, 0.01)))


def _settled() -> dict[str, int]:
    """Counts, when nothing has changed for a second."""
    seen: list[dict[str, int]] = []
    while len(seen) < 60:
        gc.collect()
        alive = Counter(type(one).__name__ for one in gc.get_objects())
        seen.append(
            {
                "descriptors": len(list(Path("/proc/self/fd").iterdir())),
                "threads": threading.active_count(),
                **{kind: alive[kind] for kind in _KINDS},
            }
        )
        if len(seen) > 2 and seen[-1] == seen[-2] == seen[-3]:
            break
        time.sleep(0.5)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    blocks = sys.getallocatedblocks()
    return {**seen[-1], "blocks of memory": blocks, "kB": pages * os.sysconf("SC_PAGE_SIZE") // 1024}


if __name__ == "__main__":
    what = sys.argv[1]
    print(json.dumps(asyncio.run(engine()) if what == "engine" else cut(sys.argv[2])))
