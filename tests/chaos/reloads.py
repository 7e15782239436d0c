"""A filter is loaded again (SIGHUP) while mail comes, also with a broken table and broken settings.

    python -m tests.chaos.reloads --mails 6000

Each mail must be answered and handled once, by a filter that was right at that time. If something is
wrong with a file, the filter must stay as it was, and one line of the log must say why.
"""

import argparse
import asyncio
import secrets
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from attrs import Factory, define, frozen

from demyjpy import AddHeader, Continue
from demyjpy.events import Body, EndOfHeaders, EndOfMessage, Header, Mail, Recipient
from tests.chaos.clients import Client
from tests.chaos.run import Milter, Plan

LOADED = "the filter was loaded again in"
NOT_LOADED = "the filter was not loaded again and stays as it was: "
WAIT = 60.0


@frozen
class Step:
    """One reload. ``fault``: what is broken; ``line``: which line the log must name."""

    version: str
    fault: str = ""
    line: int = 0


STEPS = (Step("v1"), Step("v2", "table", 2), Step("v3"), Step("v4", "settings", 5), Step("v5"))


@define
class Run:
    """What there is while it runs, and what was seen."""

    place: Path
    mails: int
    sent: int = 0
    answered: list[str] = Factory(list)
    versions: Counter[str] = Factory(Counter)
    may_be: frozenset[str] = frozenset(("v0",))
    """The settings that a session that begins now may have."""
    written: set[str] = Factory(set)
    """Versions of the rows that the tables had until now."""
    seconds: list[float] = Factory(list)
    problems: list[str] = Factory(list)

    def write(self, step: Step) -> None:
        """The files as they are before a reload."""
        version = step.version
        rows = f"192.0.2.0/24 {version}\n"
        if step.fault == "table":
            rows = f"{rows}192.0.2.0/240 broken\n"
        else:
            self.written.add(version)
        more = "no_such_key = 1\n" if step.fault == "settings" else ""
        files = f'networks = "{self.place}/networks"\nnames = "{self.place}/names"\n'
        put(self.place / "networks", rows)
        put(self.place / "names", f"version@example.org {version}\n")
        self.written.add(version)  # of the names
        put(self.place / "settings.toml", f'[make]\nversion = "{version}"\n{files}{more}')


def put(path: Path, text: str) -> None:
    """In one step: a table follows its file, and would see half of it."""
    path.with_suffix(".new").write_text(text, encoding="utf-8")
    path.with_suffix(".new").replace(path)


async def send(client: Client, name: str) -> str:
    """One mail; what its field says."""
    for event in (Mail(name), Recipient("to@example.org"), Header("Subject", "chaos"), EndOfHeaders()):
        answer = await client.ask(event)
        if not isinstance(answer, Continue | None):
            raise TypeError(f"expected Continue, got {answer}")
    await client.ask(Body(b"x" * 1000))
    field, answer = await client.ask(EndOfMessage()), await client.hear()
    if not isinstance(field, AddHeader) or answer != Continue():
        raise TypeError(f"expected a field and to go on, got {field} and {answer}")
    return field.value


async def send_all(run: Run, number: int, address: tuple[str, int], chance: Random) -> None:
    """Sessions of some mails each, until enough were sent."""
    name = ""
    try:
        while run.sent < run.mails:
            before = run.may_be
            client = await Client.connect(address)
            await client.begin()
            allowed = before | run.may_be  # a reload may have ended meanwhile
            for _ in range(chance.randint(1, 8)):
                if run.sent == run.mails:
                    break
                run.sent += 1
                name = f"{number}-{run.sent}"
                check(run, name, await send(client, name), allowed)
                await asyncio.sleep(chance.random() / 10)
            client.close()
    except Exception as error:  # noqa: BLE001  # nothing must come between
        run.problems.append(f"{name}: {type(error).__name__}: {error}")


def check(run: Run, name: str, said: str, allowed: frozenset[str]) -> None:
    """What a mail was told must have been right then."""
    version, *rows = said.split()
    run.answered.append(name)
    run.versions[version] += 1
    if version not in allowed:
        run.problems.append(f"{name}: expected settings {sorted(allowed)}, got {version}")
    if not run.written.issuperset(rows):
        run.problems.append(f"{name}: expected rows of {sorted(run.written)}, got {rows}")


async def reload_all(run: Run, milter: Milter, workers: int) -> None:
    """Each reload after its share of the mails."""
    for number, step in enumerate(STEPS, 1):
        while run.sent < run.mails * number / (len(STEPS) + 1):
            if run.problems:
                return
            await asyncio.sleep(0.01)
        said = len(log_lines(milter))
        run.write(step)
        if not step.fault:
            run.may_be |= {step.version}
        begun = time.monotonic()
        milter.process.send_signal(signal.SIGHUP)
        line = await told(milter, said)
        run.seconds.append(round(time.monotonic() - begun, 2))
        file = "networks" if step.fault == "table" else "settings.toml"
        wanted = (NOT_LOADED, f"{run.place}/{file}:{step.line}: ") if step.fault else (LOADED,)
        if not all(one in line for one in wanted):
            run.problems.append(f"{step}: expected {wanted} in the log, got {line!r}")
        if not step.fault:
            await replaced(milter, step, workers)
            run.may_be = frozenset((step.version,))


async def replaced(milter: Milter, step: Step, workers: int) -> None:
    """Until no worker with an older filter accepts connections; one that is alone is not replaced."""
    due = workers * [one for one in STEPS if not one.fault].index(step) + workers
    for _ in range(3_000):
        count = milter.log.read_text(encoding="utf-8").count("has an old filter: it accepts no more")
        if count == due or workers == 1:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)  # it has to get the signal


def log_lines(milter: Milter) -> list[str]:
    """What the log has of reloads."""
    lines = milter.log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if LOADED in line or NOT_LOADED in line]


async def told(milter: Milter, count: int) -> str:
    """The next line about a reload; all of them if there are more."""
    for _ in range(3_000):
        if lines := log_lines(milter)[count:]:
            return "\n".join(lines)
        await asyncio.sleep(0.02)
    return "nothing"


async def play(driver: str, mails: int, connections: int, workers: int, seed: int) -> Run:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="demyjpy-chaos-") as directory:
        run = Run(Path(directory), mails)
        run.write(Step("v0"))
        plan = Plan(driver, mails, connections, 0, workers, seed, 0.0)
        options = ("--settings", f"{directory}/settings.toml")
        milter = Milter(plan, run.place, "reloading.py:make", options)
        address = await milter.start()
        try:
            clients = (
                send_all(run, number, address, Random(seed * 7919 + number))
                for number in range(connections)
            )
            await asyncio.gather(reload_all(run, milter, workers), *clients)
        finally:
            milter.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(milter.process.wait(), WAIT)
        conclude(run, milter)
    return run


def conclude(run: Run, milter: Milter) -> None:
    """What must hold in the end."""
    handled = Counter(milter.notes.read_text(encoding="utf-8").split())
    if handled != Counter(run.answered) or len(run.answered) != run.mails:
        run.problems.append(
            f"expected {run.mails} mails to be handled and answered once, {len(handled)} were handled "
            f"{handled.total()} times, {len(run.answered)} answered"
        )
    if len(log_lines(milter)) != len(STEPS):
        run.problems.append(f"expected {len(STEPS)} lines about reloads, got {log_lines(milter)}")
    text = milter.log.read_text(encoding="utf-8").replace(str(run.place), "DIRECTORY")
    for line in text.splitlines():
        if "ERROR" in line or "WARNING" in line:
            print(f"  log: {line}")
        if "Traceback" in line:
            run.problems.append(f"log: {line}")


def main() -> int:
    """Against each driver, with 2 workers; 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.reloads")
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    parser.add_argument("--mails", type=int, default=6_000)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    given = parser.parse_args()
    status = 0
    for driver in given.driver or ("asyncio", "threads"):
        begun = time.monotonic()
        run = asyncio.run(play(driver, given.mails, given.connections, given.workers, given.seed))
        print(
            f"{driver}, seed {given.seed}, {time.monotonic() - begun:.0f} s: {len(run.answered)} mails"
        )
        print(f"  by version {dict(run.versions)}; seconds of the reloads {run.seconds}")
        print(*run.problems[:20], sep="\n", flush=True)
        status |= bool(run.problems)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
