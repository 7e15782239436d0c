"""What the observers of a process hold together, how it is counted, and what they give up for it."""

import gc
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from demyjpy.context import new_context
from demyjpy.engine.connection import Step
from demyjpy.engine.macros import NO_MACROS
from demyjpy.engine.tape import Stretch
from demyjpy.trace import CapsuleMaker, FlightRecorder, Recorder, Trace
from demyjpy.trace.format.reading import Reading
from demyjpy.trace.live.background_writer import SWITCH, BackgroundWriter, rest_after
from demyjpy.trace.live.kept_sessions import weight_of_contexts
from demyjpy.trace.live.shared_memory import SHARED, TOGETHER, SharedMemory
from tests.engine.harness import EOM, MAIL, OPENING, RCPT, join, offer, packet
from tests.trace.live.test_watchers_let_go import tape


@define(eq=False)
class Other:
    """Another observer of this process."""

    held: int
    memory: int = TOGETHER


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds a thread up."""
    found = threading.Event()
    yield found
    found.set()


def session() -> list[Stretch]:
    """A session with two messages, in turns and on the hot path."""
    message = [MAIL, RCPT, packet("B", b"x" * 3000), EOM]
    reads = [join([offer()]), join(OPENING[1:]), join(message), join(message), join([packet("Q")])]
    return tape(reads)


def one_of(number: int) -> list[Stretch]:
    """The same session with another name."""
    name = f"s{number}"
    return [one._replace(opened=one.opened.of_session(name)) for one in session()]


def ends(directory: Path) -> dict[str, Any]:
    found: list[Trace] = [one for path in directory.glob("*.jsonl") for one in Reading(str(path))]
    return {one.name: (one.how, one.reason) for one in found}


def test_what_all_hold_is_summed_up_while_they_are_there() -> None:
    """The largest limit counts if it is larger than that of all."""
    shared = SharedMemory(100)
    assert shared.room() == 100
    first, second = Other(30, 50), Other(60, 200)
    shared.join(first)
    assert shared.room() == 70
    shared.join(second)
    assert shared.room() == 110
    second.held = 300
    assert shared.room() == -130
    del second
    gc.collect()
    assert shared.room() == 70


def test_each_gives_up_detail_when_the_others_hold_too_much(
    tmp_path: Path, gate: threading.Event
) -> None:
    """Beyond a quarter of its own limit; up to that each has room in any case."""
    for name in ("record", "flight", "capsules"):
        (tmp_path / name).mkdir()
    recorder = Recorder(tmp_path / "record", memory=40_000)
    flight = FlightRecorder(tmp_path / "flight", memory=8_000)
    maker = CapsuleMaker(tmp_path / "capsules", memory=40_000)
    other = Other(TOGETHER)
    SHARED.join(other)
    recorder._writer.put(0, gate.wait)  # the disk stands still
    for number in range(20):
        for stretch in one_of(number)[:-1]:
            for one in (recorder, flight, maker):
                one.read(stretch)
    for one, part in ((recorder, 5_000), (flight, 1_000), (maker, 5_000)):
        assert part < one.held < 15_000
    other.held = 0
    before = maker.held
    for stretch in one_of(30)[:-1]:
        maker.read(stretch)
    assert maker.held > before + 5_000
    gate.set()
    recorder.close()
    assert {*ends(tmp_path / "record").values()} >= {("cut", "the disk did not keep up")}


def test_flights_that_have_ended_go_when_others_need_the_memory(tmp_path: Path) -> None:
    """Beyond a quarter of its own limit."""
    flight = FlightRecorder(tmp_path, memory=80_000)
    for number in range(60):
        for stretch in one_of(number):
            flight.read(stretch)
    held = flight.held
    other = Other(TOGETHER)
    SHARED.join(other)
    for stretch in one_of(60):
        flight.read(stretch)
    assert flight.held <= 20_000 < held


def test_a_recorder_holds_no_steps(tmp_path: Path, gate: threading.Event) -> None:
    """Its thread makes them again; they hold events and contexts."""
    recorder = Recorder(tmp_path)
    recorder._writer.put(0, gate.wait)
    stretches = one_of(77)
    assert any(stretch.steps for stretch in stretches)
    for stretch in stretches:
        recorder.read(stretch)
    del stretch, stretches
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, Step) and one.session == "s77"]
    assert kept == []
    gate.set()
    recorder.close()
    assert ends(tmp_path) == {"s77": ("quit", "")}


def test_contexts_count_with_what_is_new_in_them() -> None:
    """A handler may gather a body, so that each context of a message holds one more."""
    ctx = new_context().set("macros", NO_MACROS.define(ord("M"), b"x" * 5000)).set("text", b"")
    results: list[Any] = [ctx]
    first = weight_of_contexts(results)
    assert 5_000 < first < 8_000
    for _ in range(10):
        ctx = ctx.set("text", ctx["text"] + b"x" * 1000)
        results.append(ctx)
    assert 55_000 < weight_of_contexts(results) - first < 70_000
    listed = [ctx.set("lines", ("x" * 1000,) * 10), None]
    assert weight_of_contexts(listed) - weight_of_contexts(results[-1:]) > 10_000


def test_a_thread_of_an_observer_leaves_time_to_who_serves_mail() -> None:
    """It gives the interpreter's lock away early, and rests for as long as it has worked."""
    assert (rest_after(0.0001), rest_after(0.01), rest_after(10.0)) == (0.0, 0.01, 0.05)
    done: list[int] = []

    def work() -> None:
        until = time.thread_time() + 0.003
        while time.thread_time() < until:
            pass
        done.append(1)

    writer = BackgroundWriter("test", 100, lag=0.001)
    for _ in range(20):
        writer.put(1, work)
    while len(done) < 3:
        time.sleep(0.001)
    assert writer.wait(30.0)  # now it does not rest
    assert len(done) == 20
    assert sys.getswitchinterval() <= SWITCH * 1.01
    writer.close()
