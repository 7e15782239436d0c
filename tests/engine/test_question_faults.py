"""Questions that may not be asked, and what who watches sees; questions as values."""

import re
from typing import Any

import pytest
from pyrsistent import pmap

from demyjpy import actions as act
from demyjpy.context import send_action
from demyjpy.engine import open_questions
from demyjpy.engine.open_questions import NO_QUESTIONS, Asked, Learned, Questions
from demyjpy.engine.question_flow import ASKING, LEARNED
from demyjpy.engine.tape import Tape
from demyjpy.errors import HandlerError
from demyjpy.handlers import default_event_handler, define_event_handlers
from demyjpy.questions import LATE, Answered, Ask, ask
from tests.engine.asking import About, Filter, Talk, Values
from tests.engine.harness import (
    ABORT,
    CONNECT,
    DATA,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    RCPT,
    Line,
    offer,
    packet,
)

pytestmark = pytest.mark.parametrize("way", [Line, Values])
NEXT_HELO = packet("H", b"again.example\0")


def at_end(*keys: str) -> dict[str, Any]:
    """A handler at the end that waits for these."""
    return {"end_of_message": keys}


def failing(event: Any, ctx: Any) -> Any:
    """A handler that fails."""
    raise ValueError("no")


# ---------------------------------------------------------------------------- what may not be asked
@pytest.mark.parametrize("name", ["abort", "quit", "disconnect", "define_macros"])
def test_nothing_can_be_asked_at_an_end(way: Any, name: str) -> None:
    """The handler fails, with words that say where to ask; nothing else changes."""
    one = Filter()
    talk = Talk(one.handlers(asks={name: ["a"]}), way)
    talk.say(offer(), packet("D", b"Cj\0mx\0"), CONNECT, HELO, MAIL, ABORT, QUIT)
    talk.hang_up()
    assert len(talk.errors) == one.calls.count(name) > 0
    assert talk.errors[0].startswith(f"expected no question at {name}, got 'a': nobody can wait for")
    assert (talk.open(), talk.numbers, talk.connection.is_closed) == ([], set(), True)


def test_nothing_can_be_asked_at_the_negotiation(way: Any) -> None:
    """There is no session yet."""
    made = define_event_handlers(
        {"options": lambda event, ctx: ask(default_event_handler(event, ctx), "a", About())}
    )
    talk = Talk(made, way)
    talk.say(offer())
    assert "expected no question at options" in talk.errors[0]
    assert (talk.open(), talk.connection.is_closed) == ([], True)


def test_an_open_key_cannot_be_asked_again(way: Any) -> None:
    """The handler fails; the question that is open stays."""
    one = Filter()
    talk = Talk(one.handlers(asks={"mail": ["a"], "recipient": ["b", "a"]}), way, on_error="accept")
    talk.say(*OPENING, MAIL, RCPT)
    assert "expected a key that is not in use, got 'a', whose question is open" in talk.errors[0]
    assert (talk.open(), talk.numbers) == ([], {1})


def test_an_open_key_cannot_be_asked_by_asking(way: Any) -> None:
    """The handler is not called, and no other question of it is begun."""
    one = Filter()
    made = one.handlers(asks={"mail": ["a"]}, asking={"recipient": ["b", "a"]})
    talk = Talk(made, way)
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "t"
    assert (talk.open(), one.calls) == (["a"], ["mail", "asking at recipient"])


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (lambda event, ctx: send_action(ctx, act.AddHeader("X", "y")), "modifications at message"),
        (lambda event, ctx: send_action(ctx, 5), "expected an action"),
        (failing, "no"),
        (lambda event, ctx: None, "return a context"),
    ],
)
def test_what_a_handler_that_fails_asked_is_not_begun(way: Any, then: Any, expected: str) -> None:
    """A plan is done as a whole or not at all."""
    one = Filter()
    talk = Talk(one.handlers(asks={"recipient": ["a"]}, then={"recipient": then}), way)
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "t"
    assert expected in talk.errors[0]
    assert (talk.open(), talk.numbers) == ([], set())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (lambda event, ctx: None, "expected questions by key from asking= of .* as a mapping, got None"),
        (lambda event, ctx: {"a": "x"}, "expected a question under 'a'"),
        (lambda event, ctx: {5: About()}, "expected the key of a question"),
        (failing, "no"),
        (lambda event, ctx: (_ for _ in ()).throw(SystemExit(3)), "expected a handler to return"),
    ],
)
def test_asking_that_fails_fails_its_handler(way: Any, given: Any, expected: str) -> None:
    """The handler is not called; the policy answers, and the session goes on."""
    one = Filter()
    talk = Talk(one.handlers("data", asking={"recipient": given}), way)
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "t"
    assert re.search(expected, talk.errors[0])
    assert one.calls == ["asking at recipient"]
    assert talk.say(DATA)[-1] == "c"
    assert talk.connection.scope.questions.waits is None


def test_on_error_asks_nothing(way: Any) -> None:
    """What it returns answers for the handler: a question there is its own failure."""
    talk = Talk(
        Filter().handlers(then={"mail": failing}),
        way,
        on_error=lambda error, event, ctx: ask(ctx, "a", About()),
    )
    assert talk.say(*OPENING, MAIL)[-1] == "t"
    assert (talk.open(), len(talk.errors)) == ([], 2)


def test_a_connection_has_so_many_questions_open(way: Any) -> None:
    """The handler that asks one more fails: its filter is named."""
    keys = [str(number) for number in range(101)]
    talk = Talk(
        Filter().handlers(asks={"mail": keys[:100], "recipient": ["more"]}, declared={"name": "f"}), way
    )
    talk.say(*OPENING, MAIL)
    assert len(talk.open()) == 100
    assert talk.say(RCPT)[-1] == "t"
    assert "expected at most 100 open questions" in talk.errors[0]
    assert "got one more from f" in talk.errors[0]


def test_a_connection_keeps_so_many_answers(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if each is answered at once."""
    monkeypatch.setattr(open_questions, "MOST", 5)
    talk = Talk(
        Filter().handlers(asks={"mail": list("abcd"), "recipient": "e", "data": "f"}),
        way,
        known_answer=lambda asked: LATE,
    )
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "c"
    assert talk.say(DATA)[-1] == "t"


@pytest.mark.parametrize(
    "spoilt", [lambda ctx: ctx.remove("answers"), lambda ctx: ctx.set("answers", 5)]
)
def test_a_handler_that_spoils_the_answers_harms_only_itself(way: Any, spoilt: Any) -> None:
    """What is the engine's is not in a context alone: who waits later has its answer."""
    one = Filter()
    made = one.handlers(
        asks={"mail": ["a"]},
        needs=at_end("a"),
        asking={"hello": ["b"]},
        then={"mail": lambda event, ctx: spoilt(ctx), "connect": lambda event, ctx: spoilt(ctx)},
        reads=[],
    )
    talk = Talk(made, way, known_answer=lambda asked: Answered(asked.key))
    assert talk.say(*OPENING, NEXT_HELO, *MESSAGE)[-1] == "c"
    assert one.seen("end_of_message")[-1]["a"] == Answered("a")
    assert talk.errors == []


# ---------------------------------------------------------------------------------- who watches
def test_who_watches_sees_what_was_learned(way: Any) -> None:
    """Each step has the answers that have come since the one before."""
    steps: list[Any] = []
    one = Filter()
    talk = Talk(one.handlers(asks={"mail": ["a", "b"]}, needs=at_end("b")), way, observer=steps.append)
    talk.say(*OPENING, MAIL)
    talk.learn("a", 1)
    talk.say(*MESSAGE[1:])
    talk.learn("b", 2)
    learned = [[(found.asked.key, found.outcome) for found in step.learned] for step in steps]
    assert [some for some in learned if some] == [[("a", Answered(1)), ("b", Answered(2))]]
    assert type(steps[-1].event).__name__ == "EndOfMessage"


def test_a_tape_has_questions_and_answers(way: Any) -> None:
    """In the order in which they came, between the outcomes of handlers; a failure stands there once."""
    stretches: list[Any] = []
    tape = Tape(stretches.append, lambda: 0.0, lambda: 0.0)
    made = Filter().handlers("mail", asking={"recipient": ["a"], "data": failing})
    talk = Talk(made, lambda opened, tape=tape: Line(opened, tape))
    talk.say(*OPENING, MAIL, RCPT)
    talk.learn("a", 1)
    talk.say(DATA)
    noted = [one for stretch in stretches for one in stretch.outcomes]
    found = [
        (one, outcome) for one, outcome, _ in noted if one and one.event in ("recipient", "message")
    ]
    asking, learned, recipient, failure = found
    assert asking == (ASKING, (Ask("a", About("a")),))
    assert learned[0] is LEARNED
    assert learned[1].outcome == Answered(1)
    assert recipient[0].event == "recipient"
    assert (failure[0], type(failure[1])) == (ASKING, ValueError)


# --------------------------------------------------------------------------------------- as values
def asked(number: int = 1, key: str = "a", lasts: Any = "message") -> Asked:
    """A question that was asked."""
    return Asked(number, 0, "f", key, About(), 5.0, lasts)


def test_no_question_is_nothing_to_end(way: Any) -> None:
    """A connection that never asked keeps the one value that says so."""
    assert NO_QUESTIONS.end() is NO_QUESTIONS
    assert NO_QUESTIONS.without("message") is NO_QUESTIONS
    assert Questions(last=3, waits=frozenset()).end() == Questions(last=3)


def test_a_turn_is_needed_while_something_is_open_or_ends_with_the_greeting(way: Any) -> None:
    """What lasts for the message or the connection the hot path ends itself."""
    assert NO_QUESTIONS.is_plain
    assert not Questions(pmap({1: asked()})).is_plain
    for lasts, is_plain in (("greeting", False), ("message", True), ("connection", True)):
        one = Learned(asked(lasts=lasts), LATE)
        assert NO_QUESTIONS.learn(one, is_watched=False).is_plain is is_plain


def test_the_nearest_answer_counts(way: Any) -> None:
    """A recipient's before the message's, that before the greeting's, that before the connection's."""
    questions = NO_QUESTIONS
    for number, lasts in enumerate(("connection", "greeting", "message", "recipient")):
        questions = questions.learn(Learned(asked(lasts=lasts), Answered(number)), is_watched=False)
        assert questions.outcome((0, "a")) == Answered(number)
    assert questions.without("message", "recipient").outcome((0, "a")) == Answered(1)


def test_what_a_handler_queues_by_itself_is_checked(way: Any) -> None:
    """`Ask` is made by `ask`; made by hand it is checked all the same."""
    for wrong in (("", About(), 1), ("a", 5, 1), ("a", About(), 0)):
        with pytest.raises(HandlerError):
            Ask(*wrong)
