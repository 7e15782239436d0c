"""Capsules of filters that ask: they hold the answers, and so do the tests that are made of them."""

from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

import pytest
from attrs import evolve
from pyrsistent import pmap

from demyjpy.cli.capsule_answers import MOST, answers_in, as_python, code_of_answers
from demyjpy.cli.commands.capsule import code_of
from demyjpy.cli.loading import Wanted, load_filter
from demyjpy.cli.program import main
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.tape import Tape
from demyjpy.questions import Answered, Failed, Late, Outcome
from demyjpy.trace import CapsuleMaker, Trace, load_capsule
from demyjpy.trace.format.json_questions import dump_question
from tests.engine.filters_that_ask import Look
from tests.engine.harness import BODY, EOM, HEADER, MAIL, OPENING, RCPT
from tests.trace.live.test_flights_of_questions import feed_and_answer

FILTER = """
    from attrs import frozen
    from demyjpy import define_event_handlers
    from demyjpy.questions import Question, answer

    @frozen
    class Word(Question):
        of: object

    handlers = define_event_handlers(name="f")

    @handlers.recipient(asking=lambda event, ctx: {"word": Word(WHAT)})
    def recipient(event, ctx):
        return ctx

    @handlers.end_of_message(asking=lambda event, ctx: {"word": Word(event.__class__.__name__)})
    def end(event, ctx):
        if FAILS:
            raise ValueError("on purpose")
        return ctx
"""


def capsule_of(tmp_path: Path, what: str, fails: str, outcome: Outcome) -> tuple[Path, Path]:
    """The file of a filter, and the capsule of its failure."""
    path = tmp_path / f"failing_{uuid4().hex}.py"
    path.write_text(dedent(FILTER).replace("WHAT", what).replace("FAILS", fails))
    handlers = load_filter(str(path)).on_connect
    maker = CapsuleMaker(tmp_path / "c")
    tape = Tape(maker.read, float, float)
    line = Line(open_connection(Setup(as_on_connect(handlers)), "one"), tape)
    for one in (*OPENING, MAIL, RCPT, HEADER, BODY, EOM):
        feed_and_answer(line, one, outcome)
    line.hang_up()
    maker.close()
    (capsule,) = (tmp_path / "c").iterdir()
    return path, capsule


@pytest.mark.parametrize(
    ("fails", "outcome", "words"),
    [
        (
            "answer(ctx, 'word', failed='', late='') == {'a': (1,)}",
            Answered(pmap({"a": (1,)})),
            "{'a': (1,)}",
        ),
        ("answer(ctx, 'word', late='x') == 'x'", Late(), "import Late"),
        ("answer(ctx, 'word', failed='y') == 'y'", Failed("no"), "Failed(error='no')"),
    ],
)
def test_the_test_of_a_capsule_has_the_answers(
    tmp_path: Path, fails: str, outcome: Outcome, words: str
) -> None:
    """It fails as the handler did, because of the answer."""
    path, capsule = capsule_of(tmp_path, "event.address", fails, outcome)
    made = tmp_path / "test_made.py"
    assert main(["capsule", str(capsule), "--test", str(made), "--filter", str(path)]) == 0
    text = made.read_text()
    assert words in text
    assert "answers=lambda question: answers[repr(question)]" in text
    scope: dict[str, Any] = {}
    exec(compile(text, str(made), "exec"), scope)  # the test that was made
    (name,) = [one for one in scope if one.startswith("test_")]
    with pytest.raises(AssertionError):
        scope[name]()


def test_where_questions_cannot_be_written_the_recording_is_played(tmp_path: Path) -> None:
    """Bytes in them are only a digest there."""
    fails = "answer(ctx, 'word', failed='') == 'x'"
    path, capsule = capsule_of(tmp_path, "event.address.encode()", fails, Answered("x"))
    made = tmp_path / "test_made.py"
    assert main(["capsule", str(capsule), "--test", str(made), "--filter", str(path)]) == 0
    assert "RECORDS = [" in made.read_text()
    assert load_capsule(capsule).trace.known_answers().has_any


def trace_of(*answers: Any) -> Trace:
    """A session in which these were learned."""
    learned = [
        {"filter": "f", "key": "k", "question": dump_question(Look(str(number))), **one}
        for number, one in enumerate(answers)
    ]
    record = {"session": "s", "direction": "mta", "time": 0, "event": "mail", "fields": {"sender": "a"}}
    said = {"session": "s", "direction": "filter", "time": 0, "event": "mail", "learned": learned}
    return Trace("s", (record, said))


def test_answers_that_cannot_be_written_down_are_none() -> None:
    """Too many, too long, or left out of the recording."""
    late = {"outcome": "late"}
    assert answers_in(trace_of(late)) == {"Look(what='0')": Late()}
    assert answers_in(trace_of(*[late] * (MOST + 1))) is None
    assert answers_in(trace_of({"outcome": "answered", "value": "x" * 20_000})) is None
    assert answers_in(trace_of({"outcome": "answered"})) is None
    assert answers_in(trace_of()) == {}
    assert code_of_answers({}) == ""
    assert as_python(Answered(frozenset([1]))) == "frozenset({1})"


def test_too_many_answers_have_the_recording_played(tmp_path: Path) -> None:
    """As code, the filter is not even tried."""
    path, capsule = capsule_of(tmp_path, "'x'", "True", Answered("x"))
    found = evolve(load_capsule(capsule), trace=trace_of(*[{"outcome": "late"}] * (MOST + 1)))
    assert code_of(found, Wanted([str(path)]), load_filter(str(path)).on_connect) is None
