"""Questions in tests: who answers them, what was asked, and what a missing answer says."""

from typing import Any

import pytest
from attrs import frozen

from demyjpy import (
    EndOfMessage,
    HandlerError,
    LocalProtocolError,
    Recipient,
    add_header,
    define_event_handlers,
    merge_handlers,
    tempfail,
)
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import new_session
from demyjpy.questions import Answered, Failed, Late, Question, Unasked, answer, ask
from demyjpy.testing import AskedQuestion, Postfix, context, run, session
from demyjpy.testing.answers import always, answering, by_example
from demyjpy.testing.run import play_script
from demyjpy.trace.filter_connection import nobody_answers
from tests.law.hot import HotFilter


class Dns(Question):
    """What is asked of the DNS."""


@frozen
class Spf(Dns, pure=True):
    """Whether a sender may send from here."""

    sender: str
    examples = ("pass", "fail")


@frozen
class Triplet(Question):
    """Whether this has been seen before."""

    address: str


@frozen
class Listed(Question):
    """A question that has no hash."""

    names: list[str]


def asking(name: str | None = None) -> Any:
    """SPF is asked at MAIL and used at the end; each recipient is looked up."""
    handlers = define_event_handlers(name=name, actions={"add_header"})

    @handlers.mail
    def mail(event, ctx):
        return ask(ctx, "spf", Spf(event.sender))

    @handlers.recipient(asking=lambda event, ctx: {"grey": Triplet(event.address)})
    def recipient(event, ctx):
        new = answer(ctx, "grey", failed="known", late="known") == "new"
        return tempfail(ctx, "4.7.1", "Try later") if new else ctx

    @handlers.end_of_message(needs={"spf"})
    def end(event, ctx):
        return add_header(ctx, "X-Spf", str(answer(ctx, "spf", failed="temperror", late="late")))

    return handlers


LETTER = session().mail("ann@example.net").rcpt("bob@example.org").message()
KNOWN = {Triplet: "known"}


def spf_of(answers: Any) -> str | None:
    return run(asking(), LETTER, answers=answers).message.get("X-Spf")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({Spf("ann@example.net"): "softfail", Spf: "pass", **KNOWN}, "softfail"),
        ({Spf("joe@example.net"): "softfail", Spf: "pass", Dns: "fail", **KNOWN}, "pass"),
        ({Dns: "fail", **KNOWN}, "fail"),
        ({Question: "none"}, "none"),
        ({object: "none", Question: "all"}, "all"),
        ({Spf: Late(), **KNOWN}, "late"),
        ({Spf: Failed("no route"), **KNOWN}, "temperror"),
        ({Spf: Answered("pass"), **KNOWN}, "pass"),
        ({Spf: lambda question: f"for {question.sender}", **KNOWN}, "for ann@example.net"),
        ({Spf: lambda question: Failed("no route"), **KNOWN}, "temperror"),
        (lambda question: type(question).__name__, "Spf"),
    ],
)
def test_an_answer_is_found_by_question_then_by_class(answers, expected):
    """The nearest class counts; a value, an outcome and a function of the question will do."""
    assert spf_of(answers) == expected


def test_what_was_asked_is_in_the_result():
    """With its key, its filter, its outcome and the event at which it was asked; by message, too."""
    script = LETTER.mail("joe@example.net").rcpt("new@example.org").rset().mail("").rcpt("x@example.org")
    answers = {Triplet("new@example.org"): "new", Triplet: "known", Spf: Late()}
    result = run(asking("spf"), script.message(), answers=answers)
    assert result.asked[:2] == (
        AskedQuestion(Spf("ann@example.net"), "spf", "spf", Late(), "mail"),
        AskedQuestion(Triplet("bob@example.org"), "grey", "spf", Answered("known"), "recipient"),
    )
    assert len(result.asked) == 6
    assert [one.asked for one in result.messages] == [result.asked[at : at + 2] for at in (0, 2, 4)]
    assert result.filters[0].asked == result.asked
    assert result.steps[3].asked == result.asked[1:2]
    assert result.filters[0].open_questions == result.steps[-1].open_questions == ()


def test_a_message_that_is_refused_at_mail_has_its_questions():
    """They were asked about it."""
    handlers = define_event_handlers()

    @handlers.mail(asking=lambda event, ctx: {"spf": Spf(event.sender)})
    def mail(event, ctx):
        return tempfail(ctx)

    script = session().mail("a@example.net").rset().mail("b@example.net")
    result = run(handlers, script, answers={Spf: 1})
    assert [[one.question.sender for one in message.asked] for message in result.messages] == [
        ["a@example.net"],
        ["b@example.net"],
    ]


def test_a_session_that_asks_nothing_has_asked_nothing():
    """And needs no answers."""
    assert run(define_event_handlers(), LETTER).asked == ()


LINE_TO_WRITE = (
    "Give what it is answered: answers={Spf: 'pass'}. That may also be Late(), Failed(\"why\"), "
    "or a function of the question."
)


def test_a_question_without_an_answer_shows_itself_and_the_line_to_write():
    """With an example, if its class declares one."""
    with pytest.raises(AssertionError) as caught:
        run(asking("spf"), LETTER)
    assert str(caught.value).splitlines() == [
        "expected an answer to each question, got none for what spf asks at mail under 'spf':",
        "  Spf(sender='ann@example.net')",
        LINE_TO_WRITE,
    ]
    with pytest.raises(AssertionError, match=r"answers=\{Triplet: \.\.\.\}"):
        run(asking(), LETTER, answers={Spf: "pass"})


def test_a_question_that_has_no_hash_is_found_by_its_class():
    """It can be no key of a map."""
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.end_of_message(asking=lambda event, ctx: {"listed": Listed(["a"])})
    def end(event, ctx):
        return add_header(ctx, "X-Listed", answer(ctx, "listed", failed=""))

    result = run(handlers, LETTER, answers={Listed: lambda question: ",".join(question.names)})
    assert result.message.get("X-Listed") == "a"


def test_a_filter_may_have_answers_of_its_own():
    """By its name, in a row and in a merged filter; what is not there is looked up among the others."""
    one, two = asking("one"), asking("two")
    answers = {"two": {Spf: "fail"}, Spf: "pass", **KNOWN}
    result = run([one, two], LETTER, answers=answers, mta=Postfix())
    assert result.message.get_all("X-Spf") == ("pass", "fail")
    assert [one.filter for one in result.asked] == ["one", "two"] * 2
    assert [one.outcome.value for one in result.filters[1].asked] == ["fail", "known"]
    assert [len(one.asked) for one in result.messages] == [4]
    merged = run(merge_handlers(one, two), LETTER, answers=answers, mta=Postfix())
    assert merged.message.get_all("X-Spf") == ("pass", "fail")
    assert run(two, LETTER, answers={"two": lambda question: "all"}).message.get("X-Spf") == "all"


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"spf": "pass"}, r"'spf' in answers= the answers for the filter of this name, got text"),
        ({"spf": Spf}, "expected answers= as a map .*, got a type"),
        (Spf, "expected answers= as a map from questions or their classes to answers, or a function"),
        (7, "expected answers= as a map .*, got 7"),
        ({Spf: Late}, r"an answer that can be recorded, got .*; it is given in answers= for Spf\("),
        ({Spf: lambda question: object()}, "an answer that can be recorded"),
        ({Spf: Unasked()}, r"expected an answer, got Unasked\(\)"),
    ],
)
def test_what_can_be_no_answer_is_told(answers, words):
    """Keys of answers, classes in place of outcomes, values that no performer may return."""
    with pytest.raises(LocalProtocolError, match=words):
        run(asking(), LETTER, answers=answers)


def test_what_an_answering_function_raises_is_raised():
    """It is the test's own: a question that fails is answered with Failed."""
    with pytest.raises(ZeroDivisionError):
        run(asking(), LETTER, answers=lambda question: 1 / 0)


def test_the_hot_path_of_tests_has_answers_too():
    """As the drivers hold a filter, with questions answered at once."""
    with HotFilter(asking(), {Spf: "pass", Triplet: "known"}) as milter:
        state = new_session(Postfix())
        for step in (*LETTER.steps, *LETTER.steps[2:]):
            state, outcome = play(take_step(state, step), [milter])
            if outcome.mail is not None:
                assert ("X-Spf", " pass") in [(one.name, one.raw) for one in outcome.mail.message.fields]
        assert state.messages == 2


# ------------------------------------------------------------------------------ calling handlers
def test_a_handler_is_called_with_answers():
    """By key; what is asked is queued, as an action is."""
    ctx = context(asking(), answers={"spf": "pass", "grey": "new"})
    end, recipient = asking()["end_of_message"], asking()["recipient"]
    assert end(EndOfMessage(), ctx) == add_header(ctx, "X-Spf", "pass")
    assert recipient(Recipient("bob@example.org"), ctx) == tempfail(ctx, "4.7.1", "Try later")
    late = context(asking(), answers={"spf": Late(), "other": Unasked(), "failed": Failed("why")})
    assert end(EndOfMessage(), late) == add_header(late, "X-Spf", "late")
    assert answer(late, "other") == Unasked()
    assert answer(late, "failed") == Failed("why")


def test_an_answer_that_was_not_given_cannot_be_read():
    """As in a handler that does not wait for it."""
    with pytest.raises(HandlerError, match="in a handler that waits for it"):
        answer(context(asking()), "spf")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"spf": object()}, "can be recorded, got .*; it is given in answers= under 'spf'"),
        ({Spf: "pass"}, "expected the key of a question"),
        (["spf"], "expected answers= by the keys of questions as a mapping"),
    ],
)
def test_what_no_handler_could_read_is_told(answers, words):
    """Answers by class are for run()."""
    with pytest.raises(HandlerError, match=words):
        context(asking(), answers=answers)


# ------------------------------------------------------------------------------------- examples
class Plain(Question):
    """One whose text tells where it lies in memory."""

    examples = (1, 2)


def asked_about(question: Any) -> Any:
    """What the engine says of a question."""
    seen: list[Any] = []
    handlers = define_event_handlers({"mail": lambda event, ctx: ask(ctx, "key", question)})

    def keep(asked: Any) -> Any:
        seen.append(asked)
        return Late()

    play_script(Setup(as_on_connect(handlers)), LETTER, Postfix(), answer=keep)
    return seen[0]


def test_an_example_answers_an_equal_question_in_the_same_way():
    """In another turn it is the next example."""
    asked = asked_about(Spf("ann@example.net"))
    first, second = (by_example(turn)(asked) for turn in (0, 1))
    assert {first, second} == {Answered("pass"), Answered("fail")}
    assert by_example(2)(asked) == first
    assert by_example()(asked_about(Spf("ann@example.net"))) == first
    assert len({by_example()(asked_about(Spf(f"{n}@example.net"))) for n in range(9)}) == 2


def test_a_question_without_examples_fails():
    """And says that it has none."""
    assert by_example()(asked_about(Triplet("x"))) == Failed("Triplet has no examples=")


def test_the_place_of_a_question_in_memory_chooses_no_example():
    """It would be another one in each run."""
    assert by_example()(asked_about(Plain())) == Answered(1)


def test_all_questions_may_have_one_outcome():
    """As if nobody could be reached."""
    asked = asked_about(Triplet("x"))
    assert always(Late())(asked) == Late()
    assert answering(lambda question: 1)(asked) == Answered(1)


def test_without_answers_nobody_answers():
    """Neither for a session that is played without run(), nor for a connection without a test."""
    asked = asked_about(Triplet("x"))
    with pytest.raises(AssertionError, match="Give what it is answered"):
        play_script(Setup(as_on_connect(asking())), LETTER, Postfix())
    with pytest.raises(LocalProtocolError, match=r"answer to the question 'key' .*Triplet"):
        nobody_answers(asked)
