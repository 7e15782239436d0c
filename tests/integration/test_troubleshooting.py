"""docs/troubleshooting.md: each symptom is provoked, and each line of the page was really said."""

import logging
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import evolve, frozen

from demyjpy.cli.program import main
from tests.integration.many_doors import Door, PostfixOfDoors, SendmailOfDoors
from tests.integration.ports import free_port, wait_until
from tests.integration.running import is_listening
from tests.integration.scenario import GREETING, Mta, envelope, message
from tests.integration.smtp import converse, running_sink
from tests.integration.symptoms import SYMPTOMS, Bench
from tests.test_docs import HEADING, ROOT, blocks, commands, read

PAGE = ROOT / "docs/troubleshooting.md"
ROW = re.compile(r"^\| (?P<who>[^|]+) \| `(?P<line>[^`]+)` \|$", re.MULTILINE)


def rows_of_symptoms() -> dict[str, list[tuple[str, str]]]:
    """By the anchor of its heading: who says what."""
    parts = re.split(r"(?m)^(?=## )", read(PAGE))
    found = {part: [(row["who"], row["line"]) for row in ROW.finditer(part)] for part in parts}
    return {_anchor(part): rows for part, rows in found.items() if rows}


def _anchor(part: str) -> str:
    title = HEADING.search(part)
    assert title is not None
    return re.sub(r"[^\w\- ]", "", title["title"].lower()).replace(" ", "-")


def says(line: str, text: str) -> bool:
    """Whether a text has this line of the page; three dots in it stand for anything."""
    pattern = ".*?".join(map(re.escape, line.split("...")))
    return re.search(pattern, text) is not None


@frozen
class Doors:
    """Both servers, with the doors of all symptoms."""

    postfix: PostfixOfDoors
    sendmail: SendmailOfDoors
    addresses: Mapping[str, str]
    ports: Mapping[str, Mapping[Mta, int]]

    def bench(self, name: str) -> Bench:
        """At the doors of a symptom."""
        return Bench(self.addresses[name], self.ports[name], self._submit)

    def _submit(self) -> None:
        self.postfix.submit("ann@test", "bob@test", b"Subject: report\r\n\r\nall is well\r\n")


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    """Started once, for all symptoms."""
    base = Path(tempfile.mkdtemp(prefix="demyjpy-symptoms-", dir="/run"))
    base.chmod(0o755)
    addresses = {name: f"inet:{free_port()}@127.0.0.1" for name in SYMPTOMS}
    for name, one in SYMPTOMS.items():
        if one.on_unix:
            (base / name).mkdir()
            addresses[name] = f"unix:{base / name}/filter.sock?mode=666"
    plain = {name: address.partition("?")[0] for name, address in addresses.items()}
    of_postfix = {
        name: Door(plain[name], options=one.postfix, is_chrooted=one.is_chrooted)
        for name, one in SYMPTOMS.items()
        if one.postfix is not None
    }
    of_sendmail = {
        name: Door(plain[name], equates=one.sendmail)
        for name, one in SYMPTOMS.items()
        if one.sendmail is not None
    }
    by_mta: Mapping[Mta, Mapping[str, Door]] = {"postfix": of_postfix, "sendmail": of_sendmail}
    ports = {
        name: {mta: there[name].port for mta, there in by_mta.items() if name in there}
        for name in SYMPTOMS
    }
    try:
        with (
            running_sink() as sink,
            PostfixOfDoors(of_postfix, sink.port) as postfix,
            SendmailOfDoors(of_sendmail, sink.port) as sendmail,
        ):
            yield Doors(postfix, sendmail, addresses, ports)
    finally:
        shutil.rmtree(base)


def test_each_symptom_of_the_page_is_provoked() -> None:
    """And the page has a section for each, which its first table names."""
    assert list(rows_of_symptoms()) == list(SYMPTOMS)
    first = read(PAGE).partition("\n## ")[0]
    assert [name for name in SYMPTOMS if f"](#{name})" not in first] == []
    assert len(SYMPTOMS) >= 15


@pytest.mark.parametrize("name", SYMPTOMS)
def test_what_the_page_says_is_said(doors: Doors, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the server's own log, the SMTP client's replies, the filter's log, or a list of the queue."""
    doors.postfix.new_log_lines()
    doors.sendmail.new_log_lines()
    bench = doors.bench(name)
    with caplog.at_level(logging.INFO, "demyjpy"):
        SYMPTOMS[name].provoke(bench)
    logs = {"Postfix": "", "Sendmail": ""}

    def read_logs() -> None:
        logs["Postfix"] += doors.postfix.new_log_lines() + "\n"
        logs["Sendmail"] += doors.sendmail.new_log_lines() + "\n"

    records = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
    records += bench.complaints
    speakers: Mapping[str, Callable[[], str]] = {
        "Postfix": lambda: logs["Postfix"],
        "Sendmail": lambda: logs["Sendmail"],
        "the client gets": lambda: "\n".join(bench.replies),
        "the filter": lambda: "\n".join(records),
        "`postqueue -p`": doors.postfix.listed,
        "`mailq -qQ`": doors.sendmail.listed,
    }

    def missing() -> list[tuple[str, str]]:
        read_logs()
        return [(who, line) for who, line in rows_of_symptoms()[name] if not says(line, speakers[who]())]

    with suppress(TimeoutError):
        wait_until(lambda: not missing(), "the logs have it", 5)
    assert missing() == [], "\n".join((*logs.values(), *bench.replies, *records))


@pytest.mark.parametrize("mta", ["postfix", "sendmail"])
def test_held_mail_is_released_as_the_page_says(doors: Doors, mta: Mta) -> None:
    """By its queue id, with the command for each server."""
    name = "mail-waits-in-quarantine"
    server = doors.postfix if mta == "postfix" else doors.sendmail
    server.purge()
    bench = doors.bench(name)
    SYMPTOMS[name].provoke(evolve(bench, ports={mta: bench.ports[mta]}))
    program = "postsuper" if mta == "postfix" else "sendmail"
    (command,) = (line for line in commands(PAGE) if line.startswith(f"{program} "))
    (queue_id,) = re.findall(r"250 2\.0\.0 (?:Ok: queued as )?(\w{10,})", "\n".join(bench.replies))
    assert len(server.held()) == 1
    server.administer(*command.replace("4F2A1B", queue_id).split())
    assert server.held() == ()


RULES = """
from demyjpy import define_event_handlers
from tests.integration.symptoms import refuses

def only_bob(event, ctx):
    return refuses(event, ctx) if event.address.startswith("bob@") else ctx

handlers = define_event_handlers({"recipient": only_bob, "end_of_message": refuses}, name="rules")
"""


@contextmanager
def served_as_the_unit_does(flights: Path, address: str) -> Iterator[None]:
    """`RULES` with the options of `demyjpy unit`, until the block ends; then all flights are written."""
    path = flights.with_name("rules.py")
    path.write_text(RULES)
    options = ("--flight", flights, "--flight-when", "rejected,tempfailed", "--explain")
    program = (sys.executable, "-m", "demyjpy", "run", path, "--listen", address, "--allow-root")
    with subprocess.Popen((*program, *options), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_listening(address), "the filter listens")
            yield
        finally:
            process.terminate()
            process.wait(30)


def test_the_mail_that_was_refused_an_hour_ago_is_found(
    doors: Doors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands of the page: by the queue id of Postfix's log, or else by sender and recipient."""
    name, flights = "a-message-is-refused", tmp_path / "flight"
    doors.postfix.new_log_lines()
    with served_as_the_unit_does(flights, doors.addresses[name]):
        for recipient in ("bob@example.net", "carl@example.net"):
            steps = (GREETING, *envelope("ann@example.org", recipient), message(), "QUIT")
            converse(doors.ports[name]["postfix"], steps)
    in_journal = next(line for _, line in blocks(PAGE, "text") if "milter-reject" in line)
    pattern = shlex.split(in_journal)[-1]
    log = doors.postfix.new_log_lines()
    (of_bob,) = (line for line in log.splitlines() if re.search(pattern, line))
    (queue_id,) = re.findall(r": (\w+): milter-reject: END-OF-MESSAGE", log)
    assert "NOQUEUE" in of_bob
    by_id, by_address = (
        line.replace("/var/lib/filter/flight", str(flights)).replace("4F2A1B", queue_id)
        for line in commands(PAGE)
        if line.startswith("demyjpy ")
    )
    assert main(shlex.split(by_id)[1:]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Message {queue_id}, <ann@example.org> -> <carl@example.net>: rejected")
    assert "rules: tests.integration.symptoms.refuses decided at end_of_message" in told
    assert main(shlex.split(by_address)[1:]) == 0
    told = capsys.readouterr().out
    assert "<ann@example.org> -> <bob@example.net>: rejected at recipient" in told
    assert "carl@example.net" not in told
