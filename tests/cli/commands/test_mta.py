"""`demyjpy mta` as a program: what it prints, how it ends, what it refuses to begin."""

import os
import signal
import smtplib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from demyjpy import (
    running,
)
from demyjpy.cli.mail_journal import Journal, smtp_server, swaks_line
from demyjpy.cli.output import Paint
from demyjpy.drivers.address import parse_address
from demyjpy.mta import client_steps
from demyjpy.mta.profiles import Reply
from demyjpy.mta.smtp_session import Outcome
from demyjpy.mta.stored_mail import Envelope, StoredMail, StoredMessage
from demyjpy.trace import load
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter
from tests.cli.boxes import MAIL
from tests.cli.filters import adding
from tests.cli.servers import PATIENCE, program, read_until
from tests.integration.ports import free_port

Run = Callable[..., tuple[int, str, str]]

BY_WHOM = ": another program listens there; stop it (ss -ltnp names it) or choose another port"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_until_a_signal(maildir: Path, end: int) -> None:
    """It says where it listens and how to send mail, prints sessions, and sums up; status 0."""
    arguments = ("--listen", "inet:0@127.0.0.1", "--maildir", str(maildir))
    with (
        running(adding("one")) as milter,
        program("mta", *arguments, "--milter", f"size={milter}", "--milter", milter, end=end) as started,
    ):
        lines = read_until(started, "try: swaks")
        port = int(lines[0].partition(",")[0].rpartition(":")[2])
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        lines += read_until(started, "#1 QUIT")
        started.send_signal(end)
        output, errors = started.communicate(timeout=PATIENCE)
    assert (started.returncode, errors) == (0, "")
    assert lines[:4] == [
        f"SMTP on 127.0.0.1:{port}, mail to {maildir}",
        f"milter size ({milter})",
        f"milter {milter}",
        f"try: swaks --server 127.0.0.1:{port} --from ann@example.org --to bob@example.net",
    ]
    assert "#1     size: end_of_message: continue, 1 change" in lines
    assert output == "1 session: 1 mail stored, 0 refused, 0 discarded\n"
    assert len(list((maildir / "new").iterdir())) == 1


def test_sessions_are_recorded(maildir: Path, tmp_path: Path) -> None:
    """Each with each milter, so that they can be replayed; a milter that is away has nothing to say."""
    away = f"inet:{free_port()}@127.0.0.1"
    arguments = ("--listen", "inet:0@127.0.0.1", "--maildir", str(maildir), "--default-action", "accept")
    with (
        running(adding("one")) as milter,
        program(
            *("mta", *arguments, "--milter", milter, "--milter", away),
            *("--record", str(tmp_path / "traces"), "--record-raw"),
        ) as started,
    ):
        port = int(read_until(started, "try: swaks")[0].partition(",")[0].rpartition(":")[2])
        for _ in range(2):
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                client.sendmail("a@example.org", ["b@example.net"], MAIL)
        read_until(started, "#2 QUIT")
    (path,) = (tmp_path / "traces").iterdir()
    traces = load(path)
    assert sorted(one.how for one in traces) == ["mta", "mta", "quit", "quit"]
    assert sorted(one.messages[0].outcome for one in traces if one.messages) == ["accepted"] * 2
    assert all(compare_bytes(one, Filter(adding("one"))).is_same for one in traces if one.messages)


def test_addresses_are_shown_as_swaks_takes_them() -> None:
    """Unix sockets by path, IPv6 in brackets."""
    assert swaks_line(parse_address("unix:/run/x.sock")).startswith("swaks --socket /run/x.sock ")
    assert smtp_server(parse_address("inet6:25@::1")) == "[::1]:25"


def test_what_became_of_mails_is_counted() -> None:
    """Refused at MAIL, at all recipients, or after DATA; an unknown command changes nothing."""
    journal = Journal([], Paint(is_on=False), print)
    good, bad = Reply(250, "2.0.0 Ok"), Reply(550, "5.7.1 no")
    letter = StoredMail(Envelope(), StoredMessage.parse(b""))
    for step, reply, mail in (
        (client_steps.Mail("a@b"), bad, None),
        (client_steps.Mail("a@b"), good, None),
        (client_steps.Rcpt("c@d"), bad, None),
        (client_steps.Rcpt("e@f"), bad, None),
        (client_steps.Command("FOO"), bad, None),
        (client_steps.Rset(), good, None),
        (client_steps.Mail("a@b"), good, None),
        (client_steps.Rcpt("c@d"), good, None),
        (client_steps.Rcpt("e@f"), bad, None),
        (client_steps.Data(b""), good, letter),
        (client_steps.Rcpt("c@d"), good, None),
        (client_steps.Data(b""), good, None),
        (client_steps.Data(b""), bad, None),
        (client_steps.Drop(), None, None),
    ):
        journal(1, Outcome(step, reply, mail=mail))
    assert journal.summary() == "1 session: 1 mail stored, 3 refused, 1 discarded"


def test_without_a_milter_it_says_so(maildir: Path) -> None:
    """Mail is stored as it came."""
    with program("mta", "--listen", "inet:0@127.0.0.1", "--maildir", str(maildir)) as started:
        assert "no milter is asked: give --milter ADDRESS" in read_until(started, "try: swaks")
        started.send_signal(signal.SIGINT)
        assert started.wait(PATIENCE) == 0


def test_a_port_that_is_taken_is_one_line(run: Run, maildir: Path) -> None:
    """Status 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run("mta", "--listen", f"inet:{port}@127.0.0.1", "--maildir", maildir)
    assert result == (
        1,
        "",
        f"demyjpy mta: cannot listen on inet:{port}@127.0.0.1: Address already in use{BY_WHOM}\n",
    )


def test_a_maildir_that_cannot_be_made_is_one_line(run: Run, tmp_path: Path) -> None:
    """Status 1."""
    (tmp_path / "file").write_text("")
    status, output, errors = run(
        "mta", "--listen", "inet:0@127.0.0.1", "--maildir", tmp_path / "file/mail"
    )
    assert (status, output) == (1, "")
    assert errors == f"demyjpy mta: cannot store mail in {tmp_path}/file/mail: Not a directory\n"


def test_a_reader_that_goes_away_ends_it(maildir: Path) -> None:
    """``demyjpy mta | head -5`` ends quietly at the next line."""
    with program("mta", "--listen", "inet:0@127.0.0.1", "--maildir", str(maildir)) as started:
        lines = read_until(started, "try: swaks")
        started.stdout.close()
        port = int(lines[0].partition(",")[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.recv(100)
        assert started.wait(PATIENCE) == 1
        assert started.stderr.read() == ""


def test_without_aiosmtpd_it_says_how_to_get_it(tmp_path: Path) -> None:
    """One line and status 2, for mta and demo; send needs nothing."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'aiosmtpd' else find(name, *rest)\n"
    )
    for command in ("mta", "demo"):
        path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"
        with program(command, PYTHONPATH=path) as started:
            output, errors = started.communicate(timeout=PATIENCE)
        assert (started.returncode, output) == (2, "")
        assert errors == f"demyjpy {command}: it needs aiosmtpd: pip install 'demyjpy[box]'\n"
