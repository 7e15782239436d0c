"""One run: the milter, its clients, what is done to its workers, and what must hold in the end."""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from attrs import asdict, frozen

from tests.chaos.clients import Tally, bad, good
from tests.drivers.program import workers

ROOT = Path(__file__).parents[2]


@frozen
class Plan:
    """How much, and with which seed.

    ``pause``: seconds between two things that are done to workers, at most ``most_faults``. Workers that
    die again and again are started later and later, so that very many would take very long.
    """

    driver: str
    messages: int
    connections: int
    bad_connections: int
    workers: int
    seed: int
    pause: float
    most_faults: int = 1_000_000


@frozen
class Outcome:
    """What has come of it. ``problems`` must be empty."""

    answered: int
    interrupted: int
    refused: int
    handled: int
    bad: dict[str, int]
    faults: dict[str, int]
    seconds: float
    parent_descriptors: tuple[int, int]
    worker_descriptors: tuple[int, ...]
    parent_kilobytes: tuple[int, int]
    worker_kilobytes: tuple[int, ...]
    problems: tuple[str, ...]

    def as_text(self) -> str:
        """Line by line."""
        return "\n".join(f"  {name}: {value}" for name, value in asdict(self).items())


def descriptors(pid: int) -> int:
    """How many are open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def kilobytes(pid: int) -> int:
    """Resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


class Milter:
    """``demyjpy run`` with workers, of the filter in this file and with more options."""

    def __init__(
        self, plan: Plan, directory: Path, filter_file: str = "milter.py", more: tuple[str, ...] = ()
    ) -> None:
        self._plan, self._filter, self._more = plan, f"tests/chaos/{filter_file}", more
        self.notes = directory / "notes"
        self.log = directory / "log"

    async def start(self) -> tuple[str, int]:
        """Where it listens, once all workers are there."""
        options = ("--listen", "inet:0@127.0.0.1", "--log-to", str(self.log), "--grace", "5")
        which = ("--driver", self._plan.driver, "--workers", str(self._plan.workers), "--allow-root")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "demyjpy", "run", self._filter, *options, *which, *self._more),
            cwd=ROOT,
            env={**os.environ, "DEMYJPY_CHAOS_NOTES": str(self.notes)},
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout
        port = 0
        async for line in self.process.stdout:
            if line.startswith(b"smtpd_milters"):
                port = int(line.rpartition(b":")[2])
            if line.startswith(b"INPUT_MAIL_FILTER"):
                break
        await self.settle()
        return "127.0.0.1", port

    async def settle(self) -> None:
        """Until there are as many workers as there should be, for half a second."""
        if self._plan.workers == 1:
            return  # there is no parent
        end, calm = time.monotonic() + 30, 0
        while calm < 5 and time.monotonic() < end:
            await asyncio.sleep(0.1)
            calm = calm + 1 if len(workers(self.process.pid)) >= self._plan.workers else 0

    def harm(self, kind: str, chance: random.Random) -> None:
        """Do something to it."""
        found = workers(self.process.pid)
        if kind == "reload":
            self.process.send_signal(signal.SIGHUP)
        elif found:
            with suppress(ProcessLookupError):  # it may just have ended
                os.kill(chance.choice(found), signal.SIGKILL if kind == "kill" else signal.SIGTERM)


async def run(plan: Plan) -> Outcome:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="demyjpy-chaos-") as place:
        milter = Milter(plan, Path(place))
        address = await milter.start()
        try:
            return await _play(plan, milter, address)
        finally:
            if milter.process.returncode is None:
                milter.process.kill()
                await milter.process.wait()


def _most_open(serving: list[int]) -> int:
    """The most descriptors of one of them; a worker may just end."""
    with suppress(FileNotFoundError):
        return max(map(descriptors, serving), default=0)
    return sys.maxsize


async def _play(plan: Plan, milter: Milter, address: tuple[str, int]) -> Outcome:
    chance = random.Random(plan.seed)
    tally, faults = Tally(), Counter[str]()
    pid = milter.process.pid
    before = descriptors(pid), kilobytes(pid)
    fresh = max(descriptors(worker) for worker in workers(pid))
    started = time.monotonic()

    def more() -> bool:
        return len(tally.answered) < plan.messages and not tally.wrong

    async def be_bad(seed: int) -> None:
        own = random.Random(seed)
        while more():
            await bad(address, own, tally)
            await asyncio.sleep(own.random() / 10)

    async def harm() -> None:
        while more() and faults.total() < plan.most_faults:
            await asyncio.sleep(plan.pause * (0.5 + chance.random()))
            kind = chance.choice(("kill", "reload", "stop"))
            faults[kind] += 1
            milter.harm(kind, chance)

    found = await asyncio.gather(
        *(
            good(number, address, more, random.Random(plan.seed * 7919 + number), tally)
            for number in range(plan.connections)
        ),
        *(be_bad(plan.seed * 104_729 + number) for number in range(plan.bad_connections)),
        harm(),
        return_exceptions=True,
    )
    tally.wrong += [repr(one) for one in found if one is not None]
    seconds = time.monotonic() - started
    await milter.settle()
    end = time.monotonic() + 30
    while True:  # a reload may still go on; what leaks does not go away
        await asyncio.sleep(1.0)  # for the last disconnects
        serving = workers(pid)
        as_planned = len(serving) == plan.workers
        if time.monotonic() > end or (as_planned and _most_open(serving) <= fresh + 4):
            break
    after = descriptors(pid), kilobytes(pid)
    open_files = tuple(descriptors(worker) for worker in serving)
    sizes = tuple(kilobytes(worker) for worker in serving)
    milter.process.send_signal(signal.SIGTERM)
    status = await asyncio.wait_for(milter.process.wait(), 30)
    handled = Counter(milter.notes.read_text().split())
    handled.pop("bad", None)
    problems = [*tally.wrong]
    problems += [f"{name} was answered twice" for name, n in Counter(tally.answered).items() if n > 1]
    problems += [f"{name} was handled {n} times" for name, n in handled.items() if n > 1]
    problems += [f"{name} was answered, not handled" for name in {*tally.answered} - {*handled}]
    told = {*tally.answered, *tally.interrupted}
    problems += [f"{name} was handled, nobody was told" for name in {*handled} - told]
    if status:
        problems.append(f"exit status {status}")
    if after[0] > before[0] + 2:
        problems.append(f"the parent had {before[0]} descriptors, has {after[0]}")
    if max(open_files, default=0) > fresh + 4:
        problems.append(f"a fresh worker has {fresh} descriptors, now they have {open_files}")
    if len(serving) != plan.workers:
        problems.append(f"expected {plan.workers} workers, got {len(serving)}")
    if after[1] > before[1] + 20_000:
        problems.append(f"the parent grew from {before[1]} to {after[1]} kB")
    log = milter.log.read_text()
    problems += [line for line in log.splitlines() if "Traceback" in line or "failed" in line]
    return Outcome(
        len(tally.answered),
        len(tally.interrupted),
        tally.refused,
        sum(handled.values()),
        dict(tally.bad),
        dict(faults),
        round(seconds, 1),
        (before[0], after[0]),
        open_files,
        (before[1], after[1]),
        sizes,
        tuple(problems[:20]),
    )
