"""Questions and answers in traces: exactly what was learned, and how a question was asked."""

import json
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import pmap, pset, pvector

from demyjpy import actions as act
from demyjpy import define_event_handlers
from demyjpy.engine.connection import Setup, Step
from demyjpy.engine.open_questions import Asked, Learned
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.errors import TraceError
from demyjpy.message import Message
from demyjpy.message.digest import digest_of
from demyjpy.questions import Answered, Ask, Failed, Late, Outcome, Question, Unasked, as_answer, ask
from demyjpy.requests import Request
from demyjpy.trace import Trace
from demyjpy.trace.filter_connection import FilterConnection
from demyjpy.trace.format.json_events import dump_action, load_action
from demyjpy.trace.format.json_questions import (
    RecordedAnswer,
    RecordedBytes,
    RecordedQuestion,
    RecordedRequest,
    dump_answer,
    dump_learned,
    dump_question,
    load_answer,
    load_learned,
    load_question,
)
from demyjpy.trace.format.privacy import REDACTED, Privacy
from tests.engine.filters_that_ask import Look, Scan
from tests.engine.harness import ABORT, BODY, EOM, HEADER, MAIL, OPENING, QUIT, RCPT, join
from tests.trace.format.test_records import VALIDATOR, saved


@frozen
class CheckSpf(Question, pure=True):
    """With words of its own."""

    client: str
    sender: str
    key: bytes = b""

    def __str__(self) -> str:
        return f"SPF for {self.sender} from {self.client}"


@frozen
class About(Question):
    """About anything."""

    what: Any


@frozen
class Mute(Question):
    """It has no words, though it should."""

    def __str__(self) -> str:
        raise ValueError("no words")


def through_json(value: Any) -> Any:
    """As it comes out of a file."""
    return json.loads(json.dumps(value))


# ---------------------------------------------------------------------------------------- answers
plain: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text() | st.binary(), max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_an_answer_comes_back_exactly(value: Any) -> None:
    """Whatever plain data it is, with its types: a replay has the answer that was given."""
    outcome: Any = as_answer(value)
    found = load_answer(through_json(dump_answer(outcome.value)))
    assert found == outcome.value
    assert repr(found) == repr(outcome.value) or isinstance(value, dict | frozenset | list)


@pytest.mark.parametrize(
    "value", ["x" * 9000, b"x" * 9000, b"\xff" * 9000, tuple(range(9000)), "\udcff"]
)
def test_a_long_answer_is_not_cut(value: Any) -> None:
    """As a value of a context would be."""
    assert load_answer(through_json(dump_answer(value))) == value


@pytest.mark.parametrize(
    "value",
    [
        {"frozenset": list(range(5000))},
        {"cut": 5, "head": "x"},
        {"other": "a.b", "repr": "x"},
        {"pmap": [[1, 2]]},
        {"pmap": [["a"]]},
        {"tuple": 5},
    ],
)
def test_what_is_no_whole_answer_is_an_error(value: Any) -> None:
    """Nobody takes a part of it for the answer."""
    with pytest.raises(TraceError):
        load_answer(value)


def test_a_number_that_json_cannot_write_is_no_answer_any_more() -> None:
    """The record can be written all the same."""
    record = through_json(dump_answer(1 << 20_000))
    with pytest.raises(TraceError, match="expected a whole answer"):
        load_answer(record)


# -------------------------------------------------------------------------------------- questions
MESSAGE = Message.of([("Subject", " x")], b"body")


@pytest.mark.parametrize(
    "what",
    [
        "text",
        "\udcff",
        5,
        None,
        1.5,
        b"bytes",
        MESSAGE,
        (1, b"x", MESSAGE),
        pvector(["a"]),
        frozenset([b"a", b"b"]),
        pset([1]),
        {"b": 1, "a": (2,)},
        pmap({1: b"x"}),
        Look("x"),
        (Look("x"), About(b"y")),
        1 << 20_000,
        object,
        lambda: None,
        frozenset([1 << 20_000]),
    ],
    ids=lambda what: type(what).__name__,
)
def test_a_question_from_a_trace_is_told_as_the_question_was(what: Any) -> None:
    """Bytes and messages by digests; what was read and written again is the same."""
    record = through_json(dump_question(About(what)))
    assert record["class"] == "About"
    VALIDATOR.evolve(schema={**VALIDATOR.schema, "oneOf": [{"$ref": "#/$defs/question"}]}).validate(
        record
    )
    loaded = load_question(record)
    assert loaded.name == "About"
    assert through_json(dump_question(loaded)).keys() == record.keys()


def test_what_a_recorded_question_shows() -> None:
    """Its class and its fields; the dots if these are not kept."""
    found = load_question(dump_question(About((b"abc", MESSAGE, {"k": 1}, {2}))))
    digest = RecordedBytes(3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert found.fields == {"what": [digest, digest_of(MESSAGE), {"k": 1}, [2]]}
    assert repr(load_question(dump_question(Look("x")))) == "Look(what='x')"
    assert repr(RecordedQuestion("Look")) == "Look(...)"
    assert dump_question(RecordedQuestion("Look")) == {"class": "Look", "fields": None}
    assert dump_question(found) == dump_question(load_question(dump_question(found)))
    assert load_question(dump_question(About(pmap({1: 2})))).fields == {"what": {"1": 2}}


def test_equal_questions_are_told_alike_and_others_are_not() -> None:
    """Also if they hold collections, whose order is chance."""
    one = {f"k{number}": number for number in range(50)}
    other = dict(reversed(one.items()))
    assert dump_question(About(pmap(one))) == dump_question(About(pmap(other)))
    assert dump_question(About(frozenset(one))) == dump_question(About(frozenset(other)))
    assert dump_question(About(b"a")) != dump_question(About(b"b"))
    assert dump_question(Look("a")) != dump_question(Look("b"))


def test_what_is_kept_of_a_question_is_bounded() -> None:
    """However large it is, and however deep."""
    deep: Any = "x"
    for _ in range(100):
        deep = (deep,)
    for what in (deep, tuple(range(100_000)), {n: n for n in range(100_000)}, frozenset(range(9999))):
        assert len(json.dumps(dump_question(About(what)))) < 100_000
    assert len(json.dumps(dump_question(About(tuple([(one,) for one in range(99_000)]))))) < 200_000


def test_a_question_may_have_words_of_its_own() -> None:
    """Those of its class's __str__, as far as there are any."""
    record = dump_question(CheckSpf("192.0.2.1", "ann@example.org"))
    assert record["words"] == "SPF for ann@example.org from 192.0.2.1"
    assert load_question(record).words == record["words"]
    assert dump_question(load_question(record)) == record
    assert "words" not in dump_question(Mute())
    assert "words" not in dump_question(Look("x"))
    assert len(dump_question(CheckSpf("x" * 999, ""))["words"]) == 200


@pytest.mark.parametrize(
    "record",
    [
        None,
        {"class": 5, "fields": {}},
        {"class": "A"},
        {"class": "A", "fields": {"x": {"dict": [[1]]}}},
        {"class": "A", "fields": {"x": {"object": 5}}},
    ],
)
def test_what_is_no_question_is_an_error(record: Any) -> None:
    """With the beginning of what it is."""
    with pytest.raises(TraceError, match="expected a"):
        load_question(record)


# ---------------------------------------------------------------------------------------- learned
OUTCOMES: list[tuple[Outcome, str]] = [
    (Answered((1, "x")), "answered"),
    (Failed("no"), "failed"),
    (Late(), "late"),
]


@pytest.mark.parametrize(("outcome", "how"), OUTCOMES)
def test_what_was_learned_comes_back(outcome: Outcome, how: str) -> None:
    """With the filter, the key, and what it took."""
    asked = Asked(1, 0, "spf", "key", Look("x"), 5.0)
    record = through_json(dump_learned(Learned(asked, outcome, 0.081)))
    question = RecordedQuestion("Look", {"what": "x"})
    assert load_learned(record) == RecordedAnswer("spf", "key", question, how, outcome, 0.081)
    del record["seconds"]
    assert load_learned(record).seconds is None
    assert "seconds" not in dump_learned(Learned(asked, outcome))


def test_an_outcome_that_cannot_be_read_is_none() -> None:
    """What became of the question is known in any case."""
    asked = Asked(1, 0, "spf", "key", Look("x"), 5.0)
    record = dump_learned(Learned(asked, Answered(5)))
    assert load_learned({**record, "value": {"cut": 1, "head": 2}}).outcome is None
    assert load_learned({**record, "outcome": 5}).how == ""
    assert dump_learned(Learned(asked, Unasked()))["outcome"] == "unasked"
    for other in (None, 5, {"key": "x"}):
        with pytest.raises(TraceError):
            load_learned(other)


@frozen
class Store(Request):
    """Any other request."""

    what: Any


class FailingRepr:
    """It cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")


def test_requests_are_among_the_actions() -> None:
    """A question with its key and its time; any other as it is written, without messages."""
    record = through_json(dump_action(Ask("spf", Look("x"), 3.0)))
    assert load_action(record) == Ask("spf", RecordedQuestion("Look", {"what": "x"}), 3.0)
    record = through_json(dump_action(Store(MESSAGE)))
    assert record["text"].startswith("Store(what=MessageDigest(size=")
    found = load_action(record)
    assert found == RecordedRequest("Store", record["text"])
    assert repr(found) == record["text"]
    assert dump_action(found) == record
    assert dump_action(Store(FailingRepr()))["text"] == "<repr failed: ValueError>"


# --------------------------------------------------------------------------------------- sessions
def asking_filter() -> Any:
    """It asks early, at the event, about a message, and in vain."""
    handlers = define_event_handlers(name="f")

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ask(ctx, "spf", CheckSpf("192.0.2.1", event.sender), within=8)

    @handlers.recipient(asking=lambda event, ctx: {f"to {event.address}": Look(event.address)})
    def recipient(event: Any, ctx: Any) -> Any:
        return ctx

    @handlers.message(asking=lambda event, ctx: {"scan": Scan((event,))}, needs={"spf"})
    def message(event: Any, ctx: Any) -> Any:
        return ctx

    return handlers


def recorded(*packets: Any) -> Trace:
    """A session of this filter."""
    steps: list[Step] = []
    setup = Setup(as_on_connect(asking_filter()), observer=steps.append)
    answers: dict[str, Outcome] = {
        "CheckSpf": Answered(pmap({"ann": 1})),
        "Scan": Failed("no"),
        "Look": Late(),
    }
    with FilterConnection(
        setup, "s", lambda asked: answers[type(asked.question).__name__]
    ) as connection:
        for one in (*OPENING, *packets):
            connection.say(join([one]))
        connection.end()
    return saved(Trace.of_steps(steps))


def test_a_trace_has_the_questions_and_the_answers_of_a_session() -> None:
    """Each with the handler before which it had come; the schema has them."""
    trace = recorded(MAIL, RCPT, HEADER, BODY, EOM, QUIT)
    found = {moment.name: moment for moment in trace.moments}
    (asked,) = found["mail"].actions
    words = "SPF for alice@example.org from 192.0.2.1"
    assert asked == Ask(  # type: ignore[comparison-overlap]
        "spf",
        load_question(dump_question(CheckSpf("192.0.2.1", "alice@example.org"))),
        8.0,
    )
    (spf, look) = found["recipient"].parts[0].learned
    assert (spf.filter, spf.key, spf.question.words, spf.outcome) == (
        *("f", "spf", words),
        Answered(pmap({"ann": 1})),
    )
    assert (look.key, look.outcome) == ("to bob@example.org", Late())
    ((scan,),) = [part.learned for part in found["end_of_message"].parts]
    assert scan.outcome == Failed("no")
    assert list(scan.question.fields or ()) == ["messages"]


def test_answers_that_no_handler_saw_are_in_the_trace() -> None:
    """At the end of their message, which had no handler."""
    trace = recorded(MAIL, ABORT, QUIT)
    (moment,) = [one for one in trace.moments if one.name == "abort"]
    assert [one.key for part in moment.parts for one in part.learned] == ["spf"]
    assert [one.name for one in trace.exchanges][-2:] == ["abort", "quit"]


def test_a_trace_without_questions_is_read_as_before() -> None:
    """And what is damaged in them is nothing learned."""
    trace = recorded(MAIL, RCPT, QUIT)
    for other in (None, 5, [5], [{"key": 5}]):
        records = tuple({**one, "learned": other} if "learned" in one else one for one in trace.records)
        moments = Trace("s", records).moments
        assert not any(part.learned for one in moments for part in one.parts)
        assert len(moments) == len(trace.moments)


@pytest.mark.parametrize(
    "privacy", [Privacy(keep="envelope"), Privacy(keep="headers"), Privacy(hash_addresses=True)]
)
def test_of_questions_no_more_is_kept_than_may_be(privacy: Privacy) -> None:
    """Their class, keys that are names, and what became of them."""
    trace = recorded(MAIL, RCPT, HEADER, BODY, EOM, QUIT)
    records = [privacy.of(one) for one in trace.records]
    for one in records:
        VALIDATOR.validate(one)
    told = json.dumps([one.get("learned") for one in records] + [one.get("actions") for one in records])
    assert "alice" not in told
    assert "bob" not in told
    assert "ann" not in told
    kept = Trace("s", tuple(records))
    found = [one for moment in kept.moments for part in moment.parts for one in part.learned]
    assert [(one.key, repr(one.question), one.how, one.outcome) for one in found] == [
        ("spf", "CheckSpf(...)", "answered", None),
        (REDACTED, "Look(...)", "late", Late()),
        ("scan", "Scan(...)", "failed", None),
    ]
    assert privacy.of({"actions": [dump_action(Store("ann"))]})["actions"][0]["text"] == REDACTED
    assert isinstance(kept.at("mail").actions[0], Ask)
    assert act.Continue() in kept.at("mail").answer
