"""Playing sessions with the engine, without a network: packets in, packets out.

The MTA is a list of packets, the network a few calls of `demyjpy.engine.pipeline`.
"""

from collections.abc import Iterable
from struct import pack
from typing import Any

from attrs import define, evolve, field

from demyjpy.actions import Action
from demyjpy.codec import decode_action
from demyjpy.context import Context
from demyjpy.engine.connection import Connection, Setup, Trouble
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import (
    as_on_connect,
    go_on,
    hang_up,
    open_connection,
    receive_data,
    resume,
    run_call,
)
from demyjpy.handlers import define_event_handlers
from demyjpy.registry import Registry
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, join_frame, split_frames

ALL_ACTIONS = 0x1FF
ALL_STEPS = 0x1FFFFF
FINAL = frozenset(b"cartdys")
"""The letters of verdicts."""


def packet(letter: str, payload: bytes = b"") -> Packet:
    """One packet, by its letter."""
    return ord(letter), payload


def offer(version: int = 6, actions: int = ALL_ACTIONS, steps: int = ALL_STEPS) -> Packet:
    """What the MTA opens with."""
    return packet("O", pack("!III", version, actions, steps))


def macros(letter: str, **values: str) -> Packet:
    """Macros for a command."""
    strings = (text for pair in values.items() for text in pair)
    return packet("D", letter.encode() + b"".join(text.encode() + b"\0" for text in strings))


CONNECT = packet("C", b"client.example\x004\x00\x19192.0.2.1\0")
HELO = packet("H", b"client.example\0")
MAIL = packet("M", b"<alice@example.org>\0")
RCPT = packet("R", b"<bob@example.org>\0")
DATA = packet("T")
HEADER = packet("L", b"Subject\0hello\0")
EOH = packet("N")
BODY = packet("B", b"text\r\n")
EOM = packet("E")
ABORT = packet("A")
UNKNOWN = packet("U", b"FOO bar\0")
QUIT = packet("Q")
QUIT_NC = packet("K")
OPENING = (offer(), CONNECT, HELO)
MESSAGE = (MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM)


def split(data: bytes) -> list[Packet]:
    """All packets in these bytes, which hold nothing else."""
    packets, rest = split_frames(NOTHING_UNREAD, data, 1 << 24)
    assert rest == NOTHING_UNREAD, data
    return packets


def letters(data: bytes) -> str:
    """The letters of the packets in these bytes."""
    return "".join(chr(letter) for letter, _ in split(data))


class Turns:
    """A connection that never takes the hot path: as much of `Line` as a driver uses."""

    def __init__(self, connection: Connection) -> None:
        self.hold(connection)

    def hold(self, connection: Connection) -> None:
        """Go on from this value."""
        self._connection = connection

    def leave(self) -> Connection:
        """All that is known now."""
        return self._connection

    def receive_data(self, data: bytes) -> bytes | None:
        """Bytes have come."""
        self.hold(receive_data(self._connection, data))

    def go_on(self) -> bytes | None:
        """Others have had their turn."""
        self.hold(go_on(self._connection))


WAYS = (Line, Turns)
"""The two ways through the engine. Nothing but time tells which was taken."""


@define
class Session:
    """One connection under test: what was sent, what went wrong, whether it is closed."""

    connection: Connection
    sent: bytes = b""
    troubles: list[Trouble] = field(factory=list)
    way: Any = Line

    @classmethod
    def open(cls, handlers: Any, way: Any = Line, **setup: Any) -> "Session":
        """A connection with these handlers, or this ``on_connect``."""
        opened = open_connection(Setup(as_on_connect(handlers), **setup), "session")
        session = cls(opened, way=way)
        session._note(session.connection)
        return session

    def _note(self, connection: Connection) -> bytes:
        self.connection = connection
        self.sent += connection.data_to_send
        self.troubles += connection.troubles
        return connection.data_to_send

    def feed(self, data: bytes) -> bytes:
        """Bytes come; what is sent at once. A handler that was handed out stays out."""
        line = self.way(self.connection)
        sent = line.receive_data(data)
        after = line.leave()
        return self._note(after if sent is None else evolve(after, data_to_send=sent))

    def call(self) -> bytes:
        """Run the handler that was handed out."""
        assert self.connection.call is not None
        return self._note(resume(self.connection, run_call(self.connection.call)))

    def finish_calls(self) -> bytes:
        """Run handlers for as long as some are handed out."""
        sent = b""
        while self.connection.call is not None:
            sent += self.call()
        return sent

    def say(self, *packets: Packet) -> str:
        """Packets come and everything runs; the letters of the answers."""
        return letters(self.say_bytes(*packets))

    def say_bytes(self, *packets: Packet) -> bytes:
        """The same; the bytes of the answers."""
        sent = b""
        for one in packets:
            sent += self.feed(join_frame(*one, limit=1 << 24)) + self.finish_calls()
        return sent

    def answers(self, *packets: Packet, leading_space: bool = True) -> list[Action]:
        """The same; the answers as values."""
        return [decode_action(one, leading_space) for one in split(self.say_bytes(*packets))]

    def hang_up(self) -> None:
        """The peer goes."""
        self._note(hang_up(self.connection))

    def play_out(self, chunks: Iterable[bytes]) -> None:
        """Bytes come, read by read, everything runs, and the peer goes."""
        for chunk in chunks:
            self.feed(chunk)
            self.finish_calls()
        self.hang_up()
        self.finish_calls()
        assert self.is_closed

    @property
    def errors(self) -> list[Exception]:
        """What went wrong."""
        return [trouble.error for trouble in self.troubles]

    @property
    def is_closed(self) -> bool:
        """Whether the engine is done with it."""
        return self.connection.is_closed


def keep(event: Any, ctx: Context) -> Context:
    """A handler that does nothing."""
    return ctx


def note(*names: str) -> tuple[Registry, list[tuple[str, Context]]]:
    """A filter that writes down what it is called with, and in which context."""
    calls: list[tuple[str, Context]] = []

    def handle(event: Any, ctx: Context) -> Context:
        calls.append((type(event).__name__, ctx))
        return ctx

    return define_event_handlers(dict.fromkeys(names, handle)), calls


def play(handlers: Any, *packets: Packet, **setup: Any) -> Session:
    """A session after these packets."""
    session = Session.open(handlers, **setup)
    session.say(*packets)
    return session


def join(packets: Iterable[Packet]) -> bytes:
    """Packets as the stream that carries them."""
    return b"".join(join_frame(*one, limit=1 << 24) for one in packets)
