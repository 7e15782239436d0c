"""What of a message is not kept, and what keeps none longer than it lasts."""

from typing import Any
from weakref import ref

import pytest
from attrs import evolve

from demyjpy import actions as act
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import resume, run_call
from demyjpy.errors import HandlerError
from demyjpy.handlers import define_event_handlers, merge_handlers
from demyjpy.message import Message
from tests.engine.harness import (
    EOM,
    OPENING,
    Session,
    join,
    keep,
    packet,
)
from tests.engine.messages import noting, wishing
from tests.engine.test_message_spool import (
    BOTH_WAYS,
    HEAD,
    PIECE,
    START,
    Disk,
    bodies,
    open_with,
    reading,
)


# ------------------------------------------------------------------------------ what is not kept
@BOTH_WAYS
def test_chunks_without_a_byte_are_not_kept(way: Any) -> None:
    """No limit counts them, so a peer could fill the memory with them."""
    got: list[bytes] = []
    session = Session.open(reading(got), way=way)
    session.say(*OPENING, *START)
    session.feed(join([packet("B", b"")] * 500 + [packet("B", b"text")] + [packet("B", b"")] * 500))
    assert list(session.connection.scope.chain.stock.chunks) == [b"text"]
    session.say(EOM)
    assert got == [HEAD + b"text"]


def test_nothing_is_written_for_a_peer_that_has_gone() -> None:
    """The handler of the chunk that made the body too large was out meanwhile."""
    seen: list[str] = []
    disk = Disk()
    handlers = noting(seen, "a", "mail", "body", "message", "abort")
    session = open_with(disk, handlers, 1000, defers=lambda handler: handler.event == "body")
    session.say(*START)
    session.feed(join([packet("B", bytes(2000))]))
    assert session.connection.call is not None
    session.hang_up()
    session.finish_calls()
    assert session.is_closed
    assert disk.files == []
    assert seen == ["a mail", "a body", "a abort"]


@BOTH_WAYS
def test_a_body_beyond_the_limit_is_not_kept_in_memory_either(way: Any) -> None:
    """It goes when the largest limit of those that want it is passed."""
    filters = [define_event_handlers() for _ in range(2)]
    for one, limit in zip(filters, (1000, 3000), strict=True):
        one.add("message", keep, limit=limit)
    session = Session.open(merge_handlers(*filters), way=way)
    session.say(*OPENING, *START)
    kept = []
    for packet_ in bodies(*[900] * 4)[0]:
        session.say(packet_)
        kept.append(session.connection.scope.chain.stock.is_kept)
    assert kept == [True, True, True, False]
    assert session.connection.scope.chain.stock.size == 3600


# ------------------------------------------------------------------------------ what is kept too long
def failing(blocking: bool) -> Any:
    """A filter that has all of the body in its hands when it fails."""

    def fail(event: Message, ctx: Any) -> Any:
        body = event.body
        try:
            raise LookupError(len(body))
        except LookupError as error:
            raise ValueError from error

    handlers = define_event_handlers()
    handlers.add("message", fail, blocking=blocking)
    return handlers


@pytest.mark.parametrize(
    "case", ["fails", "fails in a thread", "reads in vain", "waits in vain", "wishes"]
)
def test_what_went_wrong_keeps_no_body_when_it_is_logged(case: str) -> None:
    """Not in frames of handlers or of the engine, and though the peer says no more for hours."""
    disk = Disk()
    waiting = merge_handlers(
        noting([], "a", "end_of_message", actions=("change_body",)), noting([], "b", "body")
    )
    handlers = {
        "fails": failing(False),
        "fails in a thread": failing(True),
        "reads in vain": reading([]),
        "waits in vain": waiting,
        "wishes": wishing(lambda message: evolve(message, fields=message.fields * 2)),
    }[case]
    session = open_with(disk, handlers)
    session.say(*START, *bodies(PIECE, PIECE)[0])
    disk.reads = "in vain" not in case
    line = Line(session.connection)
    line.receive_data(join([EOM]))
    while (connection := line.leave()).call is not None:
        line.hold(resume(connection, run_call(connection.call)))
    assert len(line.leave().troubles) == 1
    line.forget_troubles()
    assert line.leave().troubles == ()
    session.troubles.clear()
    del connection, session.connection
    file = ref(disk.files.pop())
    assert file() is None
    line.forget_troubles()  # once more: there are none


@BOTH_WAYS
def test_a_wish_that_raises_anything_is_a_failure_of_the_filter(way: Any) -> None:
    """It is looked at by the engine, which lives on."""

    class Broken(Message):
        @property
        def body(self) -> bytes:
            raise SystemExit

    disk = Disk()
    session = open_with(disk, wishing(lambda message: Broken(content=b"x")), way=way)
    assert session.answers(*START, EOM)[-1] == act.TemporaryFailure()
    (error,) = session.errors
    assert isinstance(error, HandlerError)
    assert isinstance(error.__cause__, SystemExit)
