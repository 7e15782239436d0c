"""What a function of settings takes, by its signature, and what becomes of values."""

import functools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest

from demyjpy import HandlerError, define_event_handlers
from demyjpy.registry import Registry
from demyjpy.settings.annotations import kind_of, noun_of, show
from demyjpy.settings.signatures import (
    advice_for,
    is_of_settings,
    is_secret,
    name_of,
    schema_of,
    spell_key,
    spell_place,
)

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("annotation", "value", "taken"),
    [
        (str, "x", "x"),
        (int, 3, 3),
        (bool, True, True),
        (float, 3, 3.0),
        (float, 2.5, 2.5),
        (Path, "a/b", Path("a/b")),
        (Path, Path("c"), Path("c")),
        (date, date(2026, 11, 30), date(2026, 11, 30)),
        (datetime, NOON, NOON),
        (time, time(7, 30), time(7, 30)),
        (list[str], ["a"], ["a"]),
        (list, [1, "a"], [1, "a"]),
        (Sequence[float], (1, 2), [1.0, 2.0]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple, [1], (1,)),
        (set[str], ["a", "a"], {"a"}),
        (frozenset[Path], ["a"], frozenset({Path("a")})),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
        (dict, {"a": {"b": 1}}, {"a": {"b": 1}}),
        (int | None, None, None),
        (Optional[int], 4, 4),  # noqa: UP045
        (int | str, "x", "x"),
        (str | list[str], ["x"], ["x"]),
        (Literal["a", 1], 1, 1),
        (Annotated[int, "seconds"], 5, 5),
        (Any, [1], [1]),
        (object, 1, 1),
    ],
)
def test_a_value_that_fits_is_taken(annotation, value, taken):
    """As the filter wants it, and of that type."""
    found = kind_of(annotation).take(value)
    assert found == taken
    assert type(found) is type(taken)


def takes(annotation: Any, value: Any, name: str = "x") -> str:
    """What is wrong with a value, and where."""

    def make(**settings: int) -> Registry:
        return define_event_handlers()

    make.__annotations__["settings"] = annotation
    _, (wrong,) = schema_of(make).take({name: value})
    return f"{spell_place(wrong.place)}: {wrong.words}"


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (int, "five", 'x: expected a whole number, got "five"'),
        (int, True, "x: expected a whole number, got true"),
        (int, 1.0, "x: expected a whole number, got 1.0"),
        (bool, 1, "x: expected true or false, got 1"),
        (float, math.nan, "x: expected a finite number, got nan"),
        (float, math.inf, "x: expected a finite number, got inf"),
        (float, 10**400, "x: expected a finite number, got a very large number"),
        (float, False, "x: expected a finite number, got false"),
        (str, 3, "x: expected a text, got 3"),
        (str, ["a"], "x: expected a text, got a list"),
        (Path, "", 'x: expected a path as text, got ""'),
        (Path, "a\0", 'x: expected a path as text, got "a\\x00"'),
        (date, NOON, "x: expected a date such as 2026-11-30, got 2026-11-30T12:00:00+00:00"),
        (datetime, date(2026, 1, 2), "such as 2026-11-30T07:30:00Z, got 2026-01-02"),
        (list[str], "a", 'x: expected a list (each: a text), got "a"'),
        (list[int], [1, "b"], 'x[1]: expected a whole number, got "b"'),
        (set[Any], [[1]], "x: expected a list of texts, numbers or dates, got a list"),
        (dict[str, list[int]], {"a b": [True]}, 'x."a b"[0]: expected a whole number, got true'),
        (dict[str, int], 3, "x: expected a table (each value: a whole number), got 3"),
        (dict[str, int], {1: 1}, "x: expected a table (each value: a whole number), got a table"),
        (int | None, "x", 'x: expected a whole number, got "x"'),
        (int | bool, "x", 'x: expected a whole number or true or false, got "x"'),
        (Literal["a", True], 1, 'x: expected one of "a", true, got 1'),
        (str, None, "x: expected a text, got nothing"),
        (str, 3j, "x: expected a text, got complex"),
        (int, "a\x1b\u202e\n" * 30, 'x: expected a whole number, got "a\\x1b\\u202e\\n'),
    ],
)
def test_a_value_that_does_not_fit_is_told(annotation, value, said):
    """Where it is, what was expected, what came: short, and harmless for a terminal."""
    found = takes(annotation, value)
    assert said in found
    assert found.isprintable()
    assert len(found) < 300


@pytest.mark.parametrize(
    "name", ["password", "API_KEY", "auth-token", "db_dsn", "passwd", "Secret", "pwd"]
)
def test_the_value_of_a_secret_is_not_told(name):
    """Nor what is in a table or a list of that name."""
    assert takes(int, "hunter2", name) == f"{name}: expected a whole number, got a text (not shown)"
    assert "hunter2" not in takes(dict[str, list[int]], {"a": ["hunter2"]}, name)
    assert "hunter2" not in takes(list[int], [{name: "hunter2"}])


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (bytes, "got bytes"),
        (tuple[int, int], "got tuple[int, int]"),
        (dict[int, str], "got dict[int, str]"),
        (list[bytes], "got bytes"),
        ("str", "got str"),
    ],
)
def test_an_annotation_that_no_setting_can_have_is_an_error(annotation, said):
    """It says which there are."""
    with pytest.raises(HandlerError, match=r"expected str, int, float, bool, Path") as raised:
        kind_of(annotation)
    assert said in str(raised.value)


def make_all(
    wait: int,
    *,
    hosts: "list[str]" = [],  # noqa: B006
    mode: Literal["a", "b"] = "a",
    limit: float | None = None,
    token: str = "hidden",
    where: tuple[Path, ...] = (Path("x"),),
) -> "Registry":
    """All kinds of settings; annotations may be texts."""
    return define_event_handlers()


def test_a_schema_says_all_that_there_is():
    """Types, and defaults but for those of secrets."""
    assert schema_of(make_all).spelled == (
        'wait (int), hosts (list[str], default empty), mode (Literal["a", "b"], default "a"), limit '
        "(float "
        "| None, default None), token (str, default not shown), where (tuple[Path, ...], default a list)"
    )
    assert schema_of(lambda: None).spelled == "nothing"


def test_all_that_is_wrong_is_found():
    """Unknown keys, with what may be meant, missing ones, and values that do not fit."""
    taken, wrong = schema_of(make_all).take({"hots": 1, "mode": "a", "limit": "x", "a\nb": 1, 3: 4})
    assert taken == {"mode": "a"}
    assert [(one.place, one.words) for one in wrong] == [
        (("hots",), "there is no such key; did you mean hosts?"),
        (("limit",), 'expected a finite number, got "x"'),
        (("a\nb",), "there is no such key"),
        (("3",), "there is no such key"),
        (("wait",), "expected a whole number, got nothing"),
    ]


def test_further_keys_may_be_allowed():
    """By ``**``, with an annotation for all of them."""

    def make(*, a: str = "", **others: int) -> Registry:
        return define_event_handlers()

    schema = schema_of(make)
    assert schema.spelled == 'a (str, default ""), any other key (int)'
    assert schema.take({"b": 1, "c": 2}) == ({"b": 1, "c": 2}, ())


def test_keys_and_places_are_spelled_as_in_toml_on_one_line():
    """Whatever is in them."""
    assert spell_key("a-b_1") == "a-b_1"
    assert spell_key('a "b"\n\x1b') == '"a \\"b\\"\\n\\x1b"'
    assert len(spell_key("x" * 1000)) < 70
    assert spell_place(("a", 1, "b c", "d")) == 'a[1]."b c".d'
    assert not is_secret(("wait_seconds", 1))


def on_connect(ctx):
    """What a connection begins with."""
    return ctx


class Maker:
    """An object that can be called."""

    def __call__(self, *, a: str) -> Registry:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "is_one"),
    [
        (make_all, True),
        (schema_of, False),
        (on_connect, False),
        (lambda: None, True),
        (lambda *, a: a, True),
        (lambda **others: others, True),
        (lambda *, a, **others: others, True),
        (lambda *others: others, False),
        (functools.partial(make_all, 3), True),
        (functools.partial(on_connect), False),
        (Maker(), True),
        (Maker, False),
        (Registry, False),
        (define_event_handlers(), False),
        (dict.fromkeys, False),
        (type("Odd", (), {"__call__": print, "__signature__": 3})(), False),
        ({}, False),
        (3, False),
    ],
)
def test_a_function_of_settings_is_told_from_one_of_a_connection(function, is_one):
    """It says that it returns a Registry, or has no argument that could be a context."""
    assert is_of_settings(function) is is_one


def positional(a: int, /) -> Registry:
    """No setting can be given by position."""
    raise NotImplementedError


def several(*a: int) -> Registry:
    """As above."""
    raise NotImplementedError


def bare(*, a=3) -> Registry:
    """Nothing says what it may be."""
    raise NotImplementedError


def strange(*, a: bytes) -> Registry:
    """TOML has no bytes."""
    raise NotImplementedError


def lost(*, a: "Nowhere") -> Registry:  # noqa: F821
    """An annotation of a name that is not there."""
    raise NotImplementedError


async def late(*, a: int) -> Registry:
    """Nobody waits for a filter."""
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (positional, "expected positional to take settings by keyword only, got a: int: write"),
        (several, "expected several to take settings by keyword only, got *a: int: write"),
        (bare, "expected an annotation for the setting a of bare, which says what it may be, got none"),
        (strange, "the setting a of strange: expected str, int, float"),
        (lost, "expected lost to have annotations that can be read, got NameError: name 'Nowhere'"),
        (late, "expected late to be a plain function of settings, got async def"),
    ],
)
def test_a_signature_that_says_too_little_is_an_error(function, said):
    """Or that asks for what no file can give."""
    with pytest.raises(HandlerError) as raised:
        schema_of(function)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "value", [make_all, 3, {}, dict, lambda ctx: ctx, lambda context, more: context, max]
)
def test_there_is_no_advice_for_what_cannot_be_meant_as_one_of_settings(value):
    """It is one, or is called with a context, or nobody can tell what with."""
    assert advice_for(value) == ""


def test_a_function_without_its_annotation_is_told_what_is_missing():
    """If the name of its first argument is not that of a context."""
    said = "is <lambda> a function of settings? write def <lambda>(*, ...) -> Registry"
    assert advice_for(lambda database, delay=5: ()) == said


def test_a_function_has_a_name_for_errors():
    """Also a part of one, or an object."""
    assert name_of(make_all) == "make_all"
    assert name_of(functools.partial(make_all)) == "partial"
    assert name_of(Maker()) == "Maker"


def test_values_have_nouns():
    """For those that are not shown."""
    values = (True, 1, 1.5, "", [], {}, NOON, NOON.date(), NOON.time(), 0j)
    assert [noun_of(one) for one in values] == [
        "true or false", "a whole number", "a number", "a text", "a list", "a table", "a date and time",
        "a date", "a time", "complex",
    ]  # fmt: skip
    assert show(Path("a")) == '"a"'
