"""What two large mails at once cost a milter in memory, and how long they make others wait.

    python3 -m benchmarks.message_memory                    # each filter under each driver, a minute
    python3 -m benchmarks.message_memory --driver threads --filter append --spool 0

In the virtual environment of the tests. ``demyjpy run`` serves a filter of `benchmarks.message_filters`:
``headers`` (three merged filters that look at a header field), ``body`` (one that makes the body
longer) or ``append`` (one that adds text to a mail with an attachment). Two processes send it a mail of
50 MB each, at once, and check every byte of the body that comes back. Meanwhile this process sends small
mails.

Prints a table, as Markdown: the most memory that the milter has had in MiB (VmHWM), after small mails
and after the large ones; the longest that a small mail waited for one answer, without the large mails
and beside them; how long the large mails took. ``--tmpdir`` has to be on a disk.
"""

import argparse
import base64
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from attrs import frozen

from benchmarks.home import ROOT, say
from benchmarks.processes import peak_kb
from demyjpy import Body, EndOfHeaders, EndOfMessage, Header
from demyjpy.message import Message
from demyjpy.wire.codes import CHUNK_SIZE, Response
from tests.drivers.peer import ENVELOPE, Peer

FILTERS_FILE: Final = ROOT / "benchmarks/message_filters.py"
FILTERS: Final = ("headers", "body", "append")
DRIVERS: Final = ("asyncio", "threads")
LARGE_MAILS: Final = 2
SMALL: Final = 2_000
"""Bytes of a small mail's attachment."""
WARM: Final = 50
"""Small mails before anything is measured, and again without the large ones."""

_PATIENCE: Final = 300.0
_BOUNDARY: Final = "=_benchmark"
_VERDICTS: Final = frozenset({Response.ACCEPT, Response.CONTINUE})
_ADDED: Final = b"text\r\n"  # as in the filters, which are not imported here
_DISCLAIMER: Final = "disclaimer"


@frozen
class Mail:
    """A mail, and the SHA-256 of the body that has to come back; None if none has to."""

    fields: tuple[tuple[str, str], ...]
    body: bytes
    wanted: bytes | None


@frozen
class Figures:
    """What came of one filter under one driver: MiB, seconds, seconds of each large mail."""

    idle: float
    peak: float
    wait_alone: float
    wait_beside: float
    large: tuple[float, ...]


def make_mail(filter_name: str, size: int) -> Mail:
    """A mail with text and an attachment; its body has about ``size`` bytes."""
    fields = (
        ("From", " a@example.org"),
        ("Subject", " a report"),
        ("MIME-Version", " 1.0"),
        ("Content-Type", f' multipart/mixed; boundary="{_BOUNDARY}"'),
    )
    data = hashlib.sha256(b"benchmark").digest() * (size * 57 // 78 // 32 + 1)  # 57 bytes: 78 in a line
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    line = f"--{_BOUNDARY}".encode()
    text = b"Content-Type: text/plain; charset=utf-8\r\n\r\nHello,\r\nsee the attachment.\r\n"
    head = b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    body = b"".join((line, b"\r\n", text, line, b"\r\n", head, encoded, line, b"--\r\n"))
    if filter_name == "headers":
        return Mail(fields, body, None)
    if filter_name == "body":
        return Mail(fields, body, hashlib.sha256(body + _ADDED).digest())
    changed = Message.of(fields, body).append_text(_DISCLAIMER)
    return Mail(fields, body, hashlib.sha256(changed.body).digest())


# ------------------------------------------------------------------------------- the MTA's part
class Session:
    """A connection with the milter. ``longest`` is the longest that an answer took, in seconds."""

    def __init__(self, address: str) -> None:
        self._peer = Peer(address)
        self._peer.socket.settimeout(_PATIENCE)
        self._peer.begin()
        self.longest = 0.0

    def close(self) -> None:
        """Hang up."""
        self._peer.socket.close()

    def send(self, mail: Mail) -> None:
        """A whole mail; `RuntimeError` if what comes back is not what has to."""
        header = [Header.from_raw(name, raw) for name, raw in mail.fields]
        for event in (*ENVELOPE, *header, EndOfHeaders()):
            self._ask(event)
        for at in range(0, len(mail.body), CHUNK_SIZE):
            self._ask(Body(mail.body[at : at + CHUNK_SIZE]))
        began = time.monotonic()
        self._peer.say(EndOfMessage())
        self._check(mail)
        self.longest = max(self.longest, time.monotonic() - began)

    def _ask(self, event: object) -> None:
        began = time.monotonic()
        self._peer.ask(event)
        self.longest = max(self.longest, time.monotonic() - began)

    def _check(self, mail: Mail) -> None:
        """Take all that is answered to the end of a message."""
        digest, size, has_body = hashlib.sha256(), 0, False
        while True:
            letter, payload = self._peer.hear_packet()
            if letter == Response.REPLBODY:
                has_body = True
                digest.update(payload)
                size += len(payload)
            elif letter in _VERDICTS:
                break
            elif letter in b"rtdy":  # any other verdict
                raise RuntimeError(f"expected the mail to pass, got {chr(letter)} with {payload!r:.200}")
        if (digest.digest() if has_body else None) != mail.wanted:
            came = f"a body of {size} bytes" if has_body else "none"
            wanted = "another body" if mail.wanted else "no body"
            raise RuntimeError(
                f"expected {wanted} in place of one of {len(mail.body)} bytes, got {came}"
            )


def send_large(address: str, filter_name: str, size: int) -> None:
    """In a process of its own: say when the mail is made, send it when told to, say how long it took."""
    mail = make_mail(filter_name, size)
    session = Session(address)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    session.send(mail)
    print(time.monotonic() - began, flush=True)
    session.close()


class Sender:
    """A process that sends a large mail, from the beginning of a ``with`` block on."""

    def __init__(self, address: str, filter_name: str, size: int) -> None:
        command = [sys.executable, "-m", "benchmarks.message_memory", "--send", address]
        command += ["--filter", filter_name, "--size", str(size)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def said(self) -> str:
        """Its next line; `RuntimeError` if it has ended, and why is on standard error."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(
                "expected a large mail to be sent, but the process that sends it has ended"
            )
        return line

    def begin(self) -> None:
        """Tell it to send."""
        if self._process.stdin:
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def is_sending(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None


def longest_wait(address: str, mail: Mail, senders: Sequence[Sender] = ()) -> float:
    """Send small mails for as long as large ones are sent, `WARM` at least; the longest wait."""
    session = Session(address)
    mails = 0
    while mails < WARM or any(one.is_sending() for one in senders):
        session.send(mail)
        mails += 1
    session.close()
    return session.longest


# ----------------------------------------------------------------------------------- the milter
@contextmanager
def milter(driver: str, filter_name: str, options: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """A milter as a process of its own, while the block runs: its number and its address."""
    with (
        tempfile.TemporaryDirectory(prefix="demyjpy-bench-") as directory,
        tempfile.TemporaryFile() as trouble,
    ):
        address = f"unix:{directory}/milter.sock"
        command = [sys.executable, "-m", "demyjpy", "run", f"{FILTERS_FILE}:{filter_name}"]
        command += ["--driver", driver, "--listen", address, "--spool", str(options.spool)]
        command += ["--allow-root", "--log-level", "warning"]
        with subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": options.tmpdir},
            stdout=subprocess.PIPE,
            stderr=trouble,
        ) as process:
            try:
                if not (process.stdout and process.stdout.readline()):
                    sys.exit("expected the milter to listen, but it has ended")
                yield process.pid, address
            finally:
                process.terminate()
                process.wait(_PATIENCE)
                trouble.seek(0)
                if said := trouble.read().decode(errors="replace").strip():
                    say(f"{driver} {filter_name}: the milter said: {said}")


def measure(driver: str, filter_name: str, options: argparse.Namespace) -> Figures:
    """One filter under one driver, once."""
    small = make_mail(filter_name, SMALL)
    with milter(driver, filter_name, options) as (pid, address), ExitStack() as stack:
        longest_wait(address, small)
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # VmHWM is that of now: proc_pid_clear_refs(5)
        alone = longest_wait(address, small)
        idle = peak_kb([pid]) / 1024
        senders = [
            stack.enter_context(Sender(address, filter_name, options.size)) for _ in range(LARGE_MAILS)
        ]
        for one in senders:
            one.said()
        for one in senders:
            one.begin()
        beside = longest_wait(address, small, senders)
        took = tuple(float(one.said()) for one in senders)
        return Figures(idle, peak_kb([pid]) / 1024, alone, beside, took)


def row(driver: str, filter_name: str, found: Figures) -> str:
    """A line of the table."""
    memory = f"{found.idle:.1f} | {found.peak:.1f} | {found.peak - found.idle:+.1f}"
    waits = f"{found.wait_alone * 1e3:.1f} | {found.wait_beside * 1e3:.1f}"
    took = ", ".join(f"{seconds:.1f}" for seconds in found.large)
    return f"| {filter_name} | {driver} | {memory} | {waits} | {took} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.message_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--driver", choices=DRIVERS, action="append", help="may be repeated")
    parser.add_argument("--filter", choices=FILTERS, action="append", help="may be repeated")
    parser.add_argument("--size", type=int, default=50_000_000, help="bytes of a large mail")
    parser.add_argument("--spool", type=int, default=1 << 20, help="as of demyjpy run")
    parser.add_argument("--tmpdir", default="/var/tmp", help="where the milter keeps large bodies")
    parser.add_argument("--send", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.send:
        send_large(options.send, options.filter[0], options.size)
        return
    print("| filter | driver | idle MiB | peak MiB | more | wait ms | wait beside ms | large mails s |")
    print(f"|{' --- |' * 8}")
    for name in options.filter or FILTERS:
        for driver in options.driver or DRIVERS:
            print(row(driver, name, measure(driver, name, options)), flush=True)


if __name__ == "__main__":
    main()
