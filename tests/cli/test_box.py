"""`demyjpy mta`: SMTP over a real socket, milters asked as Postfix would, Maildir out."""

import asyncio
import mailbox
import os
import re
import signal
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from demyjpy import (
    AddHeader,
    Quarantine,
    Reject,
    ReplyCode,
    define_event_handlers,
    discard,
    reject,
    running,
    send_action,
)
from demyjpy.cli.boxing import Journal, smtp_server, swaks_line
from demyjpy.cli.show import Paint
from demyjpy.drivers.address import parse_address
from demyjpy.mta.box import Box, Store
from demyjpy.mta.channel import Timeouts
from demyjpy.mta.dialogue import Dialogue
from tests.cli.conftest import MAIL as MAIL_LF
from tests.cli.servers import PATIENCE, answering, listening, program, read_until

MAIL = MAIL_LF.replace(b"\n", b"\r\n")

Run = Callable[..., tuple[int, str, str]]


class Server:
    """A box in a thread: its port, its Maildir, and the lines of its journal."""

    def __init__(self, box: Box, path: Path) -> None:
        self.box = box
        self.port = box.address.port
        self.path = path
        self.lines: list[str] = []

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, "c.example", timeout=PATIENCE)

    def stored(self, folder: str = "") -> list[bytes]:
        """All that is in the Maildir."""
        return [path.read_bytes() for path in sorted((self.path / folder / "new").iterdir())]

    def wait_for(self, line: str) -> None:
        """Until the journal has a line that begins so."""
        end = time.monotonic() + PATIENCE
        while not any(one.startswith(line) for one in self.lines):
            assert time.monotonic() < end, self.lines
            time.sleep(0.01)


@contextmanager
def serving(path: Path, *milters: str, **options: Any) -> Iterator[Server]:
    """A box on a free port while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    names = {f"m{number}": milter for number, milter in enumerate(milters, 1)}
    box = Box(options.pop("address", "inet:0@127.0.0.1"), names, Store(path), **options)
    call(box.__aenter__())
    server = Server(box, path)

    def print_line(number: int, what: Any) -> None:
        journal(number, what)

    journal = Journal(list(names), Paint(is_on=False), print)
    box.report = print_line
    try:
        yield server
    finally:
        call(box.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return tmp_path / "mail"


def adding(name: str) -> Any:
    """A filter that adds a header, and rejects recipients that begin with bad."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        return reject(ctx, "5.7.1", f"{name} says no\nnever") if event.address.startswith("bad") else ctx

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        return send_action(ctx, AddHeader("X-Seen", name))

    return handlers


def doing(*actions: Any, at: str = "end_of_message") -> Any:
    """A filter that asks for actions at an event."""
    return define_event_handlers(
        {at: lambda event, ctx: send_action(ctx, *actions)}, actions={"quarantine"}
    )


# ------------------------------------------------------------------------------------- sessions
def test_a_mail_passes_the_milters_in_order_and_is_stored(maildir: Path) -> None:
    """Each sees what the one before made of it; what is stored is what would be delivered."""
    with running(adding("one")) as one, running(adding("two")) as two, serving(maildir, one, two) as box:
        with box.client() as client:
            refused = client.sendmail("ann@example.org", ["bob@example.net", "bad@example.net"], MAIL)
        (stored,) = box.stored()
    assert refused == {"bad@example.net": (550, b"5.7.1 one says no\n5.7.1 never")}
    text = stored.decode()
    assert text.startswith(
        "Return-Path: <ann@example.org>\nDelivered-To: bob@example.net\nReceived: from c.example "
    )
    assert re.search(r"by box.example \(Postfix\) with ESMTP id [0-9A-F]{10,};\n", text)
    assert time.strftime("%Y") in text.partition("\n\n")[0]
    assert text.endswith("X-Seen: one\nX-Seen: two\n\nhello\n")
    assert "\r" not in text
    assert len(mailbox.Maildir(maildir)) == 1


def test_each_session_is_printed_as_it_goes(maildir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Client, commands, replies, each milter's answers by name, the file."""
    with running(adding("one")) as one, serving(maildir, one) as box:
        with box.client() as client:
            client.sendmail("ann@example.org", ["bad@example.net", "bob@example.net"], MAIL)
        (file,) = (maildir / "new").iterdir()
    lines = [re.sub(r" {2,}(?=\d{3} )", " ", line) for line in capsys.readouterr().out.splitlines()]
    queue_id = re.search(r"queued as (\w+)", "\n".join(lines))[1]
    assert lines == [
        "#1 connect from localhost [127.0.0.1] 220 box.example ESMTP Postfix",
        "#1     m1: options: is a milter",
        "#1 EHLO c.example 250 box.example",
        "#1 MAIL FROM:<ann@example.org> size=139 250 2.1.0 Ok",
        "#1 RCPT TO:<bad@example.net> 550 5.7.1 one says no / 5.7.1 never",
        "#1     m1: recipient: reply 550 5.7.1 one says no / never",
        "#1 RCPT TO:<bob@example.net> 250 2.1.5 Ok",
        "#1     m1: recipient: continue",
        f"#1     stored {file}",
        f"#1 DATA, 139 bytes 250 2.0.0 Ok: queued as {queue_id}",
        "#1     m1: end_of_message: continue, 1 change",
        "#1         add header X-Seen: one",
        "#1 QUIT 221 2.0.0 Bye",
    ]


def test_queue_ids_are_those_of_no_other_message(maildir: Path) -> None:
    """Within a session and across sessions."""
    with serving(maildir) as box:
        for _ in range(3):
            with box.client() as client:
                for _ in range(2):
                    client.sendmail("a@example.org", ["b@example.net"], MAIL)
        ids = [re.search(rb"ESMTP id (\w+)", mail)[1] for mail in box.stored()]
    assert len(set(ids)) == len(ids) == 6


def test_quarantined_mail_goes_to_a_folder(maildir: Path) -> None:
    """Its own Maildir below."""
    with running(doing(Quarantine("odd"))) as milter, serving(maildir, milter) as box:
        with box.client() as client:
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert box.stored() == []
        assert len(box.stored(".quarantine")) == 1


def test_discarded_mail_is_not_stored(maildir: Path) -> None:
    """The client is told that all is well."""
    handlers = define_event_handlers({"end_of_message": lambda event, ctx: discard(ctx)})
    with running(handlers) as milter, serving(maildir, milter) as box:
        with box.client() as client:
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert box.stored() == []


def test_bytes_arrive_as_they_were_sent(maildir: Path) -> None:
    """8-bit text, dots, and a body of many chunks."""
    body = b"\xff\xfe\x80\n.\n..dots\n" + b"0123456789" * 6 + b"\n" * 200_000
    with running(adding("one")) as milter, serving(maildir, milter) as box:
        with box.client() as client:
            client.sendmail("", ["b@example.net"], MAIL + body.replace(b"\n", b"\r\n"))
        (stored,) = box.stored()
    assert stored.endswith(b"\n\nhello\n" + body)
    assert stored.startswith(b"Return-Path: <>\n")


def test_addresses_and_parameters_come_to_the_milter_as_they_were_sent(maildir: Path) -> None:
    """Quoted local parts, UTF-8, and the case of values."""
    seen: list[Any] = []

    def keep(event: Any, ctx: Any) -> Any:
        seen.append((event.raw, dict(event.parameters)))
        return ctx

    with (
        running(define_event_handlers({"mail": keep, "recipient": keep})) as milter,
        serving(maildir, milter) as box,
        box.client() as client,
    ):
        client.ehlo()
        client.command_encoding = "utf-8"
        assert client.docmd("MAIL", "FROM: <ä@example.org>  SMTPUTF8 ENVID=aBc")[0] == 250
        assert client.docmd("RCPT", 'TO:<"a > b"@example.net> NOTIFY=NEVER')[0] == 250
        assert client.docmd("RCPT", "to:plain@example.net")[0] == 250
    assert seen == [
        ("<ä@example.org>", {"SMTPUTF8": None, "ENVID": "aBc"}),
        ('<"a > b"@example.net>', {"NOTIFY": "NEVER"}),
        ("plain@example.net", {}),
    ]


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        (["EHLO"], b"501 5.5.4 Syntax: EHLO hostname"),
        (["HELO x"], b"250 box.example"),
        (["MAIL"], b"501 5.5.4 Syntax: MAIL FROM:<address>"),
        (["MAIL FROM:"], b"501 5.5.4 Syntax: MAIL FROM:<address>"),
        (["MAIL TO:<a@b>"], b"501 5.5.4 Syntax: MAIL FROM:<address>"),
        (["MAIL FROM:<a@b> X=1"], b"555 5.5.4 Unsupported option: X"),
        (["MAIL FROM:<a@b> SIZE=99999999999"], b"552 5.3.4 Message size exceeds fixed limit"),
        (["MAIL FROM:<a@b>", "MAIL FROM:<a@b>"], b"503 5.5.1 Error: nested MAIL command"),
        (["RCPT"], b"501 5.5.4 Syntax: RCPT TO:<address>"),
        (["RCPT TO:<a@b>"], b"503 5.5.1 Error: need MAIL command"),
        (["MAIL FROM:<a@b>", "RCPT TO:<>"], b"501 5.1.3 Bad recipient address syntax"),
        (["DATA"], b"503 5.5.1 Error: need RCPT command"),
        (["MAIL FROM:<a@b>", "DATA"], b"554 5.5.1 Error: no valid recipients"),
        (["MAIL FROM:<a@b>", "RSET", "RCPT TO:<a@b>"], b"503 5.5.1 Error: need MAIL command"),
        (["NOOP"], b"250 OK"),
        (["STARTTLS"], b"500 5.5.2 Error: command not recognized"),
        (["AUTH PLAIN x"], b"500 5.5.2 Error: command not recognized"),
        (["FOO bar"], b"500 5.5.2 Error: command not recognized"),
        (["QUIT"], b"221 2.0.0 Bye"),
        (["MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA"], b"354 End data with <CR><LF>.<CR><LF>"),
    ],
)
def test_it_answers_as_postfix_does(maildir: Path, commands: list[str], reply: bytes) -> None:
    """EHLO is not insisted on."""
    with serving(maildir) as box, socket.create_connection(("127.0.0.1", box.port), PATIENCE) as client:
        stream = client.makefile("rb")
        with stream:
            assert stream.readline() == b"220 box.example ESMTP demyjpy\r\n"
            for command in commands:
                client.sendall(f"{command}\r\n".encode())
                got = stream.readline()
    assert got == reply + b"\r\n"


def test_ehlo_tells_what_it_can_do_and_no_more(maildir: Path) -> None:
    """Neither STARTTLS nor AUTH."""
    with serving(maildir, max_message=1000, host="me.example") as box, box.client() as client:
        client.ehlo()
        assert client.ehlo_resp.startswith(b"me.example\n")
        assert client.esmtp_features == {
            "pipelining": "",
            "size": "1000",
            "enhancedstatuscodes": "",
            "8bitmime": "",
            "dsn": "",
            "smtputf8": "",
        }


def test_a_message_that_is_too_large_is_refused_and_the_session_goes_on(maildir: Path) -> None:
    """With or without SIZE."""
    with running(adding("one")) as milter, serving(maildir, milter, max_message=1000) as box:
        with box.client() as client:
            client.helo()
            with pytest.raises(smtplib.SMTPDataError, match="552"):
                client.sendmail("a@example.org", ["b@example.net"], MAIL + b"x\n" * 1000)
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert len(box.stored()) == 1


@pytest.mark.parametrize(
    ("at", "action", "reply"),
    [
        ("connect", Reject(), b"554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied"),
        ("hello", ReplyCode(550, "5.7.1", "not you"), b"550 5.7.1 not you"),
        ("mail", ReplyCode(421, "4.7.0", "away"), b"421 4.7.0 away"),
        ("data", ReplyCode(421, "4.7.0", "away"), b"421 4.7.0 away"),
        ("data", Reject(), b"550 5.7.1 Command rejected"),
        ("end_of_message", ReplyCode(421, "4.7.0", "away"), b"421 4.7.0 away"),
        ("end_of_message", ReplyCode(554, "5.7.1", "one\ntwo"), b"554-5.7.1 one\r\n554 5.7.1 two"),
    ],
)
def test_what_a_milter_refuses_the_client_is_told(
    maildir: Path, at: str, action: Any, reply: bytes
) -> None:
    """At every step; 421 ends the session, and nothing is stored."""
    commands = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
    with running(doing(action, at=at)) as milter, serving(maildir, milter) as box:
        with socket.create_connection(("127.0.0.1", box.port), PATIENCE) as client:
            received = client.recv(4096)
            for line in (*commands.splitlines(keepends=True), MAIL + b".\r\n", b"QUIT\r\n"):
                if b"421 " in received or received.startswith(b"554"):
                    break
                client.sendall(line)
                received += client.recv(4096)
            received += b"".join(iter(lambda: client.recv(4096), b""))
        assert box.stored() == []
    assert reply.split(b" ")[0] in received


# --------------------------------------------------------------------------------- what goes wrong
@pytest.mark.parametrize("letter", ["O", "R", "T", "L", "B", "E"])
def test_a_milter_that_dies_costs_no_mail(maildir: Path, letter: str) -> None:
    """At any step: the client is told 451 and keeps its mail; nothing is stored."""
    with listening(answering(**{letter: b""})) as milter, serving(maildir, milter) as box:
        with box.client() as client, pytest.raises(smtplib.SMTPException, match="451"):
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert box.stored() == []


def test_a_milter_that_is_away_is_told_at_the_first_question(
    maildir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The box itself goes on, and so does mail with the default action accept."""
    with serving(maildir, f"unix:{maildir}/none.sock") as box:
        with box.client() as client, pytest.raises(smtplib.SMTPException, match="451"):
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert box.stored() == []
    assert "the milter failed at connecting: " in capsys.readouterr().out
    with serving(maildir, f"unix:{maildir}/none.sock", default_action="accept") as box:
        with box.client() as client:
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert len(box.stored()) == 1


def test_a_milter_that_hangs_is_left(maildir: Path) -> None:
    """After the timeout, with 451."""
    timeouts = Timeouts(content=0.2)
    with listening(answering(E=None)) as milter, serving(maildir, milter, timeouts=timeouts) as box:
        with box.client() as client, pytest.raises(smtplib.SMTPDataError, match="451"):
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert box.stored() == []


def test_a_maildir_that_cannot_be_written_is_451(
    maildir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client keeps the mail."""
    with serving(maildir) as box:
        (maildir / "tmp").rmdir()
        (maildir / "tmp").write_text("no directory")
        with box.client() as client, pytest.raises(smtplib.SMTPDataError, match=r"451.*Cannot store"):
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
    assert "cannot store: " in capsys.readouterr().out


def test_a_client_that_goes_away_leaves_nothing(maildir: Path) -> None:
    """In mid-message; the milter is told that the session is over."""
    ended = threading.Event()

    def end(event: Any, ctx: Any) -> Any:
        ended.set()
        return ctx

    handlers = define_event_handlers({"disconnect": end, "mail": lambda event, ctx: ctx})
    with running(handlers) as milter, serving(maildir, milter) as box:
        with box.client() as client:
            client.ehlo()
            client.mail("a@example.org")
            client.rcpt("b@example.net")
            client.docmd("DATA")
            client.send(b"Subject: x\r\n\r\nhalf a mess")
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        assert ended.wait(PATIENCE)
        assert box.stored() == []


def test_an_error_in_a_report_is_no_loss(maildir: Path) -> None:
    """Whatever goes wrong inside, the client gets a temporary failure."""
    with serving(maildir) as box:
        said: list[Any] = []

        def angry(number: int, what: Any) -> None:
            said.append(what)
            if not isinstance(what, str) and what.reply and what.reply.text.startswith("2.1.0"):
                raise ValueError("no")

        with box.client() as client:
            client.ehlo()
            box.box.report = angry
            assert client.mail("a@example.org") == (451, b"4.3.0 Internal error")
    assert "internal error: ValueError('no')" in said


def test_a_client_that_says_no_more_gets_its_answers(maildir: Path) -> None:
    """As with ``printf ... | nc``; half a command is none."""
    with serving(maildir) as box, socket.create_connection(("127.0.0.1", box.port), PATIENCE) as client:
        client.sendall(b"NOOP\r\nNOOP\r\nNO")
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(4096), b""))
    assert received.splitlines()[1:] == [b"250 OK", b"250 OK"]


def test_leaving_the_box_tells_its_clients(maildir: Path) -> None:
    """421 for those that are there, even in mid-session."""
    with ExitStack() as stack:
        box = stack.enter_context(serving(maildir))
        client = box.client()
        client.ehlo()
        stack.close()
        assert client.getreply() == (421, b"4.3.2 The box is closing")
        client.close()


def test_leaving_the_box_does_not_wait_for_a_client_that_reads_nothing(maildir: Path) -> None:
    """Its connection is cut."""
    with ExitStack() as stack:
        client = stack.enter_context(socket.socket())
        box = stack.enter_context(serving(maildir))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", box.port))
        assert client.recv(100).startswith(b"220 ")
        (dialogue,) = box.box._sessions
        transport: Any = dialogue.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.sendall(b"HELP\r\n" * 10_000)
        end = time.monotonic() + PATIENCE
        while transport.get_write_buffer_size() < 0x4000:  # from there on nothing is written
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_client_that_comes_as_the_box_is_left_is_sent_away(maildir: Path) -> None:
    """A connection that was accepted before and shows up after."""

    async def main() -> bytes:
        async with Box("inet:0@127.0.0.1", (), Store(maildir)) as box:
            pass
        server, client = socket.socketpair()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: Dialogue(box), server)
        client.setblocking(False)
        with client:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), PATIENCE)

    assert asyncio.run(main()) == b""


def test_it_can_listen_on_a_unix_socket(maildir: Path, tmp_path: Path) -> None:
    """Clients there have no address; the file is gone afterwards."""
    path = tmp_path / "smtp.sock"
    with (
        running(adding("one")) as milter,
        serving(maildir, milter, address=f"unix:{path}"),
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.settimeout(PATIENCE)
        client.connect(str(path))
        assert client.recv(100).startswith(b"220 ")
    assert not path.exists()
    assert swaks_line(parse_address(f"unix:{path}")).startswith(f"swaks --socket {path} ")
    assert smtp_server(parse_address("inet6:25@::1")) == "[::1]:25"


# ------------------------------------------------------------------------------------- as a program
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
        f"demyjpy mta: cannot listen on inet:{port}@127.0.0.1: Address already in use\n",
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
        path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"
        with program(command, PYTHONPATH=path) as started:
            output, errors = started.communicate(timeout=PATIENCE)
        assert (started.returncode, output) == (2, "")
        assert errors == f"demyjpy {command}: it needs aiosmtpd: pip install 'demyjpy[box]'\n"
