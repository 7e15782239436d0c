"""The samples: each filter does what it says, and each file is a program that serves."""

import base64
import importlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from demyjpy import (
    AddHeader,
    ChangeHeader,
    Connect,
    Continue,
    DefineMacros,
    EndOfMessage,
    Hello,
    Mail,
    Quarantine,
    Recipient,
    ReplaceBody,
    ReplyCode,
)
from demyjpy.cli.loading import Wanted, load_filter, load_filters
from demyjpy.testing import run, session
from tests.engine.harness import join, offer
from tests.play import CLIENT, answers_to, edits_of, mail

ROOT = Path(__file__).parents[1]
SAMPLES = sorted((ROOT / "samples").glob("*.py"))
PLAIN = b"From: alice@example.org\r\nSubject: hello\r\n\r\nHello Bob\r\n"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads a sample's module as the command line does."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def load(name: str) -> Any:
        load_filter(f"{ROOT}/samples/{name}.py")
        return sys.modules[name]

    return load


# ------------------------------------------------------------------------------------ bytecount
FOLDED = b"From: a@b\r\nSubject: long\r\n and folded\r\nX:\xff\r\n\r\n" + b"x" * 70000 + b"\r\n"


def test_bytecount_tells_the_size_of_the_message_as_it_came(load: Any) -> None:
    """Folded fields, bytes that are no text and a body of several chunks count as they were sent."""
    assert edits_of(load("bytecount").handlers, FOLDED) == [
        [AddHeader("X-Message-Size", str(len(FOLDED)))]
    ]


def test_bytecount_begins_anew_with_each_message_of_a_connection(load: Any) -> None:
    """Three messages on one connection get three sizes of their own."""
    contents = FOLDED, PLAIN, PLAIN
    sizes = [int(edits[0].value) for edits in edits_of(load("bytecount").handlers, *contents)]
    assert sizes == [len(content) for content in contents]


def test_bytecount_logs_totals_of_connection_and_process(
    load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The total of a connection ends with it; that of the process goes on."""
    handlers, size = load("bytecount").handlers, len(PLAIN)
    with caplog.at_level(logging.INFO):
        edits_of(handlers, PLAIN, PLAIN)
        edits_of(handlers, PLAIN)
    assert caplog.messages == [
        f"{size} bytes; connection: {size}; process: {size} in 1 messages",
        f"{size} bytes; connection: {2 * size}; process: {2 * size} in 2 messages",
        f"{size} bytes; connection: {size}; process: {3 * size} in 3 messages",
    ]


def test_bytecount_totals_lose_nothing_between_threads(load: Any) -> None:
    """A thousand additions from eight threads are a thousand messages."""
    totals = load("bytecount").totals
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(totals.add, [3] * 1000))
    assert sorted(seen) == [(count, 3 * count) for count in range(1, 1001)]


def test_threaded_and_forked_serve_the_same_filter(load: Any) -> None:
    """Neither has handlers of its own."""
    threaded, forked = load("threaded"), load("forked")
    assert threaded.handlers is forked.handlers is sys.modules["bytecount"].handlers


# ---------------------------------------------------------------------------------------- gnutp
def test_gnutp_adds_the_name_where_it_is_missing(load: Any) -> None:
    """A message that has it, in whatever case, stays as it is; the next without it gets it."""
    present = b"x-clacks-overhead: GNU Terry Pratchett\r\n" + PLAIN
    added = [AddHeader("X-Clacks-Overhead", "GNU Terry Pratchett")]
    assert edits_of(load("gnutp").handlers, PLAIN, present, PLAIN) == [added, [], added]


# ------------------------------------------------------------------------------------- pipeline
@pytest.mark.parametrize(
    ("sender", "is_blocked"),
    [
        ("Spammer@Example.ORG", True),
        ("anybody@spam.example", True),
        ("alice@example.org", False),
        ("", False),
    ],
)
def test_pipeline_refuses_blocked_senders(load: Any, sender: str, is_blocked: bool) -> None:
    """An address or a domain on the list is refused at MAIL, and nothing of its message is asked for."""
    told = answers_to(load("pipeline").handlers, *CLIENT, *mail(PLAIN, sender))
    answers = {type(event): answers for event, answers in told}
    refusal = ReplyCode(550, "5.7.1", f"<{sender}> may not send mail here")
    assert answers[Mail] == [refusal if is_blocked else Continue()]
    assert (EndOfMessage in answers) is not is_blocked


SIZE = AddHeader("X-Message-Size", str(len(PLAIN)))


def checksum_of(subject: bytes, body: bytes) -> AddHeader:
    """What the last filter of the pipeline adds to a message that leaves like this."""
    return AddHeader("X-Checksum", f"{crc32(subject + body):08x}")


def test_pipeline_marks_outside_mail_and_counts(load: Any) -> None:
    """The checksum is of the marked subject; all edits are sent together."""
    tagged = ChangeHeader(1, "Subject", "[external] hello")
    checksum = checksum_of(b"[external] hello", b"Hello Bob\r\n")
    assert edits_of(load("pipeline").handlers, PLAIN) == [[tagged, SIZE, checksum]]


def test_pipeline_passes_on_what_it_finds(load: Any) -> None:
    """A sender who is on watch is marked in another way, by another filter than the one that knows."""
    told = answers_to(load("pipeline").handlers, *CLIENT, *mail(PLAIN, "joe@odd.example"))
    tagged = ChangeHeader(1, "Subject", "[external, unusual sender] hello")
    assert told[-1][1][0] == tagged


@pytest.mark.parametrize(
    ("subject", "edit"),
    [
        (b"Subject: one\r\nSubject: two\r\n", ChangeHeader(1, "Subject", "[external] one")),
        (
            b"SUBJECT:\r\n folded\r\n \r\n twice\r\n",
            ChangeHeader(1, "Subject", "[external] folded\n twice"),
        ),
        (b"Subject: Re: [external] hello\r\n", None),
        (b"X: no subject\r\n", AddHeader("Subject", "[external]")),
        (b"Subject:\r\n", ChangeHeader(1, "Subject", "[external] ")),
    ],
)
def test_pipeline_tags_any_subject(load: Any, subject: bytes, edit: Any) -> None:
    """The first Subject, folded or not, with empty lines in it or not; none twice."""
    (edits,) = edits_of(load("pipeline").handlers, subject + b"\r\n.\r\n")
    found = [one for one in edits if one.name.lower() == "subject"]
    assert [(type(one), one.raw) for one in found] == ([(type(edit), edit.raw)] if edit else [])


@pytest.mark.parametrize(
    "client", [Connect("localhost", "4", IPv4Address("127.0.0.1"), 9), Connect("localhost")]
)
def test_pipeline_leaves_mail_from_this_machine_unmarked(load: Any, client: Connect) -> None:
    """Over loopback, or with no address at all, as Sendmail tells of local submission."""
    told = answers_to(load("pipeline").handlers, client, Hello("localhost"), *mail(PLAIN))
    assert told[-1] == (
        EndOfMessage(),
        [SIZE, checksum_of(b"hello", b"Hello Bob\r\n"), Continue()],
    )


def test_pipeline_leaves_mail_of_who_logged_in_unmarked(load: Any) -> None:
    """The next message of the connection, without login, is marked again."""
    login = DefineMacros("mail", {"{auth_authen}": "alice"})
    events = (*CLIENT, login, *mail(PLAIN), *mail(PLAIN))
    ends = [
        answers
        for event, answers in answers_to(load("pipeline").handlers, *events)
        if event == EndOfMessage()
    ]
    assert [len(answers) for answers in ends] == [3, 4]


# --------------------------------------------------------------------------------------- macros
def test_macros_logs_the_way_of_each_recipient(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Also of one that the MTA refused, and of one of which it tells nothing."""
    told = (
        DefineMacros("recipient", {"{rcpt_mailer}": "smtp", "{rcpt_host}": "mx.example.com"}),
        Recipient("bob@example.com"),
        DefineMacros("recipient", {"{rcpt_mailer}": "error", "{rcpt_host}": "5.1.1"}),
        Recipient("nobody@example.com"),
        Recipient("carol@example.com"),
        DefineMacros("end_of_message", {"i": "4ABC"}),
        EndOfMessage(),
    )
    with caplog.at_level(logging.INFO):
        answers_to(load("macros").handlers, *CLIENT, Mail("a@b"), *told)
    assert caplog.messages == [
        "4ABC: <bob@example.com> by smtp to mx.example.com",
        "4ABC: <nobody@example.com> by error to 5.1.1",
        "4ABC: <carol@example.com> by ? to ?",
    ]


# ----------------------------------------------------------------------------------- quarantine
def multipart(disposition: bytes) -> bytes:
    return (
        b"Subject: see\r\nContent-Type: multipart/mixed;\r\n boundary=x\r\n\r\n"
        b"--x\r\n\r\ntext\r\n--x\r\nContent-Type: application/octet-stream\r\n"
        + disposition
        + b"\r\n\r\nTVqQ\r\n--x--\r\n"
    )


@pytest.mark.parametrize(
    ("disposition", "reason"),
    [
        (b'Content-Disposition: attachment; filename="invoice.pdf.EXE"', "invoice.pdf.EXE"),
        (b'Content-Disposition: attachment; filename="a.scr. "', "a.scr."),
        (b"Content-Disposition: attachment;\r\n filename*=utf-8''%C3%A4.js", "ä.js"),
        (b"Content-Disposition: attachment; filename==?utf-8?B?YS52YnM=?=", "a.vbs"),
        (
            b'Content-Disposition: attachment; filename="=?no-such?B?YS52YnM=?= .exe"',
            "=?no-such?B?YS52YnM=?= .exe",
        ),
        (b'Content-Disposition: attachment; filename="\xff.exe"', None),
        (b'Content-Disposition: attachment; filename="invoice.pdf"', ""),
        (b"Content-Disposition: inline", ""),
    ],
)
def test_quarantine_keeps_attached_programs_back(
    load: Any, disposition: bytes, reason: str | None
) -> None:
    """However the name is written; other attachments pass."""
    (edits,) = edits_of(load("quarantine").handlers, multipart(disposition))
    if reason:
        assert edits == [Quarantine(f"attached program {reason}")]
    else:
        assert [type(edit) for edit in edits] == ([] if reason == "" else [Quarantine])


def test_quarantine_keeps_back_what_it_cannot_look_into(load: Any) -> None:
    """A message with more parts than are looked at, and one that is larger than the limit."""
    many = multipart(b"").replace(b"\r\n--x--", b"\r\n--x\r\n\r\n" * 1000 + b"\r\n--x--")
    (edits,) = edits_of(load("quarantine").handlers, many)
    assert edits == [Quarantine("too many parts")]
    (edits,) = edits_of(load("quarantine").handlers, PLAIN + b"x" * 100_000_000)
    assert edits == [Quarantine("too large to look into")]


# --------------------------------------------------------------------------------- replace_body
def typed(content_type: bytes, body: bytes, encoding: bytes = b"8bit") -> bytes:
    fields = b"Content-Type: " + content_type + b"\r\nContent-Transfer-Encoding: " + encoding
    return b"MIME-Version: 1.0\r\nSubject: x\r\n" + fields + b"\r\n\r\n" + body


NOTE = b"\r\n______________________________\r\nExample Ltd. reads this before you do.\r\n"


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (PLAIN, b"Hello Bob\r\n" + NOTE),
        (b"Subject: empty\r\n\r\n", NOTE),
        (b"Subject: open end\r\n\r\nHello", b"Hello\r\n" + NOTE),
        (typed(b"text/plain; charset=UTF-8", b"\xc3\xa4\r\n"), b"\xc3\xa4\r\n" + NOTE),
        (typed(b"text/plain; format=flowed", b"so \r\nlong\r\n"), b"so \r\nlong\r\n" + NOTE),
        (typed(b"text/plain", b"x\r\n" * 30000), b"x\r\n" * 30000 + NOTE),
        (typed(b"text/plain", b"a=3D1=\r\n", b"Quoted-Printable"), b"a=3D1\r\n" + NOTE),
        (
            typed(b"text/plain; charset=utf-8", b"SGVs\r\nbG8=\r\n", b"BASE64"),
            base64.encodebytes(b"Hello\r\n" + NOTE).replace(b"\n", b"\r\n"),
        ),
    ],
)
def test_replace_body_appends_to_plain_text(load: Any, content: bytes, body: bytes) -> None:
    """Whatever its encoding, its length and its last line; the header stays as it is."""
    assert edits_of(load("replace_body").handlers, content) == [
        [ReplaceBody(body[at : at + 65535]) for at in range(0, len(body), 65535)]
    ]


def test_replace_body_appends_to_html_and_leaves_attachments(load: Any) -> None:
    """Both texts of a message get it, each in its own way; the file is there byte by byte."""
    texts = b"--i\r\n\r\nHi\r\n--i\r\nContent-Type: text/html\r\n\r\n<b>Hi</b>\r\n--i--\r\n"
    file = b"--o\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nfile\r\n--o--\r\n"
    inner = b"--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n" + texts
    content = typed(b"multipart/mixed; boundary=o", inner + file)
    ((edit,),) = edits_of(load("replace_body").handlers, content)
    assert isinstance(edit, ReplaceBody)
    assert edit.data.endswith(file)
    assert b"--i\r\n\r\nHi\r\n" + NOTE in edit.data
    assert b"Example Ltd. reads this before you do.</p>" in edit.data


@pytest.mark.parametrize(
    "content",
    [
        typed(b"multipart/signed; boundary=x", b"--x\r\n\r\n--x--\r\n"),
        typed(b"application/pkcs7-mime", b"MIIB\r\n", b"base64"),
        typed(b"text/plain", b"-----BEGIN PGP SIGNED MESSAGE-----\r\n"),
        typed(b"text/plain", base64.b64encode(b"-----BEGIN PGP MESSAGE-----\r\n"), b"base64"),
        b"DKIM-Signature: v=1\r\n" + PLAIN,
        b"ARC-Message-Signature: i=1\r\n" + PLAIN,
        PLAIN + b"x" * 25_000_000,
    ],
    ids=["multipart", "smime", "inline", "encrypted", "dkim", "arc", "large"],
)
def test_replace_body_leaves_alone_what_it_would_break(load: Any, content: bytes) -> None:
    """Mail that is signed, encrypted, or too large to be kept: no modification is sent."""
    assert edits_of(load("replace_body").handlers, content) == [[]]


# ------------------------------------------------------------------------------------ blocklist
@pytest.mark.parametrize(
    ("sender", "is_refused"),
    [
        ("Spammer@Example.org", True),
        ("anybody@spam.example", True),
        ("ann@example.org", False),
        ("spam.example", False),
        ("", False),
    ],
)
def test_blocklist_refuses_whom_its_settings_name(sender: str, is_refused: bool) -> None:
    """Those of the file beside it; no bounce is refused."""
    wanted = Wanted([f"{ROOT}/samples/blocklist.py:make"], f"{ROOT}/samples/blocklist.toml")
    handlers = load_filters(wanted).on_connect
    told = dict(answers_to(handlers, *CLIENT, Mail(sender)))
    refusal = ReplyCode(550, "5.7.1", "We have had enough of your mail")
    assert told[Mail(sender)] == [refusal if is_refused else Continue()]


def test_blocklist_may_ask_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its settings say."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "samples"), *sys.path])
    make = importlib.import_module("blocklist").make
    settings = {"senders": ["ann@example.org"], "answer": "tempfail"}
    script = session().mail("ann@example.org").rcpt("bob@example.net").message()
    assert run(make, script, settings=settings).verdict == ReplyCode(
        451, "4.7.1", "You may not send mail here"
    )


# ------------------------------------------------------------------------------------- programs
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_sample_runs_as_a_program_until_sigterm(sample: Path) -> None:
    """Started with an address, it answers the negotiation of an MTA there, and SIGTERM ends it well."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        command = [sys.executable, str(sample), f"fd:{number}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command, pass_fds=[number], env=environment, stderr=subprocess.PIPE
        ) as program:
            try:
                with socket.create_connection(listening.getsockname(), timeout=30) as mta:
                    mta.sendall(join([offer()]))
                    answer = mta.recv(1024)
            finally:
                program.send_signal(signal.SIGTERM)
            _, errors = program.communicate(timeout=30)
    assert answer[4:5] == b"O"
    assert (program.returncode, b"Traceback" in errors) == (0, False), errors.decode()


def test_each_sample_is_in_the_page_of_samples() -> None:
    """Once, with how long it is, to the nearest ten."""
    page = (ROOT / "docs/samples.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| [^|]+ \| \[`(\S+)`\]\(\.\./(samples/\S+)\).* \| (\d+) \|$", page, re.MULTILINE
    )
    told = {path: int(lines) for _, path, lines in rows}
    assert len(told) == len(rows)
    assert [name for name, path, _ in rows if Path(path).name != name] == []
    found = [*SAMPLES, *(ROOT / "samples/filters").glob("*.py")]
    lines = {str(one.relative_to(ROOT)): len(one.read_text("utf-8").splitlines()) for one in found}
    assert told.keys() == lines.keys()
    assert {name: count for name, count in lines.items() if abs(count - told[name]) > 9} == {}
