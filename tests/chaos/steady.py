"""The good client of the fairness program: it sends one message after another, and keeps the times.

It keeps to the protocol: each command waits for the answer to the one before. Its packets are made
before; its socket blocks; so little of what it measures is its own.
"""

import socket
import time
from struct import Struct
from typing import Final

from attrs import Factory, define

from demyjpy import Body, Connect, EndOfHeaders, EndOfMessage, Header, Hello, Mail, Recipient
from demyjpy.wire.codes import Response
from tests.drivers.peer import offer, packet

WAIT: Final = 5.0  # seconds: whoever waits longer has waited in vain
PAUSE: Final = 0.002  # seconds between two messages
ENOUGH: Final = 100  # messages, or a 99th percentile is that of the slowest
_PER_SESSION: Final = 10
_LENGTH: Final = Struct("!I")
_BEGIN: Final = tuple(packet(one) for one in (Connect("[127.0.0.1]"), Hello("good.example.org")))
_HEADER: Final = b"".join(packet(Header(f"X-{number}", "value")) for number in range(5))
_MESSAGE: Final = (
    packet(Mail("good@example.org")),
    packet(Recipient("to@example.org")),
    _HEADER + packet(EndOfHeaders()),  # header fields are not answered
    packet(Body(b"z" * 4000)),
    packet(EndOfMessage()),
)


@define
class Times:
    """Seconds, of messages and of answers."""

    messages: list[float] = Factory(list)
    answers: list[float] = Factory(list)


def percentile(times: list[float], part: float) -> float:
    """The time within which this part of them was done; `WAIT` if there are none."""
    return sorted(times)[min(len(times) - 1, int(part * len(times)))] if times else WAIT


class Steady:
    """One connection, as a file."""

    def __init__(self, address: tuple[str, int], times: Times) -> None:
        self._socket = socket.create_connection(address, timeout=WAIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._times = times

    def close(self) -> None:
        """Go."""
        self._file.close()
        self._socket.close()

    def _hear(self) -> int:
        """The letter of the next packet."""
        size = self._file.read(4)
        if len(size) < 4:
            raise ConnectionResetError("the milter has closed the connection of a good client")
        return self._file.read(_LENGTH.unpack(size)[0])[0]

    def ask(self, data: bytes, last: int) -> None:
        """Say something, and wait for the answer, whose last packet has this letter."""
        started = time.perf_counter()
        self._socket.sendall(data)
        while self._hear() != last:
            pass
        self._times.answers.append(time.perf_counter() - started)

    def begin(self) -> None:
        """Up to where messages may come."""
        self.ask(packet(offer()), ord("O"))
        for data in _BEGIN:
            self.ask(data, Response.CONTINUE)

    def message(self) -> None:
        """A whole one."""
        for data in _MESSAGE:
            self.ask(data, Response.CONTINUE)


def work(address: tuple[str, int], seconds: float) -> Times:
    """Send messages for so long, a few in each session. One that waits in vain has taken `WAIT`.

    It goes on for up to four times as long if there are not yet `ENOUGH` of them.
    """
    times = Times()
    begun = time.perf_counter()

    def is_over() -> bool:
        passed = time.perf_counter() - begun
        return passed > seconds * (1 if len(times.messages) >= ENOUGH else 4)

    while not is_over():
        started = time.perf_counter()
        try:
            client = Steady(address, times)
            try:
                client.begin()
                for _ in range(_PER_SESSION):
                    started = time.perf_counter()
                    client.message()
                    times.messages.append(time.perf_counter() - started)
                    time.sleep(PAUSE)
                    if is_over():
                        break
            finally:
                client.close()
        except TimeoutError:
            times.messages.append(time.perf_counter() - started)
            times.answers.append(WAIT)
    return times
