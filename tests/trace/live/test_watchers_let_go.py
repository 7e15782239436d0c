"""What watchers keep is bounded, whatever a peer says or a filter stores, and goes with the session."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from pyrsistent import PMap

from demyjpy import Body, define_event_handlers
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.tape import ENTRY, LONGEST, Queued, Stretch, Tape
from demyjpy.metrics import Metrics
from demyjpy.metrics.board import Board
from demyjpy.metrics.figures import Shared
from demyjpy.trace import CapsuleMaker, Explainer, FlightRecorder, Recorder
from demyjpy.trace.format.plain_lines import PlainLines
from tests.engine.harness import EOM, MAIL, OPENING, QUIT, join, macros, offer, packet
from tests.engine.test_hot_path import AS_POSTFIX


def collecting() -> Any:
    """A filter that keeps the body in its context, and fails at a sender."""
    handlers = define_event_handlers(state={"text": b""})

    @handlers.mail
    def begin(event, ctx):
        if event.sender == "bad":
            raise ValueError("on purpose")
        return ctx

    @handlers.body
    def collect(event, ctx):
        return ctx.set("text", ctx["text"] + event.data)

    return handlers


def tape(reads: list[bytes], *, keeps_bodies: bool = True, handlers: Any = None) -> list[Stretch]:
    """The stretches of a session, which may go on."""
    found: list[Stretch] = []
    line = Line(
        open_connection(Setup(as_on_connect(handlers or collecting())), "s"),
        Tape(found.append, float, float, keeps_bodies=keeps_bodies),
    )
    for read in reads:
        line.receive_data(read)
        line.leave()
    return found


@frozen
class Kept:
    """Every watcher, and what it keeps of sessions."""

    flight: FlightRecorder
    capsules: CapsuleMaker
    recorder: Recorder
    explainer: Explainer
    metrics: Metrics

    def read(self, stretches: list[Stretch]) -> None:
        """Give them a tape."""
        for stretch in stretches:
            for watcher in (self.flight, self.capsules, self.recorder, self.explainer, self.metrics):
                watcher.read(stretch)

    def sessions(self) -> list[Any]:
        """Those that they still know."""
        assert self.recorder._writer.wait(20.0)
        return [
            *(*self.flight._open, *self.capsules._tapes, *self.recorder._played),
            *(*self.recorder._begun, *self.explainer._sessions, *self.metrics._last),
            *self.metrics._open,
        ]


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    """All of them."""
    found = Kept(
        FlightRecorder(tmp_path / "f"),
        CapsuleMaker(tmp_path / "c"),
        Recorder(tmp_path / "r"),
        Explainer(lambda line: None),
        Metrics(sink=Shared(Board(1))),
    )
    yield found
    found.recorder.close()


@pytest.mark.parametrize(
    "reads",
    [
        [join([offer(version=1)])],
        [join([offer()]), *(join([one]) for one in (*OPENING[1:], *AS_POSTFIX, QUIT))],
        [join([offer()]), join([*OPENING[1:], MAIL, packet("R")])],
    ],
    ids=["refused", "plain", "broken"],
)
def test_of_a_session_that_has_ended_nothing_is_kept(kept: Kept, reads: list[bytes]) -> None:
    """However it ended: by a refused offer, QUIT, or a packet that may not come."""
    stretches = tape(reads)
    assert stretches[-1].is_over
    kept.read(stretches[:-1])
    kept.read(stretches[-1:])
    assert kept.sessions() == []
    assert kept.capsules.size == 0


def test_a_tape_is_cut_also_if_a_read_holds_many_packets() -> None:
    """Each of which is an entry, as are the handlers that ran."""
    many = join([packet("B", b"x")] * 99)
    found = tape([join([offer(), *OPENING[1:], MAIL]), *[many] * 60], keeps_bodies=False)
    assert len(found) > 10
    assert max(len(one.heard) + len(one.outcomes) for one in found) < 4 * LONGEST / ENTRY


def test_if_nobody_wants_bodies_no_contexts_are_on_the_tape() -> None:
    """They may hold bodies. What was queued is there."""
    reads = [join([one]) for one in (offer(), *OPENING[1:], MAIL, packet("B", b"secret"), EOM)]
    results = [result for one in tape(reads, keeps_bodies=False) for _, result, _ in one.outcomes]
    assert results == [None, Queued(())]
    assert any(isinstance(one[1], PMap) for stretch in tape(reads) for one in stretch.outcomes)


def test_capsules_keep_the_contexts_of_a_few_stretches(tmp_path: Path) -> None:
    """Of a long message the earlier ones go."""
    maker = CapsuleMaker(tmp_path)
    chunk = join([packet("B", b"x" * 4000)])
    for stretch in tape([join([offer(), *OPENING[1:], MAIL]), *[chunk] * 100]):
        maker.read(stretch)
    (known,) = maker._tapes.values()
    with_contexts = [
        place
        for place, one in enumerate(known.stretches)
        if any(isinstance(result, PMap) for _, result, _ in one.outcomes)
    ]
    assert len(known.stretches) > 4
    assert with_contexts == [len(known.stretches) - 2, len(known.stretches) - 1]


def test_flights_keep_contexts_of_the_failure_only(tmp_path: Path) -> None:
    """And not of what comes after it in the same session."""
    recorder = FlightRecorder(tmp_path)
    bad = packet("M", b"<bad>\0")
    reads = [offer(), *OPENING[1:], bad, MAIL, packet("B", b"x"), EOM]
    for stretch in tape([join([one]) for one in reads]):
        recorder.read(stretch)
    ((_, flight),) = recorder._open.items()
    kept: Any = flight.kept
    assert not any(
        isinstance(one, PMap) for stretch in kept.stretches for one in stretch.results.values()
    )
    assert flight.why == "error"


def test_sessions_that_were_never_recorded_take_no_room(tmp_path: Path) -> None:
    """While the disk stands still, however many they are."""
    gate = threading.Event()
    recorder = Recorder(tmp_path, memory=0)
    recorder._writer.put(0, gate.wait, always=True)
    (first,) = tape([join([offer()])])
    for _ in range(50):
        recorder.read(first)
    assert recorder._writer.waiting == 1
    gate.set()
    recorder.close()


def test_an_event_loop_does_not_wait_for_a_recording(tmp_path: Path) -> None:
    """However much waits for the thread: all sessions would wait."""
    gate = threading.Event()
    recorder = Recorder(tmp_path, memory=20_000)
    recorder._writer.put(0, gate.wait)
    stretches = tape([join([one]) for one in (offer(), *OPENING[1:], *AS_POSTFIX)])

    async def read_all() -> None:
        for stretch in stretches * 2:
            recorder.read(stretch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demyjpy.trace.live.recorder.time.sleep", lambda _: pytest.fail("it waits"))
        asyncio.run(read_all())
    assert recorder._writer.size > 20_000 // 4
    gate.set()
    recorder.close()


def test_texts_of_long_macros_are_not_kept() -> None:
    """A peer may send 64 kB of them."""
    lines = PlainLines(raw=False)
    (name, payload) = macros("M", i="1", x="y" * 9000)
    assert name == ord("D")
    known = tape([join([offer(), *OPENING[1:]]), join([(name, payload), MAIL])])[-1].macros
    lines._queue_id(known.define(ord("M"), payload[1:]))
    assert lines._queue_ids == {}


def test_a_tape_of_turns_is_cut_before_its_steps_hold_many_bodies() -> None:
    """Also if nobody wants bodies: until then a step has its event."""
    handlers = collecting()
    handlers.add("define_macros", lambda event, ctx: ctx)  # so there is no hot path
    reads = [join([offer(), *OPENING[1:], MAIL]), *[join([packet("B", b"x" * 60_000)])] * 20]
    found = tape(reads, keeps_bodies=False, handlers=handlers)
    bodies = [sum(isinstance(step.event, Body) for step in one.steps or ()) for one in found]
    assert 0 < max(bodies) <= 2
