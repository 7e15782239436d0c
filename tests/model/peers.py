"""Milters that misbehave, for channels: each takes one connection and does one thing with it."""

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Behaviour = Callable[[socket.socket], None]


def read_packet(sock: socket.socket) -> bytes:
    """The next packet, without its length; ``b""`` at the end."""
    with sock.makefile("rb", buffering=0) as stream:
        length = stream.read(4)
        data = b""
        while length and len(data) < int.from_bytes(length, "big"):
            more = stream.read(int.from_bytes(length, "big") - len(data))
            if not more:
                return b""
            data += more
        return data


def answers(*said: bytes) -> Behaviour:
    """Answers what awaits an answer with these, one after the other, then closes."""

    def behave(sock: socket.socket) -> None:
        todo = [*said]
        while todo:
            packet = read_packet(sock)
            if not packet:
                return
            if packet[:1] not in (b"D", b"A", b"Q"):
                sock.sendall(todo.pop(0))

    return behave


def hangs_after(*said: bytes) -> Behaviour:
    """Answers with these, and then with nothing until the other side has closed."""

    def behave(sock: socket.socket) -> None:
        answers(*said)(sock)
        while sock.recv(65536):
            pass

    return behave


def never_reads(released: threading.Event) -> Behaviour:
    """Answers the offer and the client, and reads no more."""

    def behave(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        answers(OPTIONS, b"\0\0\0\1c", b"\0\0\0\1c", b"\0\0\0\1c", b"\0\0\0\1c")(sock)
        released.wait(10)

    return behave


OPTIONS = bytes.fromhex("0000000d4f00000006000001ff000fff80")
"""An answer to the offer: no replies to HELO, HEADER, EOH, BODY, and more such flags."""


@contextmanager
def peer(behave: Behaviour, *, is_unix: bool = False) -> Iterator[str]:
    """The address of such a milter."""
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "sock")
        family = socket.AF_UNIX if is_unix else socket.AF_INET
        with socket.socket(family) as listener:
            listener.bind(path if is_unix else ("127.0.0.1", 0))
            listener.listen()

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    try:
                        behave(connection)
                    except OSError:
                        return

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield f"unix:{path}" if is_unix else f"inet:{listener.getsockname()[1]}@127.0.0.1"
            thread.join(10)
            assert not thread.is_alive()
