"""What `demyjpy check` reports of questions: who answers them, and what was asked. Values and text."""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from demyjpy.handler_functions import name_of_function
from demyjpy.registry import Registry

_FEW: Final = 3  # keys of a question that are shown


@frozen
class PerformerEntry:
    """What a filter declares in ``asks=``: a class of questions, and who answers them.

    ``filter`` counts the filters of a merged registry from 1. ``pure`` and ``remember_for`` (in seconds)
    are those of the class.
    """

    filter: int
    question: str
    performer: str
    pure: bool
    remember_for: float


@frozen
class QuestionEntry:
    """Questions of one class that a filter has asked while sessions were played.

    ``keys`` are those of the answers, ``events`` where they were asked, ``times`` how often.
    ``examples`` is how many the class has. Without examples the question failed each time.
    """

    filter: int
    question: str
    keys: tuple[str, ...]
    events: tuple[str, ...]
    times: int
    examples: int
    pure: bool
    remember_for: float


def performers_of(registry: Registry) -> Iterator[PerformerEntry]:
    """Who answers questions, as the filters declare it, in their order."""
    for number, part in enumerate(registry.parts, 1):
        for kind, performer in part.declarations.asks.items():
            name = name_of_function(performer)
            yield PerformerEntry(number, kind.__name__, name, *traits_of(kind))


def traits_of(kind: type) -> tuple[bool, float]:
    """Whether asking changes nothing, and for how many seconds an answer is remembered."""
    return bool(getattr(kind, "pure", False)), float(getattr(kind, "remember_for", 0.0))


# ------------------------------------------------------------------------------------- to read
def question_rows(
    performers: tuple[PerformerEntry, ...], questions: tuple[QuestionEntry, ...], is_merged: bool
) -> Iterator[tuple[str, ...]]:
    """A row for each performer and for each kind of question that was asked."""
    from demyjpy.trace.display.wording import plural  # noqa: PLC0415  # filters start fast

    for performer in performers:
        how = f"answered by {performer.performer}, {_how(performer)}"
        yield (performer.question, how, *([f"#{performer.filter}"] * is_merged))
    for question in questions:
        answered = plural(question.examples, "example") if question.examples else "no example"
        more = [f"and {len(question.keys) - _FEW} more"] if len(question.keys) > _FEW else []
        keys = ", ".join((*question.keys[:_FEW], *more))
        at = ", ".join(question.events)
        what = f"asked as {keys} at {at}, {plural(question.times, 'time')}, {answered}"
        yield (question.question, f"{what}, {_how(question)}", *([f"#{question.filter}"] * is_merged))


def _how(entry: PerformerEntry | QuestionEntry) -> str:
    kept = f", remembered for {entry.remember_for:g} s" if entry.remember_for else ""
    return f"{'pure' if entry.pure else 'not pure'}{kept}"
