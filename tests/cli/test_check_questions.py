"""`demyjpy check` with filters that ask: who answers, who waits, what happens without answers."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from demyjpy.cli import check_play, check_watch
from tests.cli.filters import HEAD

Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., tuple[int, list[str], list[str]]]

CLASSES = """
from attrs import frozen

@frozen
class Spf(Question, pure=True, remember_for=60):
    sender: str
    examples = ("pass", "fail")

@frozen
class Triplet(Question):
    address: str

def look_up(question, resources):
    return "known"

handlers = define_event_handlers(
    name="spf", actions={"add_header"}, asks={Spf: look_up, Triplet: look_up}
)
"""

UNDECLARED = CLASSES.replace('actions={"add_header"}, ', "")

GUARDED = """
@handlers.mail
def mail(event, ctx):
    return ask(ctx, "spf", Spf(event.sender))

@handlers.recipient(asking=lambda event, ctx: {"grey": Triplet(event.address)}, within=3)
def recipient(event, ctx):
    return tempfail(ctx) if answer(ctx, "grey", failed="", late="") == "new" else ctx

@handlers.end_of_message(needs={"spf"})
def end(event, ctx):
    return add_header(ctx, "X-Spf", answer(ctx, "spf", failed="none", late="none"))
"""

NO_EXAMPLES = (
    "questions: Triplet has no examples, so it failed each time: give the class examples = (...), "
    "the values that may come, to see what handlers do with them"
)
AGAIN = "--play: played again with all questions failing, and with all of them late"


@pytest.fixture(autouse=True)
def much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """These play each session three times, perhaps on a busy machine."""
    monkeypatch.setattr(check_watch, "LONGEST", 300.0)


@pytest.fixture
def report(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The lines of a report about a filter of that text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(check_play, "_GENERATED", 3)

    def report(text: str, *options: str) -> list[str]:
        (tmp_path / "asking_filter.py").write_text(HEAD + CLASSES + dedent(text))
        return run("check", "asking_filter.py", *options)[1].splitlines()

    return report


def test_check_says_who_waits_and_who_answers(report: Callable[..., list[str]]) -> None:
    """Keys that handlers need, what they ask first, who answers; nothing is asked."""
    lines = report(GUARDED)
    found = [re.split(r"  +", line.strip())[1] for line in lines[1:] if ".py:" in line]
    assert found == ["reply", "reply, asks first, within 3 s", "reply, waits for spf"]
    at = lines.index("Questions")
    assert lines[at + 1 : at + 4] == [
        "  Spf      answered by asking_filter.look_up, pure, remembered for 60 s",
        "  Triplet  answered by asking_filter.look_up, not pure",
        "",
    ]


def test_the_filters_of_a_merged_one_are_told_apart(report: Callable[..., list[str]]) -> None:
    """By their numbers."""
    other = "define_event_handlers({'mail': lambda event, ctx: ctx})"
    lines = report(f"{GUARDED}\nhandlers = merge_handlers({other}, handlers)")
    found = [line.split() for line in lines if line.startswith(("  Spf ", "  Triplet "))]
    assert [words[-1] for words in found] == ["#2", "#2"]


def test_a_program_gets_the_same(report: Callable[..., list[str]]) -> None:
    """As JSON."""
    found = json.loads("\n".join(report(GUARDED, "--json", "--play")))
    handlers = {one["event"]: one for one in found["handlers"]}
    assert handlers["end_of_message"]["needs"] == ["spf"]
    assert handlers["recipient"]["asking"] == "asking_filter.<lambda>"
    assert (handlers["recipient"]["within"], handlers["mail"]["within"]) == (3, None)
    assert [one["performer"] for one in found["performers"]] == ["asking_filter.look_up"] * 2
    assert [(one["question"], one["keys"], one["examples"]) for one in found["questions"]] == [
        ("Spf", ["spf"], 2),
        ("Triplet", ["grey"], 0),
    ]


def test_questions_are_answered_with_examples(report: Callable[..., list[str]]) -> None:
    """Those that have none fail; then all fail, and all are late."""
    lines = report(GUARDED, "--play")
    rows = [line for line in lines if "asked as" in line]
    pattern = r"  Spf      asked as spf at mail, \d+ times, 2 examples, pure, remembered for 60 s"
    assert re.fullmatch(pattern, rows[0])
    assert re.fullmatch(
        r"  Triplet  asked as grey at recipient, \d+ times, no example, not pure", rows[1]
    )
    assert {f"  - {NO_EXAMPLES}", f"  - {AGAIN}"} <= set(lines)
    assert lines[-1] == "Nothing wrong found."


def test_a_filter_that_takes_each_answer_has_no_problem(check: Check) -> None:
    """Its notes say what was played."""
    status, problems, notes = check(CLASSES + GUARDED)
    assert (status, problems) == (0, [])
    assert notes[:2] == [NO_EXAMPLES, AGAIN]


def test_a_handler_that_fails_without_an_answer_is_found(check: Check) -> None:
    """For each way in which there is none, with what to do."""
    status, problems, _ = check(
        UNDECLARED
        + """
@handlers.mail(asking=lambda event, ctx: {"spf": Spf(event.sender)})
def mail(event, ctx):
    return reject(ctx) if answer(ctx, "spf", failed="") == "fail" else ctx

@handlers.recipient
def recipient(event, ctx):
    return reject(ctx) if answer(ctx, "spf").value == "fail" else ctx
"""
    )
    assert status == 1
    advice = "to answer(), or look at the outcome before you take its value. It said: "
    assert [problem.partition(advice)[0] for problem in problems] == [
        "recipient: spf: played_filter.recipient fails if a question fails: give failed= ",
        "mail: spf: played_filter.mail fails if a question is late: give late= ",
        "recipient: spf: played_filter.recipient fails if a question is late: give late= ",
    ]
    assert "AttributeError: 'Failed' object has no attribute 'value'" in problems[0]
    assert "HandlerError: expected an answer to the question 'spf', got Late()" in problems[1]


def test_keys_that_nobody_asks_and_keys_that_nobody_reads_are_told(check: Check) -> None:
    """Of each filter by itself: what one asks another cannot read."""
    _, problems, notes = check(
        CLASSES
        + """
@handlers.mail
def mail(event, ctx):
    return ask(ctx, "sfp", Spf(event.sender))

@handlers.end_of_message(needs={"spf"})
def end(event, ctx):
    return add_header(ctx, "X-Spf", str(answer(ctx, "spf")))

other = define_event_handlers(name="other", asks={})

@other.mail
def other_mail(event, ctx):
    return ask(ctx, "spf", Spf(event.sender))

@other.recipient(needs={"spf"})
def other_recipient(event, ctx):
    return ctx

handlers = merge_handlers(handlers, other)
"""
    )
    assert problems == []
    asked = [note for note in notes if "which nobody asks" in note or "nobody can read" in note]
    assert asked[0] == (
        "mail: spf: played_filter.mail asks under sfp, and no handler of this filter waits for it with "
        "needs=: nobody can read the answer"
    )
    pattern = r"spf: played_filter.end waits for spf, which nobody asks in the \d+ sessions played: .*"
    assert any(re.search(pattern, note) for note in asked)
    assert len(asked) == 2


def test_a_handler_that_never_ran_waits_for_nothing(check: Check) -> None:
    """That it did not run is what is told."""
    _, _, notes = check(
        UNDECLARED
        + """
@handlers.recipient
def recipient(event, ctx):
    return reject(ctx)

@handlers.end_of_message(needs={"spf"})
def end(event, ctx):
    return ctx
"""
    )
    assert any("did not run in" in note for note in notes)
    assert not any("which nobody asks" in note for note in notes)


def test_many_keys_are_shortened(report: Callable[..., list[str]]) -> None:
    """Of a filter that asks about each recipient under another key."""
    lines = report(
        """
        handlers = define_event_handlers()

        @handlers.recipient
        def recipient(event, ctx):
            number = ctx.get("number", 0) + 1
            return ask(ctx.set("number", number), f"k{number}", Spf(event.address))

        @handlers.mail
        def mail(event, ctx):
            for number in range(5):
                ctx = ask(ctx, f"a{number}", Spf(event.sender))
            return ctx
        """,
        "--play",
    )
    (row,) = [line for line in lines if "asked as" in line]
    assert re.match(r"  Spf  asked as a0, a1, a2, and \d+ more at mail, recipient, ", row)
