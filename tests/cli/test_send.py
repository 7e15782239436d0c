"""`demyjpy send`: one mail, played at a running milter; verdict, diff, JSON, and whatever goes wrong."""

import base64
import io
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from demyjpy import (
    Accept,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    Continue,
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
from demyjpy.actions import Shutdown
from demyjpy.cli.sent import Sent, summary
from demyjpy.cli.show import Paint, diff_lines, verdict_words
from demyjpy.mta.link import MilterFailedError
from demyjpy.mta.message import Envelope, Mail, Message
from tests.cli.conftest import MAIL
from tests.cli.servers import answering, frame, listening, program, silent

Run = Callable[..., tuple[int, str, str]]

ALL = (
    "add_header change_header change_body quarantine change_sender "
    "add_recipient add_recipient_par delete_recipient"
)


NO_REPLIES = 0xFF080
"""All ``SMFIP_NR_*``: the milter answers at the end of a message only."""


def doing(*actions: Any, at: str = "end_of_message") -> Any:
    """A filter that asks for actions at an event."""
    return define_event_handlers(
        {at: lambda event, ctx: send_action(ctx, *actions)}, actions=ALL.split()
    )


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
            "discarded at recipient: the client is told that all is well, nothing is delivered",
        ),
        (
            doing(Discard()),
            3,
            "discarded at end_of_message: the client is told that all is well, nothing is delivered",
        ),
        (doing(Quarantine("odd")), 4, "quarantined, with 1 change: odd"),
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


# ----------------------------------------------------------------------------------------- JSON
def test_json_has_all_of_it(run: Run, tmp_path: Path) -> None:
    """Steps, answers, changes, and the mail before and after, as text that any reader takes."""
    path = tmp_path / "mail"
    path.write_bytes(MAIL.replace(b"hi", b"\xff\xfe") + b"\x80\x00\n")
    edits = (ReplaceBody(b"new \xff\r\n"), ChangeSender("x@example.org", "RET=HDRS"))
    with running(doing(*edits)) as address:
        status, output, errors = run("send", "--to", address, path, "--json")
    assert (status, errors) == (0, "")
    assert "\\ud" not in output
    found = json.loads(output)
    assert found["milter"] == address
    assert found["mta"] == {"name": "postfix", "release": "3.7.11"}
    assert (found["verdict"], found["exit_status"]) == ("accepted", 0)
    assert found["reply"] == {"code": 250, "text": "2.0.0 Ok: queued as 4D3E5F0001"}
    assert (found["failure"], found["warnings"]) == (None, [])
    assert [one["step"] for one in found["steps"]] == ["connect", "ehlo", "mail", "rcpt", "data", "quit"]
    assert found["steps"][2]["sender"] == "ann@example.org"
    assert found["steps"][4]["answers"][-1]["event"] == "end_of_message"
    assert found["steps"][4]["answers"][-1]["verdict"] == {"action": "Continue"}
    assert found["modifications"] == [
        {"action": "ChangeSender", "address": "x@example.org", "parameters": ["RET=HDRS"]},
        {"action": "ReplaceBody", "data": "new \\xff\r\n"},
    ]
    delivered = found["delivered"]
    assert (found["sent"]["sender"], delivered["sender"]) == ("ann@example.org", "x@example.org")
    assert delivered["recipients"] == [{"address": "bob@example.net", "parameters": []}]
    assert {"name": "Subject", "raw": " \\xff\\xfe"} in delivered["header"]
    assert delivered["body"] == "new \\xff\r\n"
    message = base64.b64decode(delivered["message_base64"])
    assert message == MAIL.replace(b"\n", b"\r\n").replace(b"hi", b"\xff\xfe").replace(
        b"hello", b"new \xff"
    )
    before = base64.b64decode(found["sent"]["message_base64"])
    assert before == path.read_bytes().replace(b"\n", b"\r\n")


def test_json_of_a_failure_says_it(run: Run, mail: Path) -> None:
    """The event and the reason; nothing is delivered."""
    with listening(answering(M=b"")) as address:
        status, output, errors = run("send", "--to", address, mail, "--json")
    found = json.loads(output)
    assert (status, found["verdict"], found["exit_status"]) == (69, "failed", 69)
    assert found["failure"]["event"] == "mail"
    assert (found["reply"], found["delivered"]) == (None, None)
    assert errors.count("\n") == 1


# ------------------------------------------------------------------------------------ bad milters
def one_line(result: tuple[int, str, str]) -> str:
    """The only line of errors of a run that found the milter wanting."""
    status, output, errors = result
    assert status == 69, (output, errors)
    assert errors.count("\n") == 1, errors
    assert "Traceback" not in errors
    return errors.rstrip("\n")


def test_where_nothing_listens_it_says_so(run: Run, mail: Path, tmp_path: Path) -> None:
    """TCP and Unix sockets."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    error = one_line(run("send", "--to", f"inet:{port}@127.0.0.1", mail))
    assert error.startswith(f"demyjpy send: inet:{port}@127.0.0.1: cannot connect: ")
    path = tmp_path / "none.sock"
    assert one_line(run("send", "--to", f"unix:{path}", mail)) == (
        f"demyjpy send: unix:{path}: cannot connect: No such file or directory"
    )


@pytest.mark.parametrize(
    "greeting",
    [
        b"220 mx.example ESMTP Postfix\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\0\0\1c",
    ],
)
def test_what_is_no_milter_is_told_by_its_answer(run: Run, mail: Path, greeting: bytes) -> None:
    """An SMTP, HTTP or SSH server, or a packet that is no answer to the offer."""
    with listening(lambda client: (client.sendall(greeting), silent(client))[0]) as address:
        error = one_line(run("send", "--to", address, mail))
    assert error.startswith(f"demyjpy send: {address}: no milter answers there: at the negotiation: ")


@pytest.mark.parametrize(
    ("option", "behave", "error"),
    [
        (
            "--command-timeout",
            silent,
            "no milter answers there: at the negotiation: no answer within 0.2 s",
        ),
        ("--command-timeout", answering(M=None), "the milter failed at mail: no answer within 0.2 s"),
        ("--content-timeout", answering(B=None), "the milter failed at body: no answer within 0.2 s"),
    ],
)
def test_a_milter_that_hangs_is_left(run: Run, mail: Path, option: str, behave: Any, error: str) -> None:
    """With the step, after the timeout for it."""
    with listening(behave) as address:
        begun = time.monotonic()
        got = one_line(run("send", "--to", address, mail, option, "0.2"))
    assert got == f"demyjpy send: {address}: {error}"
    assert time.monotonic() - begun < 20


def test_a_milter_that_shows_signs_of_life_for_ever_meets_the_deadline(run: Run, mail: Path) -> None:
    """PROGRESS restarts a timeout, but not the deadline."""

    def behave(client: socket.socket) -> None:
        client.settimeout(30)
        answering(E=frame(b"p") * 3)(client)

    with listening(behave) as address:
        error = one_line(run("send", "--to", address, mail, "--deadline", "0.5"))
    assert (
        error == f"demyjpy send: {address}: the milter failed at end_of_message: not done within 0.5 s"
    )


@pytest.mark.parametrize(
    ("answers", "start"),
    [
        ({"H": frame(b"z", b"\xff\0")}, "the milter failed at hello: "),
        ({"M": b"\0\0\0\0"}, "the milter failed at mail: "),
        ({"R": b"\xff\xff\xff\xff\xff"}, "the milter failed at recipient: "),
        ({"B": b""}, "the milter failed at body: it closed the connection"),
        ({"L": b""}, "the milter failed at header: it closed the connection"),
        ({"E": b"\0\0\0\5c"}, "the milter failed at end_of_message: "),
    ],
    ids=str,
)
def test_garbage_and_a_closed_connection_are_told_with_the_step(
    run: Run, mail: Path, answers: dict[str, bytes], start: str
) -> None:
    """Whatever the milter says, it is one line and status 69."""
    with listening(answering(**answers)) as address:
        error = one_line(run("send", "--to", address, mail, "--content-timeout", "1"))
    assert error.startswith(f"demyjpy send: {address}: {start}")


def test_a_milter_that_dies_while_nobody_waits_for_it_fails_at_the_next_question(
    run: Run, tmp_path: Path
) -> None:
    """An observer's events need no answer; the end of the message does."""
    agreed = frame(b"O", b"\0\0\0\6\0\0\1\xff" + NO_REPLIES.to_bytes(4, "big"))

    def behave(client: socket.socket) -> None:
        client.sendall(agreed)
        seen = b""
        while b"Subject" not in seen:
            seen += client.recv(1024)

    path = tmp_path / "long.eml"
    path.write_bytes(MAIL + b"x\n" * 1_000_000)
    with listening(behave) as address:
        error = one_line(run("send", "--to", address, path))
    assert error == (
        f"demyjpy send: {address}: the milter failed at end_of_message: it closed the connection"
    )


def test_a_milter_that_shuts_down_is_no_failure(run: Run, mail: Path) -> None:
    """SHUTDOWN ends the SMTP session with 421, as Postfix has it; there is no QUIT."""
    with listening(answering(M=frame(b"4"))) as address:
        status, output, _ = run("send", "--to", address, mail)
    assert status == 75
    assert "QUIT" not in output
    assert output.splitlines()[-1].startswith("tempfailed at mail: 421")
    assert verdict_words(Shutdown()) == "shutdown"


def test_signs_of_life_are_told(run: Run, mail: Path) -> None:
    """How many came before the answer."""
    with listening(answering(E=frame(b"p") * 2 + frame(b"c"))) as address:
        status, output, _ = run("send", "--to", address, mail)
    assert status == 0
    assert "    milter: end_of_message: continue, after 2 signs of life" in output.splitlines()


def test_what_is_odd_but_harmless_is_a_warning(run: Run, mail: Path) -> None:
    """A packet more than the answer is told, and the mail goes on."""
    with listening(answering(M=frame(b"c") + frame(b"c"))) as address:
        status, _, errors = run("send", "--to", address, mail, "--content-timeout", "5")
    assert errors.startswith("demyjpy send: warning: ")
    assert status in (0, 69)


# ----------------------------------------------------------------------------------------- usage
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["mail"], "the following arguments are required: --to"),
        (["--to", "foo", "mail"], "expected an address such as"),
        (["--to", "fd:3", "mail"], "expected an address to connect to, got 'fd:3'"),
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


# ------------------------------------------------------------------------------------------- diff
def mail_of(body: str, header: str = "A: 1\nB: 2\nC: 3\nD: 4\nE: 5\n") -> Mail:
    return Mail(Envelope("a@b"), Message.parse(f"{header}\n{body}".encode()))


def diff(before: Mail, after: Mail) -> list[str]:
    return diff_lines(before, after, Paint(is_on=False))


def test_a_diff_shows_little_around_what_changed() -> None:
    """Two lines above and below; the middle of what is equal between two changes is left out."""
    lines = [f"{number}" for number in range(40)]
    other = [*lines[:5], "five", *lines[6:20], "twenty", *lines[21:]]
    assert diff(mail_of("\n".join(lines)), mail_of("\n".join(other))) == [
        " 3", " 4", "-5", "+five", " 6", " 7", " [10 lines more, 38 bytes]",
        " 18", " 19", "-20", "+twenty", " 21", " 22",
    ]  # fmt: skip


def test_a_long_diff_is_shortened() -> None:
    """Many lines of a kind, and very long ones."""
    after = mail_of("".join(f"{number}\n" for number in range(100)) + "x" * 500)
    lines = diff(mail_of("old\n"), after)
    assert lines[0] == "-old"
    assert lines[1:7] == [f"+{number}" for number in range(6)]
    assert lines[7] == "+[89 lines more, 352 bytes]"
    assert lines[-1] == f"+{'x' * 160} [340 more]"


def test_a_huge_diff_is_not_computed_line_by_line() -> None:
    """Old and new one after the other, in no time."""
    old = "".join(f"a{number}\n" for number in range(20_000))
    new = "".join(f"b{number}\n" for number in range(20_000))
    begun = time.monotonic()
    lines = diff(mail_of(old), mail_of(new))
    assert len(lines) == 26
    assert time.monotonic() - begun < 5


def test_a_diff_of_equal_mails_is_empty() -> None:
    """No line at all."""
    assert diff(mail_of("x"), mail_of("x")) == []


def test_what_failed_has_no_more_to_say_than_that() -> None:
    """The reason goes to standard error."""
    failure = MilterFailedError("mail", "no")
    assert summary(Sent((), mail_of(""), (), failure)) == "failed"


def test_bytes_that_are_no_text_are_escaped() -> None:
    """As are control characters."""
    before, after = mail_of("x"), mail_of("x")
    after = evolve(after, message=evolve(after.message, body=b"\xff\t\x1b\r\n"))
    assert diff(before, after) == ["-x", "+\\xff\t\\x1b"]


def test_verdicts_have_short_names() -> None:
    """As they are said in the handlers' shorthands."""
    verdicts = (Continue(), TemporaryFailure(), ReplyCode(451, None, "x"))
    assert [verdict_words(one) for one in verdicts] == ["continue", "tempfail", "reply 451 x"]
