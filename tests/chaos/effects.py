"""Effects survive: ``python -m tests.chaos.effects --messages 500 --kills 10``.

Messages come to a milter with ``effects=`` that is killed again and again, and started with the same
directory. In the end the effect of each message that was answered as accepted was done, none of one that
was refused, and what was done twice had the same key.
"""

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from attrs import asdict, frozen

from demyjpy import Continue, Mail, Recipient
from demyjpy.events import Body, Data, EndOfHeaders, EndOfMessage, Header
from tests.drivers.filters import wait_until
from tests.drivers.peer import EndedError, Peer
from tests.drivers.program import workers

ROOT = Path(__file__).parents[2]
_MOST_ATTEMPTS = 1000
MOST_KILLED = 5
"""Workers: those that die again and again are started later and later, up to 30 s."""


@frozen
class Figures:
    """What has come of it. ``problems`` must be empty."""

    accepted: int
    refused: int
    unanswered: int
    done: int
    repeated: int
    kills: int
    seconds: float
    problems: tuple[str, ...]

    def as_text(self) -> str:
        """Line by line."""
        return "\n".join(f"  {name}: {value}" for name, value in asdict(self).items())


class Milter:
    """The program `tests.chaos.archiving`, in a directory with all that it writes."""

    def __init__(self, directory: Path, driver: str, count: int) -> None:
        self.address = f"unix:{directory}/socket"
        self.notes, self.effects = directory / "notes", directory / "effects"
        self._command = [
            *(sys.executable, "-m", "tests.chaos.archiving", self.address, str(self.effects), driver),
            str(count),
        ]
        self._count, self._log = count, directory / "log"

    def start(self) -> None:
        """Until it listens."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env={**os.environ, "DEMYJPY_CHAOS_NOTES": str(self.notes)},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout
        assert self.process.stdout.readline() == b"ready\n", self._log.read_text()

    def kill(self, chance: random.Random) -> None:
        """End it, or one of its workers, without a word; it listens again afterwards."""
        found = workers(self.process.pid) if self._count > 1 else []
        if found:
            os.kill(chance.choice(found), signal.SIGKILL)
            return
        self.process.kill()
        self.process.wait()
        self._close()
        self.start()

    def stop(self) -> None:
        """Gently."""
        self.process.terminate()
        self.process.wait(30)
        self._close()

    def _close(self) -> None:
        assert self.process.stdout
        self.process.stdout.close()

    def lines(self) -> list[list[str]]:
        """What effects have written."""
        return (
            [line.split() for line in self.notes.read_text().splitlines()] if self.notes.exists() else []
        )


class Client:
    """One that sends messages until each is answered."""

    def __init__(self, address: str, numbers: range) -> None:
        self._address, self._numbers = address, numbers
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.unanswered: list[str] = []

    def send_all(self) -> None:
        """Each under another name if it has to be sent again."""
        peer = None
        for number in self._numbers:
            for attempt in range(_MOST_ATTEMPTS):
                name = f"{'bad' if number % 3 == 0 else 'good'}{number}-{attempt}@example.org"
                try:
                    if peer is None:
                        peer = connected(self._address)
                except (OSError, EndedError):
                    time.sleep(0.01)
                    continue
                try:
                    verdict = send(peer, name)
                except (OSError, EndedError):
                    self.unanswered.append(name)
                    peer.socket.close()
                    peer = None
                    continue
                (self.accepted if verdict == Continue() else self.refused).append(name)
                break
        if peer is not None:
            peer.socket.close()


def connected(address: str) -> Peer:
    """One that may send messages."""
    peer = Peer(address)
    try:
        return peer.begin()
    except BaseException:
        peer.socket.close()
        raise


def send(peer: Peer, name: str) -> object:
    """A message from this sender; its verdict."""
    peer.ask(Mail(name))
    peer.ask(Recipient("bob@example.org"))
    for event in (Data(), Header("Subject", "chaos"), EndOfHeaders()):
        peer.ask(event)
    peer.ask(Body(f"body of {name}\r\n".encode() * 100))
    peer.say(EndOfMessage())
    return peer.hear_answer()[-1]


def run(
    driver: str, messages: int, kills: int, seed: int, *, count: int = 1, clients: int = 6
) -> Figures:
    """All of it; ``count`` workers. Kills come after as many messages each."""
    chance = random.Random(seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="demyjpy-") as directory:
        milter = Milter(Path(directory), driver, count)
        milter.start()
        try:
            sending = [Client(milter.address, range(one, messages, clients)) for one in range(clients)]
            threads = [threading.Thread(target=one.send_all) for one in sending]
            for thread in threads:
                thread.start()
            for number in range(kills):
                due = messages * (number + chance.random()) / (kills + 1)
                wait_until(lambda due=due: sum(len(o.accepted) + len(o.refused) for o in sending) >= due)
                milter.kill(chance)
            for thread in threads:
                thread.join()
            accepted = {name for one in sending for name in one.accepted}
            refused = {name for one in sending for name in one.refused}
            wait_until(lambda: accepted | refused <= {line[1] for line in milter.lines()})
        finally:
            milter.stop()
        unanswered = {name for one in sending for name in one.unanswered}
        problems = faults(milter.lines(), accepted, refused)
        problems += [f"left: {path.name}" for path in sorted(milter.effects.rglob("*.effects"))]
        lines = milter.lines()
    return Figures(
        len(accepted),
        len(refused),
        len(unanswered),
        len(lines),
        len(lines) - len({tuple(line) for line in lines}),
        kills,
        round(time.monotonic() - begun, 1),
        tuple(problems),
    )


def faults(lines: list[list[str]], accepted: set[str], refused: set[str]) -> list[str]:
    """What must not be."""
    keys = defaultdict(set)
    found = []
    for what, name, key in lines:
        keys[name].add(key)
        if what != ("refused" if name.startswith("bad") else "archived"):
            found.append(f"{name}: {what}")
    found += [f"{name}: not done" for name in sorted((accepted | refused) - keys.keys())]
    found += [f"{name}: {len(one)} keys" for name, one in keys.items() if len(one) > 1]
    owners = defaultdict(set)
    for _, name, key in lines:
        owners[key].add(name)
    found += [f"{key}: {len(one)} effects" for key, one in owners.items() if len(one) > 1]
    found += [f"{name}: accepted" for name in accepted if name.startswith("bad")]
    return found


def main() -> int:
    """Against each driver, with one process and with three workers; 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.effects")
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    given = parser.parse_args()
    status = 0
    for driver in given.driver or ("asyncio", "threads"):
        for count in (1, 3):
            print(f"{driver}, {count} process(es), seed {given.seed}", flush=True)
            kills = given.kills if count == 1 else min(given.kills, MOST_KILLED)
            found = run(driver, given.messages, kills, given.seed, count=count)
            print(found.as_text(), flush=True)
            status |= bool(found.problems)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
