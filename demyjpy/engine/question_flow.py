"""What a turn does about questions: they are asked, handlers wait for them, answers come.

What is known of them is a value (`demyjpy.engine.open_questions`). Whoever performs them is outside.
"""

from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from demyjpy.engine.connection import Job
from demyjpy.engine.handler_results import as_exception
from demyjpy.engine.handler_times import time_for
from demyjpy.engine.letters import CONNECT, HELO, RCPT
from demyjpy.engine.open_questions import (
    Asked,
    Lasts,
    Learned,
    Questions,
    Wait,
    own_questions,
    readable,
    unreadable,
)
from demyjpy.engine.phases import IN_MESSAGE
from demyjpy.engine.told_questions import told_asks, told_learned
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry
from demyjpy.questions import Ask, Outcome
from demyjpy.registry import ASKABLE, Handler, name_of_filter

_LASTS: Final[dict[int, Lasts]] = {CONNECT: "connection", HELO: "greeting"}
_LASTS_AT: Final[dict[str, Lasts]] = {"connect": "connection"}
"""By the event at which a question counts as asked, if it is asked later, and before a message."""


# ------------------------------------------------------------------------------------- asking
def asked_by(turn: Turn, job: Job, asks: Sequence[Ask], *, is_own: bool = False) -> Questions:
    """The questions after those of the next handler of an event; `HandlerError` if one is illegal.

    ``is_own``: they are asked for this event (``asking=``), so those of a recipient end with it.
    """
    (number, handler), letter = job.chain[0], job.dispatch.letter
    name = job.dispatch.name
    if name not in ASKABLE:
        raise HandlerError(
            f"expected no question at {name}, got {asks[0].key!r}: nobody can wait for its "
            f"answer. Ask at {', '.join(ASKABLE)}"
        )
    registry = as_registry(turn.scope.ctx["handlers"])
    part = registry.parts[number]
    lasts: Lasts = "message" if turn.scope.phase in IN_MESSAGE else "greeting"
    lasts = "recipient" if is_own and letter == RCPT else _LASTS.get(letter, lasts)
    called = handler.filter or name_of_filter(part)

    def make(serial: int, ask: Ask) -> Asked:
        for_ = _LASTS_AT.get(ask.asked_at or "", lasts) if lasts == "greeting" else lasts
        declared = part.declarations
        at = ask.asked_at or name
        return Asked(serial, number, called, ask.key, ask.question, ask.within, for_, declared, at)

    return turn.scope.questions.begin(asks, make)


def begin_questions(turn: Turn, after: Questions) -> None:
    """They are asked. To some the answer is known at once."""
    before, turn.scope.questions = turn.scope.questions, after
    for number in range(before.last + 1, after.last + 1):
        outcome = turn.setup.known_answer(after.open[number])
        if outcome is not None:
            learn(turn, number, outcome, 0.0, KNOWN)


def learn(
    turn: Turn, number: int, outcome: Outcome, duration: float | None, how: Handler[Any] | None = None
) -> None:
    """An answer has come. If nobody wants it any more, it is dropped.

    ``how`` is what stands for it on the tape: `LEARNED` if nothing is given.
    """
    scope = turn.scope
    asked = scope.questions.open.get(number)
    if asked is None:
        return
    learned = Learned(asked, outcome, duration)
    if not turn.is_watched:
        scope.questions = scope.questions.learn(learned)
        return
    told = told_learned(learned)
    if turn.tape is not None:
        turn.tape.note(how or LEARNED, told, duration)
    scope.questions = scope.questions.learn(learned, told)


# ------------------------------------------------------------------------------------ waiting
def may_call(turn: Turn, job: Job) -> bool:
    """Whether the next handler has the answers that it waits for. If not, the turn waits.

    Raises what its ``asking=`` raised, and `HandlerError` for what that may not ask.
    """
    number, handler = job.chain[0]
    scope = turn.scope
    if scope.questions.waits is None:
        _begin_wait(turn, job, number, handler)
    awaited = scope.questions.awaited
    if awaited:
        numbers = frozenset([one.number for one in awaited])
        turn.wait = Wait(numbers, handler.name, time_for(turn, job))
        return False
    questions = scope.questions
    places = questions.waits or ()
    outcomes = {place[1]: questions.outcome(place) for place in places}
    scope.ctx = readable(scope.ctx, number, outcomes, alone=_is_alone(turn))
    scope.questions = evolve(questions, waits=None)
    return True


def _begin_wait(turn: Turn, job: Job, number: int, handler: Handler[Any]) -> None:
    """The handler is next: its own questions are asked."""
    scope, keys = turn.scope, set(handler.needs)
    if handler.asking is not None:
        scope.show_macros()
        try:
            asks = job.own
            if asks is None:
                asks = turn.setup.own_questions(handler, job.event, scope.ctx)
        except BaseException as error:  # noqa: BLE001  # whatever it raises is its failure
            failure = as_exception(error)
            if turn.tape is not None:
                turn.tape.note(ASKING, failure)
            raise failure from None
        if turn.tape is not None:
            turn.tape.note(ASKING, told_asks(asks))
        if asks:
            begin_questions(turn, asked_by(turn, job, asks, is_own=True))
        keys.update([one.key for one in asks])
    waits = frozenset([(number, key) for key in keys])
    scope.questions = evolve(scope.questions, waits=waits)


def _is_alone(turn: Turn) -> bool:
    return not turn.agreed.views


# ------------------------------------------------------------------------------------- endings
def forget(turn: Turn, lasts: Lasts) -> None:
    """Questions that last as long as ``lasts`` are over, and their answers cannot be read any more."""
    scope = turn.scope
    places = scope.questions.learned.get(lasts, ())
    if places:
        scope.ctx = unreadable(scope.ctx, places, alone=_is_alone(turn))
    scope.questions = scope.questions.without(lasts)


ASKING: Final = Handler("message", own_questions)  # type: ignore[arg-type]  # it is never called
"""Stands on a tape for ``asking=`` of the handler that is next: its outcome is the questions."""

LEARNED: Final = Handler("message", learn)  # type: ignore[arg-type]  # as above
"""Stands on a tape for an answer that has come; its outcome is a `Learned`."""

KNOWN: Final = Handler("message", begin_questions)  # type: ignore[arg-type]  # as above
"""The same for an answer that was known as soon as its question was asked."""
