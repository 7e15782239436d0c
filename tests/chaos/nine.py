"""The nine filters of `samples/filters` as one program behind a real Postfix.

    python -m tests.chaos.nine --mails 300

sends mails of each kind, and each must become what it must. All is recorded. Then the servers that the
filters ask stop, and a replay must give the same bytes. For root, after `tests.integration.fetch_mtas`
and `tests.integration.fetch_servers`.
"""

import argparse
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import field, frozen

from tests.chaos.nine_mails import DNS, KINDS, SIGNATURE, Kind, problems_of
from tests.integration.ports import wait_until
from tests.integration.running import Site, is_listening, milter_address, running_site
from tests.integration.smtp import Delivery, connected
from tests.lookups.servers import Server, clamd, directory, redis_server, unbound
from tests.samples.keys import PRIVATE

ROOT = Path(__file__).parents[2]
NAME_SERVER = "127.53.0.1"
"""Port 53 there is ours: the filter asks no other port."""

CHAIN = (
    *("rate_limit", "recipient_table", "greylisting", "clamd_scanner", "attachments"),
    *("authentication_results", "list_header", "disclaimer", "dkim_signer"),
)
FILTERS = [f"samples/filters/{name}.py:make={name}" for name in CHAIN]

SETTINGS = """
[rate_limit]
dsn = "redis://127.0.0.1:{redis.address}/0"
user = 2
counted = "recipients"
[recipient_table]
dsn = "{place}/mailboxes.db"
domains = ["example.net"]
[greylisting]
dsn = "{place}/greylist.db"
clients = "texthash:{place}/clients"
[clamd_scanner]
server = "unix:{clamd.address}"
timeout = 5
[attachments]
[authentication_results]
server = "postfix.test"
name_servers = ["{name_server}"]
refuse = true
[list_header]
lists = "texthash:{place}/lists"
fields = {{ List-Id = "{{text}} <{{local}}.{{domain}}>", List-Post = "<mailto:{{address}}>" }}
[disclaimer]
text = "Example Ltd., registered in Exampletown."
[dkim_signer]
selector = "s1"
keys = {{ "example.net" = "{place}/key" }}
"""


@frozen
class Figures:
    """Mails by kind, deliveries, messages in the replay, questions that it answered."""

    kinds: dict[str, int]
    delivered: int
    replayed: int
    questions: int
    seconds: float
    problems: tuple[str, ...]


@frozen
class Mail:
    """One of the mails that are sent, and what the client was told."""

    kind: Kind
    number: int
    replies: list[str] = field(factory=list)

    @property
    def subject(self) -> str:
        return f"{self.kind.name} {self.number}"


@contextmanager
def servers(place: Path) -> Iterator[list[Server]]:
    """All that the filters ask, and the file of settings that says where."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        scanner = stack.enter_context(clamd(SIGNATURE))
        names = stack.enter_context(unbound(DNS, f"interface: {NAME_SERVER}@53"))
        text = SETTINGS.format(place=place, redis=redis, clamd=scanner, name_server=NAME_SERVER)
        (place / "settings.toml").write_text(text, encoding="utf-8")
        (place / "key").write_text(PRIVATE, encoding="ascii")
        (place / "clients").write_text("203.0.113.8 known\n203.0.113.9 known\n", encoding="ascii")
        (place / "lists").write_text("talk@example.net  Talk\n", encoding="ascii")
        with sqlite3.connect(place / "mailboxes.db") as table:
            table.execute("create table mailboxes (address text primary key)")
            table.execute("insert into mailboxes values ('bob@example.net'), ('talk@example.net')")
        table.close()
        yield [redis, scanner, names]


@contextmanager
def filtering(place: Path, address: str, driver: str) -> Iterator[None]:
    """``demyjpy run`` with all of them, which records."""
    command = [
        *(sys.executable, "-m", "demyjpy", "run", *FILTERS, "--settings", place / "settings.toml"),
        *("--listen", address, "--driver", driver, "--record", place / "traces", "--allow-root"),
        *("--log-level", "warning", "--log-to", place / "log"),
    ]
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], cwd=ROOT)
    try:
        wait_until(lambda: is_listening(address) or process.poll() is not None, "the filter listens", 60)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def send(site: Site, mail: Mail) -> None:
    """As its kind says; the replies are kept, in order, without those before MAIL."""
    kind = mail.kind
    login = f" LOGIN={kind.user}{mail.number}" if kind.user else ""
    sender = kind.sender.format(number=mail.number)
    with connected(site.server.port) as client:
        client.say("EHLO relay.test")
        client.say(f"XCLIENT NAME=mx.example ADDR={kind.client}{login}")
        client.say("EHLO mx.example")
        steps = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in kind.recipients)]
        mail.replies[:] = [client.say(step)[-1] for step in steps]
        if any(reply.startswith("250") for reply in mail.replies[1:]):
            mail.replies.append(client.say(kind.content(mail.subject))[-1])
        client.say("QUIT")


def send_all(site: Site, mails: list[Mail], clients: int) -> None:
    """Some at a time."""
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(send, site, mail) for mail in mails]:
            done.result()


def sessions_in(place: Path) -> int:
    """How many sessions the recording has to their ends: XCLIENT makes two of each connection."""
    return sum(one.read_bytes().count(b'"direction":"end"') for one in (place / "traces").iterdir())


def replay(place: Path) -> tuple[dict[str, int], list[str]]:
    """The figures of `demyjpy replay`, where nobody can be asked; and what was wrong."""
    (place / "greylist.db").rename(place / "gone.db")
    (place / "mailboxes.db").rename(place / "gone2.db")
    traces = sorted((place / "traces").iterdir())
    command = [sys.executable, "-m", "demyjpy", "replay", *traces, *FILTERS]
    command += ["--settings", place / "settings.toml", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    problems = [f"replay: {line:.300}" for line in lines[:-1]]
    if done.returncode:
        problems.append(f"replay ended with {done.returncode}: {done.stderr:.500}")
    return (json.loads(lines[-1])["summary"] if lines else {}), problems


def run(mails: int, driver: str, clients: int = 4) -> Figures:
    """All of it: a round of each kind after the other, so many mails in all."""
    started = time.monotonic()
    with ExitStack() as stack:
        place = stack.enter_context(directory())
        address = stack.enter_context(milter_address("inet"))
        site = stack.enter_context(running_site("postfix", (address,)))
        asked = stack.enter_context(servers(place))
        with filtering(place, address, driver):
            first = [Mail(KINDS[number % len(KINDS)], number) for number in range(mails)]
            send_all(site, first, clients)
            with sqlite3.connect(place / "greylist.db") as table:
                table.execute("update greylist set first = first - 300")
            table.close()
            again = [Mail(mail.kind.later, mail.number) for mail in first if mail.kind.later is not None]
            send_all(site, again, clients)
            site.server.settle()
            for server in asked:
                server.stop()
            away = [Mail(kind.away, mails) for kind in KINDS if kind.away is not None]
            send_all(site, away, clients)
            site.server.settle()
            sent = [*first, *again, *away]
            wait_until(lambda: sessions_in(place) >= 2 * len(sent), "all is recorded", 60)
        deliveries = site.sink.take()
        summary, problems = replay(place)
    problems += problems_with(sent, deliveries)
    if summary.get("messages") != len(sent):
        problems.append(f"expected {len(sent)} messages in the replay, got {summary}")
    kinds = Counter(mail.kind.name for mail in sent)
    seconds = round(time.monotonic() - started, 1)
    figures = (summary.get("messages", 0), summary.get("asked_from_recording", 0))
    return Figures(dict(kinds), len(deliveries), *figures, seconds, (*problems[:20],))


def problems_with(sent: list[Mail], deliveries: tuple[Delivery, ...]) -> Iterator[str]:
    """What is not as it must be; mails are known by their subjects."""
    found: dict[str, list[Delivery]] = {}
    for one in deliveries:
        subject = one.content.partition(b"\r\nSubject: ")[2].partition(b"\r\n")[0].decode()
        found.setdefault(subject, []).append(one)
    for mail in sent:
        for problem in problems_of(mail.kind, mail.replies, found.pop(mail.subject, [])):
            yield f"{mail.subject}: {problem}"
    yield from (f"{subject}: nobody has sent it" for subject in found)


def main() -> int:
    """Print the figures; 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.nine")
    parser.add_argument("--mails", type=int, default=300)
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    given = parser.parse_args()
    status = 0
    for driver in given.driver or ("asyncio", "threads"):
        figures = run(given.mails, driver)
        print(f"{driver}: {figures}", flush=True)
        status |= bool(figures.problems)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
