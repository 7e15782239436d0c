"""Fixed sessions for the pure engine: what an MTA sends, read by read, and what must be answered.

    python -m benchmarks.sessions noop 20

plays a session so many times, without sockets, and ends; `benchmarks.instructions` counts what that
costs. The bytes are those of Postfix with default macros. A read is what has come when the MTA waits.
``noop+flight`` is the same session with a watcher, which reads its tape as it does behind a driver.
"""

import gc
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from struct import pack
from tempfile import TemporaryDirectory
from typing import Any, Final

from pyrsistent import pvector

from benchmarks.filters import bytecount, bytecount_merged, noop, noop_merged
from demyjpy import (
    Body,
    Context,
    EndOfMessage,
    Header,
    Message,
    Recipient,
    change_header,
    define_event_handlers,
    find,
    merge_handlers,
    reject,
    replace_body,
    scoped,
)
from demyjpy.cli.logs import logging_to
from demyjpy.drivers.options import ServerOptions
from demyjpy.drivers.tape_makers import Tapes
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import open_connection
from demyjpy.metrics import Metrics
from demyjpy.metrics.board import Board
from demyjpy.metrics.figures import Shared
from demyjpy.registry import Registry
from demyjpy.trace import Explainer, FlightRecorder, Privacy

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
_BEFORE_BODY: Final = (
    *(_OFFER, _CONNECT, _HELLO, _MAIL, _KIND, _KIND, _DATA),
    *(*_HEADERS, _END_OF_HEADERS),
)
_ALL: Final = (*_BEFORE_BODY, *_body(2048), _END, _QUIT)


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


def _make_editor(text: str) -> Registry:
    """Changes the subject and replaces the body at the end of each message."""
    handlers = define_event_handlers(edits="all")

    @handlers.end_of_message
    def edit(event: EndOfMessage, ctx: Context) -> Context:
        ctx = change_header(ctx, 1, "Subject", f"{text} figures")
        return replace_body(ctx, text.encode() * 100 + b"\r\n")

    return handlers


def _make_reader() -> Registry:
    """Reads header and body: it waits for an editor that stands before it."""
    handlers = define_event_handlers(state={"fields": 0, "size": 0})

    @handlers.header
    def count(event: Header, ctx: Context) -> Context:
        return ctx.set("fields", ctx["fields"] + 1)

    @handlers.body
    def measure(event: Body, ctx: Context) -> Context:
        return ctx.set("size", ctx["size"] + len(event.data))

    return handlers


def _make_looker() -> Registry:
    """Gets each message as a value, and looks at one field of it."""
    handlers = define_event_handlers()

    @handlers.message
    def look(event: Message, ctx: Context) -> Context:
        return find(ctx, "subject", event.get("Subject", ""))

    return handlers


def _make_collector() -> Registry:
    """The same by hand: it collects the header and the body."""
    handlers = define_event_handlers(state={"fields": (), "chunks": pvector()})

    @handlers.header(reply=False)
    def keep_field(event: Header, ctx: Context) -> Context:
        return ctx.set("fields", (*ctx["fields"], (event.name, event.raw)))

    @handlers.body(reply=False)
    def keep_chunk(event: Body, ctx: Context) -> Context:
        return ctx.set("chunks", ctx["chunks"].append(event.data))

    @handlers.end_of_message
    def look(event: EndOfMessage, ctx: Context) -> Context:
        subjects = [raw for name, raw in ctx["fields"] if name.lower() == "subject"]
        return find(ctx, "subject", subjects[0] if subjects else "")

    return handlers


@dataclass(frozen=True)
class Played:
    """A filter, the reads of a session with it, and the letters of the answers; and who watches."""

    filter: Registry
    reads: tuple[bytes, ...]
    answers: str
    watching: Callable[[], AbstractContextManager[Any]] = nullcontext


_REFUSED: Final = (*_ALL[:4], _recipient("nobody@example.org"), *_ALL[4:])

_PLAIN: Final[Mapping[str, Callable[[], Played]]] = {
    "noop": lambda: Played(noop, _only("CHMRTLNB", _ALL), "O" + "c" * 17),
    "bytecount": lambda: Played(bytecount, _only("MB", _ALL), "Occhc"),
    "body-10mb": lambda: Played(bytecount, reads_of("MB", 10_000_000), "O" + "c" * 154 + "hc"),
    "merged": lambda: Played(
        merge_handlers(noop, scoped("subject", _make_subject_reader()), scoped("count", bytecount)),
        _only("CHMRTLNB", _ALL),
        "O" + "c" * 16 + "hc",
    ),
    "merged-noop": lambda: Played(noop_merged, _only("CHMRTLNB", _ALL), "O" + "c" * 17),
    "merged-bytecount": lambda: Played(bytecount_merged, _only("MB", _ALL), "Occhc"),
    "merged-waiting": lambda: Played(
        merge_handlers(_make_editor("[A]"), _make_reader(), _make_editor("[B]")),
        _only("LB", _ALL),
        "O" + "c" * 9 + "mbc",
    ),
    "message": lambda: Played(_make_looker(), _only("MRLB", _ALL), "Oc"),
    "by-hand": lambda: Played(_make_collector(), _only("LB", _ALL), "Oc"),
    "refused-recipient": lambda: Played(_make_refusing(), _only("R", _REFUSED), "Oyccc"),
}


@contextmanager
def _flight() -> Iterator[FlightRecorder]:
    with TemporaryDirectory(prefix="demyjpy-flight-") as directory:
        yield FlightRecorder(directory, privacy=Privacy(keep="envelope"))


@contextmanager
def _explain() -> Iterator[Explainer]:
    """As ``demyjpy run --explain --log-to /dev/null`` does."""
    with logging_to("/dev/null", "info", as_json=False):
        yield Explainer()


WATCHERS: Final[Mapping[str, Callable[[], AbstractContextManager[Any]]]] = {
    "metrics": lambda: nullcontext(Metrics(sink=Shared(Board(1)))),
    "flight": _flight,
    "explain": _explain,
}
"""Who watches a session: each is there as long as the context manager is entered."""


def watched(name: str, watcher: str) -> str:
    """The name of a session with a watcher."""
    return f"{name}+{watcher}"


def _add_watcher(name: str, watcher: str) -> Callable[[], Played]:
    return lambda: replace(_PLAIN[name](), watching=WATCHERS[watcher])


SESSIONS: Final[Mapping[str, Callable[[], Played]]] = {
    **_PLAIN,
    **{
        watched(name, watcher): _add_watcher(name, watcher)
        for name in ("noop", "bytecount")
        for watcher in WATCHERS
    },
}
"""Each is made where it is played: ten megabytes are not free."""


def reads_of(letters: str, size: int) -> tuple[bytes, ...]:
    """The reads of a session where only these commands are asked for, with a body of so many bytes."""
    return _only(letters, (*_BEFORE_BODY, *_body(size), _END, _QUIT))


def letters(data: bytes) -> str:
    """The letters of the packets in a stream."""
    found, at = "", 0
    while at < len(data):
        found += chr(data[at + 4])
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return found


def as_served(handlers: Registry, watcher: Any = None) -> tuple[Setup, Tapes]:
    """What a driver makes of a filter and a watcher (or None)."""
    options = ServerOptions(observer=watcher)
    setup = options.setup(handlers, lambda handler: handler.blocking or handler.is_async)
    # under valgrind a handler would take fifty times as long
    clock = partial(next, itertools.count(0.0, 1e-6))
    return setup, Tapes(options.readers, clock)


def play(played: Played, setup: Setup, tapes: Tapes, session: str = "") -> bytes:
    """A session from its first read to the end; all that was answered."""
    line = Line(open_connection(setup, session), tapes.new())
    sent = []
    for read in played.reads:
        answer = line.receive_data(read)
        sent.append(line.leave().data_to_send if answer is None else answer)
    line.hang_up()
    return b"".join(sent)


def main(name: str, times: int) -> None:
    """Play a session; `SystemExit` where the answers are wrong."""
    gc.disable()  # when it runs depends on all that ran before
    played = SESSIONS[name]()
    with played.watching() as watcher:
        setup, tapes = as_served(played.filter, watcher)
        for number in range(times):
            sent = play(played, setup, tapes, f"s-{number}")
    got = letters(sent)
    if got != played.answers:
        sys.exit(f"{name}: expected the answers {played.answers}, got {got}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
