"""Who answers the questions of a filter that is played: a map, a function, or examples.

Nobody is asked in earnest: what a question's ``perform`` would do is not done.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias
from zlib import crc32

from attrs import frozen

from demyjpy.engine.open_questions import Asked
from demyjpy.errors import LocalProtocolError, describe
from demyjpy.questions import Answered, Failed, Outcome, Unasked, as_answer

Answers: TypeAlias = Mapping[Any, Any] | Callable[[Any], Any]
"""What questions are answered with.

A map from questions or their classes to answers, or one function of the question for all. An answer is
a value, an outcome such as ``Late()`` or ``Failed("no route")``, or a function of the question that
returns one of these. The question itself counts before its class, and that before the classes above it.
Under the name of a filter there may be a map or function for this filter; what has no answer there is
looked up among the others.
"""


@frozen
class AskedQuestion:
    """A question that a filter has asked in a played session, and what it was answered.

    ``key`` is what the filter calls the answer, ``filter`` the name of the filter, ``event`` the name of
    the event at which it was asked, ``outcome`` what `demyjpy.answer` gives.
    """

    question: Any
    key: str
    filter: str
    outcome: Outcome
    event: str


_NONE: Final[Any] = object()
_MOST_IN_CODE: Final = 10


def answering(answers: Answers | None) -> Callable[[Asked], Outcome]:
    """The function that answers so; a question without an answer is an `AssertionError`.

    `LocalProtocolError` for what cannot be meant: a key of an answer, a class in place of an outcome.
    """
    own, others = _split({} if answers is None else answers)

    def answer(asked: Asked) -> Outcome:
        for known in (own.get(asked.name, {}), others):
            found = _find(known, asked.question)
            if found is not _NONE:
                return _outcome(asked, found)
        raise AssertionError(_missing(asked))

    return answer


def unanswered(asked: Asked) -> Outcome:
    """`AssertionError`, which shows the question and the line to write."""
    raise AssertionError(_missing(asked))


def by_example(turn: int = 0) -> Callable[[Asked], Outcome]:
    """Answers with one of the examples that the class of a question declares; `Failed` if it has none.

    To an equal question it is the same one each time, and another one in other turns.
    """

    def answer(asked: Asked) -> Outcome:
        examples = tuple(getattr(type(asked.question), "examples", ()))
        if not examples:
            return Failed(f"{type(asked.question).__name__} has no examples=")
        words = repr(asked.question)
        chosen = 0 if " at 0x" in words else crc32(words.encode("utf-8", "backslashreplace"))
        return as_answer(examples[(chosen + turn) % len(examples)])

    return answer


def always(outcome: Outcome) -> Callable[[Asked], Outcome]:
    """The same to every question."""
    return lambda asked: outcome


def as_code(asked: Iterable[AskedQuestion]) -> str:
    """The map that answers these questions so, to be pasted into a test; of many only the classes."""
    known = {repr(one.question): _code_of(one.outcome) for one in asked}
    if len(known) > _MOST_IN_CODE:
        known = dict.fromkeys((type(one.question).__name__ for one in asked), "...")
    return f"{{{', '.join(f'{question}: {value}' for question, value in known.items())}}}"


def _code_of(outcome: Outcome) -> str:
    return repr(outcome.value if isinstance(outcome, Answered) else outcome)


# ------------------------------------------------------------------------------------- finding one
def _split(answers: Any) -> tuple[dict[str, Any], Any]:
    """What is for one filter, by its name, and what is for all."""
    if not isinstance(answers, Mapping):
        return {}, _check(answers)
    own = {key: known for key, known in answers.items() if isinstance(key, str)}
    for name, known in own.items():
        if not isinstance(known, Mapping) and not callable(known):
            raise LocalProtocolError(
                f"expected under {name!r} in answers= the answers for the filter of this name, got "
                f"{describe(known)}. An answer stands under its question or the class of that; by key it"
                " is given to context(handlers, answers={...})"
            )
        _check(known)
    return own, {key: known for key, known in answers.items() if not isinstance(key, str)}


def _check(answers: Any) -> Any:
    """Answers as they are; `LocalProtocolError` for what are none."""
    if isinstance(answers, Mapping) or (callable(answers) and not isinstance(answers, type)):
        return answers
    raise LocalProtocolError(
        "expected answers= as a map from questions or their classes to answers, or a function of the "
        f"question, got {describe(answers)}"
    )


def _find(answers: Any, question: Any) -> Any:
    """The answer that is given for a question, of whatever kind; `_NONE` if there is none."""
    if not isinstance(answers, Mapping):
        return answers
    try:
        found = answers.get(question, _NONE)
    except TypeError:  # it has no hash: it can be no key
        found = _NONE
    kinds = type(question).__mro__
    return next((answers[kind] for kind in kinds if kind in answers), _NONE) if found is _NONE else found


def _outcome(asked: Asked, found: Any) -> Outcome:
    """An answer as handlers get it; `LocalProtocolError` for what no performer could return."""
    value = found(asked.question) if callable(found) and not isinstance(found, type) else found
    outcome = as_answer(value)
    if isinstance(outcome, Unasked) or (isinstance(outcome, Failed) and outcome is not value):
        said = outcome.error if isinstance(outcome, Failed) else "expected an answer, got Unasked()"
        raise LocalProtocolError(f"{said}; it is given in answers= for {asked.question!r:.200}")
    return outcome


def _missing(asked: Asked) -> str:
    kind = type(asked.question)
    examples = tuple(getattr(kind, "examples", ()))
    example = repr(examples[0]) if examples else "..."
    return (
        f"expected an answer to each question, got none for what {asked.name} asks at {asked.event} "
        f"under {asked.key!r}:\n  {asked.question!r:.500}\n"
        f"Give what it is answered: answers={{{kind.__name__}: {example:.200}}}. That may also be "
        'Late(), Failed("why"), or a function of the question.'
    )
