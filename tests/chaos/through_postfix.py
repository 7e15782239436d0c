"""Chaos through a real Postfix: ``python -m tests.chaos.through_postfix --mails 2000``; needs root.

The filter is stopped and started, loaded again, and killed while clients send. Each mail that Postfix
has taken is delivered once and edited as a whole; each that it has not taken is not delivered.
"""

import argparse
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from tests.integration.ports import wait_until
from tests.integration.running import Site, is_listening, milter_address, running_site
from tests.integration.smtp import connected

ROOT = Path(__file__).parents[2]
BODY = b"Subject: chaos\r\n\r\n" + b"before\r\n" * 100


@frozen
class Figures:
    """What has come of it."""

    taken: int
    deferred: int
    delivered: int
    faults: dict[str, int]
    seconds: float
    problems: tuple[str, ...]


class Filter:
    """``demyjpy run`` with two workers, which can be hurt."""

    def __init__(self, address: str, driver: str) -> None:
        self._address = address
        self._command = [
            *(sys.executable, "-m", "demyjpy", "run", "tests/chaos/editing.py", "--allow-root"),
            *("--listen", address, "--workers", "2", "--driver", driver, "--log-level", "error"),
        ]
        self.start()

    def start(self) -> None:
        """Until it listens."""
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self._command],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: is_listening(self._address), "the filter listens")

    def hurt(self, kind: str) -> None:
        """Do this to it; it listens again afterwards."""
        match kind:
            case "reload":
                self.process.send_signal(signal.SIGHUP)
            case "restart":
                self.stop(signal.SIGTERM)
                self.start()
            case "kill":
                self.stop(signal.SIGKILL)
                # its workers listen on until they have noticed
                wait_until(lambda: not is_listening(self._address), "the workers are gone", 60)
                self.start()

    def stop(self, number: int) -> None:
        """Until it has ended."""
        self.process.send_signal(number)
        self.process.wait(60)


@contextmanager
def filtering(address: str, driver: str) -> Iterator[Filter]:
    """One, while the block runs."""
    found = Filter(address, driver)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.stop(signal.SIGTERM)


def send(site: Site, name: str) -> bool:
    """A mail from this sender; whether the server has taken it. Whatever else it says is temporary."""
    with connected(site.server.port) as client:
        steps = ("EHLO client.test", f"MAIL FROM:<{name}@test>", "RCPT TO:<b@test>")
        replies = [client.greeting, *(client.say(step)[-1] for step in steps)]
        if all(reply[:1] == "2" for reply in replies):
            replies.append(client.say(BODY)[-1])
        client.say("QUIT")
    last = replies[-1]
    if last[:3] not in ("250", "451") and not any(reply[:1] == "4" for reply in replies):
        raise AssertionError(f"{name}: {replies}")
    return len(replies) == 5 and last[:3] == "250"


def run(mails: int, seed: int, driver: str, pause: float, clients: int = 12) -> Figures:
    """All of it."""
    chance = random.Random(seed)
    taken: list[str] = []
    faults, deferred = Counter[str](), Counter[str]()
    done = threading.Event()

    def send_until_taken(number: int) -> None:
        for attempt in range(200):
            name = f"m{number}-{attempt}"
            if send(site, name):
                taken.append(name)
                return
            deferred[name] += 1
            time.sleep(0.2)
        raise AssertionError(f"m{number} was never taken")

    def hurt() -> None:
        while not done.wait(pause * (0.5 + chance.random())):
            kind = chance.choice(("reload", "restart", "kill"))
            faults[kind] += 1
            milter.hurt(kind)

    with (
        milter_address("inet") as address,
        running_site("postfix", (address,)) as site,
        filtering(address, driver) as milter,
        ThreadPoolExecutor(clients + 1) as pool,
    ):
        started = time.monotonic()
        hurting = pool.submit(hurt)
        try:
            for sent in [pool.submit(send_until_taken, number) for number in range(mails)]:
                sent.result()
        finally:
            done.set()
        hurting.result()
        wait_until(lambda: not site.server._waiting(), "all is delivered", 120)
        seconds = time.monotonic() - started
        deliveries = site.sink.take()
    found = Counter(one.sender.partition("@")[0] for one in deliveries)
    problems = [f"{name} was delivered {found[name]} times" for name in taken if found[name] != 1]
    problems += [f"{name} was refused, and delivered" for name in found.keys() - {*taken}]
    for one in deliveries:
        name = one.sender.partition(" ")[0]
        body = f"{name} was here\r\n".encode() * 2000
        if f"X-Chaos: {name}\r\n".encode() not in one.content or not one.content.endswith(body):
            problems.append(f"{name} was half edited, or not at all")
    return Figures(
        len(taken), deferred.total(), len(deliveries), dict(faults), round(seconds, 1), (*problems[:20],)
    )


def main() -> int:
    """Print the figures; 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.through_postfix")
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    given = parser.parse_args()
    status = 0
    for driver in given.driver or ("asyncio", "threads"):
        figures = run(given.mails, given.seed, driver, given.pause)
        print(f"seed {given.seed}, {driver}: {figures}", flush=True)
        status |= bool(figures.problems)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
