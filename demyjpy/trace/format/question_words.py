"""Questions and answers in words: ``SPF for ann@example.org from 192.0.2.1: fail, 81 ms``.

The words of a question are those of its class's ``__str__``, if it has one; else its class and fields.
All of it is made harmless for a terminal, and short.
"""

from typing import Any, Final

from demyjpy.engine.open_questions import Learned
from demyjpy.questions import Answered, Failed, Late, Outcome
from demyjpy.shown import safe
from demyjpy.trace.format.json_questions import (
    RecordedAnswer,
    dump_question,
    load_question,
    own_words,
)

LONGEST: Final = 200  # characters of a question
_LONGEST_ANSWER: Final = 80
_SHORT: Final = 80


def question_words(question: Any, longest: int = LONGEST) -> str:
    """A question in words, at most so many characters."""
    found = own_words(question)
    if not found:
        try:
            found = repr(load_question(dump_question(question)))
        except Exception:  # noqa: BLE001  # its fields are the user's
            found = f"{type(question).__name__}(...)"
    return cut(safe(found), longest)


def outcome_words(outcome: Outcome | None, how: str = "") -> str:
    """What became of a question, in words; ``how``: if the answer itself is not kept."""
    if isinstance(outcome, Answered):
        value = outcome.value
        return cut(safe(value if isinstance(value, str) and value else repr(value)), _LONGEST_ANSWER)
    if isinstance(outcome, Failed):
        return cut(safe(f"failed: {outcome.error}"), _LONGEST_ANSWER)
    return "late" if isinstance(outcome, Late) else safe(how or "unasked")


def learned_words(learned: Learned | RecordedAnswer, *, is_short: bool = False) -> str:
    """A question, what became of it, and how long that took."""
    outcome: Outcome | None = learned.outcome
    if isinstance(learned, Learned):
        question, how, seconds = learned.asked.question, "", learned.duration
    else:
        question, how, seconds = learned.question, learned.how, learned.seconds
    took = "" if seconds is None else f", {seconds * 1000:.0f} ms"
    words = question_words(question, _SHORT if is_short else LONGEST)
    return f"{words}: {outcome_words(outcome, how)}{took}"


def cut(text: str, longest: int) -> str:
    """Its beginning, if it is too long."""
    return text if len(text) <= longest else text[: longest - 3] + "..."
