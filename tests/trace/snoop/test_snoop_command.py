"""`demyjpy snoop`: what the program prints, records and refuses."""

import io
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from demyjpy import running
from demyjpy.cli.commands.snoop import Outbox, Screen, _place, record_line
from demyjpy.cli.output import Paint
from demyjpy.drivers.address import parse_address
from demyjpy.testing import session
from demyjpy.trace.display.wording import flag_words
from demyjpy.trace.format.converters import WireConverter
from demyjpy.trace.snoop.snooper import AWAY
from tests.cli.servers import PATIENCE, listening, program, read_until, silent
from tests.engine.harness import (
    BODY,
    CONNECT,
    HEADER,
    HELO,
    MAIL,
    QUIT,
    RCPT,
    UNKNOWN,
    join,
    offer,
    packet,
)
from tests.trace.sessions import tagger
from tests.trace.snoop.clients import client

Run = Callable[..., tuple[int, str, str]]

BY_WHOM = ": another program listens there; stop it (ss -ltnp names it) or choose another port"


LETTER = session().mail("ann@example.org").rcpt("bob@example.net").message()


FREE = "inet:0@127.0.0.1"


def test_the_program_shows_and_records(run: Run, mail: Path, tmp_path: Path) -> None:
    """Packet by packet; SIGTERM ends it."""
    traces = tmp_path / "traces"
    with running(tagger()) as milter:
        with program("snoop", "--listen", FREE, "--to", milter, "--record", str(traces)) as started:
            (line,) = read_until(started, "snooping on ")
            address = line.split()[2].rstrip(",")
            assert run("send", "--to", address, mail)[0] == 0
            lines = read_until(started, "") and [started.stdout.readline() for _ in range(3)]
            assert any("#1" in one for one in lines)
        assert started.returncode == 0
    assert run("replay", *traces.iterdir())[:2] == (0, "1 session, 1 message, 0 sessions differ\n")


def test_the_program_ends_at_the_second_signal_at_once(tmp_path: Path) -> None:
    """Though a session is open; and it may be quiet."""
    options = ("--listen", FREE, "--quiet", "--to")
    heard = threading.Event()

    def hear(sock: socket.socket) -> None:
        if sock.recv(65536):
            heard.set()
            silent(sock)

    with listening(hear) as milter, program("snoop", *options, milter) as started:
        (line,) = read_until(started, "snooping on ")
        with client(parse_address(line.split()[2].rstrip(","))) as sock:
            sock.sendall(join([offer()]))
            assert heard.wait(PATIENCE)
            started.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                started.wait(0.5)
            started.terminate()
            assert started.wait(PATIENCE) == 0


def test_the_program_refuses_what_it_cannot_do(run: Run, tmp_path: Path) -> None:
    """A port in use, a directory that cannot be: one line, status 1; a bad address: 2."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"inet:{server.getsockname()[1]}@127.0.0.1"
        status, _, errors = run("snoop", "--listen", address, "--to", FREE)
        assert (status, errors) == (
            1,
            f"demyjpy snoop: cannot listen on {address}: Address already in use{BY_WHOM}\n",
        )
    status, _, errors = run("snoop", "--listen", FREE, "--to", FREE, "--record", "/dev/null/x")
    assert (status, errors) == (1, "demyjpy snoop: cannot record in /dev/null/x: Not a directory\n")
    assert run("snoop", "--listen", FREE, "--to", "fd:3")[0] == 2
    status, _, errors = run("snoop", "--listen", FREE, "--to", FREE, "--record-raw")
    assert (status, errors) == (2, "demyjpy snoop: --record-raw needs --record\n")


@pytest.mark.parametrize(
    ("listen_at", "to"),
    [
        ("21030", "21030"),
        ("inet:21030@127.0.0.1", "inet6:21030@::1"),
        ("inet:21030@0.0.0.0", "inet:21030@LOCALHOST"),
        ("inet:21030@192.0.2.1", "inet:21030@192.0.2.1"),
        ("unix:/tmp/../tmp/snoop.sock?mode=660", "unix:/tmp/snoop.sock"),
    ],
)
def test_it_is_not_its_own_milter(run: Run, listen_at: str, to: str) -> None:
    """It would connect to itself without end, however the address is written."""
    status, _, errors = run("snoop", "--listen", listen_at, "--to", to)
    assert status == 2
    assert errors.startswith("demyjpy snoop: expected two addresses, got ")


def test_other_ports_and_hosts_are_other_places() -> None:
    """Also those that are all this machine's."""
    texts = ("1@localhost", "2@localhost", "1@127.0.0.2", "1@mail.example", "1@192.0.2.1")
    places = {_place(parse_address(f"inet:{text}")) for text in texts}
    assert len(places) == len(texts)


def test_the_program_tells_that_it_waits_for_the_milter(tmp_path: Path) -> None:
    """Nobody listens until then."""
    to = f"unix:{tmp_path}/none.sock"
    with program("snoop", "--listen", FREE, "--to", to) as started:
        (line,) = read_until(started, "will listen on ")
    assert line.rstrip().endswith(f", in front of {to}, when the milter is there")
    assert started.returncode == 0


def test_an_outbox_drops_what_is_too_much(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And counts it; an error in writing is logged."""
    monkeypatch.setattr("demyjpy.cli.commands.snoop._MOST_WAITING", 1)
    done = threading.Event()
    outbox = Outbox()
    outbox.put(lambda: 1 / 0)
    outbox.put(done.set)
    assert outbox.dropped == 1
    with outbox:
        pass
    assert "ZeroDivisionError" in caplog.text
    assert "1 lines or records were dropped" in caplog.text
    assert not done.is_set()


def test_a_screen_that_nobody_reads_is_no_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed any more."""
    with Outbox() as outbox:
        screen = Screen(Paint(False), outbox)
        screen("s", [])
        screen("s", [{"direction": "end", "time": 1.0, "how": "quit"}])
    assert capsys.readouterr().out.endswith("#1 end      the MTA has said quit\n")
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)
    with Outbox() as outbox, pytest.MonkeyPatch.context() as patch:
        screen = Screen(Paint(False), outbox)
        patch.setattr("sys.stdout", full)
        for _ in range(2):
            screen._print(["x"])
    assert not screen._is_read
    full.detach().close()


def test_every_packet_has_words() -> None:
    """Names and flags; what is odd; what cannot be read."""
    converter = WireConverter("s")
    macros = packet("D", b"Ci\0Q1\0")
    mta = (
        offer(),
        macros,
        CONNECT,
        packet("C", b"l\0U"),
        HELO,
        MAIL,
        RCPT,
        HEADER,
        BODY,
        UNKNOWN,
        packet("T"),
        QUIT,
        packet("?"),
    )
    negotiated = packet("O", b"\0\0\0\6\0\0\0\1\x20\x18\x00\x41" + b"\0\0\0\0i j\0")
    answers = (
        negotiated,
        packet("p"),
        packet("h", b"A\0b\0"),
        packet("c"),
        packet("y", b"550 5.7.1 no\0"),
    )
    records = [record for one in mta for record in converter.take("mta", join([one]), 1.5)]
    records += [record for one in answers for record in converter.take("filter", join([one]), 1.5)]
    records += converter.end(1.5, "mta", "gone")
    records.append({"session": "s", "odd": ["slow"]})
    records.append({"session": "s", "direction": "filter", "answer": [{"action": "New"}]})
    lines = [record_line(record, 1, Paint(False)) for record in records]
    text = "\n".join(lines)
    for expected in (
        "#1 MTA    > options  version 6, offers add_header, add_recipient, ",
        "#1 MTA    > define_macros  for connect: i=Q1",
        "#1 MTA    > connect  client.example [192.0.2.1] port 25",
        "#1 MTA    > connect  l",
        "#1 MTA    > mail  <alice@example.org>",
        "#1 MTA    > header  Subject: hello",
        "#1 MTA    > body  6 bytes",
        "#1 MTA    > unknown  FOO bar",
        "#1 MTA    > data",
        "cannot be read: expected a command",
        "#1 filter < version 6, wants add_header; without connect, end_of_headers",
        "packets of 1 MiB; macros i j at stage 0",
        "still at work",
        "reply 550 5.7.1 no",
        "#1 end      the MTA has closed the connection: gone",
        "!! slow",
        "#1 filter < New",
    ):
        assert expected in text, (expected, text)
    (away,) = converter.end(2.5, "filter", f"{AWAY}: connection refused")
    line = record_line(away, 1, Paint(False))
    assert line.endswith("#1 end      the milter is down: connection refused")
    assert flag_words(0, 0) == "no changes"
    assert "\x1b[" in record_line(records[0], 1, Paint(True))
