"""What N packets cost, counted: lines of Python that run, and bytes that are allocated meanwhile.

    python -m tests.engine.growth

prints both as JSON, for each case with N, 2 N and 4 N. No time is measured: the figures are the same
on any machine. What is copied is allocated; it is added up line by line, so that what is freed at once
counts, too. It is a program of its own, for it needs the trace function for itself.
"""

import json
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Self

from demyjpy.actions import AddHeader
from demyjpy.conditions import only_if
from demyjpy.context import get_macro, new_context, send_action, take_actions
from demyjpy.engine.connection import Connection, Limits, Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.limits import Budget
from demyjpy.engine.pipeline import as_on_connect, open_connection, resume, run_call
from demyjpy.events import Data, Recipient
from demyjpy.handlers import define_event_handlers
from demyjpy.wire.framing import NOTHING_UNREAD, join_frame, split_frames
from tests.engine.harness import ABORT, BODY, EOH, EOM, HEADER, HELO, MAIL, OPENING, join, macros, packet

EVENTS: Final = ("mail", "header", "end_of_headers", "body", "unknown")
BUDGET: Final = Budget(packets=4)
WIDE: Final = Limits(headers=1 << 30, macro_size=1 << 30)


def _look(event: Any, ctx: Any) -> Any:
    get_macro(ctx, "nowhere")
    return ctx


def _end(event: Any, ctx: Any) -> Any:
    return send_action(ctx, AddHeader("X-Long", "x" * 2000))


def _watch(step: Any) -> None:
    """An observer."""


def _never(handler: Any) -> bool:
    return False


def _always(handler: Any) -> bool:
    return True


class Peer:
    """A session that has begun, driven as a driver does."""

    def __init__(self, **setup: Any) -> None:
        handlers = define_event_handlers(dict.fromkeys(EVENTS, _look), actions={"add_header"})
        handlers.end_of_message(_end)
        wanted = Setup(as_on_connect(handlers), limits=WIDE, **setup)
        self.line = Line(open_connection(wanted))
        self.say(join(OPENING))

    def say(self, data: bytes) -> None:
        """A read has come; all of it is done."""
        answer = self.line.receive_data(data)
        while answer is None:
            connection = self._finish_calls()
            answer = self.line.go_on() if connection.is_behind else b""
        assert not self.line.leave().is_closed

    def hold(self, data: bytes) -> None:
        """A read has come, while a handler is out."""
        assert self.line.receive_data(data) is None

    def _finish_calls(self) -> Connection:
        while (connection := self.line.leave()).call is not None:
            self.line.hold(resume(connection, run_call(connection.call)))
        return connection


MESSAGE: Final = (MAIL, HEADER, EOH, BODY, EOM)
WAYS: Final[dict[str, dict[str, Any]]] = {
    "hot path": {"defers": _never},
    "turn": {"defers": _never, "observer": _watch},
    "deferred": {"defers": _always},
}
FLOODS: Final = {
    "messages": join(MESSAGE),
    "unknown": join([packet("U", bytes(2000))]),
    "hello": join([HELO]),
    "abort": join([ABORT]),
    "macros": join([macros("M", i="1")]),
    "changing-macros": join([macros("M", i="1"), macros("C", i="2")]),
    "macros-and-headers": join([macros("L", i="1"), HEADER]),
}


def _one_read(peer: Peer, flood: bytes, count: int) -> None:
    peer.say(flood * count)


def _many_reads(peer: Peer, flood: bytes, count: int) -> None:
    for _ in range(count):
        peer.say(flood)


def _large_macros(peer: Peer, flood: bytes, count: int) -> None:
    """Eight times as many macros as headers, in each of which one is looked for that is not there."""
    peer.say(
        join([macros("M", **{f"m{number}": "x" for number in range(1000, 1000 + 8 * count)}), MAIL])
    )
    peer.say(flood * count)


def _byte_by_byte(peer: Peer, flood: bytes, count: int) -> None:
    for byte in join([packet("B", bytes(120 * count))]):
        peer.say(bytes((byte,)))


def _while_a_handler_is_out(peer: Peer, flood: bytes, count: int) -> None:
    peer.hold(join([MAIL]))
    for byte in join([HEADER]) * 3 * count:
        peer.hold(bytes((byte,)))
    peer.say(b"")


def _edits(peer: Peer, flood: bytes, count: int) -> None:
    """Eighty edits a field, all asked for by one handler."""
    ctx, edit = new_context(), AddHeader("X", "y")
    for _ in range(80 * count):
        ctx = send_action(ctx, edit)
    take_actions(ctx)


def _recipients_that_are_kept(peer: Peer, flood: bytes, count: int) -> None:
    """Ten times as many recipients, until the predicate of `only_if` decides."""
    filters = {"recipient": _look, "data": _look}
    chosen = only_if(lambda event, ctx: isinstance(event, Data) or None, define_event_handlers(filters))
    ctx = new_context()
    for _ in range(10 * count):
        ctx = chosen["recipient"](Recipient("ann@example.org"), ctx)
    chosen["data"](Data(), ctx)


def _framing(peer: Peer, flood: bytes, count: int) -> None:
    unread = NOTHING_UNREAD
    for byte in join_frame(ord("B"), bytes(120 * count)):
        _, unread = split_frames(unread, bytes((byte,)), 1 << 20)
    split_frames(NOTHING_UNREAD, flood * count, 1 << 20)


Case = tuple[Callable[[Peer, bytes, int], None], tuple[bytes, ...], bytes, dict[str, Any]]

CASES: Final[dict[str, Case]] = {
    **{
        f"{way}: {name} in one read{', by budget' * bool(budget)}": (
            *(_one_read, (MAIL,) if "headers" in name else (), flood),
            {**setup, "budget": budget},
        )
        for way, setup in WAYS.items()
        for name, flood in FLOODS.items()
        if way != "deferred" or name in ("messages", "unknown", "macros-and-headers")
        for budget in (None, BUDGET)
    },
    **{
        f"{way}: {what}": (act, start, flood, setup)
        for way, setup in WAYS.items()
        for what, act, start, flood in (
            ("a message of many fields", _many_reads, (MAIL,), FLOODS["macros-and-headers"]),
            ("a session of many messages", _many_reads, (), FLOODS["messages"]),
            ("many macros and fields", _large_macros, (), FLOODS["macros-and-headers"]),
            ("byte by byte", _byte_by_byte, (MAIL,), b""),
        )
    },
    "deferred: byte by byte meanwhile": (_while_a_handler_is_out, (), b"", WAYS["deferred"]),
    "framing": (_framing, (), join([MAIL]), {}),
    "edits": (_edits, (), b"", {}),
    "recipients that are kept": (_recipients_that_are_kept, (), b"", {}),
}


class Counter:
    """Counts what runs while it is entered."""

    lines = allocated = 0
    _held = 0

    def __enter__(self) -> Self:
        tracemalloc.start(1)
        self._begin()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)
        tracemalloc.stop()

    def _begin(self) -> None:
        self._held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        _, peak = tracemalloc.get_traced_memory()
        self.lines += 1
        self.allocated += peak - self._held
        self._begin()
        return self._trace


SIZES: Final = (8, 16, 32)


def count(name: str, size: int) -> tuple[int, int]:
    """Lines and bytes of one case."""
    act, start, flood, setup = CASES[name]
    peer = Peer(**setup)
    peer.say(join(start))
    with Counter() as counter:
        act(peer, flood, size)
    return counter.lines, counter.allocated


if __name__ == "__main__":
    for case in CASES:
        count(case, 2)  # what is remembered once
    json.dump({case: [count(case, size) for size in SIZES] for case in CASES}, sys.stdout)
