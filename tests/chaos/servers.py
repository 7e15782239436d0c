"""Servers that a filter asks are killed and stopped, while 100 connections send mail.

    python -m tests.chaos.servers

A filter asks Redis, PostgreSQL and unbound of each recipient (`tests.chaos.asking`). One after the other
is killed and started again, then stopped (SIGSTOP) and continued. Each mail must be answered in time, as
the policy of the filter says, and the server must be found again by itself. For root, after
`tests.integration.fetch_servers`.
"""

import argparse
import asyncio
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from random import Random

from attrs import Factory, define, frozen

from demyjpy import AddHeader, Continue, ReplyCode
from demyjpy.events import Abort, Body, EndOfHeaders, EndOfMessage, Header, Mail, Recipient
from demyjpy.lookups.databases import Databases
from demyjpy.lookups.sql import SqlWrite
from tests.chaos.clients import Client
from tests.chaos.outages import HEAD, KINDS, Outage, Row, problems_of, row_of
from tests.chaos.outages import Mail as Seen
from tests.chaos.run import ROOT, descriptors, kilobytes
from tests.integration.ports import free_port, wait_until
from tests.lookups.servers import Server, directory, postgresql, redis_server, unbound

MARGIN = 1.0
"""Seconds beyond ``within=`` that an answer may take, on a machine that is busy with 100 connections."""

GROWTH = 20_000
"""Kilobytes by which the filter may be larger in the end than when all servers were there first.

It remembers up to 10,000 answers of DNS, of which each mail asks a new one: about 10,000 kB.
"""

DATA = "mail.example. MX 10 mx.example."
ZONE = 'server:\nlocal-zone: "mail.example." redirect'
"""Any name below it has the same record, so none is remembered."""


@frozen
class Plan:
    """How long, and with what; times in seconds."""

    driver: str
    connections: int
    away: float
    pause: float
    gap: float
    timeout: float = 3.0
    within: float = 5.0

    @property
    def back(self) -> float:
        """After this time a server must be asked again: a probe that still hangs, then a pause."""
        return self.timeout + self.pause + MARGIN


@define
class Watched:
    """The filter while it runs, and what its clients have seen."""

    plan: Plan
    address: tuple[str, int]
    pid: int
    http: int
    log: Path
    mails: list[Seen] = Factory(list)
    outages: list[Outage] = Factory(list)
    problems: list[str] = Factory(list)
    warnings: list[str] = Factory(list)
    sizes: list[tuple[int, int]] = Factory(list)
    is_over: bool = False

    def measure(self) -> None:
        """Resident kilobytes, and descriptors."""
        self.sizes.append((kilobytes(self.pid), descriptors(self.pid)))

    def open_breakers(self) -> set[str]:
        """The kinds of clients whose breaker is open, by the metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=20) as page:
            lines = page.read().decode().splitlines()
        found = [one for one in lines if one.startswith("demyjpy_breakers_open{")]
        return {
            one.partition('lookup="')[2].partition('"')[0] for one in found if not one.endswith(" 0.0")
        }


async def send(client: Client, name: str) -> Seen:
    """One mail, and its answers."""
    begun, slowest, clock = time.monotonic(), 0.0, time.monotonic

    async def say(event: object) -> object:
        nonlocal slowest
        at = clock()
        found = await client.ask(event)
        slowest = max(slowest, clock() - at)
        return found

    await say(Mail("ann@example.org"))
    answer = await say(Recipient(f"bob@{name}.mail.example"))
    if isinstance(answer, ReplyCode):
        await client.ask(Abort())
        return Seen(begun, clock(), slowest, answer.code, _heard(" ".join(answer.lines)))
    for event in (Header("Subject", "chaos"), EndOfHeaders(), Body(b"x" * 1000)):
        await say(event)
    answer, heard = await say(EndOfMessage()), ""
    while not isinstance(answer, Continue):
        if not isinstance(answer, AddHeader):
            raise TypeError(f"expected a field and to go on, got {answer}")
        heard, answer = answer.value, await client.hear()
    return Seen(begun, clock(), slowest, 250, _heard(heard))


def _heard(text: str) -> dict[str, str]:
    return dict(one.split("=") for one in text.split() if "=" in one)


async def send_all(watched: Watched, number: int) -> None:
    """Mails in a row on one connection."""
    client, count, chance = await Client.connect(watched.address), 0, Random(number)
    try:
        await client.begin()
        while not watched.is_over:
            count += 1
            watched.mails.append(await send(client, f"m{count}.c{number}"))
            await asyncio.sleep(chance.uniform(0, 2 * watched.plan.gap))
    except Exception as error:  # noqa: BLE001  # whatever it is, it must not be
        watched.problems.append(f"connection {number}, mail {count}: {type(error).__name__}: {error}")
    finally:
        client.close()


async def start_again(server: Server) -> None:
    """A database may have to wait for the children of the one that was killed."""
    for _ in range(100):
        try:
            await asyncio.to_thread(server.start)
        except RuntimeError:
            await asyncio.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{server.command[0]} does not start again")


async def be_away(watched: Watched, kind: str, server: Server, fault: str) -> None:
    """One outage, with what must be seen of it; then all is as before."""
    plan, begun = watched.plan, time.monotonic()
    with ExitStack() as stack:
        if fault == "kill":
            server.stop()
        else:
            stack.enter_context(server.held())
        await asyncio.sleep(plan.away)
        found = await asyncio.to_thread(watched.open_breakers)
        if found != {kind}:
            watched.problems.append(
                f"{kind} {fault}: expected its breaker to be open, got {found or 'none'}"
            )
    if fault == "kill":
        await start_again(server)
    restored = time.monotonic()
    await asyncio.sleep(plan.back)
    found = await asyncio.to_thread(watched.open_breakers)
    if found:
        watched.problems.append(f"{kind} {fault}: these breakers are still open: {found}")
    watched.outages.append(Outage(kind, fault, begun, restored, time.monotonic()))
    await asyncio.sleep(1.0)
    watched.measure()


async def play(watched: Watched, servers: dict[str, Server]) -> None:
    """All outages, one after the other."""
    clients = [
        asyncio.create_task(send_all(watched, number)) for number in range(watched.plan.connections)
    ]
    try:
        await asyncio.sleep(5.0)
        watched.measure()
        for kind in KINDS:
            for fault in ("kill", "stop"):
                await be_away(watched, kind, servers[kind], fault)
    finally:
        watched.is_over = True
        await asyncio.wait(clients, timeout=60)


def settings_of(plan: Plan, servers: dict[str, Server]) -> str:
    """The file that says where the servers are."""
    ports = "".join(f"{kind} = {servers[kind].address}\n" for kind in KINDS)
    return f"[make]\n{ports}timeout = {plan.timeout}\npause = {plan.pause}\nwithin = {plan.within}\n"


async def fill(server: Server) -> None:
    """A table with a row."""
    url = f"postgresql+asyncpg://filter@127.0.0.1:{server.address}/postgres"
    async with Databases(url) as database:
        for text in (
            "create table mailboxes (address text primary key)",
            "insert into mailboxes values ('x')",
        ):
            await SqlWrite(text).perform({"sql": database})


def run(plan: Plan) -> tuple[Watched, list[Row]]:
    """All of it."""
    with ExitStack() as stack:
        place = stack.enter_context(directory())
        servers = {
            "redis": stack.enter_context(redis_server()),
            "sql": stack.enter_context(postgresql()),
            "dns": stack.enter_context(unbound(DATA, ZONE)),
        }
        asyncio.run(fill(servers["sql"]))
        (place / "settings.toml").write_text(settings_of(plan, servers), encoding="utf-8")
        port, http, log = free_port(), free_port(), place / "log"
        command = [
            *(sys.executable, "-m", "demyjpy", "run", "tests/chaos/asking.py:make"),
            *(
                "--settings",
                place / "settings.toml",
                "--listen",
                f"inet:{port}@127.0.0.1",
                "--allow-root",
            ),
            *("--driver", plan.driver, "--http", f"127.0.0.1:{http}", "--log-to", log),
        ]
        with (place / "out").open("wb") as out:
            process = subprocess.Popen([*map(str, command)], cwd=ROOT, stdout=out, stderr=out)
        try:
            watched = Watched(plan, ("127.0.0.1", port), process.pid, http, log)
            wait_until(lambda: log.exists() and "listen" in log.read_text(), "the filter listens")
            asyncio.run(play(watched, servers))
        finally:
            process.terminate()
            process.wait(60)
        watched.problems += problems_of(watched.outages, watched.mails, plan.within + MARGIN, plan.back)
        text = log.read_text(encoding="utf-8")
        watched.problems += problems_in_log(text)
        watched.warnings += [f"log: {line:.300}" for line in text.splitlines() if " INFO " not in line]
        watched.problems += growth(watched.sizes)
    rows = [row_of(one, watched.mails, 2 * plan.timeout + MARGIN) for one in watched.outages]
    return watched, rows


def problems_in_log(log: str) -> list[str]:
    """Two lines for each outage: when it was noticed, and when it was over."""
    found = []
    for kind in KINDS:
        for words in ("does not answer, and is asked only every", "answers again"):
            count = sum(f" {kind} " in line and words in line for line in log.splitlines())
            if count != 2:
                found.append(f"expected 2 lines '{kind} ... {words}' in the log, got {count}")
    return found + [f"log: {line:.200}" for line in log.splitlines() if "Traceback" in line]


def growth(sizes: list[tuple[int, int]]) -> list[str]:
    """What it has more than in the beginning."""
    (before, files), (after, left) = sizes[0], sizes[-1]
    found = []
    if after > before + GROWTH:
        found.append(f"the filter grew from {before} to {after} kB")
    if left > files + 5:
        found.append(f"the filter had {files} descriptors, has {left}")
    return found


def main() -> int:
    """Print the figures; 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.servers")
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--away", type=float, default=15.0, help="seconds for which a server is away")
    parser.add_argument("--pause", type=float, default=10.0, help="the pause= of each client")
    parser.add_argument("--gap", type=float, default=2.0, help="seconds between two mails, on average")
    given = parser.parse_args()
    status = 0
    for driver in given.driver or ("asyncio", "threads"):
        plan = Plan(driver, given.connections, given.away, given.pause, given.gap)
        print(plan, flush=True)
        watched, rows = run(plan)
        print(HEAD)
        for row in rows:
            print(row.as_text())
        print(f"{len(watched.mails)} mails; kB and descriptors: {watched.sizes}")
        print(*watched.warnings[:100], *watched.problems[:20], sep="\n", flush=True)
        status |= bool(watched.problems)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
