"""The mail server in a box where something goes wrong: milters, clients, the disk."""

import asyncio
import smtplib
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from demyjpy import (
    define_event_handlers,
    running,
    tempfail,
)
from demyjpy.mta.box import Box
from demyjpy.mta.box_settings import Store
from demyjpy.mta.channel import Timeouts
from tests.cli.boxes import MAIL, serving
from tests.cli.servers import OBSERVING, PATIENCE, answering, listening, packets


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
    assert (
        "#1     m1: cannot connect: No such file or directory; is the milter" in capsys.readouterr().out
    )
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
    assert received.splitlines()[1:] == [b"250 2.0.0 Ok", b"250 2.0.0 Ok"]


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
    """Its connection is cut, though there is more to say to it than the system takes."""

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        box = Box("inet:0@127.0.0.1", (), Store(maildir), report=lambda number, what: told.set())
        with socket.socket() as client:
            client.setblocking(False)
            async with box:
                await loop.sock_connect(client, ("127.0.0.1", box.address.port))
                assert (await loop.sock_recv(client, 100)).startswith(b"220 ")
                (dialogue,) = box.sessions.values()
                dialogue.transport.write(bytes(1 << 24))
                told.clear()
                await loop.sock_sendall(client, b"FOO\r\n")
                await told.wait()  # from here on the session waits for the client to read its answer
            client.setblocking(True)
            client.settimeout(PATIENCE)
            with suppress(ConnectionResetError):
                return b"".join(iter(lambda: client.recv(1 << 20), b""))[-100:]
        return b""

    assert b"421" not in asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_leaving_the_box_does_not_wait_for_a_milter_that_reads_nothing(maildir: Path) -> None:
    """Even where a message is on its way to it; the client keeps its mail."""
    stuck, released = threading.Event(), threading.Event()

    def behave(client: socket.socket) -> None:
        client.sendall(OBSERVING)
        for letter in packets(client):
            if letter == b"B":
                stuck.set()
                released.wait(PATIENCE)

    timeouts = Timeouts(1, 10 * PATIENCE, 10 * PATIENCE)
    with ExitStack() as stack:
        milter = stack.enter_context(listening(behave))
        stack.callback(released.set)
        client = stack.enter_context(socket.socket())
        with serving(maildir, milter, timeouts=timeouts) as box:
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", box.port))
            for line in ("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"):
                client.recv(1024)
                client.sendall(f"{line}\r\n".encode())
            assert client.recv(1024).startswith(b"354 ")
            client.sendall(MAIL + b"x" * 98 + b"\r\n" + (b"y" * 98 + b"\r\n") * 90_000 + b".\r\n")
            assert stuck.wait(PATIENCE)
        assert client.recv(1024).startswith(b"421 ")
        assert box.stored() == []


def test_data_that_a_milter_refuses_may_be_tried_again(maildir: Path) -> None:
    """The transaction is still open: the second DATA is asked about as the first."""
    seen: list[Any] = []

    def data(event: Any, ctx: Any) -> Any:
        seen.append(event)
        return tempfail(ctx) if len(seen) == 1 else ctx

    with (
        running(define_event_handlers({"data": data})) as milter,
        serving(maildir, milter) as box,
        box.client() as client,
    ):
        client.ehlo()
        client.mail("a@example.org")
        client.rcpt("b@example.net")
        assert client.docmd("DATA")[0] == 451
        assert client.data(MAIL)[0] == 250
        assert len(box.stored()) == 1


@pytest.mark.parametrize("turns", range(6))
def test_a_client_that_comes_as_the_box_is_left_is_sent_away(maildir: Path, turns: int) -> None:
    """However far the loop is with its connection."""

    async def main() -> bytes:
        async with Box("inet:0@127.0.0.1", (), Store(maildir)) as box:
            client = socket.create_connection((box.address.host, box.address.port), PATIENCE)
            for _ in range(turns):
                await asyncio.sleep(0)
        with client, suppress(ConnectionResetError):
            return await asyncio.to_thread(client.recv, 100)
        return b""

    assert asyncio.run(main())[:4] in (b"", b"421 ", b"220 ")
