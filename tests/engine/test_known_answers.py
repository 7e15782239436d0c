"""A recipient handler whose questions are answered at once: what it returns is what the engine gets."""

from typing import Any

import pytest
from attrs import frozen

from demyjpy import Answered, Question, Recipient, answer, ask, define_event_handlers
from demyjpy.context import new_context
from demyjpy.engine.connection import Setup
from demyjpy.engine.known_answers import NotKnown, answered_at_once
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.engine.smallmap import small_map

ONE = Answered(1)


@frozen
class Is(Question):
    """A question."""

    who: str


def called(then: Any, ctx: Any, known: Any = ONE) -> Any:
    """What becomes of a call at a recipient."""
    handlers = define_event_handlers()
    handlers.recipient(then, asking=lambda event, ctx: {"q": Is(event.address)})
    setup = Setup(as_on_connect(handlers), known_answer=lambda asked: known)
    return answered_at_once(setup, handlers, 0, handlers["recipient"], alone=True)(Recipient("a"), ctx)


def test_a_context_that_is_not_changed_stays_the_same() -> None:
    """The answers are in the one that the handler gets only."""
    ctx = new_context()
    assert called(lambda event, seen: seen, ctx) is ctx


@pytest.mark.parametrize("before", [None, small_map({"older": Answered(2)})])
def test_what_the_handler_stores_stays_and_its_answers_go(before: Any) -> None:
    """Those that were there before stay as they were."""
    ctx = new_context() if before is None else new_context().set("answers", before)
    after = called(lambda event, seen: seen.set("found", answer(seen, "q", failed=0)), ctx)
    assert after["found"] == 1
    assert after.get("answers") == before


@pytest.mark.parametrize("outcome", [None, new_context()])
def test_what_is_no_context_of_its_own_is_the_engines_to_judge(outcome: Any) -> None:
    """It comes through as it is."""
    assert called(lambda event, seen: outcome, new_context()) is outcome


def test_without_an_answer_the_handler_is_not_called() -> None:
    """A turn has to ask."""
    found = called(lambda event, seen: 1 / 0, new_context(), None)
    assert isinstance(found, NotKnown)
    assert [one.question for one in found.asks] == [Is("a")]
    assert ask(new_context(), "q", Is("a"))["queue"][0].key == found.asks[0].key
