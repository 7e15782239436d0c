"""`check_filter` with filters that ask questions: answers in any order, and none left open."""

import pytest
from attrs import evolve, frozen

from demyjpy import add_header, define_event_handlers, reject
from demyjpy.engine.connection import Setup
from demyjpy.engine.open_questions import Asked
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.questions import Answered, Failed, Late, Question, answer, ask
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.answers import AskedQuestion, as_code
from demyjpy.testing.run import play_script
from demyjpy.testing.strategies import check_filter
from demyjpy.testing.strategies.answer_orders import ORDERS, check_questions, when_needed
from demyjpy.testing.strategies.trial import Example, Trial
from tests.testing import planted


@frozen
class Spf(Question, pure=True):
    """Whether a sender may send from here."""

    sender: str
    examples = ("pass", "fail", Late(), Failed("no route"))


@frozen
class Size(Question, pure=True):
    """How much an address may get."""

    address: str
    examples = (1, 2)


def asking():
    """Asks early and late, for the connection and for recipients, and takes each outcome."""
    handlers = define_event_handlers(actions={"add_header"}, state={"number": 0})

    @handlers.hello
    def hello(event, ctx):
        return ask(ctx, "helo", Spf(event.greeting))

    @handlers.mail
    def mail(event, ctx):
        return ask(ask(ctx, "spf", Spf(event.sender)), "nobody reads", Spf("x"))

    @handlers.recipient
    def early(event, ctx):
        number = ctx["number"] + 1
        return ask(ctx.set("number", number), f"size {number}", Size(event.address))

    @handlers.data(asking=lambda event, ctx: {"data": Spf("data")})
    def data(event, ctx):
        return reject(ctx) if answer(ctx, "data") == Failed("never") else ctx

    @handlers.end_of_message(needs={"spf", "helo", "size 1"})
    def end(event, ctx):
        said = [answer(ctx, key, failed="", late="late", unasked="unasked") for key in ("spf", "helo")]
        return add_header(ctx, "X-Said", f"{said} {answer(ctx, 'size 1')!r}")

    return handlers


def story_of(handlers, **options) -> str:
    with pytest.raises(AssertionError) as caught:
        check_filter(handlers, **{"max_examples": 1, **options})
    return str(caught.value)


def test_a_filter_that_asks_passes():
    """With the examples of its questions, or with the answers of a test."""
    check_filter(asking(), max_examples=10)
    check_filter(asking(), max_examples=2, answers={Question: Late()})


def test_a_filter_may_fail_only_if_answers_are_late():
    """As one that asks under one key about each recipient; the story has the code, with the answers."""
    story = story_of(planted.asks_under_one_key())
    assert "got: it fails at recipient if answers come only when a handler waits for them" in story
    assert "HandlerError: expected a key that is not in use, got 'known'" in story
    assert story.splitlines()[-1].startswith("run(handlers, session(")
    assert "answers={Known(address=" in story.splitlines()[-1]


def test_a_question_without_examples_fails_in_the_check():
    """So does a filter that does not expect that; the answers of a test let it pass."""
    story = story_of(planted.does_not_think_of_failure())
    assert "'Failed' object has no attribute 'value'" in story
    check_filter(planted.does_not_think_of_failure(), answers=lambda question: True, max_examples=1)


def test_a_filter_that_sees_when_it_is_answered_is_found():
    """Through a global; what differs is shown."""
    answered = []
    handlers = define_event_handlers(actions={"add_header"})

    @handlers.mail
    def mail(event, ctx):
        answered.clear()
        return ask(ctx, "size", Size(event.sender))

    @handlers.end_of_message
    def end(event, ctx):
        return add_header(ctx, "X-Answered", str(len(answered)))

    def answers(question):
        answered.append(question)
        return 1

    story = story_of(handlers, answers=answers, skip={"leaks", "chunks"})
    assert "got: the result is another one if answers come only when a handler waits" in story
    assert "-X-Answered: 1\n+X-Answered: 0" in story
    check_filter(handlers, answers=answers, skip={"leaks", "chunks", "order"}, max_examples=1)


LETTER = session().mail("ann@example.net").rcpt("bob@example.org").rcpt("joe@example.org").message()


def answered_in(order) -> list[str]:
    setup = Setup(as_on_connect(asking()))
    result = play_script(setup, LETTER, Postfix(), answer=lambda asked: Answered(1), order=order)
    return [one.key for one in result.asked]


def test_answers_come_in_many_orders():
    """Those that nobody waits for never come if answers come only when they are needed."""
    assert list(map(answered_in, ORDERS.values())) == [
        ["helo", "nobody reads", "spf", "size 1", "size 2", "data"],
        ["data", "helo", "spf", "size 1"],
        ["data", "size 2", "size 1", "nobody reads", "spf", "helo"],
    ]


def trial_of(handlers) -> Trial:
    return Trial(Setup(as_on_connect(handlers)), (Postfix(),), Example(LETTER))


def test_no_question_of_the_engines_is_left_open():
    """Not even those that nobody waits for."""
    assert [*check_questions(trial_of(asking()))] == []
    setup = Setup(as_on_connect(asking()))
    late = play_script(setup, LETTER.rset(), Postfix(), answer=lambda asked: Late(), order=when_needed)
    open_ = [[one.key for one in step.open_questions] for step in late.steps]
    assert open_[-3:] == [[], [], []]
    assert open_[2:4] == [["helo", "spf", "nobody reads"], ["helo", "spf", "nobody reads", "size 1"]]


def test_a_question_that_is_left_open_is_found():
    """After its message or after the session; what belongs to the connection may be open till then."""
    trial = trial_of(define_event_handlers())
    asked = Asked(1, 0, "filter", "spf", Spf("x"), 5.0, "message", event="mail")
    (result,) = trial.results

    def found_with(asked, *, at_step=None, at_end=False):
        steps = [
            evolve(step, open_questions=(asked,)) if number == at_step else step
            for number, step in enumerate(result.steps)
        ]
        filters = [evolve(result.filters[0], open_questions=(asked,) if at_end else ())]
        other = evolve(result, steps=tuple(steps), filters=tuple(filters))
        trial.__dict__["results"] = (other,)
        return [f"{one.words}: {one.details}" for one in check_questions(trial)]

    of_connection = evolve(asked, lasts="connection")
    assert found_with(asked, at_step=4) == []  # RCPT
    assert found_with(of_connection, at_step=5) == []  # DATA
    told = "the question 'spf' is open: Spf(sender='x'), asked at mail"
    assert found_with(asked, at_step=5) == [f"after the end of a message {told}"]
    assert found_with(of_connection, at_end=True) == [f"after the end of a session {told}"]


def test_answers_are_written_as_code():
    """Of many questions there are only the classes."""
    result = run(asking(), LETTER, answers={Size: 3, Spf: Late()})
    known = {"Spf": Spf, "Size": Size, "Late": Late}
    given = eval(as_code(result.asked), known)  # it is ours
    assert given[Size("joe@example.org")] == 3
    assert run(asking(), LETTER, answers=given) == result
    many = [AskedQuestion(Size(str(n)), "key", "filter", Answered(n), "mail") for n in range(11)]
    assert as_code(many) == "{Size: ...}"
