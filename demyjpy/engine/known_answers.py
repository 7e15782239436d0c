"""Questions whose answers are known at once: who asks them stays on the hot path.

The recipient table of a busy site is asked for each recipient, and mostly the answer is remembered. Here
is what a turn does about such questions (`demyjpy.engine.question_flow`), for handlers that it would
call without a pause. At the first answer that is not known a turn goes on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from demyjpy.context import Context
from demyjpy.declarations import Declarations
from demyjpy.engine.connection import Setup
from demyjpy.engine.dispatch import Dispatch
from demyjpy.engine.handler_results import as_exception, queue_of
from demyjpy.engine.letters import BODY, BODYEOB, DATA, EOH, HEADER, MAIL, RCPT
from demyjpy.engine.open_questions import Asked, Lasts, Learned, Questions, readable, unreadable
from demyjpy.engine.routes import NOT_CALLED, AtOnce
from demyjpy.questions import Ask, Outcome
from demyjpy.registry import Handler, Registry, name_of_filter


@frozen
class NotKnown:
    """The handler was not called: an answer is not known, so a turn has to ask these."""

    asks: tuple[Ask, ...]


def at_once_for(setup: Setup, registry: Registry, dispatch: Dispatch, *, alone: bool) -> AtOnce | None:
    """What asks the questions of a command's handlers; None if all that they ask needs a turn."""
    lasts = _LASTS.get(dispatch.letter)
    if lasts is None:
        return None
    asking = [_asking(setup, registry, dispatch.name, *one, alone=alone) for one in dispatch.chain]

    def settle(
        place: int, outcome: Any, event: Any, ctx: Context, questions: Questions
    ) -> tuple[Any, Any, Context, Questions]:
        one = asking[place]
        is_own = outcome is NOT_CALLED
        if is_own:
            outcome, ctx, questions = one.call(event, ctx, questions, lasts)
        queue = queue_of(outcome)
        if is_own and lasts == "recipient":  # what ends with it is for a turn to forget
            return outcome, queue, ctx, questions
        if queue and isinstance(queue, tuple) and all(type(ask) is Ask for ask in queue):
            learned = one.learn(queue, questions, "message")
            if learned is not None:
                return outcome.set("queue", ()), (), ctx, questions.know(learned)
        return outcome, queue, ctx, questions

    return settle


_LASTS: Final[dict[int, Lasts]] = {
    **dict.fromkeys((MAIL, DATA, HEADER, EOH, BODY, BODYEOB), "message"),
    RCPT: "recipient",
}
"""For how long what ``asking=`` asks at a command is kept: only at these nothing else ends with it."""


@frozen
class _Asking:
    """A handler, and how its questions are answered. ``name`` is what logs call its filter."""

    setup: Setup
    event: str
    alone: bool
    number: int
    handler: Handler[Any]
    name: str
    declared: Declarations

    def call(
        self, event: Any, ctx: Context, questions: Questions, lasts: Lasts
    ) -> tuple[Any, Context, Questions]:
        """Call the handler if all that it waits for is known.

        Gives its outcome, the context that it got, and the questions. What is asked for a recipient ends
        with it: if the handler has nothing to say, nothing of that is kept.
        """
        handler = self.handler
        learned: Sequence[Learned] = ()
        own: dict[str, Outcome] = {}
        try:
            if handler.asking is not None:
                asks = self.setup.own_questions(handler, event, ctx)
                found = self.learn(asks, questions, lasts)
                if found is None:
                    return NotKnown(asks), ctx, questions
                learned, own = found, {one.asked.key: one.outcome for one in found}
            base = ctx
            if handler.needs:
                needed = {key: questions.outcome((self.number, key)) for key in handler.needs}
                base = readable(ctx, self.number, needed, alone=self.alone)
            seen = readable(base, self.number, own, alone=self.alone) if own else base
        except BaseException as error:  # noqa: BLE001  # whatever asking= raises is the handler's failure
            return as_exception(error), ctx, questions
        outcome: Any
        try:
            outcome = handler.function(event, seen)
        except BaseException as error:  # noqa: BLE001  # whatever it raises is its failure
            outcome = as_exception(error)
        if lasts == "recipient" and (outcome is seen or queue_of(outcome) == ()):
            return self.without(own, outcome, seen, base), ctx, questions
        return outcome, seen, questions.know(learned)

    def without(
        self, own: Mapping[str, Outcome], after: Context, seen: Context, base: Context
    ) -> Context:
        """A context that a handler returned, without the answers that it alone might read (``own``)."""
        if "answers" not in base:
            if after is seen:
                return base
            return after.remove("answers") if "answers" in after else after
        left = unreadable(base, [(self.number, key) for key in own], alone=self.alone)
        return left if after is seen else after.set("answers", left["answers"])

    def learn(self, asks: Sequence[Ask], questions: Questions, lasts: Lasts) -> list[Learned] | None:
        """The answers to these questions; None if one is not known, or if a turn has to look at them."""
        learned: list[Learned] = []
        known, last, count = self.setup.known_answer, questions.last, len(asks)
        if not questions.has_room_for(count) or (count > 1 and len({ask.key for ask in asks}) < count):
            return None
        for number, ask in enumerate(asks, last + 1):
            asked = Asked(
                number,
                self.number,
                self.name,
                ask.key,
                ask.question,
                ask.within,
                lasts,
                self.declared,
                ask.asked_at or self.event,
            )
            outcome = known(asked)
            if outcome is None:
                return None
            learned.append(Learned(asked, outcome, 0.0))
        return learned


def _asking(
    setup: Setup, registry: Registry, event: str, number: int, handler: Handler[Any], *, alone: bool
) -> _Asking:
    part = registry.parts[number]
    name = handler.filter or name_of_filter(part)
    return _Asking(setup, event, alone, number, handler, name, part.declarations)
