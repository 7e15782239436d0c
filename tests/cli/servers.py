"""Peers that are no good milters, on real sockets, and programs that are started and told to end."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds


@contextmanager
def listening(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does the same to each client, one after the other; its address as of a milter."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        # what is not read is soon too much to be sent
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

        def serve() -> None:
            while True:
                try:
                    client = server.accept()[0]
                except OSError:  # the server is closed
                    return
                with client, suppress(OSError):
                    client.settimeout(PATIENCE)
                    behave(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"inet:{server.getsockname()[1]}@127.0.0.1"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def frame(letter: bytes, payload: bytes = b"") -> bytes:
    """A packet of the milter protocol."""
    return (len(payload) + 1).to_bytes(4, "big") + letter + payload


AGREED = frame(b"O", b"\0\0\0\6" + b"\0\0\1\xff" + b"\0\0\0\0")
"""An answer to the offer: all actions, all events."""


OBSERVING = frame(b"O", b"\0\0\0\6" + b"\0\0\1\xff" + (0xFF080).to_bytes(4, "big"))
"""The same of a milter that answers at the end of a message only: all of ``SMFIP_NR_*``."""


def packets(client: socket.socket) -> Iterator[bytes]:
    """The letters of the packets that come, until the end."""
    stream = client.makefile("rb")
    with stream:
        while len(size := stream.read(4)) == 4:
            yield stream.read(int.from_bytes(size, "big"))[:1]


def answering(**answers: bytes) -> Callable[[socket.socket], None]:
    """A milter that answers each event with CONTINUE, or what is given by the event's letter.

    ``b""`` as an answer closes the connection, ``None`` is none.
    """

    def behave(client: socket.socket) -> None:
        for letter in packets(client):
            usual = AGREED if letter == b"O" else frame(b"c")
            answer = answers.get(letter.decode(), usual)
            if answer == b"":
                return
            if letter not in (b"D", b"A", b"Q", b"K"):
                client.sendall(answer or b"")

    return behave


def silent(client: socket.socket) -> None:
    """Reads, and never says a word."""
    while client.recv(65536):
        pass


@contextmanager
def program(
    *arguments: str, end: int = signal.SIGTERM, **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """The command line as a program, told to end after the block if it has not ended before."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "demyjpy", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as started:
        try:
            yield started
            if started.poll() is None:
                started.send_signal(end)
            started.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            started.send_signal(signal.SIGABRT)  # faulthandler writes what each thread was at
            raise AssertionError(started.communicate(timeout=PATIENCE)) from None
        finally:
            started.kill()


def read_until(started: "subprocess.Popen[str]", start: str | tuple[str, ...]) -> list[str]:
    """The lines of a program up to one that begins with ``start``; it is killed where none comes."""
    lines: list[str] = []
    patience = threading.Timer(PATIENCE, started.kill)
    patience.start()
    try:
        while not lines or not lines[-1].startswith(start):
            line = started.stdout.readline()
            assert line, (lines, started.stderr.read())
            lines.append(line.rstrip("\n"))
    finally:
        patience.cancel()
    return lines
