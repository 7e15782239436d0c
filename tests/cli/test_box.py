"""The mail server in a box: SMTP over a real socket, milters asked as Postfix would, Maildir out."""

import mailbox
import re
import smtplib
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from demyjpy import (
    AddRecipient,
    Quarantine,
    Reject,
    ReplyCode,
    define_event_handlers,
    discard,
    running,
)
from tests.cli.boxes import MAIL, serving
from tests.cli.filters import adding, doing
from tests.cli.servers import PATIENCE
from tests.integration.ports import free_port
from tests.integration.smtp import converse


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
    assert re.search(
        r"by box.example \(Postfix\) with ESMTP id [0-9A-F]{10,}\n\tfor <bob@example.net>; ", text
    )
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
        (["EHLO"], b"501 Syntax: EHLO hostname"),
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
        (["NOOP"], b"250 2.0.0 Ok"),
        (["NOOP x"], b"250 2.0.0 Ok"),
        (["VRFY b@test"], b"252 2.0.0 b@test"),
        (["VRFY <b@test>"], b"252 2.0.0 <b@test>"),
        (["VRFY"], b"501 5.5.4 Syntax: VRFY address [SMTPUTF8]"),
        (["HELP"], b"500 5.5.2 Error: command not recognized"),
        (["EXPN list"], b"500 5.5.2 Error: command not recognized"),
        (["MAIL FROM:<a\0b>"], b"501 5.5.4 Syntax: MAIL FROM:<address>"),
        (["FOO\0 bar"], b"500 5.5.2 Error: command not recognized"),
        (["RSET x"], b"501 5.5.4 Syntax: RSET"),
        (["QUIT x"], b"221 2.0.0 Bye"),
        (["MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA x"], b"501 5.5.4 Syntax: DATA"),
        (["STARTTLS"], b"502 5.5.1 Error: command not implemented"),
        (["AUTH PLAIN x"], b"503 5.5.1 Error: authentication not enabled"),
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
            assert stream.readline() == b"220 box.example ESMTP Postfix\r\n"
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


def test_a_message_that_is_too_large_is_refused_and_the_session_goes_on(
    maildir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With or without SIZE; what is printed and counted is what the client was told."""
    with running(adding("one")) as milter, serving(maildir, milter, max_message=1000) as box:
        with box.client() as client:
            client.helo()
            with pytest.raises(smtplib.SMTPDataError) as caught:
                client.sendmail("a@example.org", ["b@example.net"], MAIL + b"x\n" * 1000)
            client.sendmail("a@example.org", ["b@example.net"], MAIL)
        assert len(box.stored()) == 1
        assert box.journal.summary() == "1 session: 1 mail stored, 1 refused, 0 discarded"
    assert caught.value.smtp_error == b"5.3.4 Error: message file too big"
    said = [re.sub(" {2,}", " ", line) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in said if "552" in line] == ["#1 DATA 552 5.3.4 Error: message file too big"]


def test_where_nobody_listens_and_mail_is_rejected_the_session_goes_on(maildir: Path) -> None:
    """As Postfix does it: 554 for a greeting, then a refusal of each MAIL."""
    nowhere = f"inet:{free_port()}@127.0.0.1"
    with serving(maildir, nowhere, default_action="reject") as box:
        assert converse(box.port, ["EHLO c.example", "MAIL FROM:<a@b>", "NOOP", "QUIT"]) == (
            "554 box.example ESMTP not accepting connections",
            "250 box.example\n" + "\n".join(EXTENSIONS),
            "550 5.5.0 Service unavailable",
            "250 2.0.0 Ok",
            "221 2.0.0 Bye",
        )


EXTENSIONS = ("PIPELINING", "SIZE 10240000", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8")


def test_an_address_in_other_case_is_stored_once(maildir: Path) -> None:
    """Client or milter may give it again: one delivery, as Postfix does it."""
    added = doing(AddRecipient("carol@example.net"), AddRecipient("Carol@example.net"))
    with running(added) as milter, serving(maildir, milter) as box:
        with box.client() as client:
            client.sendmail("a@example.org", ["bob@example.net", "BOB@example.net"], MAIL)
        (stored,) = box.stored()
    assert re.findall(rb"(?m)^Delivered-To: (.*)$", stored) == [b"bob@example.net", b"carol@example.net"]


@pytest.mark.parametrize(
    ("at", "action", "reply"),
    [
        ("connect", Reject(), b"554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied"),
        ("connect", ReplyCode(421, "4.7.0", "away"), b"421 box.example Service unavailable"),
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
                if b"421 " in received or b"221 " in received:
                    break
                client.sendall(b"QUIT\r\n" if received.startswith(b"554") else line)
                received += client.recv(4096)
            received += b"".join(iter(lambda: client.recv(4096), b""))
        assert box.stored() == []
    assert reply.split(b" ")[0] in received


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


def test_further_recipients_are_refused_for_now(maildir: Path) -> None:
    """As Postfix does, without asking the milters; the mail is for those before them."""
    with running(adding("one")) as one, serving(maildir, one, max_recipients=2) as box:
        with box.client() as client:
            to = [f"bob{number}@example.net" for number in range(4)]
            refused = client.sendmail("ann@example.org", to, MAIL)
        (stored,) = box.stored()
    too_many = (452, b"4.5.3 Error: too many recipients")
    assert refused == {to[2]: too_many, to[3]: too_many}
    assert stored.count(b"Delivered-To: ") == 2
