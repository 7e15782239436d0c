"""An MTA's end of a real socket: what is needed to talk to a milter that is served by a driver."""

import contextlib
import socket
from typing import Self

PATIENCE = 20.0  # seconds until a test gives up


class Client:
    """One connection to a milter. ``address`` is as `demyjpy.running` gives it."""

    def __init__(self, address: str, receive_buffer: int | None = None) -> None:
        port, _, host = address.removeprefix("inet:").partition("@")
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect((host, int(port)))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def say(self, *packets: bytes) -> None:
        """Send packets in one write."""
        self.socket.sendall(b"".join(packets))

    def receive(self) -> bytes:
        """The next packet, whole; nothing where the connection has ended."""
        start = self._exactly(4)
        return start + self._exactly(int.from_bytes(start, "big")) if start else b""

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                found = self.socket.recv(size - len(data))
            except ConnectionResetError:
                found = b""
            if not found:
                return b""
            data += found
        return data

    def ask(self, *packets: bytes) -> list[bytes]:
        """Send packets that are answered with one packet each; the answers."""
        self.say(*packets)
        return [self.receive() for _ in packets]

    def rest(self) -> int:
        """How many bytes still come until the connection ends."""
        size = 0
        with contextlib.suppress(ConnectionResetError):
            while found := self.socket.recv(1 << 20):
                size += len(found)
        return size

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
