"""The recorder: what it makes of a tape is what it makes of an observer's steps."""

import json
import os
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import add_header, define_event_handlers
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, hang_up, open_connection, receive_data
from demyjpy.engine.playback import Player, Stage
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.errors import LocalProtocolError
from demyjpy.handlers import default_event_handler
from demyjpy.trace import Trace, load
from demyjpy.trace.live.recorder import Recorder
from tests.disks import fork, no_threads
from tests.engine.harness import (
    ABORT,
    EOM,
    HEADER,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    join,
    offer,
    packet,
)
from tests.engine.test_hot_path import sessions, setups
from tests.engine.test_tape import play, watched
from tests.examples import share_of
from tests.polite import offered_steps
from tests.strategies import chunks_of

_TIMES = {"time", "duration"}


def records_in(directory: Path) -> list[Any]:
    """What was recorded, without times."""
    lines = b"".join(path.read_bytes() for path in sorted(directory.glob("*.jsonl"))).splitlines()
    found = [json.loads(line) for line in lines]
    kept = [one for one in found if "session" in one]
    return [{key: value for key, value in one.items() if key not in _TIMES} for one in kept]


def recorded(filters: Any, chunks: list[bytes], *, by_tape: bool, raw: bool, **setup: Any) -> list[Any]:
    """The trace of a session."""
    with TemporaryDirectory() as directory:
        recorder = Recorder(directory, raw=raw)
        if by_tape:
            play(filters, chunks, recorder.read, **setup)
        else:
            setup.pop("share")
            play(filters, chunks, observer=recorder, **setup)
        assert recorder._writer.wait(60.0)
        recorder.close()
        return records_in(Path(directory))


@settings(max_examples=share_of(500))
@given(watched, offered_steps, sessions(), setups, st.booleans(), st.data())
def test_a_tape_is_recorded_as_steps_are(filters, steps, told, setup, raw, data):
    """The traces recorded from the tape and by an observer are equal but for times."""
    names = data.draw(st.sets(st.sampled_from(["body", "end_of_message", "mail", "abort"]), max_size=2))
    share = data.draw(st.sampled_from([0, 2048, 1 << 16]))
    setup = {"defers": lambda handler: handler.event in names, "share": share, **setup}
    chunks = data.draw(chunks_of(join([offer(steps=steps), *told])))
    expected = recorded(filters, chunks, by_tape=False, raw=raw, **setup)
    assert recorded(filters, chunks, by_tape=True, raw=raw, **setup) == expected
    assert expected[-1]["direction"] == "end"


# ----------------------------------------------------------------------------- from the tape
def stretches_of(handlers: Any, *packets: Any, name: str = "s", offered: Any = None) -> list[Stretch]:
    """The tape of a session, packet by packet."""
    found: list[Stretch] = []
    setup = Setup(as_on_connect(handlers))
    line = Line(open_connection(setup, name), Tape(found.append, time.perf_counter, time.time))
    for packet_ in (offered or offer(), *packets):
        if line.receive_data(join([packet_])) is None:
            line.leave()
    line.hang_up()
    return found


def counter() -> Any:
    """A filter whose sessions are plain: it has a handler for everything, and edits at the end."""
    handlers = define_event_handlers(actions={"add_header"}, state={"count": 0})
    for name in ("connect", "hello", "mail", "recipient", "header", "end_of_headers", "abort"):
        getattr(handlers, name)(lambda event, ctx: ctx)

    @handlers.body
    def count(event: Any, ctx: Any) -> Any:
        return ctx.set("count", ctx["count"] + len(event.data))

    @handlers.end_of_message
    def tag(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Count", str(ctx["count"]))

    return handlers


def record(directory: Path, stretches: list[Stretch], **options: Any) -> list[Any]:
    """The records of a tape."""
    recorder = Recorder(directory, **options)
    for stretch in stretches:
        recorder.read(stretch)
    assert recorder._writer.wait(60.0)
    recorder.close()
    return records_in(directory)


def observed(handlers: Any, *packets: Any, offered: Any = None) -> list[Any]:
    """The records that an observer makes of the same."""
    steps: list[Step] = []
    connection = open_connection(Setup(as_on_connect(handlers), observer=steps.append), "s")
    for packet_ in (offered or offer(), *packets):
        connection = receive_data(connection, join([packet_]))
    hang_up(connection)
    kept = Trace.of_steps(steps).records
    return [{key: value for key, value in one.items() if key not in _TIMES} for one in kept]


def test_what_is_plain_is_played_on_the_hot_path() -> None:
    """Of a plain session there are steps only for the negotiation and the end."""
    stretches = stretches_of(counter(), *OPENING[1:], *MESSAGE, *MESSAGE, QUIT)
    player, stage = Player(stretches[0].opened), Stage()
    played = [player.play_quickly(one, stage) for one in stretches]
    assert sum(one.ends_message and bool(one.reads) for one in played) == 2
    seen = [type(step.event).__name__ for one in played for step, _ in one.steps]
    assert set(seen) == {"Options", "Quit", "Disconnect"}


ODD = [
    packet("D", b"Li\0"),
    packet("D", b"L{x}\0\xe4\0"),
    packet("L", b"Subject\0 hello\0"),
    packet("L", b"Subject\0hello\0"),
    packet("L", 'X\0 ä\\"\n\0'.encode()),
    packet("L", b"X\0\xff\0"),
    packet("L", b"X\0 too\0much\0"),
    packet("L", b"X\0 much\0rest"),
    packet("B", b'a "line" \\ \x01\r\n'),
    packet("B", b"\xff\0"),
]


@pytest.mark.parametrize("leading_space", [True, False])
@pytest.mark.parametrize(
    "mail", [b"<a@b>\0SIZE=1\0X\0=\0", b"a@b\0", b"<a@b\0", b"<>\0", b"<\xc3\xa4@b>\0", b"<a@b>\0X"]
)
def test_packets_that_are_not_as_usual_are_recorded_alike(
    tmp_path: Path, mail: bytes, leading_space: bool
) -> None:
    """Bytes beyond ASCII, ends that are missing, more than there should be."""
    told = [*OPENING[1:], packet("M", mail), packet("R", mail), *ODD, EOM, ABORT, QUIT]
    offered = offer() if leading_space else offer(steps=0)
    expected = observed(counter(), *told, offered=offered)
    assert record(tmp_path, stretches_of(counter(), *told, offered=offered)) == expected


def test_what_is_kept_of_texts_is_bounded(tmp_path: Path) -> None:
    """A thousand queue ids in one session are recorded, and not kept."""
    fields = [one for n in range(1100) for one in (packet("D", b"Li\0%d\0" % n), HEADER)]
    told = [*OPENING[1:], MAIL, RCPT, *fields, EOM, QUIT]
    assert record(tmp_path, stretches_of(counter(), *told)) == observed(counter(), *told)
    begun = whole("s")[0]
    player, stage = Player(begun.opened), Stage()
    player.play_quickly(begun, stage)
    for _ in range(70):
        stage.agreed(evolve(player._connection.agreed))
    assert len(stage._made) <= 64


class Half:
    """A key that says half of a surrogate pair of itself."""

    def __repr__(self) -> str:
        return "\ud800"


def test_half_of_a_character_is_recorded(tmp_path: Path) -> None:
    """JSON can write it, if UTF-8 cannot."""
    handlers = define_event_handlers()
    key = Half()
    handlers.recipient(lambda event, ctx: ctx.set(key, "ä"))
    told = [*OPENING[1:], *MESSAGE, QUIT]
    assert record(tmp_path, stretches_of(handlers, *told)) == observed(handlers, *told)
    assert b"\\ud800" in next(tmp_path.iterdir()).read_bytes()


def test_the_librarys_own_handler_is_recorded_alike(tmp_path: Path) -> None:
    """Where it says nothing, there is no record of it."""
    handlers = define_event_handlers()
    handlers.header(reply=False)(default_event_handler)
    handlers.recipient(default_event_handler)
    told = [*OPENING[1:], *MESSAGE]
    plain = stretches_of(handlers, *told)[:-1]
    expected = observed(handlers, *told)
    assert record(tmp_path, plain) == expected[: len(records_in(tmp_path))]
    assert len(records_in(tmp_path)) > len(told)


# ------------------------------------------------------------------------------- what is lost
def hows(directory: Path) -> list[tuple[str, str]]:
    """How each session ended, and why."""
    found = [trace for path in directory.glob("*.jsonl") for trace in load(path)]
    return sorted((trace.how, trace.reason) for trace in found)


def whole(name: str) -> list[Stretch]:
    """The tape of a plain session."""
    return stretches_of(counter(), *OPENING[1:], *MESSAGE, QUIT, name=name)


@pytest.mark.parametrize("swap", [lambda outcomes: (), lambda outcomes: outcomes[::-1]])
def test_a_tape_that_cannot_be_played_cuts_its_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, swap: Any
) -> None:
    """One line in the log; other sessions are recorded."""
    bad = [one.with_outcomes(swap(one.outcomes)) for one in whole("bad")]
    record(tmp_path, [*bad, *whole("good")])
    assert hows(tmp_path) == [("cut", "its tape could not be played"), ("quit", "")]
    assert caplog.messages == ["session bad: its recording is cut: LocalProtocolError"]


def test_a_stretch_that_does_not_follow_is_not_played() -> None:
    """What came on the hot path cannot come after the end."""
    stretches = whole("s")
    player, stage = Player(stretches[0].opened), Stage()
    for stretch in stretches:
        player.play_quickly(stretch, stage)
    with pytest.raises(LocalProtocolError):
        player.play_quickly(stretches[1], stage)


def test_a_session_that_is_cut_at_its_very_end_is_not_remembered(tmp_path: Path) -> None:
    """Nothing more comes of it."""
    recorder = Recorder(tmp_path, memory=0)
    for stretch in whole("s")[-1:]:
        assert stretch.is_over
        recorder.read(stretch)
    assert not recorder._cut
    recorder.close()


def test_a_thread_that_does_not_keep_up_loses_sessions_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that are cut say so, and what waits is bounded; later ones are recorded."""
    gate = threading.Event()
    recorder = Recorder(tmp_path, memory=40_000)
    recorder._writer.put(0, gate.wait)  # the disk stands still
    for number in range(10):
        for stretch in whole(f"s{number}"):
            recorder.read(stretch)
    assert 20_000 < recorder._writer.size <= 40_000
    gate.set()
    assert recorder._writer.wait(60.0)
    for stretch in whole("last"):
        recorder.read(stretch)
    assert recorder._writer.wait(60.0)
    recorder.close()
    found = hows(tmp_path)
    assert {*found} == {("cut", "the disk did not keep up"), ("quit", "")}
    assert found.count(("quit", "")) >= 2
    assert not recorder._cut
    assert not recorder._played
    assert caplog.messages == ["the recording does not keep up: sessions cut: 1"]


def test_a_tape_is_not_recorded_without_a_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mail goes on; when there are threads again, sessions are recorded."""
    recorder = Recorder(tmp_path)
    with no_threads():
        for stretch in [*whole("a"), *whole("b")]:
            recorder.read(stretch)
    assert caplog.messages == ["cannot record: no thread can be started; the mail goes on"]
    for stretch in whole("c"):
        recorder.read(stretch)
    assert recorder._writer.wait(60.0)
    recorder.close()
    assert hows(tmp_path) == [("quit", "")]


@pytest.mark.parametrize("is_late", [True, False])
def test_a_child_has_a_file_and_a_thread_of_its_own(tmp_path: Path, is_late: bool) -> None:
    """What the parent has begun, the parent ends."""
    recorder = Recorder(tmp_path, memory=2000 if is_late else 1 << 20)
    begun = whole("parent")
    recorder.read(begun[0])
    assert recorder._writer.wait(60.0)
    child = fork()
    if child == 0:
        for stretch in whole("child"):
            recorder.read(stretch)
        recorder._writer.wait(60.0)
        os._exit(int(recorder._played != {}))
    assert os.waitpid(child, 0)[1] == 0
    for stretch in begun[1:]:
        recorder.read(stretch)
    assert recorder._writer.wait(60.0)
    recorder.close()
    assert len([*tmp_path.iterdir()]) == 2
    assert [how for how, _ in hows(tmp_path)] == ["cut" if is_late else "quit"] * 2
