"""Replays of filters that ask: the recording answers, nobody else does, and what is new is named."""

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy import add_header, define_event_handlers, reject
from demyjpy.cli.output import Paint
from demyjpy.cli.program import main
from demyjpy.cli.replay_report import SessionReport, Tally, session_lines
from demyjpy.cli.replay_steps import show_steps
from demyjpy.cli.session_page import session_page
from demyjpy.cli.session_views import played_views, recorded_views
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.hot_path import Line
from demyjpy.engine.open_questions import Asked, Learned
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.questions import Answered, Ask, Failed, Late, Outcome, Question, Unasked, answer, ask
from demyjpy.trace import Trace, write
from demyjpy.trace.display.sentences import sentences
from demyjpy.trace.display.wording import words_of
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.format.json_events import dump_action
from demyjpy.trace.format.json_questions import RecordedAnswer, RecordedQuestion
from demyjpy.trace.format.known_answers import MOST_NAMED, KnownAnswers
from demyjpy.trace.format.privacy import Privacy
from demyjpy.trace.format.question_words import learned_words, outcome_words, question_words
from demyjpy.trace.replay.comparing import compare_bytes, compare_filters, compare_messages
from demyjpy.trace.replay.replaying import AskedAgain, Filter, is_unanswered, replay, replay_at_once
from tests.engine.filters_that_ask import Look, asking_filters, chain, feed, known_answer
from tests.engine.harness import ABORT, EOM, MAIL, OPENING, QUIT, RCPT, join, packet
from tests.engine.test_tape_of_questions import MESSAGES, turns
from tests.trace.format.test_json_questions import CheckSpf, Mute, Store
from tests.trace.format.test_records import saved


def recorded(handlers: Any, answer_: Any, *packets: Any, name: str = "s") -> Trace:
    """A session in which questions get these answers at once."""
    steps: list[Step] = []
    setup = Setup(as_on_connect(handlers), observer=steps.append)
    with FilterConnection(setup, name, answer_) as connection:
        for one in (*OPENING, *packets):
            connection.say(join([one]))
        connection.end()
    return saved(Trace.of_steps(steps, source="test"))


ONCE = ("connect", "mail", "data")
"""Events at which no handler asks a question that is still open, which would be its failure."""


@settings(max_examples=50, deadline=None)
@given(asking_filters, st.lists(st.sampled_from(MESSAGES), min_size=1), turns, st.integers(3, 80))
def test_a_session_that_asked_is_the_same_when_it_is_replayed(
    kinds: Any, told: Any, choices: Any, end: int
) -> None:
    """Whenever its answers came, and whether or not they came; nobody is asked."""
    kinds = [({key: "x" for key in early if key in ONCE}, own, needed) for early, own, needed in kinds]
    observed: list[Step] = []
    packets = [*OPENING, *(one for some in told for one in some), QUIT]
    setup = Setup(as_on_connect(chain(kinds)), known_answer=known_answer, observer=observed.append)
    feed(Line(open_connection(setup, "s")), packets, choices, end)
    trace = saved(Trace.of_steps(observed))
    if not trace.exchanges:
        return
    said, asked = replay_at_once(trace, Filter(chain(kinds)))
    if said == b"".join(one.expected for one in trace.exchanges):
        assert not asked.missing
        assert asked.known <= sum(len(step.learned) for step in observed)
    else:  # it ends while a handler waits
        assert is_unanswered(trace.exchanges[-1], trace.agreement)


def greylist(what: str = "address") -> Any:
    """Its verdict at each recipient is an answer; so is a field at the end."""
    handlers = define_event_handlers(name="grey", actions={"add_header"})

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ask(ctx, "spf", CheckSpf("192.0.2.1", event.sender))

    @handlers.recipient(asking=lambda event, ctx: {"grey": Look(getattr(event, what))})
    def recipient(event: Any, ctx: Any) -> Any:
        return reject(ctx) if answer(ctx, "grey", failed="?", late="?") == "bad" else ctx

    @handlers.end_of_message(needs={"spf"})
    def end(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Spf", str(answer(ctx, "spf", failed="none", late="late")))

    return handlers


def rcpt(address: str) -> Any:
    """RCPT with this address."""
    return packet("R", f"<{address}>\0".encode())


def by_address(asked: Asked) -> Outcome:
    """Some are bad, about some nothing is known."""
    what = getattr(asked.question, "what", "")
    if what.startswith("late"):
        return Late()
    return (
        Failed("no server") if what.startswith("fail") else Answered("bad" if "bad" in what else "pass")
    )


SESSION = (MAIL, rcpt("ann@x"), rcpt("bad@x"), rcpt("late@x"), rcpt("fail@x"), EOM, QUIT)


def test_the_answers_of_a_replay_come_from_the_recording() -> None:
    """None is missing, and each is counted."""
    trace = recorded(greylist(), by_address, *SESSION)
    found = compare_bytes(trace, Filter(greylist()))
    assert found.is_same
    assert found.asked == AskedAgain(5)
    assert compare_messages(trace, Filter(greylist())).asked == AskedAgain(5)
    assert compare_filters(trace, Filter(greylist()), Filter(greylist())).asked == AskedAgain(5)


def test_a_changed_answer_changes_the_sessions_that_used_it_and_no_other() -> None:
    """In the file, as anybody can change it."""
    packets = [(MAIL, rcpt(f"{name}@x"), EOM, QUIT) for name in ("ann", "bad", "eve", "ann")]
    traces = [
        recorded(greylist(), by_address, *one, name=f"s{number}") for number, one in enumerate(packets)
    ]
    changed = [_changed(one, "ann@x", "bad") for one in traces]
    same = [compare_bytes(one, Filter(greylist())).is_same for one in changed]
    assert same == [False, True, True, False]


def _changed(trace: Trace, what: str, value: str) -> Trace:
    text = json.dumps(trace.records)
    old = f'"fields": {{"what": "{what}"}}}}, "outcome": "answered", "value": "pass"'
    new = old.replace("pass", value)
    return evolve(trace, records=tuple(json.loads(text.replace(old, new))))


def test_the_same_question_gets_its_answers_in_order() -> None:
    """It was asked three times of the same filter under the same key."""
    answers = iter(["pass", "bad", "pass"])
    trace = recorded(
        greylist(),
        lambda asked: Answered(next(answers) if isinstance(asked.question, Look) else "x"),
        *(MAIL, RCPT, RCPT, RCPT, EOM, QUIT),
    )
    assert [len(one.refused) for one in trace.messages] == [1]
    assert compare_bytes(trace, Filter(greylist())).is_same


def test_what_was_not_asked_then_is_named_and_fails() -> None:
    """So is how often; the filter goes on with its own answer to that."""
    trace = recorded(greylist(), by_address, *SESSION)
    found = compare_bytes(trace, Filter(greylist("raw")))
    assert not found.is_same
    assert found.asked.known == 1
    assert found.asked.missing[0] == "asked what was not asked then: grey Look(what='<ann@x>')"
    assert len(found.asked.missing) == 4
    lines = [*session_lines(SessionReport.of(found))]
    assert "session s: asked what the recording cannot answer" in lines
    tally = Tally()
    tally.add(SessionReport.of(found))
    told = "\n".join(tally.lines(in_bytes=True))
    assert "asked from the recording: 1 question; nobody else was asked" in told
    assert "not recorded: the answers to 4 questions" in told
    assert tally.as_json()["asked_without_answer"] == 4
    assert SessionReport.of(found).as_json()["asked"]["known"] == 1


def test_a_filter_that_asks_more_and_says_the_same_is_told_of() -> None:
    """Its session does not differ, but it is worth telling; of many, the first are named."""
    handlers = define_event_handlers(name="other")
    handlers.add("recipient", lambda event, ctx: ctx, asking=lambda event, ctx: {"k": Look("x" * 999)})
    plain = define_event_handlers({"recipient": lambda event, ctx: ctx}, name="other")
    trace = recorded(plain, by_address, MAIL, *[RCPT] * (MOST_NAMED + 5), EOM, QUIT)
    found = compare_bytes(trace, Filter(handlers))
    assert found.is_same
    assert len(found.asked.missing) == MOST_NAMED
    assert found.asked.more == 5
    report = SessionReport.of(found)
    assert report.is_worth_telling
    lines = [*session_lines(report)]
    assert lines[-1] == "    and 100 more"
    assert all(len(one) < 300 for one in lines)


def test_a_question_that_was_never_answered_stays_open() -> None:
    """Its message ended before; in the replay it is no new question."""
    handlers = greylist()
    steps: list[Step] = []
    setup = Setup(as_on_connect(handlers), observer=steps.append)
    with FilterConnection(setup, "s", lambda asked: None) as connection:
        for one in (*OPENING, MAIL, ABORT, MAIL, ABORT, QUIT):
            connection.say(join([one]))
        connection.end()
    trace = saved(Trace.of_steps(steps))
    found = replay(trace, Filter(handlers))
    assert found.asked == AskedAgain(0)
    assert compare_bytes(trace, Filter(handlers)).is_same


def test_a_recording_that_ends_while_a_handler_waits_is_replayed_so_far() -> None:
    """There is no answer to that step, so none is missing."""
    steps: list[Step] = []
    setup = Setup(as_on_connect(greylist()), observer=steps.append)
    with FilterConnection(setup, "s", lambda asked: None) as connection:
        for one in (*OPENING, MAIL, RCPT):
            connection.say(join([one]))
        connection.end()
    trace = saved(Trace.of_steps(steps))
    assert compare_bytes(trace, Filter(greylist())).is_same
    assert replay(trace, Filter(greylist())).asked == AskedAgain(0)


def test_an_answer_that_was_left_out_is_named_and_fails() -> None:
    """Such as that of a flight that keeps the envelope."""
    trace = recorded(greylist(), by_address, MAIL, rcpt("ann@x"), rcpt("late@x"), EOM, QUIT)
    kept = evolve(trace, records=tuple(map(Privacy(keep="envelope").of, trace.records)))
    found = compare_bytes(kept, Filter(greylist()))
    assert found.asked.missing == (
        "asked what is left out here: grey SPF for alice@example.org from 192.0.2.1",
        "asked what is left out here: grey Look(what='ann@x')",
    )
    assert found.asked.known == 1


def test_a_handler_that_failed_asked_nothing() -> None:
    """What is in its record as queued is no question that stayed open."""
    record: dict[str, Any] = {"actions": [dump_action(Ask("k", Look("x")))]}
    asked = Asked(1, 0, "f", "k", Look("x"), 5.0)
    assert KnownAnswers([record])(asked) is None
    assert isinstance(KnownAnswers([{**record, "error": {}}])(asked), Failed)


def test_a_replay_may_ask_for_real() -> None:
    """Then the recording answers nothing."""
    trace = recorded(greylist(), by_address, *SESSION)
    found = compare_bytes(trace, Filter(greylist(), ask=lambda asked: Answered("bad")))
    assert not found.is_same
    assert found.asked == AskedAgain()


def test_a_trace_is_played_with_its_answers() -> None:
    """Step by step, as the filter answers now."""
    trace = recorded(greylist(), by_address, *SESSION)
    steps = trace.step(greylist())
    assert sum(len(one.learned) for one in steps) == 5
    assert b"X-Spf" in b"".join(one.sent for one in steps)


# ------------------------------------------------------------------------------------- as words
@pytest.mark.parametrize(
    ("question", "words"),
    [
        (CheckSpf("192.0.2.1", "ann@example.org"), "SPF for ann@example.org from 192.0.2.1"),
        (Look("x\x1b"), "Look(what='x\\x1b')"),
        (RecordedQuestion("Look"), "Look(...)"),
        (Look("x" * 999), f"Look(what='{'x' * 186}..."),
        (Mute(), "Mute()"),
    ],
)
def test_a_question_in_words(question: Any, words: str) -> None:
    """Its own, or its class and fields; never long, and harmless."""
    assert question_words(question) == words


class Odd(Question):
    """Its fields cannot be had."""

    __attrs_attrs__ = 5


def test_a_question_that_cannot_be_looked_into_is_its_class() -> None:
    """Whatever it does."""
    assert question_words(Odd()) == "Odd(...)"


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Answered("fail"), "fail"),
        (Answered(""), "''"),
        (Answered(("x", 1)), "('x', 1)"),
        (Answered("x" * 99), "x" * 77 + "..."),
        (Failed("no server"), "failed: no server"),
        (Late(), "late"),
        (Unasked(), "unasked"),
    ],
)
def test_an_outcome_in_words(outcome: Outcome, words: str) -> None:
    """The value, or why there is none."""
    assert outcome_words(outcome) == words


def test_what_was_learned_in_words() -> None:
    """With what it took; short for a line."""
    asked = Asked(1, 0, "spf", "spf", CheckSpf("192.0.2.1", "ann@example.org"), 5.0)
    learned = Learned(asked, Answered("fail"), 0.081)
    assert learned_words(learned) == "SPF for ann@example.org from 192.0.2.1: fail, 81 ms"
    assert learned_words(Learned(asked, Late())) == "SPF for ann@example.org from 192.0.2.1: late"
    question = RecordedQuestion("Look", {"what": "x" * 150})
    found = RecordedAnswer("f", "k", question, "answered", None, 2.0)
    assert learned_words(found, is_short=True).endswith("...: answered, 2000 ms")
    assert len(learned_words(found, is_short=True)) < 120


def test_what_handlers_ask_for_in_words() -> None:
    """Among their actions."""
    trace = recorded(greylist(), by_address, MAIL, ABORT, QUIT)
    (action,) = trace.at("mail").actions
    assert words_of(action) == "ask spf: SPF for alice@example.org from 192.0.2.1"
    assert words_of(Store("x")) == "Store(what='x')"


def many(event: Any, ctx: Any) -> Any:
    """Thirty questions."""
    return {f"k{number}": Look(str(number)) for number in range(30)}


def test_a_message_is_told_with_what_was_learned() -> None:
    """In sentences, in steps and on pages; of many questions the first ones."""
    trace = recorded(greylist(), by_address, *SESSION)
    told = "\n".join(sentences(trace, trace.messages[0]))
    assert "grey asked: SPF for alice@example.org from 192.0.2.1: pass." in told
    assert "grey asked: Look(what='fail@x'): failed: no server." in told
    assert "Dropped" not in told
    pages = [
        session_page(trace, views, "now")
        for views in (recorded_views(trace.moments), played_views(trace.step(greylist())))
    ]
    for page in pages:
        assert "learned: SPF for alice@example.org from 192.0.2.1: pass" in page
    handlers = define_event_handlers(name="f")
    handlers.add("recipient", lambda event, ctx: ctx, asking=many)
    trace = recorded(handlers, by_address, MAIL, RCPT, EOM, QUIT)
    assert "And 10 questions more were asked there." in sentences(trace, trace.messages[0])


def test_answers_that_no_handler_saw_are_on_a_page() -> None:
    """At the step where their message ended."""
    handlers = define_event_handlers({"mail": lambda event, ctx: ask(ctx, "k", Look("x"))}, name="f")
    trace = recorded(handlers, by_address, MAIL, ABORT, QUIT)
    for views in (recorded_views(trace.moments), played_views(trace.step(handlers))):
        assert "learned: Look(what=&#x27;x&#x27;): pass" in session_page(trace, views, "now")


def test_steps_show_what_was_learned(capsys: pytest.CaptureFixture[str]) -> None:
    """As recorded and as played; of many the first."""
    handlers = define_event_handlers(name="f")
    handlers.add("recipient", lambda event, ctx: ctx, asking=many)
    trace = recorded(handlers, by_address, MAIL, RCPT, EOM, QUIT)
    for one in (None, handlers):
        show_steps(trace, one, Paint(False))
        told = capsys.readouterr().out
        assert "learned: Look(what='19'): pass" in told
        assert "Look(what='20')" not in told
        assert "learned: 10 more" in told


FILTER = """
    from attrs import frozen
    from demyjpy import add_header, define_event_handlers
    from demyjpy.questions import Question, answer

    @frozen
    class Word(Question):
        def perform(self, resources):
            raise SystemExit("expected that nobody is asked")

    handlers = define_event_handlers(name="f", actions={"add_header"})

    @handlers.end_of_message(asking=lambda event, ctx: {"word": Word()})
    def end(event, ctx):
        return add_header(ctx, "X-Word", answer(ctx, "word", failed="none"))
"""


def test_the_command_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how many questions the recording has answered."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "asking_filter.py").write_text(dedent(FILTER))
    scope: dict[str, Any] = {"__name__": "asking_filter"}
    exec(dedent(FILTER), scope)  # the filter above
    trace = recorded(scope["handlers"], lambda asked: Answered("hello"), MAIL, RCPT, EOM, QUIT)
    write("t.jsonl", [trace])
    assert main(["replay", "t.jsonl", "asking_filter.py"]) == 0
    out = capsys.readouterr().out
    assert "asked from the recording: 1 question; nobody else was asked" in out
    assert main(["replay", "t.jsonl", "asking_filter.py", "--live"]) == 1  # its performer fails
    out = capsys.readouterr().out
    assert "asked from the recording" not in out
    assert "1 session differs" in out
    assert main(["replay", "t.jsonl", "asking_filter.py", "--step", "--live"]) == 2
