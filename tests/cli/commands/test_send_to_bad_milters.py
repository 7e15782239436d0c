"""`demyjpy send` to what is no milter, hangs, closes or talks nonsense: one line, status 69, no hang."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demyjpy.actions import Shutdown
from demyjpy.trace.display.wording import verdict_words
from tests.cli.conftest import MAIL
from tests.cli.servers import OBSERVING, answering, frame, listening, silent

Run = Callable[..., tuple[int, str, str]]


def one_line(result: tuple[int, str, str]) -> str:
    """The only line of errors of a run that found the milter wanting."""
    status, output, errors = result
    assert status == 69, (output, errors)
    assert errors.count("\n") == 1, errors
    assert "Traceback" not in errors
    return errors.rstrip("\n")


def test_where_nothing_listens_it_says_so(run: Run, mail: Path, tmp_path: Path) -> None:
    """TCP and Unix sockets. That is all that is printed, for no session has begun."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    refused = run("send", "--to", f"inet:{port}@127.0.0.1", mail)
    assert one_line(refused).startswith(f"demyjpy send: inet:{port}@127.0.0.1: cannot connect: ")
    path = tmp_path / "none.sock"
    missing = run("send", "--to", f"unix:{path}", mail)
    assert one_line(missing) == (
        f"demyjpy send: unix:{path}: cannot connect: No such file or directory; is the milter running "
        "(demyjpy run ... --listen ADDRESS)?"
    )
    assert (refused[1], missing[1]) == ("", "")


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
        got = one_line(run("send", "--to", address, mail, option, "0.2"))
    assert got == f"demyjpy send: {address}: {error}"


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

    def behave(client: socket.socket) -> None:
        client.sendall(OBSERVING)
        seen = b""
        while b"Subject" not in seen:
            seen += client.recv(1024)

    path = tmp_path / "long.eml"
    path.write_bytes(MAIL + b"x\n" * 1_000_000)
    with listening(behave) as address:
        error = one_line(run("send", "--to", address, path))
    # which of the system's words it is depends on how much was on its way
    assert error.startswith(f"demyjpy send: {address}: the milter failed at end_of_message: ")


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
