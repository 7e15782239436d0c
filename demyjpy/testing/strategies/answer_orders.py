"""What holds for filters that ask questions, in whatever order the answers come."""

from collections.abc import Iterator, Mapping
from typing import Final

from demyjpy.codec import name_of
from demyjpy.engine.connection import Connection
from demyjpy.engine.open_questions import Asked
from demyjpy.testing.result import Result
from demyjpy.testing.strategies.outcome_difference import Finding, outcome_difference
from demyjpy.testing.strategies.trial import Trial
from demyjpy.trace.filter_connection import Order

_OF_MESSAGE: Final = ("message", "recipient")


# ---------------------------------------------------------------------------------------- orders
def last_first(connection: Connection) -> Asked | None:
    """Each question as soon as possible; of several the last one first."""
    return max(connection.open_questions.values(), key=lambda one: one.number, default=None)


def when_needed(connection: Connection) -> Asked | None:
    """None before a handler waits; then those for which it waits, in the order they were asked in."""
    wait = connection.wait
    return None if wait is None else connection.open_questions[min(wait.numbers)]


def when_needed_last_first(connection: Connection) -> Asked | None:
    """None before a handler waits; then all that are open, the last one first."""
    return None if connection.wait is None else last_first(connection)


ORDERS: Final[Mapping[str, Order]] = {
    "the last question is answered first": last_first,
    "answers come only when a handler waits for them": when_needed,
    "all answers come when a handler waits, the last question's first": when_needed_last_first,
}
"""Orders in which answers may come, besides that of the questions, in words."""


# ------------------------------------------------------------------------------------ properties
def check_questions(trial: Trial) -> Iterator[Finding]:
    """No question about a message is open after its end, and none at all after a session."""
    for result in trial.results:
        yield from _left_open(result)
    if trial.result.asked:
        yield from _left_open(trial.play(order=when_needed))


def _left_open(result: Result) -> Iterator[Finding]:
    for before, played in zip(result.steps, result.steps[1:], strict=False):
        left = [one for one in before.open_questions if one.lasts in _OF_MESSAGE]
        if left and not played.is_in_mail:
            yield _still_open("a message", left[0], result)
    for one in result.filters:
        if one.open_questions:
            yield _still_open("a session", one.open_questions[0], result)


def _still_open(what: str, asked: Asked, result: Result) -> Finding:
    words = f"after the end of {what} the question {asked.key!r} is open"
    return Finding(words, result, f"{asked.question!r:.200}, asked at {asked.event}")


def check_order(trial: Trial) -> Iterator[Finding]:
    """What becomes of the mail is the same in whatever order answers come.

    A filter whose handlers fail only in another order is found as well.
    """
    first = trial.result
    for words, order in ORDERS.items() if first.asked else ():
        other = trial.play(order=order)
        failed = [step for step in other.observed if step.error is not None]
        if failed and not any(step.error is not None for step in first.observed):
            told = f"{type(failed[0].error).__name__}: {failed[0].error}"
            yield Finding(f"it fails at {name_of(failed[0].event)} if {words}", first, told)
        difference = outcome_difference(first.steps, other.steps, "as asked", "in another order")
        if difference:
            yield Finding(f"the result is another one if {words}", first, difference)
