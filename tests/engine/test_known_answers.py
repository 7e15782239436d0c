"""Handlers whose questions are answered at once: the hot path goes on, and sees what a turn sees."""

from typing import Any

import pytest
from attrs import evolve, frozen

from demyjpy import (
    Answered,
    Question,
    Recipient,
    add_header,
    answer,
    ask,
    define_event_handlers,
    merge_handlers,
    reject,
)
from demyjpy.context import new_context
from demyjpy.engine import letters
from demyjpy.engine.connection import Setup
from demyjpy.engine.dispatch import Dispatch, chain_of
from demyjpy.engine.known_answers import NotKnown, at_once_for
from demyjpy.engine.open_questions import NO_QUESTIONS
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.routes import NOT_CALLED
from demyjpy.engine.smallmap import small_map
from demyjpy.questions import UNASKED
from tests.engine.asking import Talk, Values
from tests.engine.harness import BODY, MAIL, MESSAGE, OPENING, Line, join

ONE = Answered(1)
WITHOUT_BODY = [one for one in MESSAGE if one is not BODY]  # to which the answer is SKIP


@frozen
class Is(Question):
    """A question."""

    who: str


def called(then: Any, ctx: Any, known: Any = ONE, **options: Any) -> Any:
    """What becomes of a call at a recipient: outcome, queue, context, questions."""
    handlers = define_event_handlers()
    options = {"asking": lambda event, ctx: {"q": Is(event.address)}, **options}
    handlers.recipient(then, **options)
    setup = Setup(as_on_connect(handlers), known_answer=lambda asked: known)
    dispatch = Dispatch(
        letters.RCPT, "recipient", lambda *_: None, chain_of(handlers, "recipient"), True
    )
    at_once = at_once_for(setup, handlers, dispatch, alone=True)
    assert at_once is not None
    return at_once(0, NOT_CALLED, Recipient("a"), ctx, NO_QUESTIONS)


def test_a_context_that_is_not_changed_stays_the_same() -> None:
    """The answers are in the one that the handler gets only."""
    ctx = new_context()
    outcome, queue, given, questions = called(lambda event, seen: seen, ctx)
    assert outcome is given is ctx
    assert (queue, questions) == ((), NO_QUESTIONS)


@pytest.mark.parametrize("before", [None, small_map({"older": Answered(2)})])
@pytest.mark.parametrize("stores", [True, False])
def test_what_the_handler_stores_stays_and_its_answers_go(before: Any, stores: bool) -> None:
    """Those that were there before stay as they were."""
    ctx = new_context() if before is None else new_context().set("answers", before)

    def store(event: Any, seen: Any) -> Any:
        found = answer(seen, "q", failed=0)
        return seen.set("found", found) if stores else seen

    after = called(store, ctx)[0]
    assert after.get("found") == (1 if stores else None)
    assert after.get("answers") == before


def test_a_handler_that_takes_the_answers_away_harms_only_itself() -> None:
    """What is the engine's is put in order."""
    after = called(lambda event, seen: seen.remove("answers"), new_context())[0]
    assert "answers" not in after


@pytest.mark.parametrize("outcome", [None, 5])
def test_what_is_no_context_is_a_turns_to_judge(outcome: Any) -> None:
    """It comes through as it is, with the answers as a turn would have them."""
    found, queue, given, questions = called(lambda event, seen: outcome, new_context())
    assert (found, queue) == (outcome, None)
    assert answer(given, "q") == ONE
    assert questions.outcome((0, "q")) == ONE


@pytest.mark.parametrize("where", ["handler", "asking"])
def test_a_failure_is_what_a_turn_gets(where: str) -> None:
    """With the exception, and no more frames than the handler's."""

    def fail(event: Any, ctx: Any) -> Any:
        raise ValueError(where)

    found = called(fail, new_context(), **({"asking": fail} if where == "asking" else {}))
    assert isinstance(found[0], ValueError)
    assert found[3].outcome((0, "q")) == (ONE if where == "handler" else found[3].outcome((0, "no")))


def test_without_an_answer_the_handler_is_not_called() -> None:
    """A turn has to ask."""
    found = called(lambda event, seen: 1 / 0, new_context(), None)[0]
    assert isinstance(found, NotKnown)
    assert [one.question for one in found.asks] == [Is("a")]
    assert ask(new_context(), "q", Is("a"))["queue"][0].key == found.asks[0].key


def test_what_lasts_beyond_the_message_is_asked_by_a_turn() -> None:
    """At HELO, as more than an answer ends with it."""
    dispatch = Dispatch(letters.HELO, "hello", lambda *_: None, (), True)
    assert at_once_for(Setup(as_on_connect({})), define_event_handlers(), dispatch, alone=True) is None


def says(handlers: Any, *packets: Any) -> list[bool]:
    """Whether the hot path takes each packet by itself."""
    setup = Setup(as_on_connect(handlers), known_answer=lambda asked: Answered(asked.question.who))
    line = Line(open_connection(setup, "session"))
    for one in OPENING:
        line.receive_data(join([one]))
    line.hold(evolve(line.leave(), data_to_send=b""))
    return [line.receive_data(join([one])) is not None for one in packets]


def test_handlers_with_known_answers_need_no_turn() -> None:
    """They ask at the event itself, or early and wait for it at the end, and edit the message."""
    early, own, read = define_event_handlers(), define_event_handlers(actions={"add_header"}), []

    @early.mail
    def ask_early(event: Any, ctx: Any) -> Any:
        return ask(ctx, "early", Is("early"))

    @early.end_of_message(needs={"early"})
    def use(event: Any, ctx: Any) -> Any:
        read.append(answer(ctx, "early"))
        return ctx

    @own.mail(asking=lambda event, ctx: {"own": Is("own")})
    def keep(event: Any, ctx: Any) -> Any:
        read.append(answer(ctx, "own"))
        return ctx

    @own.end_of_message(asking=lambda event, ctx: {"end": Is("end")})
    def edit(event: Any, ctx: Any) -> Any:
        read.append(answer(ctx, "own"))
        return add_header(ctx, "X-Found", answer(ctx, "end").value)

    for handlers in (early, own):
        assert says(handlers, *WITHOUT_BODY, *WITHOUT_BODY) == [True] * 12
    assert read == [Answered(one) for one in ("early", "early", "own", "own", "own", "own")]
    assert says(merge_handlers(early, own), *WITHOUT_BODY) == [True] * 6


@pytest.mark.parametrize(
    "mail",
    [
        lambda ctx: reject(ask(ctx, "a", Is("a"))),
        lambda ctx: ask(ask(ctx, "a", Is("a")), "a", Is("b")),
    ],
)
def test_what_is_more_than_questions_is_a_turns_to_judge(mail: Any) -> None:
    """A verdict beside them; one key twice."""
    handlers = define_event_handlers({"mail": lambda event, ctx: mail(ctx)})
    assert says(handlers, MAIL) == [False]


def test_what_was_asked_for_a_recipient_ends_with_it_if_its_handler_asks_more() -> None:
    """As in a turn: a later handler reads nothing of it, nor does the next message."""
    read = []
    for way in (Line, Values):
        handlers = define_event_handlers()
        handlers.recipient(
            lambda event, ctx: ask(ctx, "more", Is("x")),
            asking=lambda event, ctx: {"own": Is(event.address)},
        )
        seen: list[Any] = []

        def look(event: Any, ctx: Any, seen: list[Any] = seen) -> Any:
            seen.append((answer(ctx, "own"), answer(ctx, "more")))
            return ctx

        handlers.end_of_message(look, needs={"own", "more"})
        talk = Talk(handlers, way, known_answer=lambda asked: Answered(asked.question.who))
        talk.say(*OPENING, *MESSAGE, *MESSAGE)
        assert not talk.connection.scope.questions.learned
        read.append(seen)
    assert read == [[(UNASKED, Answered("x"))] * 2] * 2


def test_a_question_with_no_answer_yet_is_a_turns_to_ask() -> None:
    """Of two, one is known: the turn asks both."""
    handlers = define_event_handlers()
    handlers.mail(lambda event, ctx: ask(ask(ctx, "a", Is("a")), "b", Is("b")))
    setup = {"known_answer": lambda asked: ONE if asked.question.who == "a" else None}
    talk = Talk(handlers, Line, **setup)
    assert talk.say(*OPENING, MAIL)[-1] == "c"
    assert talk.open() == ["b"]
