"""Flights of filters that ask: the records that steps give, and in memory no more than those."""

import itertools
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import define_event_handlers, send_action
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.metrics.counting import Metrics
from demyjpy.questions import Answered, Failed, Late, answer, ask
from demyjpy.trace import FlightRecorder, Recorder, Triggers, load
from demyjpy.trace.format.scrubbing import Scrubber
from demyjpy.trace.live.explain_line import Explainer
from demyjpy.trace.live.kept_sessions import keep_stretch, weight_of
from tests.engine.filters_that_ask import Look, asking_filters, chain, feed, known_answer
from tests.engine.harness import BODY, EOM, HEADER, MAIL, OPENING, QUIT, RCPT, join
from tests.engine.test_tape_of_questions import MESSAGES, turns, values_in
from tests.trace.format.test_json_questions import CheckSpf, Store
from tests.trace.live.test_tapes import PRIVACIES, records_in, without_changes

QUIET = Triggers(errors=False, slower_than=None)


def fly(watchers: tuple[Any, Any], handlers: Any, packets: Any, choices: Any, end: int) -> None:
    """A session, twice: one watcher reads its tape, one is called with its steps."""
    tape = Tape(watchers[0].read, itertools.count().__next__, lambda: 0.0, keeps_bodies=True)
    setup = Setup(as_on_connect(handlers), known_answer=known_answer)
    feed(Line(open_connection(setup, "one"), tape), packets, choices, end)
    setup = Setup(as_on_connect(handlers), known_answer=known_answer, observer=watchers[1])
    feed(Line(open_connection(setup, "one")), packets, choices, end)


@pytest.mark.parametrize("kind", PRIVACIES)
def test_a_flight_of_questions_from_the_tape_is_that_from_steps(kind: str, tmp_path: Path) -> None:
    """Whatever is asked, and however much of it may be kept."""
    found = [
        FlightRecorder(tmp_path / name, privacy=PRIVACIES[kind], triggers=QUIET, files=900)
        for name in ("tape", "steps")
    ]

    @settings(max_examples=30, deadline=None)
    @given(asking_filters, st.sampled_from(MESSAGES), turns, st.integers(3, 60))
    def check(kinds: Any, told: Any, choices: Any, end: int) -> None:
        fly((found[0], found[1]), chain(kinds), [*OPENING, *told, QUIT], choices, end)
        tape, steps = (without_changes(records_in(one.dump())) for one in found)
        assert tape == steps

    check()
    for one in found:
        one.close()


def secret_filter() -> Any:
    """Whatever may be private is in its questions, keys, answers, failures and requests."""
    handlers = define_event_handlers(name="f")

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        ctx = ask(ask(ctx, "secret one", Look("secret")), "secret two", Look("secret"))
        return send_action(ctx, Store("secret"))

    @handlers.recipient(asking=lambda event, ctx: {"secret": Look("secret")})
    def recipient(event: Any, ctx: Any) -> Any:
        return ctx

    @handlers.end_of_message(needs={"secret two"})
    def end(event: Any, ctx: Any) -> Any:
        return ctx.set("said", answer(ctx, "secret two"))

    return handlers


PACKETS = [*OPENING, MAIL, RCPT, HEADER, BODY, EOM, QUIT]


@pytest.mark.parametrize("kind", ["envelope", "headers", "redacted"])
def test_what_is_private_in_a_question_is_not_in_memory(kind: str) -> None:
    """Nor in what is made of it; of a key that is a name, it is only the name."""
    stretches: list[Stretch] = []
    tape = Tape(stretches.append, float, float)
    line = Line(open_connection(Setup(as_on_connect(secret_filter())), "one"), tape)
    sent = [Answered("secret"), Failed("secret")]
    for number, one in enumerate(PACKETS):
        feed_and_answer(line, one, sent[number % 2])
    scrubber = Scrubber(PRIVACIES[kind])
    kept = [keep_stretch(one, scrubber) for one in stretches]
    texts = [
        value
        for one in kept
        for result in one.results.values()
        for value in values_in(result)
        if isinstance(value, str) and "secret" in value
    ]
    assert set(texts) == {"secret"}  # the key that is a name
    asked = [one for piece in kept for one in piece.results.values() if type(one) is tuple]
    assert asked[0][0].question.fields is None


def feed_and_answer(line: Line, one: Any, outcome: Any) -> None:
    """Say a packet; all that is asked gets this."""
    line.receive_data(join([one]))
    while found := [*line.leave().open_questions]:
        line.take_answer(found[0], outcome, 0.1)


def test_answers_count_in_memory() -> None:
    """A large one takes as much as it is long."""
    stretches: list[Stretch] = []
    tape = Tape(stretches.append, float, float)
    line = Line(open_connection(Setup(as_on_connect(secret_filter())), "one"), tape)
    for one in PACKETS:
        feed_and_answer(line, one, Answered("x" * 10_000))
    weights = [weight_of(result) for one in stretches for result in one.results.values()]
    assert sum(one > 10_000 for one in weights) == 3
    lean = [one.outline() for one in stretches]
    assert max(weight_of(result) for one in lean for result in one.results.values()) > 10_000


def test_a_recorder_writes_what_was_asked_and_learned(tmp_path: Path) -> None:
    """From the tape, as it does from steps."""
    recorders = Recorder(tmp_path / "tape"), Recorder(tmp_path / "steps")
    fly(recorders, secret_filter(), PACKETS, [1, 2, 3], 100)
    found = []
    for one in recorders:
        one.close()
    for name in ("tape", "steps"):
        (path,) = (tmp_path / name).iterdir()
        (trace,) = load(path)
        found.append([(m.name, m.actions, [part.learned for part in m.parts]) for m in trace.moments])
    assert found[0] == found[1]
    assert sum(len(learned) for *_, parts in found[0] for learned in parts) == 3


def test_a_slow_answer_is_no_slow_handler(tmp_path: Path) -> None:
    """What a flight is written for is the same from the tape as from steps."""
    triggers = Triggers(slower_than=1.0)
    stretches: list[Stretch] = []
    line = Line(
        open_connection(Setup(as_on_connect(secret_filter())), "one"),
        Tape(stretches.append, float, float),
    )
    for one in PACKETS:
        line.receive_data(join([one]))
        while found := [*line.leave().open_questions]:
            line.take_answer(found[0], Answered("x"), 5.0)
    assert not any(map(triggers.why_of, stretches))


def test_the_explain_line_says_what_was_asked() -> None:
    """Short, and no more than a line can have; the next message begins anew."""
    lines: list[str] = []
    handlers = define_event_handlers(name="f")

    @handlers.recipient(asking=lambda event, ctx: {"is": Look("there"), "spf": CheckSpf("::1", "a@b")})
    def recipient(event: Any, ctx: Any) -> Any:
        return ctx

    packets = [*OPENING, MAIL, RCPT, RCPT, RCPT, HEADER, EOM, MAIL, HEADER, EOM, QUIT]
    for number, how in enumerate(("tape", "steps")):
        explainer = Explainer(lines.append)
        setup = Setup(as_on_connect(handlers), observer=explainer if number else None)
        tape = None if number else Tape(explainer.read, float, float)
        line = Line(open_connection(setup, how), tape)
        for one in packets:
            feed_and_answer(line, one, Answered("fail"))
        line.hang_up()
    words = (
        "asked Look(what='there'): fail, 100 ms; SPF for a@b from ::1: fail, 100 ms; "
        "Look(what='there'): fail, 100 ms; SPF for a@b from ::1: fail, 100 ms; "
        "Look(what='there'): fail, 100 ms; and 1 more"
    )
    assert [words in one for one in lines] == [True, False, True, False]


def test_metrics_count_questions() -> None:
    """By filter, class and what became of them; and how long answers took."""
    found = []
    for number in range(2):
        registry = prometheus_client.CollectorRegistry()
        metrics = Metrics(registry)
        setup = Setup(as_on_connect(secret_filter()), observer=metrics if number else None)
        line = Line(open_connection(setup, "one"), None if number else Tape(metrics.read, float, float))
        for one in PACKETS:
            feed_and_answer(line, one, Late() if one is RCPT else Answered("x"))
        line.hang_up()
        labels = {"filter": "f", "question": "Look"}
        value = registry.get_sample_value
        found.append(
            (
                value("demyjpy_questions_total", {**labels, "outcome": "answered"}),
                value("demyjpy_questions_total", {**labels, "outcome": "late"}),
                value("demyjpy_question_seconds_count", labels),
                round(value("demyjpy_question_seconds_sum", labels) or 0.0, 3),
            )
        )
    assert found == [(2.0, 1.0, 3.0, 0.3)] * 2


def test_an_answer_that_took_nobody_knows_how_long_is_counted_without_a_time() -> None:
    """A driver need not say it."""
    registry = prometheus_client.CollectorRegistry()
    metrics = Metrics(registry)
    line = Line(
        open_connection(Setup(as_on_connect(secret_filter())), "one"), Tape(metrics.read, float, float)
    )
    for one in PACKETS:
        line.receive_data(join([one]))
        while found := [*line.leave().open_questions]:
            line.take_answer(found[0], Answered("x"), None)
    line.hang_up()
    labels = {"filter": "f", "question": "Look"}
    value = registry.get_sample_value
    assert value("demyjpy_questions_total", {**labels, "outcome": "answered"}) == 3.0
    assert value("demyjpy_question_seconds_count", labels) is None
