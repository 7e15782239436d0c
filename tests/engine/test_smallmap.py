"""The context's map: a `PMap` in every respect, whatever is done to it and however large it gets."""

import pickle
from copy import copy, deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import PMap, pmap

from demyjpy.engine.smallmap import LARGEST, SmallMap, small_map

keys = st.sampled_from(["macros", "queue", "a", "b", "c"])
maps = st.dictionaries(keys, st.integers(0, 3))
steps = st.one_of(
    st.tuples(st.just("set"), keys, st.integers(0, 3)),
    st.tuples(st.just("discard"), keys),
    st.tuples(st.just("update"), maps, maps),
    st.tuples(st.just("update_with"), st.just(max), maps),
    st.tuples(st.just("remove"), keys),
    st.tuples(st.just("transform"), st.tuples(keys), st.just(7)),
)


def do(found: PMap[str, Any], name: str, *arguments: Any) -> Any:
    """What comes of a step; an error by its name and words."""
    try:
        after = getattr(found, name)(*arguments)
    except KeyError as error:
        return str(error)
    assert isinstance(after, PMap)
    return after


@given(maps, st.lists(steps, max_size=6))
def test_whatever_is_done_to_it_comes_to_what_it_does_to_a_pmap(entries, told):
    """Step by step the same map, by every way of reading it; and no step changes the one before."""
    small, plain = small_map(entries), pmap(entries)
    for one in told:
        before = dict(small.items())
        changed, expected = do(small, *one), do(plain, *one)
        assert dict(small.items()) == before
        assert isinstance(changed, str) == isinstance(expected, str)
        if isinstance(changed, str):
            continue
        small, plain = changed, expected
        assert small == plain
        assert plain == small
        assert hash(small) == hash(plain)
        assert len(small) == len(plain)
        assert sorted(small) == sorted(plain) == sorted(small.keys()) == sorted(small.iterkeys())
        assert sorted(small.values()) == sorted(plain.values()) == sorted(small.itervalues())
        assert sorted(small.items()) == sorted(plain.items()) == sorted(small.iteritems())
        for key in ("a", "b", "queue", "none"):
            assert (key in small, small.get(key), small.get(key, 9)) == (
                (key in plain, plain.get(key), plain.get(key, 9))
            )


@given(maps, maps)
def test_two_are_equal_when_their_entries_are(one, other):
    """As dicts are, and as PMaps are."""
    assert (small_map(one) == small_map(other)) == (one == other)
    assert (small_map(one) == pmap(other)) == (one == other)
    assert (small_map(one) == other) == (one == other)
    assert small_map(one) != 5


def test_a_key_that_is_missing_is_a_key_error():
    """As from any mapping; by attribute, an AttributeError."""
    found = small_map({"a": 1})
    assert found.a == 1
    with pytest.raises(KeyError, match="b"):
        found["b"]
    with pytest.raises(AttributeError, match="b"):
        _ = found.b


def test_setting_what_is_there_gives_the_same_map():
    """Identity tells that nothing was changed, as with PMap."""
    value = object()
    found = small_map({"a": value})
    assert found.set("a", value) is found
    assert found.set("a", object()) is not found


def test_a_large_one_is_an_ordinary_pmap():
    """It grows over the limit, and stays right."""
    found = small_map({str(number): number for number in range(LARGEST)})
    assert type(found) is SmallMap
    assert type(found.set("0", 5)) is SmallMap
    more = found.set("more", 1)
    assert type(more) is PMap
    assert type(found.update({"more": 1})) is PMap
    assert dict(more) == {**found, "more": 1}
    assert small_map(dict(more)) == more


def test_it_is_shown_copied_and_pickled_as_a_pmap():
    """No trace of how it is kept."""
    found = small_map({"a": 1})
    assert repr(found) == repr(pmap({"a": 1}))
    assert copy(found) == deepcopy(found) == pickle.loads(pickle.dumps(found)) == found
    assert found.copy() is found
    assert dict(found.evolver().set("b", 2).persistent()) == {"a": 1, "b": 2}


def test_who_assigns_is_told_what_to_do():
    """A map is never changed: there is a new one."""
    ctx = small_map({"n": 1})
    with pytest.raises(TypeError, match=r"a context cannot be changed: return ctx\.set\('n', \.\.\.\)"):
        ctx["n"] += 1
    with pytest.raises(TypeError, match=r"a context cannot be changed: return ctx\.remove\('n'\)"):
        del ctx["n"]
    assert ctx == {"n": 1}
