"""`demyjpy send`: one mail, played at a running milter; the verdict, the diff, what may be chosen."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demyjpy import (
    Accept,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    Discard,
    InsertHeader,
    Quarantine,
    Reject,
    ReplaceBody,
    ReplyCode,
    TemporaryFailure,
    define_event_handlers,
    get_macro,
    running,
    send_action,
)
from tests.cli.conftest import MAIL
from tests.cli.filters import doing
from tests.cli.servers import program

Run = Callable[..., tuple[int, str, str]]


def test_a_mail_that_is_changed_is_shown_as_a_diff(run: Run, mail: Path) -> None:
    """Steps, answers in words, envelope, header and body line by line; status 0."""
    edits = (
        AddHeader("X-Size", "7"),
        InsertHeader(0, "X-Top", "up"),
        ChangeHeader(1, "Subject", "changed"),
        ChangeHeader(1, "Date", ""),
        DeleteHeader(1, "Message-ID"),
        ChangeSender("new@example.org", "RET=HDRS"),
        AddRecipient("carol@example.net", "NOTIFY=NEVER"),
        DeleteRecipient("bob@example.net"),
        ReplaceBody(b"good bye\r\n"),
    )
    with running(doing(*edits)) as address:
        status, output, errors = run("send", "--to", address, mail)
    assert (status, errors) == (0, "")
    assert [line.rstrip() for line in output.splitlines()] == [
        "connect from 192.0.2.1                       220 postfix.test ESMTP Postfix",
        "    milter: options: is a milter",
        "EHLO client.example                          250 postfix.test",
        "MAIL FROM:<ann@example.org>                  250 2.1.0 Ok",
        "RCPT TO:<bob@example.net>                    250 2.1.5 Ok",
        "DATA, 139 bytes                              250 2.0.0 Ok: queued as 4D3E5F0001",
        "    milter: end_of_message: continue, 9 changes",
        "        add header X-Size: 7",
        "        insert header at 0 X-Top: up",
        "        change header Subject no. 1 to: changed",
        "        delete header Date no. 1",
        "        delete header Message-ID no. 1",
        "        change sender to <new@example.org> RET=HDRS",
        "        add recipient <carol@example.net> NOTIFY=NEVER",
        "        delete recipient <bob@example.net>",
        "        replace body, 10 bytes",
        "QUIT                                         221 2.0.0 Bye",
        "",
        "changed:",
        "-MAIL FROM:<ann@example.org>",
        "-RCPT TO:<bob@example.net>",
        "+MAIL FROM:<new@example.org> RET=HDRS",
        "+RCPT TO:<carol@example.net> NOTIFY=NEVER",
        "...",
        "+X-Top: up",
        " From: Ann <ann@example.org>",
        " To: bob@example.net",
        "-Subject: hi",
        "-Date: Fri, 2 Jan 2026 09:30:00 +0100",
        "-Message-ID: <1@example.org>",
        "+Subject: changed",
        "+X-Size: 7",
        "...",
        "-hello",
        "+good bye",
        "",
        "accepted, with 9 changes",
    ]


def test_a_long_new_body_is_one_change(run: Run, mail: Path) -> None:
    """However many packets the milter needs for it."""
    with running(doing(ReplaceBody(b"line\r\n" * 50_000))) as address:
        _, output, _ = run("send", "--to", address, mail)
    assert (
        "    milter: end_of_message: continue, 1 change\n        replace body, 300000 bytes\n" in output
    )


@pytest.mark.parametrize(
    ("handlers", "status", "last"),
    [
        (doing(), 0, "accepted, without changes"),
        (doing(Accept()), 0, "accepted, without changes"),
        (doing(Reject()), 1, "rejected at end_of_message: 550 5.7.1 Command rejected"),
        (doing(Reject(), at="mail"), 1, "rejected at mail: 550 5.7.1 Command rejected"),
        (doing(Reject(), at="recipient"), 1, "rejected at recipient: 550 5.7.1 Command rejected"),
        (
            doing(ReplyCode(554, "5.7.1", "one\n100% two")),
            1,
            "rejected at end_of_message: 554 5.7.1 one / 5.7.1 100% two",
        ),
        (
            doing(TemporaryFailure(), at="data"),
            75,
            "tempfailed at data: 451 4.7.1 Service unavailable - try again later",
        ),
        (
            doing(Discard(), at="recipient"),
            3,
            "discarded at recipient: the client gets 250, nothing is delivered",
        ),
        (
            doing(Discard()),
            3,
            "discarded at end_of_message: the client gets 250, nothing is delivered",
        ),
        (doing(Quarantine("odd")), 4, "quarantined, without changes: odd"),
        (doing(ReplyCode(421, "4.7.0", "go"), at="mail"), 75, "tempfailed at mail: 421 4.7.0 go"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_exit_status_says_the_verdict(
    run: Run,
    mail: Path,
    handlers: Any,
    status: int,
    last: str,
) -> None:
    """0 accepted, 1 rejected, 75 for now, 3 discarded, 4 quarantined; the last line says where."""
    with running(handlers) as address:
        got, output, errors = run("send", "--to", address, mail)
    assert (got, errors, output.splitlines()[-1]) == (status, "", last)


def test_a_client_that_is_refused_says_no_more_than_quit(run: Run, mail: Path) -> None:
    """A rejection at connect is final."""
    with running(doing(Reject(), at="connect")) as address:
        status, output, _ = run("send", "--to", address, mail)
    assert status == 1
    assert "MAIL FROM" not in output
    assert output.splitlines()[-1].startswith("rejected at connect: 5")


def test_of_several_recipients_one_may_be_refused(run: Run, mail: Path) -> None:
    """The mail goes to the others, and the diff does not blame the filter for it twice."""

    def refuse(event: Any, ctx: Any) -> Any:
        return send_action(ctx, Reject()) if event.address.startswith("bad") else ctx

    with running(define_event_handlers({"recipient": refuse})) as address:
        status, output, _ = run(
            "send",
            "--to",
            address,
            mail,
            "--rcpt",
            "bad@example.net",
            "--rcpt",
            "<good@example.net> NOTIFY=NEVER",
        )
    assert status == 0
    assert "nothing is changed" in output
    assert output.splitlines()[-1] == "accepted for 1 of 2 recipients, without changes"


def told(seen: list[Any]) -> Any:
    """A filter that keeps what it is told."""
    handlers = define_event_handlers()

    @handlers.connect
    def connect(event: Any, ctx: Any) -> Any:
        seen.append((event.host_name, str(event.address), get_macro(ctx, "campus")))
        return ctx

    @handlers.hello
    def hello(event: Any, ctx: Any) -> Any:
        seen.append(event.greeting)
        return ctx

    @handlers.mail
    def sender(event: Any, ctx: Any) -> Any:
        seen.append((event.sender, dict(event.parameters), get_macro(ctx, "auth_authen")))
        return ctx

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        seen.append(event.address)
        return ctx

    @handlers.end_of_message
    def end(event: Any, ctx: Any) -> Any:
        seen.append(get_macro(ctx, "i"))
        return ctx

    return handlers


def telling() -> Any:
    """A filter that refuses with what it was told of client and envelope."""
    handlers = define_event_handlers(macros={"mail": ("{client_addr}",)})

    @handlers.connect
    def connect(event: Any, ctx: Any) -> Any:
        return ctx.set("client", f"{event.host_name} {event.family} {event.address}")

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ctx.set("mail", f"{event.raw} {' '.join(event.parameters.as_words())}")

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        return send_action(ctx, ReplyCode(550, "5.7.1", [ctx["client"], ctx["mail"].strip(), event.raw]))

    return handlers


@pytest.mark.parametrize("mta", ["postfix", "sendmail"])
@pytest.mark.parametrize(
    ("client", "told"),
    [
        ("::ffff:192.0.2.1", "[192.0.2.1] 4 192.0.2.1"),
        ("mx.example[::ffff:192.0.2.1]", "mx.example 4 192.0.2.1"),
        ("mx.example[fe80::1%eth0]", "mx.example 6 fe80::1"),
    ],
)
def test_a_client_is_told_as_an_mta_does(run: Run, mail: Path, mta: str, client: str, told: str) -> None:
    """IPv4 that is mapped into IPv6 is IPv4; a milter hears of no zone."""
    with running(telling()) as address:
        got, output, errors = run("send", "--to", address, mail, "--client", client, "--mta", mta)
    assert (got, errors) == (1, "")
    assert f"5.7.1 {told}" in output.replace("... ", "", 1).replace("<bob@example.net>", "", 1)


def test_addresses_in_utf8_are_said_as_bytes_with_smtputf8(run: Run, tmp_path: Path) -> None:
    """Those of the header are; one that is given on the command line, too."""
    file = tmp_path / "utf8.eml"
    file.write_bytes("From: André <andré@exämple.org>\nTo: bob@example.net\n\nhi\n".encode())
    with running(telling()) as address:
        _, output, _ = run("send", "--to", address, file)
        _, given, _ = run(
            "send", "--to", address, file, "--rcpt", "<zoë@example.net>", "--from", "a@b.c"
        )
        _, once, _ = run("send", "--to", address, file, "--from", "<ä@b.c> SMTPUTF8 SIZE=5")
    assert "5.7.1 <andré@exämple.org> SMTPUTF8 / 5.7.1 <bob@example.net>" in output
    assert "5.7.1 <a@b.c> SMTPUTF8 / 5.7.1 <zoë@example.net>" in given
    assert "5.7.1 <ä@b.c> SMTPUTF8 SIZE=5 / " in once


@pytest.mark.parametrize("mta", ["postfix", "sendmail"])
def test_what_the_milter_is_told_can_be_chosen(run: Run, mail: Path, mta: str) -> None:
    """Client, EHLO, envelope with parameters, and macros: those that the MTA knows and others."""
    seen: list[Any] = []
    arguments = (
        "--from", "<> SIZE=10", "--rcpt", "x@example.net", "--rcpt", "<y@example.net>",
        "--client", "mx.example[192.0.2.7]", "--helo", "me.example",
        "--macro", "i=Q1", "--macro", "{auth_authen}=ann", "--macro", "campus=north",
    )  # fmt: skip
    with running(told(seen)) as address:
        status, output, _ = run("send", "--to", address, mail, "--mta", mta, *arguments)
    assert status == 0
    assert seen == [
        ("mx.example", "192.0.2.7", "north"),
        "me.example",
        ("", {"SIZE": "10"}, "ann"),
        "x@example.net",
        "y@example.net",
        "Q1",
    ]
    assert output.startswith("connect from mx.example [192.0.2.7] ")


def test_without_envelope_it_is_taken_from_the_header(run: Run, tmp_path: Path) -> None:
    """From, To and Cc, each address once; a mailbox's line above the header is left out."""
    seen: list[Any] = []
    path = tmp_path / "mail"
    path.write_bytes(
        b"From ann Fri Jan  2\nFrom: =?utf-8?q?=C3=84?= <ann@example.org>\nTo: Bob <bob@example.net>,\n"
        b" carol@example.net, nobody\nCc: bob@example.net\n\nx\n"
    )
    with running(told(seen)) as address:
        assert run("send", "--to", address, path, "--client", "2001:db8::1")[0] == 0
    assert seen[0][:2] == ("[2001:db8::1]", "2001:db8::1")
    assert [seen[2][0], *seen[3:-1]] == ["ann@example.org", "bob@example.net", "carol@example.net"]


def test_a_mail_without_header_gets_an_envelope_nevertheless(run: Run, tmp_path: Path) -> None:
    """Documentation addresses; a client on standard input has no address."""
    seen: list[Any] = []
    (tmp_path / "empty").write_bytes(b"")
    with running(told(seen)) as address:
        status, output, _ = run("send", "--to", address, tmp_path / "empty", "--client", "local")
    assert status == 0
    assert output.startswith("connect from standard input")
    assert "sender@example.org" in str(seen)
    assert "recipient@example.net" in seen


def test_the_mail_may_come_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of ``-``."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MAIL)))
    with running(doing()) as address:
        status, output, _ = run("send", "--to", address, "-")
    assert status == 0
    assert "DATA, 139 bytes" in output


# ----------------------------------------------------------------------------------------- usage
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["mail"], "the following arguments are required: --to"),
        (["--to", "foo", "mail"], "expected an address such as"),
        (["--to", "fd:3", "mail"], "expected an address to connect to, got 'fd:3'"),
        (["--to", "1", "mail", "--record-raw"], "demyjpy send: --record-raw needs --record"),
        (["--to", "1", "mail", "--macro", "i"], "expected NAME=VALUE, got 'i'"),
        (["--to", "1", "mail", "--macro", "{}=x"], "expected NAME=VALUE, got '{}=x'"),
        (["--to", "1", "mail", "--client", "nowhere"], "expected an IP address, NAME[ADDRESS] or local"),
        (["--to", "1", "mail", "--client", "x[y]"], "expected an IP address, NAME[ADDRESS] or local"),
        (["--to", "1", "mail", "--from", "a@b<"], "expected an address such as a@example.org"),
        (
            ["--to", "1", "no/such/mail"],
            "demyjpy send: cannot read no/such/mail: No such file or directory",
        ),
    ],
)
def test_wrong_arguments_are_told_in_one_line(run: Run, arguments: list[str], error: str) -> None:
    """Status 2, nothing on standard output."""
    status, output, errors = run("send", *arguments)
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert error in errors


def test_help_tells_the_exit_statuses(run: Run) -> None:
    """Each with its meaning."""
    status, output, _ = run("send", "--help")
    assert status == 0
    for code in (0, 1, 2, 3, 4, 69, 75):
        assert f"\n  {code:2}  " in output


# ------------------------------------------------------------------------------------- as a program
def test_a_terminal_that_lacks_a_letter_gets_an_escape(tmp_path: Path) -> None:
    """No encoding makes it fail; without a terminal there are no colours."""
    path = tmp_path / "mail"
    path.write_bytes(MAIL.replace(b"Subject: hi", "Subject: für 🍻".encode()))
    edits = (DeleteHeader(1, "Subject"),)
    with (
        running(doing(*edits)) as address,
        program("send", "--to", address, str(path), PYTHONIOENCODING="ascii") as started,
    ):
        output, errors = started.communicate(timeout=30)
    assert (started.returncode, errors) == (0, "")
    assert "-Subject: f\\xfcr \\U0001f37b" in output
    assert "\x1b" not in output


def test_colours_can_be_had_anywhere(run: Run, mail: Path) -> None:
    """``--color always``; green is what is new, red what is gone."""
    with running(doing(ChangeHeader(1, "Subject", "\x1b[31mred\x07"))) as address:
        _, output, _ = run("send", "--to", address, mail, "--color", "always")
    assert "\x1b[31m-Subject: hi\x1b[0m" in output
    assert "\x1b[32m+Subject: \\x1b[31mred\\x07\x1b[0m" in output
    assert "\x1b[32maccepted, with 1 change\x1b[0m" in output
