"""Soak: ``python -m tests.chaos.soak``: half an hour of load, and whether memory or descriptors grow.

Good clients send messages one after the other, others misbehave. Every few seconds the milter's resident
memory and open descriptors are noted; in the end a line is laid through those of the second half, for
memory grows to its size first. 1 if the line rises by more than a megabyte an hour, or descriptors are
left. ``--plot FILE`` draws what was noted, as SVG.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Final

from attrs import frozen

from benchmarks.plots import Line, draw_lines
from tests.chaos.clients import Client, Tally, bad, good
from tests.chaos.run import Milter, Plan, descriptors, kilobytes

MOST: Final = 1000.0
"""Kilobytes an hour that resident memory may grow by."""


@frozen
class Sample:
    """At so many seconds: resident kilobytes, open descriptors, messages answered so far."""

    seconds: float
    kilobytes: int
    descriptors: int
    messages: int


@frozen
class Soaked:
    """What was noted of one driver."""

    driver: str
    samples: tuple[Sample, ...]
    left: int
    """Descriptors when all clients had gone, over those before the first came."""
    wrong: tuple[str, ...]

    @property
    def growth(self) -> float:
        """Kilobytes an hour, in the second half."""
        settled = self.samples[len(self.samples) // 2 :]
        slope, _ = linear_regression(
            [one.seconds for one in settled], [one.kilobytes for one in settled]
        )
        return 3600 * slope

    def as_text(self) -> str:
        """In a line."""
        half, last = self.samples[len(self.samples) // 2], self.samples[-1]
        sizes = f"{self.samples[0].kilobytes:,}, {half.kilobytes:,} and {last.kilobytes:,} kB"
        most = max(one.descriptors for one in self.samples)
        return (
            f"{self.driver}: {last.messages:,} messages in {last.seconds:.0f} s; {sizes} at first, at "
            f"half-time and at last, {self.growth:+.0f} kB an hour since half-time; at most {most} "
            f"descriptors, {self.left} left; wrong: {', '.join(self.wrong) or 'nothing'}"
        )


async def soak(driver: str, seconds: float, connections: int, seed: int) -> Soaked:
    """One driver, in one process."""
    with tempfile.TemporaryDirectory(prefix="demyjpy-soak-") as place:
        milter = Milter(Plan(driver, 0, 0, 0, 1, 0, 0), Path(place))
        address = await milter.start()
        pid = milter.process.pid
        first = await Client.connect(address)
        await first.begin()  # so that it has all that it needs itself
        before = descriptors(pid) - 1
        first.close()
        tally, samples = Tally(), list[Sample]()
        started = time.monotonic()

        def more() -> bool:
            return time.monotonic() - started < seconds and not tally.wrong

        async def be_bad() -> None:
            chance = random.Random(seed)
            while more():
                await bad(address, chance, tally)
                await asyncio.sleep(chance.random())

        async def note() -> None:
            while more():
                await asyncio.sleep(min(5.0, seconds / 20))
                now = time.monotonic() - started
                samples.append(Sample(now, kilobytes(pid), descriptors(pid), len(tally.answered)))

        try:
            await asyncio.gather(
                note(),
                be_bad(),
                *(
                    good(number, address, more, random.Random(seed + number), tally)
                    for number in range(connections)
                ),
            )
            left = descriptors(pid) - before
            for _ in range(100):  # for the last disconnects
                if left <= 0:
                    break
                await asyncio.sleep(0.1)
                left = descriptors(pid) - before
        finally:
            milter.process.terminate()
            await milter.process.wait()
    return Soaked(driver, tuple(samples), left, tuple(tally.wrong[:5]))


def plot(found: Sequence[Soaked]) -> str:
    """Memory of each driver over the minutes."""
    lines = [
        Line(one.driver, [(sample.seconds / 60, sample.kilobytes / 1024) for sample in one.samples])
        for one in found
    ]
    return draw_lines("Resident memory under load", lines, across="minutes", up="MB")


def main() -> int:
    """Against each driver."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak")
    parser.add_argument("--minutes", type=float, default=30.0, help="for each driver (default: 30)")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--plot", type=Path, metavar="FILE")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    found = []
    for driver in asked.driver or ("asyncio", "threads"):
        found.append(asyncio.run(soak(driver, 60 * asked.minutes, asked.connections, asked.seed)))
        print(found[-1].as_text(), flush=True)
    if asked.plot:
        asked.plot.write_text(plot(found), encoding="utf-8")
    return any(one.wrong or one.left > 0 or one.growth > MOST for one in found)


if __name__ == "__main__":
    sys.exit(main())
