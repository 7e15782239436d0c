"""A candidate that asks, in a shadow: it learns what it may, and changes nothing in the world."""

import time
from typing import Any

import pytest
from attrs import frozen

from demyjpy import define_event_handlers, reject, send_action
from demyjpy.drivers.ask_now import ask_now
from demyjpy.engine.connection import Setup
from demyjpy.engine.open_questions import Asked, Learned
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.questions import Answered, Failed, Late, Outcome, Question, answer, ask
from demyjpy.trace import shadow
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.rollout.shadow_answers import MOST, NOT_ASKED, ShadowAnswers
from tests.engine.filters_that_ask import Look
from tests.engine.harness import EOM, OPENING, QUIT, RCPT, join, packet
from tests.trace.format.test_json_questions import Store
from tests.trace.rollout.test_shadow import Told

PERFORMED: list[Any] = []


@frozen
class Grey(Question):
    """It writes."""

    address: str

    def perform(self, resources: Any) -> str:
        """Somebody will notice."""
        PERFORMED.append(self)
        return "ok"


@frozen
class Spf(Question, pure=True):
    """It only looks."""

    sender: str

    async def perform(self, resources: Any) -> str:
        """It fails for one."""
        return "fail" if self.sender.startswith("last") else "pass"


@frozen
class Slow(Question, pure=True):
    """It takes too long."""

    def perform(self, resources: Any) -> str:
        """It sleeps."""
        time.sleep(0.3)
        return "late"


def live_filter(needs: str) -> Any:
    """It asks for a greylist early or at the recipient."""
    handlers = define_event_handlers(name="live")
    if needs == "early":
        handlers.add("mail", lambda event, ctx: ask(ctx, "g", Grey("all")))
        handlers.add("end_of_message", lambda event, ctx: ctx, needs={"g"})
    else:
        handlers.add("recipient", lambda event, ctx: ctx, asking=lambda event, ctx: {"g": Grey("all")})
    return handlers


def candidate(address: str) -> Any:
    """It refuses by what it learns; it would store something, too."""
    handlers = define_event_handlers(name="new")

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        ctx = ask(ask(ctx, "g", Grey(address)), "spf", Spf(event.sender))
        return send_action(ctx, Store("it"))

    @handlers.end_of_message(needs={"g", "spf"})
    def end(event: Any, ctx: Any) -> Any:
        grey = answer(ctx, "g", failed="not known")
        return reject(ctx, "5.7.1", f"{grey} {answer(ctx, 'spf', failed='?')}", code=550)

    return handlers


def told_of(live: Any, new: Any) -> list[str]:
    """What the candidate answered to two messages."""
    told = Told()
    handlers = shadow(live, new, report=told)
    found: list[str] = []
    for sender in (b"<ann@x>\0", b"<last@x>\0"):
        setup = Setup(as_on_connect(handlers))
        with FilterConnection(
            setup, sender.decode(), lambda asked: Answered("from the live filter")
        ) as connection:
            for one in (*OPENING, packet("M", sender), RCPT, EOM, QUIT):
                connection.say(join([one]))
            connection.end()
        verdict: Any = told.next().new.verdict
        found.append(verdict.lines[0])
    return found


@pytest.mark.parametrize("needs", ["early", "own"])
def test_a_candidate_gets_what_the_live_filter_has_learned(needs: str) -> None:
    """For an equal question, also if it asks first; pure ones are asked, others are not."""
    PERFORMED.clear()
    found = told_of(live_filter(needs), candidate("all"))
    assert found == ["from the live filter pass", "from the live filter fail"]
    assert told_of(live_filter(needs), candidate("other")) == ["not known pass", "not known fail"]
    assert not PERFORMED


def asked(question: Any, within: float = 5.0) -> Asked:
    """A question that was asked."""
    return Asked(1, 0, "f", "k", question, within)


def test_a_question_that_is_not_known_fails_with_the_reason() -> None:
    """And of what the live filter has learned, no more than so much is kept."""
    answers = ShadowAnswers()
    assert answers(asked(Look("x"))) == Failed(
        "nobody answers it: give Look a perform(self, resources), or declare asks={Look: performer}"
    )
    assert answers(asked(Grey("x"))) == Failed(NOT_ASKED)
    answers.note(Learned(asked(Grey(str(one))), Answered(one)) for one in range(MOST + 1))
    assert answers(asked(Grey("0"))) == Failed(NOT_ASKED)
    assert answers(asked(Grey("1"))) == Answered(1)


@frozen
class Unequal(Question):
    """It cannot be asked."""

    what: Any

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def test_a_question_asked_at_once() -> None:
    """Its answer, or why there is none; in its time."""
    assert ask_now(asked(Spf("last"))) == Answered("fail")
    assert ask_now(asked(Slow(), 0.01)) == Late()
    outcome: Outcome = ask_now(asked(Unequal(1)))
    assert isinstance(outcome, Failed)
    assert "cannot be asked" in outcome.error
