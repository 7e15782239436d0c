"""What messages as values cost for N fields, recipients, chunks, parts and filters, counted.

    python -m tests.engine.message_growth

prints lines of Python that run and bytes that are allocated as JSON, for each case with N, 2 N and
4 N. See `tests.engine.growth`.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve

from demyjpy import Context, Message, become, merge_handlers
from demyjpy import Recipient as To
from demyjpy.drivers.spool import SpoolFile
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection, resume, run_call
from demyjpy.engine.stock import Spooling
from demyjpy.handlers import define_event_handlers
from demyjpy.message.fields import new_field
from demyjpy.registry import Registry
from demyjpy.wire.framing import Packet
from tests.engine.growth import BUDGET, WAYS, WIDE, Counter, Setup
from tests.engine.harness import BODY, DATA, EOH, EOM, HEADER, MAIL, OPENING, RCPT, join, packet
from tests.engine.messages import ACTIONS

SIZES: Final = (8, 16, 32)
_FULL: Final = 4000


class Peer:
    """A session that has begun, driven as a driver does."""

    def __init__(self, handlers: Any, **setup: Any) -> None:
        self.line = Line(open_connection(Setup(as_on_connect(handlers), limits=WIDE, **setup)))
        self.say(join(OPENING))

    def say(self, data: bytes) -> None:
        """A read has come; all of it is done."""
        answer = self.line.receive_data(data)
        while answer is None:
            while (connection := self.line.leave()).call is not None:
                self.line.hold(resume(connection, run_call(connection.call)))
            answer = self.line.go_on() if connection.is_behind else b""


def _filter(act: Callable[[Message, Context], Context]) -> Registry:
    return define_event_handlers({"message": act}, actions=ACTIONS)


def _look(event: Message, ctx: Context) -> Context:
    event.get("X-None")
    return ctx


def _read(event: Message, ctx: Context) -> Context:
    sum(map(len, event.pieces()))
    return ctx


def _drop_fields(event: Message, ctx: Context) -> Context:
    return become(ctx, event.without("X-*"))


def _double_fields(event: Message, ctx: Context) -> Context:
    new = (new_field(f"New-{number}", "v") for number in range(len(event.fields)))
    return become(ctx, evolve(event, fields=(*event.fields, *new)))


def _other_recipients(event: Message, ctx: Context) -> Context:
    new = (To(f"new-{number}@example.org") for number in range(len(event.recipients)))
    return become(ctx, evolve(event, recipients=tuple(new)))


def _wish_for_each_field(event: Message, ctx: Context) -> Context:
    for number in range(8 * len(event.recipients)):
        ctx = become(ctx, event.set("X", str(number % 7)))
    return ctx


def _look_at_parts(event: Message, ctx: Context) -> Context:
    sum(len(part.content) for part in event.parts(most=1 << 20))
    return ctx


def _append(event: Message, ctx: Context) -> Context:
    return become(ctx, event.append_text("text"))


def _set_x(event: Message, ctx: Context) -> Context:
    return become(ctx, event.set("X", "1"))


def _fields(count: int) -> list[Packet]:
    fields = [packet("L", b"X-%d\0v%d\0" % (number, number)) for number in range(8 * count)]
    return [MAIL, RCPT, DATA, *fields, EOH, BODY, EOM]


def _recipients(count: int) -> list[Packet]:
    to = [packet("R", b"<user-%d@example.org>\0" % number) for number in range(4 * count)]
    return [MAIL, *to, DATA, HEADER, EOH, BODY, EOM]


def _chunks(count: int) -> list[Packet]:
    return [MAIL, RCPT, DATA, HEADER, EOH, *[packet("B", b"x" * _FULL)] * 2 * count, EOM]


def _parts(count: int) -> list[Packet]:
    kind = packet("L", b"Content-Type\0multipart/mixed; boundary=b\0")
    part = b"--b\r\nContent-Type: text/plain\r\n\r\n" + b"a line of the part\r\n" * 20
    bodies = [packet("B", part)] * count
    return [MAIL, RCPT, DATA, kind, EOH, *bodies, packet("B", b"--b--\r\n"), EOM]


def _plain(count: int) -> list[Packet]:
    return [MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM]


Case = tuple[Callable[[int], list[Packet]], Callable[[int], Registry], dict[str, Any]]


def _one(act: Callable[[Message, Context], Context]) -> Callable[[int], Registry]:
    return lambda count: _filter(act)


def _many(act: Callable[[Message, Context], Context]) -> Callable[[int], Registry]:
    return lambda count: merge_handlers(*[_filter(act) for _ in range(count // 4)])


_KINDS: Final[dict[str, tuple[Callable[[int], list[Packet]], Callable[[int], Registry]]]] = {
    "fields": (_fields, _one(_look)),
    "fields that go": (_fields, _one(_drop_fields)),
    "fields that come": (_fields, _one(_double_fields)),
    "recipients": (_recipients, _one(_look)),
    "recipients that go and come": (_recipients, _one(_other_recipients)),
    "wishes": (_recipients, _one(_wish_for_each_field)),
    "chunks": (_chunks, _one(_read)),
    "parts": (_parts, _one(_look_at_parts)),
    "parts, of which one changes": (_parts, _one(_append)),
    "filters": (_plain, _many(_look)),
    "filters that wish": (_plain, _many(_set_x)),
}
_WAYS: Final[dict[str, dict[str, Any]]] = {
    **WAYS,
    "by budget": {**WAYS["hot path"], "budget": BUDGET},
    "each chunk to a file": {**WAYS["hot path"], "spool": Spooling(0, SpoolFile.open)},
    "chunks to a file": {**WAYS["turn"], "spool": Spooling(3 * _FULL, SpoolFile.open)},
}
CASES: Final[dict[str, Case]] = {
    f"{way}: {kind}": (*found, setup)
    for way, setup in _WAYS.items()
    for kind, found in _KINDS.items()
    if not way.startswith(("deferred", "each", "chunks")) or kind.startswith(("chunks", "parts"))
}


def count(name: str, size: int) -> tuple[int, int]:
    """Lines and bytes of one message, of which each packet comes with a read of its own."""
    packets, handlers, setup = CASES[name]
    reads = [join([one]) for one in packets(size)]
    peer = Peer(handlers(size), **setup)
    with Counter() as counter:
        for read in reads:
            peer.say(read)
    return counter.lines, counter.allocated


if __name__ == "__main__":
    for case in CASES:
        count(case, 4)  # what is remembered once
    json.dump({case: [count(case, size) for size in SIZES] for case in CASES}, sys.stdout)
