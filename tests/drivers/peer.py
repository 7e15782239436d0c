"""The MTA's side of a milter connection, over a blocking socket. Every wait has an end."""

import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

from demyjpy import (
    Body,
    Connect,
    Data,
    EndOfHeaders,
    EndOfMessage,
    Header,
    Hello,
    Mail,
    Negotiate,
    Options,
    Recipient,
)
from demyjpy.codec import ACTIONS, decode_action, encode_event
from demyjpy.codec.commands import ROW_OF_EVENT
from demyjpy.drivers.address import parse_address
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, split_frames

WAIT = 20.0
"""Seconds after which a test has waited in vain."""

CONNECT = Connect("[127.0.0.1]")
ENVELOPE = (Mail("from@example.org"), Recipient("to@example.org"), Data())
CONTENT = (Header("Subject", "hi"), EndOfHeaders(), Body(b"hello\r\n"))
MESSAGE = (*ENVELOPE, *CONTENT, EndOfMessage())

_ALL_ACTIONS = ActionFlag(0x1FF)
_ALL_PROTOCOL = ProtocolFlag(0x1FFFFF)
_LIMIT = 1 << 30
_VERDICTS = frozenset(letter for letter, row in ACTIONS.items() if row.group == 5)


class EndedError(Exception):
    """The milter has closed the connection."""


def before_it_is_late() -> Iterator[None]:
    """Again and again, but not longer than a test may wait."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        yield
    raise TimeoutError(f"waited {WAIT} s in vain")


def packet(event: Any) -> bytes:
    """An event as bytes."""
    return join_frame(*encode_event(event))


def offer(version: int = 6) -> Options:
    """What an MTA offers that can do everything."""
    return Options(version, _ALL_ACTIONS, _ALL_PROTOCOL)


class Peer:
    """One connection with a milter, as an MTA has it."""

    def __init__(self, address: str) -> None:
        where = parse_address(address)
        if where.kind == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            target: Any = where.path
        else:
            self.socket = socket.socket(socket.AF_INET6 if where.kind == "inet6" else socket.AF_INET)
            target = (where.host, where.port)
        self.socket.settimeout(WAIT)
        self._unread = NOTHING_UNREAD
        self._packets: deque[tuple[int, bytes]] = deque()
        self._agreed = Negotiate(6, ActionFlag(0), ProtocolFlag(0))
        try:
            self.socket.connect(target)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    # ------------------------------------------------------------------------------- bytes
    def send(self, data: bytes) -> None:
        """Bytes as they are; that the milter has closed shows when its answer is read."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def take(self, size: int) -> None:
        """Read so many bytes, and keep them for later."""
        while size > 0:
            data = self.socket.recv(size)
            size -= len(data)
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        packets, self._unread = split_frames(self._unread, data, _LIMIT)
        self._packets.extend(packets)

    def hear_packet(self) -> tuple[int, bytes]:
        """The next packet; `EndedError` if there is none, `TimeoutError` if none comes."""
        while not self._packets:
            try:
                data = self.socket.recv(262_144)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EndedError
            self._receive(data)
        return self._packets.popleft()

    def has_ended(self) -> bool:
        """Whether the milter closes the connection without another word."""
        try:
            got = self.hear_packet()
        except EndedError:
            return True
        raise AssertionError(f"expected the end of the connection, got {got!r:.200}")

    def drain(self) -> list[tuple[int, bytes]]:
        """All packets up to the end of the connection."""
        heard: list[tuple[int, bytes]] = []
        with suppress(EndedError):
            heard.extend(self.hear_packet() for _ in before_it_is_late())
        return heard

    def reset(self) -> None:
        """Close the connection so that the milter gets an error for it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def vanish(self) -> None:
        """Say nothing more, and wait until the milter has closed the connection, too."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.drain()

    # ------------------------------------------------------------------------------ meaning
    def bytes_of(self, *events: Any) -> bytes:
        """Those of these events that were agreed on."""
        return b"".join(packet(event) for event in events if not self._is_off(event))

    def say(self, *events: Any) -> None:
        """Those of these events that were agreed on, in one piece."""
        self.send(self.bytes_of(*events))

    def hear(self) -> Any:
        """The next action."""
        return self._decode(self.hear_packet())

    def ask(self, event: Any) -> Any:
        """Say something, and hear the answer; None where none is due."""
        self.say(event)
        return self.hear() if self._is_answered(event) else None

    def negotiate(self) -> Negotiate:
        """Open the session."""
        self.say(offer())
        answer = self.hear()
        assert isinstance(answer, Negotiate)
        self._agreed = answer
        return answer

    def begin(self) -> Self:
        """Up to where messages may come."""
        self.negotiate()
        self.ask(CONNECT)
        self.ask(Hello("client.example.org"))
        return self

    def begin_message(self) -> Self:
        """A message up to its end, which is not said."""
        for event in (*ENVELOPE, *CONTENT):
            self.ask(event)
        return self

    def finish_message(self) -> tuple[Any, ...]:
        """What the milter answers to the end of a message: all of it, the verdict last."""
        self.say(EndOfMessage())
        return self.hear_answer()

    def hear_answer(self) -> tuple[Any, ...]:
        """All that comes up to a verdict."""
        heard = []
        for _ in before_it_is_late():
            got = self.hear_packet()
            heard.append(self._decode(got))
            if got[0] in _VERDICTS:
                break
        return tuple(heard)

    def hear_answers(self, *events: Any) -> list[tuple[Any, ...]]:
        """What is answered to each of these events that is answered at all."""
        return [self.hear_answer() for event in events if self._is_answered(event)]

    def message(self) -> tuple[Any, ...]:
        """A whole message, and what is answered at its end."""
        return self.begin_message().finish_message()

    def _decode(self, got: tuple[int, bytes]) -> Any:
        return decode_action(got, bool(self._agreed.protocol & ProtocolFlag.HDR_LEADSPC))

    def _is_off(self, event: Any) -> bool:
        return bool(ROW_OF_EVENT[type(event)].off & self._agreed.protocol)

    def _is_answered(self, event: Any) -> bool:
        row = ROW_OF_EVENT[type(event)]
        return row.replies and not (row.off | row.quiet) & self._agreed.protocol
