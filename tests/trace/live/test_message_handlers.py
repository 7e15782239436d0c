"""What watches a filter whose handlers get messages as values: the same from tapes and from steps."""

import json
import queue
from pathlib import Path
from typing import Any

import pytest

from demyjpy import become, define_event_handlers, merge_handlers
from demyjpy.engine.connection import Step
from demyjpy.metrics.board import Board
from demyjpy.metrics.counting import Metrics
from demyjpy.metrics.figures import Shared
from demyjpy.testing import Postfix, run, session
from demyjpy.trace import (
    CapsuleMaker,
    Explainer,
    FlightRecorder,
    Recorder,
    Trace,
    Triggers,
    canary,
    load,
    load_capsule,
    shadow,
)
from demyjpy.trace.display.sentences import sentences
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter
from tests.engine.harness import ABORT, BODY, EOM, MAIL, OPENING, QUIT, RCPT, join, macros, packet
from tests.engine.test_tape import play
from tests.metrics.test_counting_from_tapes import figures_of
from tests.trace.live.test_tapes import PRIVACIES, of, records_in, without_changes
from tests.trace.sessions import watched

FIELDS = [
    packet("L", f"{name}\0 {value}\0".encode())
    for name, value in (
        *(("Subject", "one"), ("X-Spam-Score", "1"), ("X-Spam-Flag", "no"), ("Received", "from a")),
        *(("Received", "from b"), ("X-Fail", "not")),
    )
]
BAD = packet("L", b"X-Fail\0 yes\0")
LETTER = (macros("M", i="Q1"), MAIL, RCPT, *FIELDS, BODY, EOM, ABORT)
SESSION = (*OPENING, *LETTER, macros("M", i="Q2"), MAIL, RCPT, BAD, BODY, EOM, ABORT, QUIT)


def tagger(word: str = "two", name: str = "tagger") -> Any:
    """A filter that edits all that there is; it fails if it is told to."""
    handlers = define_event_handlers(name=name, edits="all")

    @handlers.message
    def tag(event: Any, ctx: Any) -> Any:
        if event.get("X-Fail") == "yes":
            raise ValueError("told to fail")
        changed = event.without("X-Spam-*").without("Received").set("Subject", word)
        changed = changed.with_body(b"x" * 12_343 + b"\r\n").with_sender("ann@example.net")
        return become(ctx, changed.add_recipient("c@z.example").drop_recipient("bob@example.org"))

    return handlers


CHANGES = (
    "Subject changed, 2 fields Received deleted, 2 fields X-Spam-* deleted, "
    "sender changed to <ann@example.net>, body replaced (12,345 bytes), "
    "recipient <c@z.example> added, recipient <bob@example.org> deleted"
)


@pytest.mark.parametrize("is_taped", [True, False])
def test_the_explain_line_says_what_changed(is_taped: bool) -> None:
    """In words, with who did it; the time of the handler counts."""
    lines: list[str] = []
    explainer = Explainer(lines.append)
    chunks = [join([one]) for one in SESSION]
    if is_taped:
        play(of(tagger()), chunks, explainer.read)
    else:
        play(of(tagger()), chunks, observer=explainer)
    assert len(lines) == 2
    first, second = lines
    assert ": accepted, 9 changes by tagger: tests.trace.live.test_message_handlers.tagger" in first
    assert f"({CHANGES})" in first
    assert ": tempfailed at end_of_message" in second
    assert "1 failure of handlers" in second


def test_sentences_name_the_event() -> None:
    """Of a handler that fails, and of the one that took longest."""
    steps, _ = watched(tagger(), *SESSION, clock=iter(range(100)).__next__)
    trace = Trace.of_steps(steps, source="test")
    told = ["\n".join(sentences(trace, one)) for one in trace.messages]
    name = "tagger: tests.trace.live.test_message_handlers.tagger.<locals>.tag"
    assert f"Change: change header Subject no. 1 to: two, asked for by {name}." in told[0]
    assert f"ms of it {name} at message." in told[0]
    assert f"{name} failed at message: ValueError: told to fail." in told[1]


def test_a_trace_says_that_a_handler_got_the_message() -> None:
    """It is played again exactly, and the second filter's edits differ."""
    steps, _ = watched(merge_handlers(tagger(), tagger("three", "other")), *SESSION)
    trace = Trace.of_steps(steps, source="test")
    assert [one["again"] for one in trace.records if "again" in one] == ["message"] * 3
    assert compare_bytes(trace, Filter(merge_handlers(tagger(), tagger("three", "other")))).is_same
    assert not compare_bytes(trace, Filter(tagger())).is_same


@pytest.mark.parametrize("name", PRIVACIES)
@pytest.mark.parametrize("defers", [True, False])
def test_a_flight_from_the_tape_is_that_from_steps(name: str, defers: bool, tmp_path: Path) -> None:
    """Also where texts and bodies are not kept: the edits are as many, and go out as they did."""
    quiet = Triggers(errors=False, slower_than=None)
    by_tape, by_steps = (
        FlightRecorder(tmp_path / one, privacy=PRIVACIES[name], triggers=quiet) for one in ("t", "s")
    )
    chunks = [join([one]) for one in SESSION]
    setup: dict[str, Any] = {"defers": lambda handler: defers and handler.event == "message"}
    play(of(tagger()), chunks, by_tape.read, keeps_bodies=by_tape.keeps_bodies, **setup)
    play(of(tagger()), chunks, observer=by_steps, **setup)
    expected = without_changes(records_in(by_steps.dump()))
    assert without_changes(records_in(by_tape.dump())) == expected
    assert [len(one["actions"]) for one in expected if one.get("again") and "actions" in one] == [9]
    by_tape.close()
    by_steps.close()


def test_an_outcome_of_a_message_handler_starts_a_flight(tmp_path: Path) -> None:
    """What it answers is the answer to the end of the message."""
    recorder = FlightRecorder(tmp_path, triggers=Triggers(errors=False, outcomes="accepted"))
    play(of(tagger()), [join([one]) for one in (*OPENING, *LETTER, QUIT)], observer=recorder)
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert "outcome" in path.name


def test_a_recording_is_written_at_the_end_of_a_message(tmp_path: Path) -> None:
    """Also if its last handler is one of message."""
    recorder = Recorder(tmp_path)
    steps: list[Step] = []

    def observe(step: Step) -> None:
        steps.append(step)
        recorder(step)

    play(of(tagger()), [join([one]) for one in SESSION], observer=observe)
    recorder.close()
    (path,) = tmp_path.iterdir()
    (trace,) = load(path)
    assert [str(one.outcome) for one in trace.messages] == ["accepted", "tempfailed"]


@pytest.mark.parametrize("is_taped", [True, False])
def test_a_capsule_of_a_message_handler(is_taped: bool, tmp_path: Path) -> None:
    """It fails at message again when its session is played."""
    maker = CapsuleMaker(tmp_path)
    chunks = [join([one]) for one in SESSION]
    if is_taped:
        play(of(tagger()), chunks, maker.read)
    else:
        play(of(tagger()), chunks, observer=maker)
    maker.close()
    (path,) = tmp_path.iterdir()
    found = load_capsule(path)
    assert (found.event, found.error, found.queue_id) == ("message", "ValueError", "Q2")
    errors = [step.error for step in found.trace.step(tagger()) if step.error is not None]
    assert [str(one) for one in errors] == ["told to fail"]
    assert json.loads(path.read_bytes().splitlines()[0])["capsule"]["event"] == "message"


@pytest.mark.parametrize("is_taped", [True, False])
def test_metrics_count_the_message_that_such_a_handler_ends(is_taped: bool) -> None:
    """With the time by the event ``message``; the ABORT of Postfix behind it is none given up."""
    board = Board(1)
    metrics = Metrics(sink=Shared(board))
    chunks = [join([one]) for one in SESSION]
    if is_taped:
        play(of(tagger()), chunks, metrics.read, keeps_bodies=False, clock=iter(range(100)).__next__)
    else:
        play(of(tagger()), chunks, observer=metrics, clock=iter(range(100)).__next__)
    figures = figures_of(board)
    board.close()
    assert figures["messages", "accepted"] == figures["messages", "tempfailed"] == 1
    assert ("messages", "given up") not in figures
    assert figures["verdicts", "end_of_message", "tempfailed"] == 1
    assert figures["refusals", "tagger"] == 1
    assert ("handler_seconds", "message") in {key[:2] for key in figures}


LINES = session().mail("ann@example.org").rcpt("bob@example.net").message("Subject: one\n\nhi\n")


@pytest.mark.parametrize(("share", "subject"), [(0.0, "live"), (1.0, "candidate")])
def test_a_canary_of_filters_with_message_handlers(share: float, subject: str) -> None:
    """Each edits the messages that are for it."""
    both = canary(tagger("live"), tagger("candidate"), share=share)
    assert run(both, LINES, mta=Postfix()).message.get("Subject") == subject


def test_a_shadow_gets_messages_that_the_live_filter_does_not_ask_for() -> None:
    """Sender, recipients, header and body come without answers."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    live = define_event_handlers({"end_of_message": lambda event, ctx: ctx}, name="live")
    result = run(shadow(live, tagger("candidate"), report=told.put), LINES, mta=Postfix())
    assert result.actions == ()
    found = told.get(timeout=20)
    kinds = {type(one).__name__ for one in found.new.edits}
    assert kinds == {"ChangeHeader", "ReplaceBody", "ChangeSender", "AddRecipient"}
    assert not found.old.edits
