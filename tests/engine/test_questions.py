"""Questions in the engine: asked, awaited, answered; how long each lasts."""

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
from demyjpy.handlers import default_event_handler, define_event_handlers, merge_handlers
from demyjpy.questions import LATE, UNASKED, Answered, Ask, Failed, ask
from tests.engine.asking import About, Filter, Talk, Values
from tests.engine.harness import (
    ABORT,
    BODY,
    CONNECT,
    DATA,
    EOH,
    EOM,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    OPENING,
    QUIT,
    QUIT_NC,
    RCPT,
    UNKNOWN,
    Line,
    offer,
    packet,
)

pytestmark = pytest.mark.parametrize("way", [Line, Values])
NEXT_HELO = packet("H", b"again.example\0")


def at_end(*keys: str) -> dict[str, Any]:
    """A handler at the end that waits for these."""
    return {"end_of_message": keys}


# -------------------------------------------------------------------------------- the way of one
def test_a_question_is_open_while_the_mail_arrives(way: Any) -> None:
    """Nobody waits for it before a handler needs it; then it is answered, and the handler called."""
    one = Filter()
    talk = Talk(one.handlers(asks={"mail": ["spf"]}, needs=at_end("spf")), way)
    assert talk.say(*OPENING, MAIL) == "Occc"
    assert (talk.open(), talk.waits, talk.connection.wait) == (["spf"], [], None)
    assert talk.say(RCPT, DATA, HEADER, EOH, BODY) == "ccccs"
    assert talk.say(EOM) == ""
    assert talk.waits == ["spf"]
    assert talk.connection.wait.handler.endswith("handle")
    assert talk.learn("spf", "pass") == "c"
    assert one.seen("end_of_message") == [{"spf": Answered("pass")}]
    assert (talk.open(), talk.connection.wait, talk.errors) == ([], None, [])


def test_an_answer_that_comes_early_is_kept(way: Any) -> None:
    """The handler that needs it is called at once."""
    one = Filter()
    talk = Talk(one.handlers(asks={"mail": ["spf"]}, needs=at_end("spf")), way)
    talk.say(*OPENING, MAIL)
    assert talk.learn("spf", Failed("no")) == ""
    assert talk.say(*MESSAGE[1:])[-1] == "c"
    assert one.seen("end_of_message") == [{"spf": Failed("no")}]


def test_three_questions_are_open_at_once(way: Any) -> None:
    """They are begun side by side, and a handler waits for exactly those that it needs."""
    one = Filter()
    asks = {"connect": ["a"], "mail": ["b", "c"]}
    talk = Talk(one.handlers(asks=asks, needs=at_end("a", "c")), way)
    talk.say(*OPENING, *MESSAGE)
    assert (talk.open(), talk.waits) == (["a", "b", "c"], ["a", "c"])
    assert talk.learn("c") == ""
    assert talk.waits == ["a"]
    assert talk.learn("a", LATE) == "c"
    assert one.seen("end_of_message") == [{"a": LATE, "c": Answered(None)}]
    assert talk.open() == []


def test_a_key_that_nobody_asked_is_unasked_at_once(way: Any) -> None:
    """There is nothing to wait for."""
    one = Filter()
    talk = Talk(one.handlers(needs=at_end("spf")), way)
    assert talk.say(*OPENING, *MESSAGE)[-1] == "c"
    assert one.seen("end_of_message") == [{"spf": UNASKED}]


def test_asking_asks_before_the_handler(way: Any) -> None:
    """The handler has the answers to its own questions, and those that it needs besides."""
    one = Filter()
    made = one.handlers(
        asks={"mail": ["a"]},
        needs={"recipient": ["a"]},
        asking={"recipient": ["b"]},
        reads="b",
        within=3,
    )
    talk = Talk(made, way)
    talk.say(*OPENING, MAIL)
    assert talk.say(RCPT) == ""
    assert (talk.waits, [one.within for one in talk.asked()]) == (["a", "b"], [5.0, 3.0])
    assert talk.learn("b", 2) == ""
    assert talk.learn("a", 1) == "c"
    assert one.calls == ["mail", "asking at recipient", "recipient"]
    assert one.seen("recipient") == [{"a": Answered(1), "b": Answered(2)}]


def test_asking_may_ask_nothing(way: Any) -> None:
    """Then the handler is called at once."""
    one = Filter()
    talk = Talk(one.handlers(asking={"recipient": []}), way)
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "c"
    assert one.calls == ["asking at recipient", "recipient"]


def test_an_answer_to_nothing_does_nothing(way: Any) -> None:
    """A driver may be late: what is not open is not taken."""
    talk = Talk(Filter().handlers(asks={"mail": ["a"]}), way)
    talk.say(*OPENING, MAIL)
    assert (talk.learn_number(77, LATE), talk.open()) == ("", ["a"])
    talk.say(ABORT)
    assert (talk.learn_number(1, Answered(1)), talk.open(), talk.errors) == ("", [], [])


def test_the_engine_knows_who_asked(way: Any) -> None:
    """An open question has the name of its filter, its key and what it declares."""

    def perform(question: Any, resources: Any) -> int:
        return 1

    made = Filter().handlers(asks={"mail": ["a"]}, declared={"name": "spf", "asks": {About: perform}})
    talk = Talk(made, way)
    talk.say(*OPENING, MAIL)
    (asked,) = talk.asked()
    assert (asked.name, asked.key, asked.question, asked.place) == ("spf", "a", About("mail"), (0, "a"))
    assert asked.declared.asks == {About: perform}


def test_what_the_driver_knows_is_not_asked(way: Any) -> None:
    """``known_answer`` answers at once, so no question is open and no handler waits."""
    one = Filter()
    talk = Talk(
        one.handlers(asks={"mail": ["a", "b"]}, needs=at_end("a", "b"), asking={"recipient": ["c"]}),
        way,
        known_answer=lambda asked: None if asked.key == "b" else Answered(asked.key),
    )
    assert talk.say(*OPENING, MAIL, RCPT)[-1] == "c"
    assert talk.open() == ["b"]
    talk.say(*MESSAGE[2:])
    assert talk.learn("b") == "c"
    assert one.seen("end_of_message") == [{"a": Answered("a"), "b": Answered(None)}]


# ----------------------------------------------------------------------------------- what it reads
def test_an_answer_is_read_only_by_who_waits_and_those_after(way: Any) -> None:
    """Before a handler waits for it an answer cannot be read, also if it has come."""
    one = Filter()
    needs = {"data": ["a"]}
    talk = Talk(one.handlers("recipient", "header", asks={"mail": ["a"]}, needs=needs), way)
    talk.say(*OPENING, MAIL)
    talk.learn("a", 1)
    talk.say(RCPT, DATA, HEADER)
    assert [one.seen(name) for name in ("recipient", "data", "header")] == [
        [{}],
        [{"a": Answered(1)}],
        [{"a": Answered(1)}],
    ]


def test_a_key_that_was_answered_may_be_asked_again(way: Any) -> None:
    """A handler that needs it waits for the new answer."""
    one = Filter()
    talk = Talk(
        one.handlers(asks={"mail": ["a"], "data": ["a"]}, needs={"data": ["a"], **at_end("a")}), way
    )
    talk.say(*OPENING, MAIL, RCPT)
    talk.learn("a", 1)
    talk.say(*MESSAGE[2:])
    assert talk.waits == ["a"]
    talk.learn("a", 2)
    assert one.seen("end_of_message") == [{"a": Answered(2)}]
    assert talk.numbers == {1, 2}


def test_a_message_hides_what_the_connection_knows_until_it_ends(way: Any) -> None:
    """A key asked at connect and again at mail is the connection's once more in the next message."""
    one = Filter()
    made = one.handlers(
        asks={"connect": ["a"]}, needs={"mail": ["a"], **at_end("a")}, then={"data": None}
    )
    count = [0]

    def data(event: Any, ctx: Any) -> Any:
        count[0] += 1
        return ask(ctx, "a", About("data")) if count[0] == 1 else ctx

    again = define_event_handlers({name: made[name] for name in made if name != "data"} | {"data": data})
    talk = Talk(again, way)
    talk.say(*OPENING)
    talk.learn("a", "connect")
    talk.say(*MESSAGE)
    assert talk.learn("a", "data") == "c"
    talk.say(*MESSAGE)
    assert [known["a"].value for known in one.seen("end_of_message")] == ["data", "connect"]


# ----------------------------------------------------------------------------------- how long
def test_what_connect_asks_lasts_as_long_as_the_connection(way: Any) -> None:
    """It is there in each message, also after another HELO; not after QUIT_NC."""
    one = Filter()
    talk = Talk(one.handlers(asks={"connect": ["a"]}, needs=at_end("a")), way)
    talk.say(*OPENING, NEXT_HELO)
    assert talk.asked()[0].lasts == "connection"
    talk.learn("a", 1)
    for _ in range(2):
        talk.say(*MESSAGE)
    talk.say(NEXT_HELO, *MESSAGE, QUIT_NC, CONNECT)
    assert one.seen("end_of_message") == [{"a": Answered(1)}] * 3
    assert talk.open() == ["a"]
    talk.say(HELO, *MESSAGE)
    assert talk.waits == ["a"]
    assert talk.numbers == {1, 2}


def test_what_hello_asks_lasts_until_the_next(way: Any) -> None:
    """An open one is dropped at the next HELO, one that was answered cannot be read any more."""
    one = Filter()
    made = one.handlers("unknown", asks={"hello": ["a"]}, needs={"mail": ["a"]})
    talk = Talk(made, way)
    talk.say(*OPENING)
    assert talk.asked()[0].lasts == "greeting"
    talk.say(NEXT_HELO)
    assert [one.number for one in talk.asked()] == [2]
    talk.learn("a", 1)
    talk.say(*MESSAGE, UNKNOWN)
    assert one.seen("mail") == [{"a": Answered(1)}]
    assert one.seen("unknown") == [{}]


@pytest.mark.parametrize("count", [1, 2])
def test_what_was_read_of_a_greeting_is_over_with_it(way: Any, count: int) -> None:
    """Of one filter and of several: at the next HELO the answers of the greeting go, and no others."""
    filters = [Filter() for _ in range(count)]

    def asking(event: Any, ctx: Any) -> Any:
        return {"a": About()} if event.greeting == "client.example" else {}

    made = [
        one.handlers(
            "mail", asks={"connect": ["b"]}, asking={"hello": asking}, needs={"hello": ["b"]}, reads="a"
        )
        for one in filters
    ]
    talk = Talk(merge_handlers(*made), way, known_answer=lambda asked: Answered(asked.filter))
    talk.say(*OPENING, MAIL, ABORT, NEXT_HELO, MAIL)
    for number, one in enumerate(filters):
        own = Answered(number)
        assert one.seen("mail") == [{"a": own, "b": own}, {"b": own}]
    assert talk.errors == []


def test_between_messages_a_question_lasts_until_the_next_greeting(way: Any) -> None:
    """A command that nobody knows may ask, too: before a message it is no message's."""
    talk = Talk(Filter().handlers(asks={"unknown": ["a"]}), way)
    talk.say(*OPENING, UNKNOWN)
    assert talk.asked()[0].lasts == "greeting"
    talk.say(HELO)
    assert talk.open() == []
    talk.say(MAIL, UNKNOWN)
    assert talk.asked()[0].lasts == "message"


def test_what_a_recipient_asks_itself_is_over_with_it(way: Any) -> None:
    """``asking=`` at recipient: the next recipient has its own, and nobody after it can read one."""
    one = Filter()
    talk = Talk(one.handlers("data", asking={"recipient": ["a"]}, reads="a"), way)
    talk.say(*OPENING, MAIL, RCPT)
    assert talk.asked()[0].lasts == "recipient"
    talk.learn("a", 1)
    assert "recipient" not in talk.connection.scope.questions.learned
    talk.say(RCPT)
    talk.learn("a", 2)
    talk.say(DATA)
    assert one.seen("recipient") == [{"a": Answered(1)}, {"a": Answered(2)}]
    assert one.seen("data") == [{}]


def test_what_a_recipient_handler_asks_is_the_messages(way: Any) -> None:
    """``ask`` in the handler is for later: the recipient is only the occasion."""
    talk = Talk(Filter().handlers(asks={"recipient": ["a"]}), way)
    talk.say(*OPENING, MAIL, RCPT, DATA)
    assert [one.lasts for one in talk.asked()] == ["message"]


def refusing(verdict: Any) -> Any:
    """A handler that answers so."""
    return {"data": lambda event, ctx: send_action(ctx, verdict)}


def failing(event: Any, ctx: Any) -> Any:
    """A handler that fails."""
    raise ValueError("no")


ENDS: dict[str, Any] = {
    "end of message": ({}, MESSAGE[1:]),
    "abort": ({}, (ABORT,)),
    "abort, and its handler is called": ({"abort": lambda event, ctx: ctx}, (ABORT,)),
    "a second MAIL": ({}, (MAIL, ABORT)),
    "HELO": ({}, (HELO,)),
    "QUIT": ({}, (QUIT,)),
    "QUIT_NC": ({}, (QUIT_NC,)),
    "refused": (refusing(act.Reject()), MESSAGE[1:3]),
    "refused, and its abort is called": (
        {**refusing(act.TemporaryFailure()), "abort": lambda event, ctx: ctx},
        MESSAGE[1:3],
    ),
    "a failure": ({"data": failing}, MESSAGE[1:3]),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("is_answered", [True, False])
def test_nothing_is_left_of_a_message(way: Any, end: str, count: int, is_answered: bool) -> None:
    """However it ends: what it asked is not open any more, and the next one reads nothing of it."""
    then, packets = ENDS[end]
    filters = [Filter() for _ in range(count)]
    kept = [len(end)]

    def mail(event: Any, ctx: Any) -> Any:
        return ask(ctx, "a", About("mail")) if kept[0] > 0 else ctx

    made = merge_handlers(
        *[
            one.handlers("unknown", needs={"header": ["a"]}, then={"mail": mail, **then})
            for one in filters
        ]
    )
    talk = Talk(made, way)
    talk.say(*OPENING, MAIL)
    assert talk.open() == ["a"] * count
    while is_answered and talk.open():
        talk.learn("a", 1)
    if not is_answered and end == "end of message":
        talk.say(RCPT, DATA, HEADER)
        for _ in filters:
            talk.learn("a", 2)
        packets = (EOH, BODY, EOM)
    if end == "a second MAIL":
        talk.say(MAIL)
        assert talk.numbers == set(range(1, 2 * count + 1))
        packets = (ABORT,)
    talk.say(*packets)
    assert talk.open() == []
    kept[0] = 0
    questions = talk.connection.scope.questions
    assert "message" not in questions.learned
    if end != "QUIT":
        talk.say(*([CONNECT, HELO] if end == "QUIT_NC" else []), MAIL, RCPT, UNKNOWN)
        if "data" not in then:
            talk.say(DATA, HEADER)
            assert all(one.seen("header")[-1] == {"a": UNASKED} for one in filters)
        assert all(one.seen("unknown")[-1] == {} for one in filters)


@pytest.mark.parametrize("end", ["abort", "QUIT_NC"])
def test_a_question_is_over_before_the_handlers_of_the_end_have_run(way: Any, end: str) -> None:
    """They may take their time in a thread; nobody answers for the message meanwhile."""
    one = Filter()
    made = one.handlers(asks={"connect": ["c"], "mail": ["m"]}, then={})
    slow = define_event_handlers({"abort": lambda event, ctx: ctx, "disconnect": lambda event, ctx: ctx})
    handlers = define_event_handlers({**made, **slow})
    talk = Talk(handlers, way, defers=lambda handler: handler.event in ("abort", "disconnect"))
    talk.say(*OPENING, MAIL)
    assert talk.open() == ["c", "m"]
    seen: list[list[str]] = []
    run = talk.run_calls
    talk.run_calls = lambda: seen.append(talk.open()) or run()  # type: ignore[method-assign,func-returns-value]
    talk.say(ABORT if end == "abort" else QUIT_NC)
    assert seen[0] == ["c"]
    assert talk.open() == (["c"] if end == "abort" else [])


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
