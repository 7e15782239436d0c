"""What the questions of a candidate get in a shadow, which has no effect on the world.

Pure questions are asked. Others get what the live filter has learned for an equal one; else they fail.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from demyjpy.drivers.ask_now import ask_now
from demyjpy.engine.connection import Connection
from demyjpy.engine.open_questions import Asked, Learned
from demyjpy.questions import Failed, Outcome
from demyjpy.trace.format.known_answers import place_of_question

MOST: Final = 1_000
"""Answers of the live filter that are kept of one session: the oldest goes first."""

NOT_ASKED: Final = (
    "not asked in a shadow: asking it may change something, and the live filter did not ask"
)


class ShadowAnswers:
    """Answers to the questions of one session of a candidate."""

    def __init__(self) -> None:
        self._learned: OrderedDict[str, Outcome] = OrderedDict()

    def note(self, learned: Iterable[Learned]) -> None:
        """The live filter has learned this."""
        for one in learned:
            place = place_of_question("", "", one.asked.question)
            self._learned[place] = one.outcome
            self._learned.move_to_end(place)
            if len(self._learned) > MOST:
                self._learned.popitem(last=False)

    def order(self, connection: Connection) -> Asked | None:
        """The next question that can be answered; if a handler waits, the one for which it waits.

        The live filter may learn later what a question that is asked early is about.
        """
        for asked in connection.open_questions.values():
            if _is_pure(asked) or self._known(asked) is not None:
                return asked
        numbers = connection.wait.numbers if connection.wait is not None else ()
        return next((connection.open_questions[one] for one in numbers), None)

    def __call__(self, asked: Asked) -> Outcome:
        """The answer."""
        if _is_pure(asked):
            return ask_now(asked)
        found = self._known(asked)
        return Failed(NOT_ASKED) if found is None else found

    def _known(self, asked: Asked) -> Outcome | None:
        return self._learned.get(place_of_question("", "", asked.question))


def _is_pure(asked: Asked) -> bool:
    return bool(getattr(type(asked.question), "pure", False))
