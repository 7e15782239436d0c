"""What JSON cannot hold is held: any byte, any value of a context."""

import json
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import pmap, pset, pvector

from demyjpy.context import new_context, remember
from demyjpy.trace import Cut, Other, TraceError
from demyjpy.trace.format.json_context import apply_changes, changes, dump_key, dump_value, load_value
from demyjpy.wire.fields import decode_text
from demyjpy.wire.json_bytes import dump_bytes, dump_text, load_bytes, load_text


def through_json(value: Any) -> Any:
    """As another program would get it: in UTF-8, which has no lone surrogates."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8"))


@given(st.binary())
def test_any_bytes_survive(data: bytes) -> None:
    """As bytes, and as the text that the protocol reads them as."""
    assert load_bytes(through_json(dump_bytes(data))) == data
    assert load_text(through_json(dump_text(decode_text(data)))) == decode_text(data)


@given(st.text(st.characters()))
def test_any_text_can_be_written(text: str) -> None:
    """Also a lone surrogate that stands for no byte, which comes back as bytes."""
    load_text(through_json(dump_text(text)))


def test_lone_surrogates_can_be_written() -> None:
    """Of either kind, and mixed."""
    for text in ("\ud800", "\udcff\ud800", "\udcff"):
        assert load_text(through_json(dump_text(text)))


@pytest.mark.parametrize("bad", [1, None, "\ud800", {"base64": "*"}, {"base64": 1}, {}])
def test_what_is_no_bytes_is_refused(bad: Any) -> None:
    """With what was expected."""
    with pytest.raises(TraceError, match="expected"):
        load_bytes(bad)


_plain = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
_plain |= st.binary() | st.floats(allow_nan=False)
_values = st.recursive(
    _plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(inner, max_size=4).map(pvector)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=4).map(pmap)
        | st.sets(st.integers(), max_size=4)
        | st.frozensets(st.binary(), max_size=4)
        | st.sets(st.text(max_size=3), max_size=4).map(pset)
    ),
    max_leaves=10,
)


@given(_values)
def test_usual_values_come_back_as_they_were(value: Any) -> None:
    """With their types."""
    found = load_value(through_json(dump_value(value)))
    assert found == value
    assert type(found) is type(value)


def test_odd_floats_and_text_come_back() -> None:
    """Infinity, which JSON lacks, and bytes that are no UTF-8."""
    assert load_value(through_json(dump_value(float("-inf")))) == float("-inf")
    assert str(load_value(through_json(dump_value(float("nan"))))) == "nan"
    assert load_value(through_json(dump_value("a\udcff"))) == "a\udcff"


@frozen
class Shy:
    """A value that does not want to be shown, nor compared."""

    def __repr__(self) -> str:
        raise ValueError("no")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")

    __hash__ = None


class Broken(list[int]):
    """A list that cannot be read."""


class BrokenMap(dict[str, int]):
    """A dict of another class."""


def test_any_other_value_is_shown() -> None:
    """By its class and what repr says, or that repr says nothing."""
    assert load_value(dump_value(object)) == Other("builtins.type", "<class 'object'>")
    assert load_value(dump_value(Shy())) == Other(f"{__name__}.Shy", "<repr failed: ValueError>")
    assert load_value(dump_value(Broken([1]))) == Other(f"{__name__}.Broken", "[1]")
    assert repr(load_value(dump_value(BrokenMap()))) == "{}"
    assert dump_value({Shy: {1, Ellipsis}})["dict"][0][1]["set"]
    assert dump_value({1, Twisted()})["other"] == "builtins.set"


class Twisted:
    """It can be in a set, but not be written."""

    def __repr__(self) -> str:
        raise ValueError("no")


def test_long_and_deep_values_are_cut() -> None:
    """They say how long they were; a trace stays small."""
    found = load_value(through_json(dump_value("x" * 5000)))
    assert found == Cut("x" * 256, 5000)
    assert repr(found).endswith("... (5000 in all)")
    assert load_value(dump_value(b"x" * 5000)) == Cut(b"x" * 256, 5000)
    assert load_value(dump_value(tuple(range(5000)))).size == 5000
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert len(json.dumps(dump_value(deep))) < 1000
    loop: list[Any] = []
    loop.append(loop)
    assert len(json.dumps(dump_value(loop))) < 1000
    wide = [[[0] * 100 for _ in range(100)] for _ in range(100)]
    assert len(json.dumps(dump_value(wide))) < 20_000_000


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"list": 1},
        {"x": []},
        {"set": [{"list": []}]},
        {"dict": [1]},
        {"float": "1"},
        {"a": 1, "b": 2},
        [],
    ],
)
def test_what_is_no_value_is_refused(bad: Any) -> None:
    """With what was expected."""
    with pytest.raises(TraceError, match="expected"):
        load_value(bad)


def test_changes_of_a_context_can_be_applied() -> None:
    """What was set and what was removed; the engine's own keys but three are left out."""
    before = new_context({"a": 1, "gone": Shy(), "same": 2, "shy": Shy()})
    after = remember(before.remove("gone").set("a", 1.0).set("same", 2).set("queue", (1,)), k=3)
    after = after.set("shy", Shy())
    found = through_json(changes(before, after))
    assert found == {
        "set": {
            "a": 1.0,
            "connection": {"pmap": [["k", 3]]},
            "shy": {"other": f"{__name__}.Shy", "repr": "<repr failed: ValueError>"},
        },
        "removed": ["gone"],
    }
    again = apply_changes(new_context({"gone": 1}), found)
    assert "gone" not in again
    assert again["connection"] == pmap({"k": 3})
    assert changes(before, before) == {}
    assert changes(before, before.set("same", 2)) == {}


def test_keys_that_are_no_text_are_written() -> None:
    """A context may have any."""
    assert (dump_key("a"), dump_key(1), dump_key("\udcff")) == ("a", "1", "'\\udcff'")


def test_changes_that_are_none_are_refused() -> None:
    """With what was expected."""
    with pytest.raises(TraceError, match="expected changes"):
        apply_changes(new_context(), 1)
