"""Recorded sessions of Postfix and Sendmail with a libmilter filter, played again to the engine.

Each packet of both directions decodes and encodes to the same bytes. And with a filter that queues what
the recorded one answered, the engine says what libmilter said: byte for byte, and at the same place.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demyjpy import Context, Handler, Negotiate, define_event_handlers, send_action
from demyjpy.codec import decode_action, decode_event, encode_action, encode_event
from demyjpy.engine.connection import Connection, Setup
from demyjpy.engine.pipeline import as_on_connect, hang_up, open_connection, receive_data, resume
from demyjpy.wire.codes import ProtocolFlag
from demyjpy.wire.framing import NOTHING_UNREAD, Packet, join_frame, split_frames

HERE = Path(__file__).parents[1] / "captures"
FILES = sorted(HERE.glob("*/*.jsonl"))

EVENTS = (
    *("connect", "hello", "mail", "recipient", "data", "header", "end_of_headers", "body"),
    *("end_of_message", "unknown", "abort", "quit", "disconnect"),
)

NOT_FROM_THE_ENGINE = {
    b"p": "PROGRESS is sent by a driver, while a handler runs",
}
"""Responses of the recording that the engine does not send itself, and why."""

NEVER_ANSWERED = {
    "hang": "the filter was still busy at the end of message when the MTA gave up and hung up",
}
"""Scenarios in which the last command has no answer, and why: there the handler is handed out."""


REFUSALS = frozenset({b"a", b"d", b"r", b"t", b"y"})
"""Verdicts that end a message; at RCPT (of which no recording accepts or discards) only a recipient."""


class Exchange(NamedTuple):
    """One packet of the MTA's, and what the filter said before the next."""

    command: bytes
    answers: tuple[bytes, ...]

    @property
    def letter(self) -> bytes:
        return self.command[4:5]

    @property
    def expected(self) -> tuple[bytes, ...]:
        """What the engine is to answer."""
        return tuple(one for one in self.answers if one[4:5] not in NOT_FROM_THE_ENGINE)


class Capture(NamedTuple):
    """A recorded session: its exchanges in order."""

    scenario: str
    exchanges: tuple[Exchange, ...]

    @classmethod
    def load(cls, path: Path) -> "Capture":
        """Read a file."""
        first, *records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        found: list[Exchange] = []
        for record in records:
            if "hex" in record:
                data = bytes.fromhex(record["hex"])
                if record["dir"] == "mta":
                    found.append(Exchange(data, ()))
                else:
                    found[-1] = Exchange(found[-1].command, (*found[-1].answers, data))
        return cls(first["scenario"], tuple(found))

    @property
    def negotiated(self) -> Negotiate:
        """The filter's answer to the offer."""
        answer = decode_action(as_packet(self.exchanges[0].answers[0]))
        assert isinstance(answer, Negotiate)
        return answer

    @property
    def has_leading_space(self) -> bool:
        """Whether header values go over the wire as they stand after the colon."""
        return bool(self.negotiated.protocol & ProtocolFlag.HDR_LEADSPC)

    @property
    def stream(self) -> bytes:
        """All that the MTA said."""
        return b"".join(exchange.command for exchange in self.exchanges)


def as_packet(data: bytes) -> Packet:
    """Exactly one packet."""
    packets, unread = split_frames(NOTHING_UNREAD, data, 1 << 20)
    assert unread == NOTHING_UNREAD
    (packet,) = packets
    return packet


@pytest.fixture(params=FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def capture(request) -> Capture:
    return Capture.load(request.param)


def test_there_are_captures():
    """Both servers were recorded in the same scenarios, 26 of them."""
    assert len(FILES) == 52
    assert len({path.name for path in FILES}) == 26


def test_commands_round_trip(capture):
    """Each packet of the MTA's decodes, and encodes to the same bytes."""
    for exchange in capture.exchanges:
        event = decode_event(as_packet(exchange.command), capture.has_leading_space)
        again = join_frame(*encode_event(event, capture.has_leading_space))
        assert again == exchange.command


def test_responses_round_trip(capture):
    """Each packet of the filter's decodes, and encodes to the same bytes."""
    for answer in (one for exchange in capture.exchanges for one in exchange.answers):
        action = decode_action(as_packet(answer), capture.has_leading_space)
        again = join_frame(*encode_action(action, capture.has_leading_space))
        assert again == answer


def test_who_is_answered(capture):
    """Every command but D, A and Q was answered, and these were not."""
    silent = {exchange.letter for exchange in capture.exchanges if not exchange.answers}
    answered = {exchange.letter for exchange in capture.exchanges if exchange.answers}
    assert not silent & answered
    assert silent - {b"D", b"A", b"Q"} == ({b"E"} if capture.scenario in NEVER_ANSWERED else set())


class Session:
    """The engine with a filter that queues, call by call, what the recorded one answered."""

    def __init__(self, capture: Capture) -> None:
        self.heard: list[str] = []
        self.troubles: list[Any] = []
        self._capture = capture
        self._plans = deque(self._planned())
        handlers: dict[str, Callable[..., Context]] = {name: self._handler(name) for name in EVENTS}
        handlers["options"] = lambda event, ctx: send_action(ctx, capture.negotiated)
        setup = Setup(as_on_connect(define_event_handlers(handlers)), defers=self._is_busy)
        self.connection: Connection = open_connection(setup)

    def _planned(self) -> Iterable[tuple[Any, ...]]:
        leading_space = self._capture.has_leading_space
        for exchange in self._capture.exchanges[1:]:
            if exchange.answers:
                yield tuple(decode_action(as_packet(one), leading_space) for one in exchange.expected)

    def _handler(self, name: str) -> Callable[..., Context]:
        def answer(event: Any, ctx: Context) -> Context:
            self.heard.append(name)
            return send_action(ctx, *self._plans.popleft())

        def listen(event: Any, ctx: Context) -> Context:
            self.heard.append(name)
            return ctx

        return listen if name in ("abort", "quit", "disconnect") else answer

    def _is_busy(self, handler: Handler[Any]) -> bool:
        return handler.event == "end_of_message" and self._capture.scenario in NEVER_ANSWERED

    def _take(self, connection: Connection) -> bytes:
        self.connection = connection
        self.troubles += connection.troubles
        return connection.data_to_send

    def feed(self, data: bytes) -> bytes:
        """Bytes of the MTA's; what is said to them."""
        return self._take(receive_data(self.connection, data))

    def end(self) -> None:
        """The MTA hangs up, as it did in every recording; then all is as it should be."""
        assert self._take(hang_up(self.connection)) == b""
        call = self.connection.call
        assert (call is not None) == (self._capture.scenario in NEVER_ANSWERED)
        if call is not None:
            assert not self.connection.is_closed
            assert self._take(resume(self.connection, call.ctx)) == b""
        assert self.connection.is_closed
        assert self.troubles == []
        assert not self._plans
        assert self.heard.count("disconnect") == 1
        assert self.heard[-1] == "disconnect"


def test_replay_packet_by_packet(capture):
    """To each packet the engine says what libmilter said to it, at once."""
    session = Session(capture)
    for exchange in capture.exchanges:
        assert session.feed(exchange.command) == b"".join(exchange.expected)
    session.end()


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_replay_in_pieces(capture, size):
    """However the stream is cut, the answers are the same."""
    session = Session(capture)
    stream = capture.stream
    said = b"".join(session.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert said == b"".join(one for exchange in capture.exchanges for one in exchange.expected)
    session.end()


def test_replay_aborts(capture):
    """The abort handler runs once for each message whose end neither side had said, and only then."""
    session = Session(capture)
    is_open, expected = False, 0
    for exchange in capture.exchanges:
        session.feed(exchange.command)
        if exchange.letter in (b"M", b"A", b"Q"):
            expected += is_open
            is_open = exchange.letter == b"M"
        verdicts = {answer[4:5] for answer in exchange.answers}
        if (exchange.letter == b"E" and verdicts) or (exchange.letter != b"R" and verdicts & REFUSALS):
            is_open = False
    session.end()
    assert session.heard.count("abort") == expected + is_open
