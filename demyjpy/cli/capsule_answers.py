"""What the test that is made of a capsule answers to questions: as Python, by how each is written."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pyrsistent import PMap

from demyjpy.questions import Answered, Outcome
from demyjpy.trace.format.trace import Trace

MOST: Final = 200
"""Answers in one test; with more, the test plays the recorded session itself."""

LONGEST: Final = 10_000
"""Characters of one answer."""


def answers_in(trace: Trace) -> dict[str, Outcome] | None:
    """What a session learned, by how the questions are written; the last answer to each.

    None if that cannot be written down.
    """
    found = {
        repr(one.question): one.outcome
        for moment in trace.moments
        for part in moment.parts
        for one in part.learned
    }
    known = {question: outcome for question, outcome in found.items() if outcome is not None}
    is_short = all(len(question) + len(as_python(one)) < LONGEST for question, one in known.items())
    return known if len(known) == len(found) <= MOST and is_short else None


def answer_from(known: Mapping[str, Outcome]) -> Callable[[Any], Outcome]:
    """A function for ``answers=`` of `demyjpy.testing.run`; `KeyError` for any other question."""
    return lambda question: known[repr(question)]


def code_of_answers(known: Mapping[str, Outcome]) -> str:
    """The lines of a test that say what questions are answered; empty if there are none."""
    if not known:
        return ""
    lines = [f"        {question!r}: {as_python(outcome)}," for question, outcome in known.items()]
    return "\n".join(["    answers = {", *lines, "    }\n"])


def as_python(outcome: Outcome) -> str:
    """An answer as an expression; of the library it needs `Failed` and `Late`."""
    return repr(_plain(outcome.value) if isinstance(outcome, Answered) else outcome)


def _plain(value: Any) -> Any:
    """The same with maps that need no import."""
    if isinstance(value, PMap):
        return {key: _plain(one) for key, one in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value
