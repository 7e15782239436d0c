"""Effects as JSON and back: the same values, or an error that says what is none."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum, Flag
from ipaddress import ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import pmap, pset, pvector

from demyjpy.engine.effect_values import (
    UnkeepableError,
    UnknownClassError,
    UnreadableError,
    dump_effect,
    load_effect,
)
from demyjpy.engine.owed_effects import messages_in
from demyjpy.engine.stock import Stock, lend
from demyjpy.errors import HandlerError
from demyjpy.events import Recipient
from demyjpy.message import Message
from demyjpy.wire.fields import Definitions, Parameters


class Colour(Enum):
    """A choice."""

    RED = 1


class Right(Flag):
    """Choices that can be joined."""

    READ = 1
    WRITE = 2


@frozen
class Holds:
    """An effect with a value."""

    value: Any


@frozen
class Nothing:
    """One without fields."""


@dataclass(frozen=True)
class Data:
    """A dataclass."""

    value: Any = 0


@dataclass(frozen=True)
class Empty:
    """One without fields."""


class Plain:
    """An object with attributes."""

    def __init__(self) -> None:
        self.value = 1


@define
class FailedError(Exception):
    """One that is more than its fields."""

    value: Any = 0


@dataclass
class Sized:
    """Fields of an Enum."""

    size: int


class Size(Sized, Enum):
    """A choice with fields."""

    BIG = 1


CLASSES: dict[str, Any] = {
    f"{one.__module__}:{one.__qualname__}": one
    for one in (Holds, Nothing, Data, Empty, Colour, Right, Recipient, Size, Plain, FailedError)
}
MESSAGES = [Message(sender="a"), Message(sender="b")]


def find(name: str) -> type[Any]:
    """A class of these."""
    if name not in CLASSES:
        raise UnknownClassError(f"the class {name}, got none")
    found: type[Any] = CLASSES[name]
    return found


def again(effect: Any) -> Any:
    """An effect that went through JSON."""
    record = json.loads(json.dumps(dump_effect(effect, MESSAGES.index), allow_nan=False))
    return load_effect(record, find, MESSAGES.__getitem__)


SAMPLES = (
    *(Colour.RED, Nothing(), Empty(), Data("x"), Size.BIG, *MESSAGES, 1 << 70, -(1 << 70)),
    *(ip_address("192.0.2.1"), ip_address("::1"), ip_network("10.0.0.0/8"), date(2026, 1, 2)),
    *(
        Right.READ,
        datetime.fromisoformat("2026-01-02"),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    ),
    *(ip_network("fe80::/10"), datetime(2026, 1, 2, 3, 4, 5, 6, UTC), 1 << 9000, -(1 << 9000)),
    *(Parameters([("SIZE", "1"), ("X", None)]), Definitions([("{a}", "b")])),
    *("\udcc3\udca4", "\ud83d\ude00", "\udce4\ud800", "a\udce4ö", "ä"),
    Recipient("bob@example.org", {"NOTIFY": "NEVER"}, raw="<bob@example.org>"),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.text(st.characters()),
    st.binary(),
    st.sampled_from(SAMPLES),
)
hashable = st.one_of(st.integers(), st.text(), st.tuples(st.text()))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(pvector),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.sets(hashable, max_size=3).map(pset),
        st.dictionaries(hashable, inner, max_size=3),
        st.dictionaries(hashable, inner, max_size=3).map(pmap),
        inner.map(Holds),
    ),
    max_leaves=8,
)


@given(values)
def test_what_is_kept_comes_back(value: Any) -> None:
    """The same value of the same class, however it is nested."""
    found = again(Holds(value))
    assert found == Holds(value)
    assert type(found.value) is type(value)


def test_numbers_and_texts_that_json_does_not_have() -> None:
    """They come back all the same."""
    assert again(Holds(SAMPLES)).value == SAMPLES
    assert math.isnan(again(Holds(float("nan"))).value)
    assert again(Holds([math.inf, -math.inf])).value == [math.inf, -math.inf]


def deep(levels: int) -> Any:
    """Lists in lists."""
    return [deep(levels - 1)] if levels else 1


def local() -> Any:
    """An effect of a class that nobody finds again."""

    @frozen
    class Local:
        value: int

    return Local(1)


STOCK = Stock.of(b"body")
ODD = (
    datetime(2026, 7, 1, tzinfo=ZoneInfo("UTC")),
    datetime.fromisoformat("2026-07-01").replace(fold=1),
    datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=2), "here")),
)
BAD: list[tuple[Any, str]] = [
    (Holds(object()), "expected the effect Holds to hold data only, got an object"),
    *[(Holds(one), "to hold data only, got") for one in (Plain(), FailedError(1))],
    (Holds(print), "expected the effect Holds to hold data only, got"),
    (Holds(lambda: 1), "to hold data only"),
    (Holds(Colour), "to hold data only"),
    (Holds(Right.READ | Right.WRITE), "got a Right that is no single member"),
    (Holds(Right(0)), "got a Right that is no single member"),
    (Holds({Message(content=lend(STOCK)): 1}), "got a Message as a key of a map, or behind"),
    *[
        (Holds(one), "a datetime that is more than a time and an offset from UTC: use UTC")
        for one in ODD
    ],
    (Holds(deep(30)), "more than 100000 values, or 20 levels of them"),
    (Holds([0] * 100_001), "more than 100000 values"),
    (local(), "got local.<locals>.Local, which was made in a function: define it in the module"),
    (Holds([local()]), "define it in the module"),
]


def test_a_message_is_held_as_deep_as_it_is_kept() -> None:
    """Twenty levels; what is deeper is refused. A member of an Enum is no way to more values."""
    for levels in (1, 7, 19, 20):
        effect: Any = Holds(MESSAGES[0])
        for _ in range(levels):
            effect = Holds((Colour.RED, effect)) if levels < 19 else (effect,)
        if levels < 20:
            assert messages_in(effect) == (MESSAGES[0],)
            assert messages_in(again(effect)) == (MESSAGES[0],)
        else:
            assert messages_in(effect) == ()
            with pytest.raises(UnkeepableError, match="20 levels"):
                dump_effect(effect, MESSAGES.index)


@pytest.mark.parametrize(("effect", "said"), BAD)
def test_what_is_no_data_is_refused(effect: Any, said: str) -> None:
    """By an error of the handler, which says what it was."""
    with pytest.raises(UnkeepableError, match=said.replace("(", r"\(")) as caught:
        dump_effect(effect, MESSAGES.index)
    assert isinstance(caught.value, HandlerError)


HOLDS = f"{__name__}:Holds"
COLOUR = f"{__name__}:Colour"
CHANGED: list[tuple[Any, str]] = [
    ({"object": "gone:Gone", "fields": {}}, "the class gone:Gone, got none"),
    ({"object": HOLDS, "fields": {"other": 1}}, f"the fields other of {HOLDS}, got value"),
    ({"object": HOLDS, "fields": {"value": 1, "more": 1}}, f"the fields value, more of {HOLDS}"),
    ({"enum": COLOUR, "name": "BLUE"}, f"the member BLUE of {COLOUR}, got none"),
    *[
        ({"object": f"{__name__}:{name}", "fields": {"value": 1}}, f"{name} to be an attrs class or a")
        for name in ("Plain", "FailedError", "Size")
    ],
    ({"enum": HOLDS, "name": "RED"}, f"the member RED of {HOLDS}, got none"),
]


@pytest.mark.parametrize(("record", "said"), CHANGED)
def test_a_class_that_has_changed_is_unknown(record: Any, said: str) -> None:
    """Nobody guesses what its fields are now."""
    with pytest.raises(UnknownClassError, match=said):
        load_effect({"tuple": [record]}, find, MESSAGES.__getitem__)


@pytest.mark.parametrize(
    "record",
    [
        *([], [1], {}, {"tuple": 5}, {"dict": [1]}, {"float": "x"}, {"bytes": 5}, {"other": 1}),
        *({"a": 1, "b": 2}, {"message": 7}, {"datetime": "x"}, {"IPv4Address": "x"}, {"int": "x"}),
        *(
            {"object": HOLDS},
            {"set": [{"list": []}]},
            {"text": "\udcff\ud800"},
            {"text": {"base64": "/w=="}},
        ),
    ],
)
def test_what_is_no_record_says_so(record: Any) -> None:
    """And nothing else."""
    with pytest.raises(UnreadableError):
        load_effect(record, find, MESSAGES.__getitem__)


def test_an_object_is_made_without_its_own_code() -> None:
    """No ``__init__`` and no validator runs: what it would do now is nobody's wish."""
    ran = []

    @define
    class Runs:
        a: int = field(validator=lambda *_: ran.append(1))

        def __attrs_post_init__(self) -> None:
            ran.append(1)

    found = load_effect({"object": "x", "fields": {"a": 1}}, lambda name: Runs, MESSAGES.__getitem__)
    assert (found.a, ran) == (1, [])
