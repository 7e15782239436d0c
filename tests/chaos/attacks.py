"""Peers that do each one thing without end, as fast as the milter takes it, all in one process.

``python -m tests.chaos.attacks HOST PORT ATTACK PEERS SECONDS`` says "ready" when all have connected.
It sends buffers that were made before and looks at no answer, so that what is measured is the
milter's work. It ends when its time is up or its standard input ends.
"""

import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from attrs import frozen

from demyjpy import (
    Abort,
    Connect,
    EndOfHeaders,
    EndOfMessage,
    Header,
    Hello,
    Mail,
    Recipient,
    Unknown,
)
from demyjpy.wire.codes import Command
from demyjpy.wire.framing import join_frame
from tests.drivers.peer import offer, packet

AGAIN: Final = 0.05  # seconds before a peer whose connection was closed comes again
_SCRATCH: Final = bytearray(1 << 18)
_NO_LIMIT: Final = 1 << 30


def _macros(letter: Command, size: int) -> bytes:
    """A packet of macros of so many bytes, all with other names."""
    words = b"".join(b"{m%d}\0%s\0" % (number, b"v" * 10) for number in range(size // 20))
    return join_frame(ord("D"), bytes((letter,)) + words[:size].rstrip(b"\0") + b"\0", _NO_LIMIT)


def _empty(sender: str) -> bytes:
    return packet(Mail(sender)) + packet(EndOfMessage())


def _with_get_macro(size: int) -> bytes:
    """A message of 200 header fields, at each of which the filter looks a macro up."""
    fields = b"".join(packet(Header(f"X-{number}", "value")) for number in range(200))
    start = _macros(Command.MAIL, size) + packet(Mail("macros@example.org"))
    return start + packet(Recipient("to@example.org")) + fields + packet(EndOfHeaders())


def _recipients() -> bytes:
    payload = b"<to@example.org>\0NOTIFY=" + b"x" * 60_000 + b"\0"
    return join_frame(Command.RCPT, payload, _NO_LIMIT)


@frozen
class Attack:
    """Sent ``once`` a connection, and ``again`` and again; how it is sent."""

    again: Callable[[], bytes]
    once: Callable[[], bytes] = bytes
    is_deaf: bool = False
    """It reads no answer."""
    is_slow: bool = False
    """It sends a byte at a time."""


ATTACKS: Final[dict[str, Attack]] = {
    "empty": Attack(lambda: _empty("ann@example.org") * 500),
    "unknown": Attack(lambda: packet(Unknown("XYZZY")) * 4000),
    "macros": Attack(lambda: _macros(Command.MAIL, 2000) * 100),
    "replace": Attack(lambda: _empty("replace@example.org") * 500),
    "deaf": Attack(lambda: _empty("replace@example.org") * 500, is_deaf=True),
    "get-macro": Attack(lambda: _with_get_macro(60_000) + packet(EndOfMessage())),
    "get-macro-1M": Attack(lambda: _with_get_macro(1_000_000) + packet(EndOfMessage())),
    "bytes": Attack(lambda: _empty("ann@example.org") * 500, is_slow=True),
    "helo": Attack(lambda: (packet(Hello("x.example.org")) + packet(Abort())) * 3000),
    "recipients": Attack(_recipients, once=lambda: packet(Mail("ann@example.org"))),
}


class Peer:
    """One connection after another, all of the same kind."""

    def __init__(self, address: tuple[str, int], attack: Attack, data: bytes) -> None:
        self._address, self._attack, self._data = address, attack, memoryview(data)
        begin = (offer(), Connect("[127.0.0.1]"), Hello("bad.example.org"))
        self._start = b"".join(map(packet, begin)) + attack.once()
        self.sent = self.closed = 0

    def connect(self) -> None:
        """Up to where it sends what it is made for. It waits for no answer."""
        self.socket = socket.create_connection(self._address, timeout=AGAIN)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self._start)
        self.socket.setblocking(False)
        self._at = 0

    def send(self) -> None:
        """As much as the kernel takes."""
        end = self._at + 1 if self._attack.is_slow else len(self._data)
        with suppress(BlockingIOError):
            count = self.socket.send(self._data[self._at : end])
            self.sent += count
            self._at = (self._at + count) % len(self._data)

    def read(self) -> None:
        """Throw answers away; `ConnectionError` at the end."""
        with suppress(BlockingIOError):
            if not self.socket.recv_into(_SCRATCH):
                raise ConnectionResetError


def attack(address: tuple[str, int], name: str, count: int, seconds: float) -> tuple[int, int]:
    """Do it; the bytes that the milter has taken, and how often it closed a connection."""
    kind = ATTACKS[name]
    data = kind.again()
    peers = [Peer(address, kind, data) for _ in range(count)]
    wanted = selectors.EVENT_WRITE | (0 if kind.is_deaf else selectors.EVENT_READ)
    end = time.monotonic() + seconds
    away = [(0.0, peer) for peer in peers]
    is_ready = False
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while (now := time.monotonic()) < end:
            while away and away[0][0] <= now:
                peer = away.pop(0)[1]
                try:
                    peer.connect()
                    selector.register(peer.socket, wanted, peer)
                except OSError:
                    away.append((now + AGAIN, peer))
            if not is_ready:
                print("ready", flush=True)
                is_ready = True
            for key, events in selector.select(AGAIN):
                if key.data is None:
                    return sum(peer.sent for peer in peers), sum(peer.closed for peer in peers)
                peer = cast(Any, key.data)
                try:
                    if events & selectors.EVENT_READ:
                        peer.read()
                    if events & selectors.EVENT_WRITE:
                        peer.send()
                except OSError:
                    selector.unregister(peer.socket)
                    peer.socket.close()
                    peer.closed += 1
                    away.append((now + AGAIN, peer))
            if kind.is_slow:
                time.sleep(0.001)
    return sum(peer.sent for peer in peers), sum(peer.closed for peer in peers)


if __name__ == "__main__":
    host, port, which, how_many, how_long = sys.argv[1:]
    print(*attack((host, int(port)), which, int(how_many), float(how_long)))
