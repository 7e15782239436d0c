"""Fixed sessions for the pure engine: what an MTA sends, read by read, and what must be answered.

    python -m benchmarks.sessions noop 20

plays a session so many times, without sockets, and ends; `benchmarks.instructions` counts what that
costs. The bytes are those of Postfix with default macros. A read is what has come when the MTA waits.
"""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from struct import pack
from typing import Final

from benchmarks.filters import bytecount, noop
from demyjpy import (
    Context,
    Header,
    Recipient,
    define_event_handlers,
    merge_handlers,
    reject,
    scoped,
)
from demyjpy.engine import pipeline
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.registry import Registry

Packets = tuple[bytes, ...]

_READ: Final = 65_536
"""The most that a driver gets at once."""


def _packet(letter: str, payload: bytes = b"") -> bytes:
    return pack("!IB", len(payload) + 1, ord(letter)) + payload


def _strings(*texts: str) -> bytes:
    return b"".join(text.encode() + b"\0" for text in texts)


def _with_macros(letter: str, payload: bytes = b"", *macros: str) -> Packets:
    return _packet("D", letter.encode() + _strings(*macros)), _packet(letter, payload)


_QUEUE_ID: Final = ("i", "4A7F3C21B0")
_OFFER: Final = (_packet("O", pack("!III", 6, 0x1FF, 0x1FFFFF)),)
_CONNECT: Final = _with_macros(
    "C",
    _strings("client.example.net") + b"4\xc3\x50" + _strings("198.51.100.7"),
    *("j", "mx.example.org", "{daemon_name}", "mx.example.org", "{daemon_addr}", "192.0.2.25"),
    *("v", "Postfix 3.7.11", "_", "client.example.net [198.51.100.7]"),
)
_HELLO: Final = _with_macros("H", _strings("client.example.net"))
_MAIL: Final = _with_macros(
    "M",
    _strings("<sender@example.net>", "SIZE=20480", "BODY=8BITMIME"),
    *("{mail_addr}", "sender@example.net", "{mail_host}", "example.net", "{mail_mailer}", "smtp"),
)
_DATA: Final = _with_macros("T", b"", *_QUEUE_ID)
_HEADERS: Final = tuple(
    packets
    for name, value in {
        "Received": "from client.example.net (client.example.net [198.51.100.7])\n\t"
        "by relay.example.net with ESMTPS id 4RkT2x0Vqz9s0\n\t"
        "for <rcpt@example.org>; Tue, 14 Nov 2023 22:13:20 +0000",
        "From": '"A. Sender" <sender@example.net>',
        "To": '"B. Recipient" <rcpt@example.org>',
        "Subject": "Quarterly figures and a few notes for the meeting",
        "Date": "Tue, 14 Nov 2023 22:13:20 +0000",
        "Message-ID": "<20231114221320.4A7F3C21B@relay.example.net>",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
    }.items()
    for packets in [_with_macros("L", _strings(name, f" {value}"), *_QUEUE_ID)]
)
_END_OF_HEADERS: Final = _with_macros("N", b"", *_QUEUE_ID)
_END: Final = _with_macros("E", b"", *_QUEUE_ID)
_QUIT: Final = (_packet("A"), _packet("Q"))


def _recipient(address: str) -> Packets:
    host = address.partition("@")[2]
    values = ("{rcpt_addr}", address, "{rcpt_host}", host, "{rcpt_mailer}", "local")
    return _with_macros("R", _strings(f"<{address}>"), *_QUEUE_ID, *values)


def _body(size: int) -> tuple[Packets, ...]:
    line = b"abcdefghij" * 7 + b"stuvwx\r\n"
    data = line * (size // len(line) + 1)
    chunks = (data[at : min(at + 65_535, size)] for at in range(0, size, 65_535))
    return tuple(_with_macros("B", chunk, *_QUEUE_ID) for chunk in chunks)


_KIND: Final = _recipient("rcpt@example.org")
_ALL: Final = (
    *(_OFFER, _CONNECT, _HELLO, _MAIL, _KIND, _KIND, _DATA, *_HEADERS, _END_OF_HEADERS),
    *(*_body(2048), _END, _QUIT),
)


def _only(letters: str, steps: tuple[Packets, ...]) -> tuple[bytes, ...]:
    """The reads where only these commands are asked for; macros come for the envelope's others, too."""
    reads, early = [], b""
    for step in steps:
        letter = chr(step[-1][4])
        if letter in letters + "OEQ":
            reads.append(early + b"".join(step))
            early = b""
        elif letter in "CHMRT":
            early += step[0]
    return tuple(piece for read in reads for piece in _pieces(read))


def _pieces(read: bytes) -> Iterator[bytes]:
    yield from (read[at : at + _READ] for at in range(0, len(read), _READ))


def _make_refusing() -> Registry:
    handlers = define_event_handlers()

    @handlers.recipient
    def check(event: Recipient, ctx: Context) -> Context:
        if event.address.startswith("nobody@"):
            return reject(ctx, "5.1.1", "no such user here", code=550)
        return ctx

    return handlers


def _make_subject_reader() -> Registry:
    handlers = define_event_handlers(state={"subject": ""})

    @handlers.header
    def read(event: Header, ctx: Context) -> Context:
        return ctx.set("subject", event.value) if event.name.lower() == "subject" else ctx

    return handlers


@dataclass(frozen=True)
class Played:
    """A filter, the reads of a session with it, and the letters of the answers."""

    filter: Registry
    reads: tuple[bytes, ...]
    answers: str


_REFUSED: Final = (*_ALL[:4], _recipient("nobody@example.org"), *_ALL[4:])

SESSIONS: Final[Mapping[str, Callable[[], Played]]] = {
    "noop": lambda: Played(noop, _only("CHMRTLNB", _ALL), "O" + "c" * 17),
    "bytecount": lambda: Played(bytecount, _only("MB", _ALL), "Occhc"),
    "body-10mb": lambda: Played(
        bytecount, _only("MB", (*_ALL[:-3], *_body(10_000_000), _END, _QUIT)), "O" + "c" * 154 + "hc"
    ),
    "merged": lambda: Played(
        merge_handlers(noop, scoped("count", bytecount), scoped("subject", _make_subject_reader())),
        _only("CHMRTLNB", _ALL),
        "O" + "c" * 16 + "hc",
    ),
    "refused-recipient": lambda: Played(_make_refusing(), _only("R", _REFUSED), "Oyccc"),
}
"""Each is made where it is played: ten megabytes are not free."""


def letters(data: bytes) -> str:
    """The letters of the packets in a stream."""
    found, at = "", 0
    while at < len(data):
        found += chr(data[at + 4])
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return found


def play(played: Played, setup: Setup) -> bytes:
    """A session from its first read to the end; all that was answered."""
    line = Line(pipeline.open_connection(setup))
    sent = []
    for read in played.reads:
        answer = line.receive_data(read)
        sent.append(line.leave().data_to_send if answer is None else answer)
    pipeline.hang_up(line.leave())
    return b"".join(sent)


def main(name: str, times: int) -> None:
    """Play a session; `SystemExit` where the answers are wrong."""
    gc.disable()  # when it runs depends on all that ran before
    played = SESSIONS[name]()
    setup = Setup(pipeline.as_on_connect(played.filter))
    for _ in range(times):
        sent = play(played, setup)
    got = letters(sent)
    if got != played.answers:
        sys.exit(f"{name}: expected the answers {played.answers}, got {got}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
