"""`demyjpy send` and a milter without end, or where it fails itself: no status that is a verdict."""

import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from demyjpy.cli.commands import explain
from demyjpy.cli.commands import send as send_command
from demyjpy.mta import milter_link
from tests.cli.boxes import MAIL, serving
from tests.cli.servers import AGREED, answering, frame, listening, packets

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[3]


def endless(part: bytes, letter: bytes) -> Callable[[Any], None]:
    """A milter that never ends its answer to one event."""

    def behave(client: Any) -> None:
        for one in packets(client):
            if one == letter:
                with suppress(OSError):
                    while True:
                        client.sendall(part)
                return
            if one not in (b"D", b"A", b"Q", b"K"):
                client.sendall(AGREED if one == b"O" else frame(b"c"))

    return behave


ENDLESS = {
    "signs of life": (frame(b"p") * 1000, "its answer has more than 2000 packets"),
    "changes": (frame(b"h", b"X\0y\0") * 1000, "its answer has more than 2000 packets"),
    "a new body": (frame(b"b", b"x" * 60_000), "its answer is larger than 1000000 bytes"),
    "one packet": (b"\x1f\xff\xff\xffb" + b"x" * 60_000, "its answer is larger than 1000000 bytes"),
}


@pytest.mark.parametrize(("part", "told"), ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_is_a_failure_of_the_milter(
    run: Run, mail: Path, monkeypatch: pytest.MonkeyPatch, part: bytes, told: str
) -> None:
    """One line and status 69; --max-answer is the bound in bytes."""
    monkeypatch.setattr(milter_link, "MAX_PACKETS", 2000)
    with listening(endless(part, b"E")) as address:
        status, _, errors = run("send", "--to", address, mail, "--max-answer", 1_000_000)
    assert status == 69
    assert errors == f"demyjpy send: {address}: the milter failed at end_of_message: {told}\n"


def test_the_bounds_are_in_the_help(run: Run) -> None:
    """Of both commands that read answers."""
    for command in ("send", "mta"):
        text = " ".join(run(command, "--help")[1].split())
        assert f"(default: {milter_link.MAX_ANSWER})" in text
        assert f"more than {milter_link.MAX_PACKETS} packets" in text


@pytest.mark.parametrize(("part", "told"), ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_costs_no_mail_in_the_box(
    maildir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    part: bytes,
    told: str,
) -> None:
    """The client is told 451; the journal says why."""
    monkeypatch.setattr(milter_link, "MAX_PACKETS", 2000)
    with (
        listening(endless(part, b"E")) as milter,
        serving(maildir, milter, max_answer=1_000_000) as box,
    ):
        with box.client() as client:
            client.ehlo()
            client.mail("a@example.org")
            client.rcpt("b@example.net")
            assert client.data(MAIL)[0] == 451
        assert box.stored() == []
    assert f"m1: the milter failed at end_of_message: {told}\n" in capsys.readouterr().out


def send(mail: Path, address: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """The command as a program."""
    words = (sys.executable, "-m", "demyjpy", "send", "--to", address, str(mail))
    return subprocess.run(words, text=True, cwd=ROOT, check=False, stderr=subprocess.PIPE, **options)


def test_output_that_nobody_takes_is_no_verdict(mail: Path) -> None:
    """A reader that has gone, a disk that is full: 70, where 1 would be `rejected`."""
    with listening(answering()) as address:
        gone = subprocess.Popen(["true"], stdin=subprocess.PIPE)
        gone.wait()
        assert send(mail, address, stdout=gone.stdin).returncode == 70
        assert gone.stdin is not None
        gone.stdin.close()
        with Path("/dev/full").open("w") as full:
            done = send(mail, address, stdout=full)
        assert done.returncode == 70
        assert "demyjpy send: [Errno 28] No space left on device\n" in done.stderr


def test_a_mail_that_is_too_large_for_the_memory_is_no_verdict(tmp_path: Path) -> None:
    """One line, status 70."""
    path = tmp_path / "large.eml"
    with path.open("wb") as stream:
        stream.truncate(2 << 30)
    limit = 500 << 20
    done = send(path, "20025", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert (done.returncode, done.stderr) == (
        70,
        "demyjpy send: there is not enough memory for that\n",
    )


def test_a_fault_of_our_own_is_no_verdict(run: Run, mail: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 70, with the traceback that its author needs, escaped; other commands raise it."""

    def is_wrong(arguments: Any) -> int:
        raise RuntimeError("odd\x1b[31m")

    for module in (send_command, explain):
        monkeypatch.setattr(module, "COMMAND", evolve(module.COMMAND, run=is_wrong))
    status, output, errors = run("send", "--to", "20025", mail)
    assert (status, output) == (70, "")
    assert r"RuntimeError: odd\x1b[31m" in errors
    assert "\x1b" not in errors
    with pytest.raises(RuntimeError):
        run("explain", mail)
