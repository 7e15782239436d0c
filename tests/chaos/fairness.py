"""Fairness: ``python -m tests.chaos.fairness``: a good client beside one attacker, and beside twenty.

The milter is a process of its own, with 1 and 2 workers, under each driver, without observers and with
all of them. For each attack the good client's times are taken alone, beside 1 and beside 20 attackers,
several times in turn, since the machine may be busy: what counts is the median. Exit status 1 if a
99th percentile is over `MORE` above the one alone, or the milter's memory grew by `MOST` or more.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from itertools import product, starmap
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.chaos.attacks import ATTACKS
from tests.chaos.run import ROOT, Milter, Plan, kilobytes
from tests.chaos.steady import WAIT, percentile, work
from tests.drivers.program import children

MORE: Final = 0.050
"""Seconds that an attack may cost a good client."""

MOST: Final = 64_000
"""Kilobytes that an attack may cost the milter."""

ATTACKERS: Final = (0, 1, 20)


@frozen
class Case:
    """What is measured against what."""

    driver: str
    workers: int
    is_observed: bool
    attack: str

    def __str__(self) -> str:
        watched = "all" if self.is_observed else "none"
        return f"{self.driver:8} {self.workers:7} {watched:9} {self.attack:12}"


@frozen
class Part:
    """What a good client saw of one phase: seconds."""

    middle: float
    high: float
    answer: float
    count: int
    attacked: int
    closed: int


@frozen
class Row:
    """The medians of a case with so many attackers, and what the good client has alone."""

    case: Case
    attackers: int
    alone: Part
    beside: Part
    kilobytes: int

    @property
    def holds(self) -> bool:
        """Whether the attack cost no more than it may."""
        slow = max(self.beside.high - self.alone.high, self.beside.answer - self.alone.answer)
        is_served = max(self.alone.high, self.alone.answer) < WAIT
        return is_served and slow <= MORE and self.kilobytes < MOST

    def __str__(self) -> str:
        alone, beside = self.alone, self.beside
        return (
            f"{self.case} {self.attackers:5} {1e3 * alone.middle:8.2f} {1e3 * alone.high:8.2f}"
            f" {1e3 * beside.middle:9.2f} {1e3 * beside.high:9.2f} {1e3 * beside.answer:9.2f}"
            f" {self.kilobytes / 1000:7.1f} {beside.count:6} {beside.attacked / 1e6:8.2f}"
            f" {beside.closed:6}  {'holds' if self.holds else 'FAILS'}"
        )


HEADING: Final = (
    "driver   workers observers attack       peers  alone50  alone99  beside50  beside99  answer99"
    "  MB more  count  MB sent closed   (ms)"
)


def observers(place: Path) -> tuple[str, ...]:
    """The options of all of them."""
    for name in ("record", "flight", "capsules"):
        (place / name).mkdir()
    return (
        *("--http", "127.0.0.1:0", "--explain", "--record", str(place / "record")),
        *("--flight", str(place / "flight"), "--capsules", str(place / "capsules")),
    )


class Memory:
    """How much a milter's processes have grown, at their largest."""

    def __init__(self, pid: int) -> None:
        self._before = {one: kilobytes(one) for one in (pid, *children(pid))}
        for one in self._before:
            Path(f"/proc/{one}/clear_refs").write_text("5")  # the peak begins anew

    def more(self) -> int:
        """In kilobytes."""
        return sum(_peak(pid) - before for pid, before in self._before.items())


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _play(address: tuple[str, int], attack: str, attackers: int, seconds: float) -> Part:
    """One phase."""
    with subprocess.Popen(
        (
            *(sys.executable, "-m", "tests.chaos.attacks", *map(str, address)),
            *(attack, str(attackers), str(10 * seconds)),
        ),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as attacking:
        assert attacking.stdin
        assert attacking.stdout
        attacking.stdout.readline()
        times = work(address, seconds)
        attacking.stdin.close()
        sent, closed = attacking.stdout.readline().split() or (0, 0)
    return Part(
        percentile(times.messages, 0.5),
        percentile(times.messages, 0.99),
        percentile(times.answers, 0.99),
        len(times.messages),
        int(sent),
        int(closed),
    )


def _median(parts: Iterable[Part]) -> Part:
    parts = list(parts)
    return Part(
        statistics.median(one.middle for one in parts),
        statistics.median(one.high for one in parts),
        statistics.median(one.answer for one in parts),
        sum(one.count for one in parts),
        sum(one.attacked for one in parts),
        sum(one.closed for one in parts),
    )


async def measure(case: Case, seconds: float, rounds: int) -> list[Row]:
    """All of one case, against one milter."""
    with tempfile.TemporaryDirectory(prefix="demyjpy-fair-") as directory:
        place = Path(directory)
        more = observers(place) if case.is_observed else ()
        plan = Plan(case.driver, 0, 0, 0, case.workers, 0, 0)
        milter = Milter(plan, place, "unfair.py", more)
        address = await milter.start()
        try:
            work(address, seconds / 2)  # until it has its size
            memory = Memory(milter.process.pid)
            parts: dict[int, list[Part]] = {count: [] for count in ATTACKERS}
            grown = dict.fromkeys(ATTACKERS, 0)
            for _ in range(rounds):
                for count in ATTACKERS:
                    parts[count].append(_play(address, case.attack, count, seconds))
                    grown[count] = memory.more()
        finally:
            milter.process.kill()
            await milter.process.wait()
    alone = _median(parts[0])
    return [Row(case, n, alone, _median(parts[n]), grown[n]) for n in ATTACKERS if n]


def cases(found: argparse.Namespace) -> Iterable[Case]:
    """Those that were chosen."""
    drivers, workers = found.driver or ("asyncio", "threads"), found.workers or (1, 2)
    observed = {"both": (False, True), "none": (False,), "all": (True,)}[found.observers]
    return starmap(Case, product(drivers, workers, observed, found.attack or ATTACKS))


def main() -> int:
    """Run it; 1 if something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fairness")
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    parser.add_argument("--workers", type=int, choices=(1, 2), action="append")
    parser.add_argument("--observers", choices=("none", "all", "both"), default="both")
    parser.add_argument("--attack", choices=tuple(ATTACKS), action="append")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many counts")
    found = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    print(HEADING, flush=True)
    status = 0
    for case in cases(found):
        for row in asyncio.run(measure(case, found.seconds, found.rounds)):
            print(row, flush=True)
            status |= not row.holds
    return status


if __name__ == "__main__":
    raise SystemExit(main())
