"""Questions as values: what may be asked, what an answer may be, and what handlers read of it."""

import math
from collections import UserDict
from enum import IntEnum
from typing import Any

import pytest
from attrs import define, frozen
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import PMap, pmap, pvector

from demyjpy.context import new_context, send_action, take_actions
from demyjpy.errors import HandlerError
from demyjpy.handlers import define_event_handlers
from demyjpy.questions import (
    LATE,
    UNASKED,
    Answered,
    Ask,
    Failed,
    Late,
    Question,
    Unasked,
    answer,
    as_answer,
    as_keys,
    ask,
    check_seconds,
    fault_of,
    performer_of,
)
from demyjpy.requests import Request, take_requests


@frozen
class Spf(Question, pure=True, remember_for=60):
    sender: Any
    more: Any = None


@frozen
class Strict(Spf, pure=True):
    def perform(self, resources: Any) -> str:
        return "pass"


@frozen
class Bare:
    """A question need not derive from anything."""

    name: str = ""


# -------------------------------------------------------------------------------------- questions
def test_a_question_class_says_whether_it_is_pure_and_remembered() -> None:
    """``pure`` and ``remember_for`` stand with the class, also if attrs makes it a second time."""
    assert (Spf.pure, Spf.remember_for) == (True, 60.0)
    assert (Question.pure, Question.remember_for, Question.examples) == (False, 0.0, ())


def test_a_class_below_has_what_the_one_above_says() -> None:
    """``remember_for`` is inherited if the class below does not say it."""
    assert (Strict.pure, Strict.remember_for) == (True, 60.0)


def test_only_a_pure_question_is_remembered() -> None:
    """To remember the answer of a question that changes the world would leave changes out."""
    with pytest.raises(
        HandlerError, match=r"remember_for= only of a pure question, got it of Forgetful"
    ):
        type("Forgetful", (Question,), {}, remember_for=5)


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, True, "5", None])
def test_a_time_is_a_number_of_seconds(seconds: Any) -> None:
    """Anything but a number above 0 is refused, with its name."""
    with pytest.raises(HandlerError, match=r"expected within= in seconds, more than 0, got "):
        check_seconds("within=", seconds)


def test_a_time_that_a_class_gives_is_checked() -> None:
    """``remember_for`` is a time."""
    with pytest.raises(HandlerError, match=r"expected remember_for= in seconds"):
        type("Wrong", (Question,), {}, pure=True, remember_for=-1)


def test_whole_seconds_become_a_float() -> None:
    """A time is the same however it is written."""
    assert isinstance(check_seconds("within=", 5), float)


# -------------------------------------------------------------------------------------------- ask
def test_ask_queues_a_question() -> None:
    """The context that comes back has the question in its queue, with 5 seconds for the answer."""
    queued, _ = take_actions(ask(new_context(), "spf", Bare("x")))
    assert queued == (Ask("spf", Bare("x"), 5.0),)


def test_ask_takes_a_time() -> None:
    """``within=`` is the time for the answer."""
    queued, _ = take_actions(ask(new_context(), "spf", Bare("x"), within=8))
    assert queued[0].within == 8


@pytest.mark.parametrize("key", ["", None, 5, "x" * 201, b"spf"])
def test_a_key_is_a_short_text(key: Any) -> None:
    """The error says what a key is, and shows no more of it than a key may have."""
    with pytest.raises(HandlerError, match=r"key of a question as 1 to 200 characters, got ") as found:
        ask(new_context(), key, Bare())
    assert len(str(found.value)) < 300


@pytest.mark.parametrize("question", [Spf, len, "example.org", 5, None, lambda: 1, (1, 2)])
def test_what_is_no_question_cannot_be_asked(question: Any) -> None:
    """A class, a function or plain data is no question: the error shows one."""
    with pytest.raises(
        HandlerError, match=r"expected a question under 'k', an instance of a frozen class"
    ):
        ask(new_context(), "k", question)


def test_ask_checks_the_time() -> None:
    """A time that is none fails where it is written."""
    with pytest.raises(HandlerError, match="within="):
        ask(new_context(), "k", Bare(), within=0)


# ----------------------------------------------------------------------------------------- answer
def reading(outcome: Any) -> Any:
    """A context in which this became of the question ``k``."""
    return new_context().set("answers", pmap({"k": outcome}))


@pytest.mark.parametrize("outcome", [Answered("pass"), Failed("no"), Late(), Unasked()])
def test_answer_is_what_became_of_a_question(outcome: Any) -> None:
    """Without defaults it is one of the four outcomes."""
    assert answer(reading(outcome), "k") == outcome


@pytest.mark.parametrize(
    ("outcome", "value"),
    [(Answered("pass"), "pass"), (Failed("no"), "f"), (LATE, "l"), (UNASKED, "u")],
)
def test_answer_gives_the_value_or_the_default_for_its_case(outcome: Any, value: str) -> None:
    """With all defaults there is always a value."""
    assert answer(reading(outcome), "k", failed="f", late="l", unasked="u") == value


def test_none_is_an_answer_and_a_default() -> None:
    """None is a value as any other."""
    assert answer(reading(Answered(None)), "k", failed=1) is None
    assert answer(reading(LATE), "k", late=None) is None


@pytest.mark.parametrize(
    ("outcome", "option"), [(Failed("no"), "failed"), (LATE, "late"), (UNASKED, "unasked")]
)
def test_a_case_without_a_default_raises(outcome: Any, option: str) -> None:
    """The error names the option that is missing."""
    others = {name: 1 for name in ("failed", "late", "unasked") if name != option}
    with pytest.raises(HandlerError, match=rf"'k', got {type(outcome).__name__}.*give {option}= to"):
        answer(reading(outcome), "k", **others)


def test_an_answer_that_nobody_waited_for_cannot_be_read() -> None:
    """The error shows the declaration that is missing."""
    with pytest.raises(HandlerError, match=r"@handlers.end_of_message\(needs=\{'spf'\}\)"):
        answer(new_context(), "spf", failed=1, late=1, unasked=1)


def test_the_error_names_what_may_be_read_instead() -> None:
    """Keys that are names, no more than ten, and the nearest one; what else is in a key is private."""
    seen = {"seen": Late(), "ann@example.org": Late(), 7: Late()}
    with pytest.raises(HandlerError, match=r"may be read here is 'seen' \(did you mean 'seen'\?\)"):
        answer(new_context().set("answers", pmap(seen)), "sen")
    many = pmap({f"key{number}": Late() for number in range(20)})
    with pytest.raises(HandlerError, match=r"'key0', 'key1', .*'key17': declare needs=\{'zzz'\}"):
        answer(new_context().set("answers", many), "zzz")


def test_an_error_is_kept_short() -> None:
    """What a performer raised may be long: no more than 1,000 characters of it are kept."""
    assert Failed(ValueError("x" * 5_000)).error == "x" * 1_000  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------- declarations
def test_keys_are_a_set() -> None:
    """Any collection of keys is one."""
    assert as_keys(["a", "b", "a"]) == {"a", "b"}


@pytest.mark.parametrize("keys", ["spf", 5, None, iter("ab")])
def test_a_text_is_no_set_of_keys(keys: Any) -> None:
    """``needs="spf"`` would be three keys."""
    with pytest.raises(HandlerError, match=r"as in needs=\{\"spf\"\}, got"):
        as_keys(keys)


def test_a_handler_that_waits_says_so() -> None:
    """``needs``, ``asking``, ``within`` and ``timeout`` are options of a decorator."""
    handlers = define_event_handlers()

    @handlers.recipient(needs={"a"}, asking=lambda event, ctx: {}, within=3, timeout=7)
    def recipient(event: Any, ctx: Any) -> Any:
        return ctx

    handlers.mail(recipient)
    made = handlers["recipient"]
    assert (made.waits, made.needs, made.within, made.timeout) == (True, {"a"}, 3, 7)
    assert not handlers["mail"].waits


@pytest.mark.parametrize("name", ["abort", "quit", "disconnect"])
def test_what_is_over_waits_for_nothing(name: str) -> None:
    """The handlers of endings have no ``needs=``."""
    with pytest.raises(HandlerError):
        define_event_handlers().add(name, lambda event, ctx: ctx, needs={"a"})


# ------------------------------------------------------------------------- what cannot be asked
class Same:
    """It is equal to nothing but itself."""


@frozen
class Nested:
    value: Any


@define
class Slotless(Nested):
    """It has a ``__dict__``, too."""

    other: Any = None


class Plain:
    """Made without attrs."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def test_a_good_question_has_no_fault() -> None:
    """A frozen class with plain values can be asked."""
    assert fault_of(Spf("ann@example.org", (1, 2))) is None
    assert fault_of(Bare()) is None


def test_a_question_that_cannot_be_compared_has_a_fault() -> None:
    """An answer for it could never be found again."""
    assert "make its class frozen" in str(fault_of(Same()))


@pytest.mark.parametrize(
    "around",
    [
        lambda ctx: ctx,
        lambda ctx: [ctx],
        lambda ctx: (1, ctx),
        lambda ctx: pvector([ctx]),
        lambda ctx: {"ctx": ctx},
    ],
)
@pytest.mark.parametrize("kind", [Nested, Plain])
def test_a_question_may_hold_no_context(around: Any, kind: Any) -> None:
    """A context has all that the filter knows: it is in no question, nor in a collection there."""
    assert "it holds a context" in str(fault_of(kind(around(new_context()))))


def test_a_pure_question_has_a_hash() -> None:
    """Equal ones are found by it."""
    assert "it is pure, and has no hash (TypeError): give it tuples" in str(fault_of(Spf([1])))
    assert fault_of(Nested([1])) is None


def test_who_answers_is_what_asks_says_for_the_nearest_class() -> None:
    """``asks=`` goes before ``perform``, and a class before the one above it."""

    def for_spf(question: Any, resources: Any) -> str:
        return "spf"

    def for_all(question: Any, resources: Any) -> str:
        return "all"

    assert performer_of(Strict("x"), {}) == Strict.perform
    assert performer_of(Strict("x"), {Spf: for_spf, Question: for_all}) is for_spf
    assert performer_of(Strict("x"), {Question: for_all}) is for_all
    assert performer_of(Bare(), {}) is None


def test_perform_has_to_be_a_function() -> None:
    """A field of that name answers nothing."""
    assert performer_of(type("Odd", (), {"perform": 5})(), {}) is None


# ---------------------------------------------------------------------------------------- answers
class Level(IntEnum):
    LOW = 1


LISTS = pvector([1, 2])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (1.5, 1.5),
        (True, True),
        ("text", "text"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"xy"), b"xy"),
        ([1, [2]], (1, (2,))),
        (LISTS, (1, 2)),
        ({1, 2}, frozenset({1, 2})),
        ({"a": [1]}, {"a": (1,)}),
        (UserDict(a=1), {"a": 1}),
    ],
)
def test_an_answer_is_plain_data(value: Any, plain: Any) -> None:
    """What comes back cannot be changed: tuples, frozensets, persistent maps."""
    got = as_answer(value)
    assert got == Answered(plain)
    assert type(got.value) is type(plain) or isinstance(got.value, PMap)


@pytest.mark.parametrize("value", [Level.LOW, object(), Bare(), {1: 2}, [{Level.LOW}], {"a": {b"b": 1}}])
def test_an_answer_that_cannot_be_recorded_fails(value: Any) -> None:
    """The error says what it was, and what may be returned."""
    got = as_answer(value)
    assert isinstance(got, Failed)
    assert got.error.startswith("expected an answer that can be recorded, got ")


@pytest.mark.parametrize("outcome", [Failed("no"), Late(), Unasked()])
def test_an_outcome_stays_as_it_is(outcome: Any) -> None:
    """A performer may say itself that it has failed."""
    assert as_answer(outcome) is outcome


def test_the_value_of_an_outcome_is_made_plain() -> None:
    """`Answered` holds what may be kept."""
    assert as_answer(Answered([1])) == Answered((1,))


def nested(depth: int) -> Any:
    """A list in a list, so deep."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("largest", "too_large"),
    [
        (["x"] * 9_999, ["x"] * 10_000),
        (b"x" * (1 << 20), b"x" * (1 << 20) + b"x"),
        (nested(20), nested(21)),
        (bytearray(1 << 20), bytearray((1 << 20) + 1)),
    ],
)
def test_an_answer_has_a_largest_size(largest: Any, too_large: Any) -> None:
    """10,000 values, 1 MiB, 20 levels: one more fails."""
    assert isinstance(as_answer(largest), Answered)
    got = as_answer(too_large)
    assert isinstance(got, Failed)
    assert "more than 10000 values, 1048576 bytes or 20 levels" in got.error


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(VALUES)
def test_any_answer_becomes_an_outcome(value: Any) -> None:
    """Nothing that a performer returns raises, and making it plain twice changes nothing more."""
    got = as_answer(value)
    assert as_answer(got) == got


# --------------------------------------------------------------------------------------- requests
def test_requests_are_taken_out_of_a_queue() -> None:
    """What is for the driver and what is for the MTA go apart, each in order."""

    @frozen
    class Note(Request):
        text: str

    ctx = send_action(ask(send_action(new_context(), Note("a")), "k", Bare()), Note("b"))  # type: ignore[arg-type]
    queued = (*take_actions(ctx)[0], "action")
    assert take_requests(queued) == ((Note("a"), Ask("k", Bare()), Note("b")), ("action",))
