"""Bodies that go to a file: what is written when, and what follows if that fails."""

from collections.abc import Iterable
from typing import Any

import pytest
from attrs import evolve

from demyjpy import actions as act
from demyjpy.engine.stock import Spooling
from demyjpy.errors import HandlerError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.message import Message
from demyjpy.shorthands import reject
from tests.engine.harness import (
    ABORT,
    DATA,
    EOH,
    EOM,
    HEADER,
    MAIL,
    OPENING,
    QUIT,
    RCPT,
    WAYS,
    Session,
    join,
    keep,
    packet,
)
from tests.engine.messages import noting, wishing

BOTH_WAYS = pytest.mark.parametrize("way", WAYS)
START = (MAIL, RCPT, DATA, HEADER, EOH)
HEAD = b"Subject:hello\r\n\r\n"
PIECE = 65_535
"""Bytes of a full body packet."""


class Disk:
    """Files in memory, which may be full, or lose what is in them. Each knows its disk."""

    def __init__(self, room: float = float("inf"), *, opens: bool = True, reads: bool = True) -> None:
        self.room, self.opens, self.reads = room, opens, reads
        self.files: list[File] = []

    def open(self) -> "File":
        """One more file."""
        if not self.opens:
            raise OSError(24, "Too many open files")
        self.files.append(File(self))
        return self.files[-1]


class File:
    """One of them; ``writes`` are the sizes of what was written at one time."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.data = disk, b""
        self.writes: list[int] = []
        self.reads: list[tuple[int, int]] = []

    def append(self, pieces: Iterable[bytes]) -> None:
        """At its end."""
        data = b"".join(pieces)
        if len(self.data) + len(data) > self.disk.room:
            raise OSError(28, "No space left on device")
        self.writes.append(len(data))
        self.data += data

    def read(self, at: int, size: int) -> bytes:
        """From there."""
        if not self.disk.reads:
            raise OSError(5, "Input/output error")
        self.reads.append((at, size))
        return self.data[at : at + size]


def bodies(*sizes: int) -> tuple[list[Any], bytes]:
    """Body packets of these sizes, each of other bytes, and the body."""
    pieces = [bytes([97 + number]) * size for number, size in enumerate(sizes)]
    return [packet("B", one) for one in pieces], b"".join(pieces)


def open_with(disk: Disk, handlers: Any, size: int = 100_000, **setup: Any) -> Session:
    """A session whose bodies of more than so many bytes go to that disk."""
    session = Session.open(handlers, spool=Spooling(size, disk.open), **setup)
    session.say(*OPENING)
    return session


def reading(got: list[bytes]) -> Any:
    """A filter that reads the message."""
    return define_event_handlers({"message": lambda event, ctx: got.append(bytes(event)) or ctx})


# --------------------------------------------------------------------------------- what is written
@BOTH_WAYS
def test_what_is_above_the_size_goes_to_the_file(way: Any) -> None:
    """All that is in memory at once, again and again; what is read is the body, however it was cut."""
    for sizes, writes in (
        ((1000, 500), []),
        ((PIECE, 34_465), []),
        ((PIECE, 34_466), [100_001]),
        ((PIECE, PIECE, PIECE, PIECE, 10), [2 * PIECE, 2 * PIECE]),
        ((PIECE, PIECE, 10, 20), [2 * PIECE]),
        ((PIECE, PIECE, 7, PIECE, PIECE, 3), [2 * PIECE, 7 + 2 * PIECE]),
    ):
        got: list[bytes] = []
        disk = Disk()
        session = open_with(disk, reading(got), way=way)
        packets, body = bodies(*sizes)
        session.say(*START, *packets)
        assert session.answers(EOM) == [act.Continue()]
        assert got == [HEAD + body]
        assert [one.writes for one in disk.files] == ([writes] if writes else [])
        assert session.troubles == []


@BOTH_WAYS
@pytest.mark.parametrize("count", [11_000, 12_000])
def test_many_small_chunks_go_to_the_file_sooner(way: Any, count: int) -> None:
    """Each takes more memory than its own bytes."""
    got: list[bytes] = []
    disk = Disk()
    session = open_with(disk, reading(got), way=way)
    session.say(*START)
    session.feed(join([packet("B", b"ab")] * count))
    session.finish_calls()
    assert len(disk.files) == (count > 11_001)
    assert session.answers(EOM) == [act.Continue()]
    assert got == [HEAD + b"ab" * count]
    assert session.troubles == []


def test_one_file_for_all_filters_and_one_for_each_message() -> None:
    """It is asked for when it is needed."""
    got: list[bytes] = []
    disk = Disk()
    session = open_with(disk, merge_handlers(reading(got), reading(got)))
    packets, body = bodies(PIECE, PIECE)
    session.say(*START, *packets, EOM, *START, packet("B", b"short"), EOM, *START, *packets, EOM)
    assert len(disk.files) == 2
    assert got == [HEAD + one for one in (body, body, b"short", b"short", body, body)]


def test_nothing_is_written_of_what_nobody_wants() -> None:
    """A filter without a message handler, one that has accepted, and a body beyond all limits."""
    packets, _ = bodies(PIECE, PIECE, PIECE)
    filter_ = define_event_handlers({"mail": lambda event, ctx: ctx.set("queue", (act.Accept(),))})
    filter_.add("message", keep)
    small = define_event_handlers()
    small.add("message", keep, limit=1000)
    for handlers in (define_event_handlers({"body": keep}), filter_, small):
        disk = Disk()
        open_with(disk, handlers).say(*START, *packets)
        assert disk.files == []


def test_a_file_is_let_go_beyond_the_limit() -> None:
    """As soon as the body is larger than anybody wants it."""
    got: list[tuple[bool, int]] = []
    filter_ = define_event_handlers()
    filter_.add(
        "message", lambda event, ctx: got.append((event.is_whole, event.size)) or ctx, limit=200_000
    )
    disk = Disk()
    session = open_with(disk, filter_)
    packets, body = bodies(PIECE, PIECE, PIECE, PIECE)
    session.say(*START, *packets, EOM)
    assert [one.writes for one in disk.files] == [[2 * PIECE]]
    assert got == [(False, len(HEAD + body))]


def test_the_driver_writes() -> None:
    """It is handed out as a handler that blocks is; the packet is answered at once."""
    disk, got = Disk(), list[bytes]()
    session = open_with(disk, reading(got))
    packets, body = bodies(PIECE, PIECE)
    session.say(*START, packets[0])
    session.feed(join(packets[1:]))
    call = session.connection.call
    assert call is not None
    assert (call.handler.event, call.handler.blocking, call.progress) == ("body", True, None)
    assert disk.files == []
    session.feed(join([EOM]))
    assert got == []
    session.finish_calls()
    assert got == [HEAD + body]


@pytest.mark.parametrize("end", [ABORT, QUIT, MAIL, None])
def test_the_message_is_given_up_while_it_is_written(end: Any) -> None:
    """The end is told once, and nothing is wrong."""
    seen: list[str] = []
    disk = Disk()
    session = open_with(disk, noting(seen, "a", "data", "message", "abort"))
    packets, _ = bodies(PIECE, PIECE)
    session.say(*START, packets[0])
    session.feed(join(packets[1:]))
    if end is None:
        session.hang_up()
    else:
        session.feed(join([end]))
    session.finish_calls()
    assert seen == ["a data", "a abort"]
    assert session.troubles == []


def test_a_filter_that_refuses_at_the_piece_that_is_to_be_written() -> None:
    """The message has ended by then, so nothing is written; the next is served."""
    disk, got = Disk(), list[bytes]()
    refusing = define_event_handlers(
        {"body": lambda event, ctx: reject(ctx) if event.data[:1] == b"b" else ctx}
    )
    session = open_with(disk, merge_handlers(refusing, reading(got)))
    packets, _ = bodies(PIECE, PIECE)
    assert session.answers(*START, *packets)[-1] == act.Reject()
    assert disk.files == []
    session.say(ABORT, *START, packets[0], EOM)
    assert len(got) == 1
    assert session.troubles == []


@BOTH_WAYS
def test_a_body_that_comes_with_the_end(way: Any) -> None:
    """It is kept as any other piece."""
    disk, got = Disk(), list[bytes]()
    session = open_with(disk, reading(got), way=way)
    packets, body = bodies(PIECE, PIECE)
    assert session.say(*START, *packets[:1], (ord("E"), packets[1][1]))[-1] == "c"
    assert got == [HEAD + body]
    assert [one.writes for one in disk.files] == [[2 * PIECE]]


# -------------------------------------------------------------------------------- those that wait
@BOTH_WAYS
def test_those_that_wait_get_the_body_from_the_file(way: Any) -> None:
    """In pieces as large as a packet may be; and the body of one who changes it from memory."""
    disk = Disk()
    pieces: list[bytes] = []
    got: list[bytes] = []
    waiting = define_event_handlers(
        {
            "body": lambda event, ctx: pieces.append(event.data) or ctx,
            "message": lambda event, ctx: got.append(bytes(event)) or ctx,
        }
    )
    first = define_event_handlers({"end_of_message": keep}, actions={"change_body"})
    packets, body = bodies(PIECE, PIECE, 5)
    session = open_with(disk, merge_handlers(first, waiting), way=way)
    session.say(*START, *packets, EOM)
    assert [len(one) for one in pieces] == [PIECE, PIECE, 5]
    assert (b"".join(pieces), got) == (body, [HEAD + body])
    pieces.clear()
    got.clear()
    replacing = wishing(lambda message: message.with_body(message.body * 2))
    session = open_with(disk, merge_handlers(replacing, waiting), way=way)
    session.say(*START, *packets, EOM)
    double = body * 2 + b"\r\n"
    assert (b"".join(pieces), got) == (double, [HEAD + double])
    assert session.troubles == []


# --------------------------------------------------------------------------------------- failures
@BOTH_WAYS
@pytest.mark.parametrize("disk", [Disk(room=PIECE), Disk(room=2 * PIECE), Disk(opens=False)])
def test_a_full_disk(way: Any, disk: Disk) -> None:
    """Temporary failure for that message, one line in the log; the next is served."""
    seen: list[str] = []
    session = open_with(disk, noting(seen, "a", "data", "message", "abort"), way=way)
    packets, _ = bodies(PIECE, PIECE, PIECE, PIECE, PIECE)
    assert session.answers(*START, *packets, EOM)[-1] == act.TemporaryFailure()
    session.say(ABORT)
    assert seen == ["a data", "a abort"]
    (trouble,) = session.troubles
    assert isinstance(trouble.error, HandlerError)
    assert "bytes of a body to be kept in a file, got OSError" in str(trouble.error)
    assert session.answers(*START, packet("B", b"short"), EOM)[-1] == act.Continue()
    assert seen[2:] == ["a data", "a message"]
    assert len(session.troubles) == 1


@BOTH_WAYS
def test_a_full_disk_under_several_filters(way: Any) -> None:
    """Whatever they do with the body, they are told of the end once."""
    seen: list[str] = []
    names = ("data", "body", "message", "end_of_message", "abort")
    session = open_with(
        Disk(room=0), merge_handlers(*(noting(seen, one, *names) for one in "ab")), way=way
    )
    packets, _ = bodies(PIECE, PIECE, PIECE)
    assert session.answers(*START, *packets)[-1] == act.TemporaryFailure()
    session.say(ABORT)
    assert seen.count("a abort") == seen.count("b abort") == 1
    assert not any("end" in one or "message" in one for one in seen)
    assert len(session.troubles) == 1


@BOTH_WAYS
@pytest.mark.parametrize(
    ("on_error", "answer"), [("tempfail", act.TemporaryFailure()), ("accept", act.Accept())]
)
def test_a_file_that_cannot_be_read_by_a_handler(way: Any, on_error: Any, answer: Any) -> None:
    """That is a failure of the handler that reads it; one that looks at the header does not notice."""
    disk = Disk()
    packets, _ = bodies(PIECE, PIECE, PIECE)
    header_only = define_event_handlers({"message": lambda event, ctx: event.get("Subject") and ctx})
    session = open_with(disk, header_only, way=way, on_error=on_error)
    disk.reads = False
    assert session.answers(*START, *packets, EOM)[-1] == act.Continue()
    assert session.troubles == []
    got: list[bytes] = []
    session = open_with(disk, reading(got), way=way, on_error=on_error)
    assert session.answers(*START, *packets, EOM)[-1] == answer
    (error,) = session.errors
    assert isinstance(error, OSError)
    disk.reads = True
    assert session.answers(*START, *packets, EOM)[-1] == act.Continue()
    assert len(got) == 1


@BOTH_WAYS
def test_a_wish_that_cannot_be_compared_with_the_body(way: Any) -> None:
    """The filter that wishes has failed; nothing of its wish is sent."""
    disk = Disk()

    def make(message: Message) -> Message:
        disk.reads = False
        return evolve(message.add("X", "1"), content=b"x" * (2 * PIECE))

    session = open_with(disk, wishing(make), way=way)
    packets, _ = bodies(PIECE, PIECE)
    session.say(*START, *packets)
    assert session.answers(EOM) == [act.TemporaryFailure()]
    (error,) = session.errors
    assert isinstance(error, OSError)


@BOTH_WAYS
def test_a_file_that_cannot_be_read_for_a_body_handler_that_waits(way: Any) -> None:
    """Temporary failure, one line in the log; all are told the end once, and the next is served."""
    seen: list[str] = []
    disk = Disk(reads=False)
    first = noting(seen, "a", "end_of_message", "abort", actions=("change_body",))
    second = noting(seen, "b", "data", "body", "end_of_message", "abort")
    third = noting(seen, "c", "data", "message", "abort")
    session = open_with(disk, merge_handlers(first, second, third), way=way)
    packets, _ = bodies(PIECE, PIECE)
    assert session.answers(*START, *packets, EOM)[-1] == act.TemporaryFailure()
    session.say(ABORT)
    assert seen == ["b data", "c data", "a end_of_message", "b abort", "c abort"]
    (trouble,) = session.troubles
    assert isinstance(trouble.error, OSError)
    assert trouble.event == "body"
    disk.reads = True
    assert session.answers(*START, *packets, EOM)[-1] == act.Continue()
    assert len(session.troubles) == 1
