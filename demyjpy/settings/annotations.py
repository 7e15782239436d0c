"""What the annotation of a setting takes, in words and as a check. Values only; nothing is read here."""

import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from attrs import frozen

from demyjpy.errors import HandlerError
from demyjpy.settings.key_lines import Place
from demyjpy.shown import safe

_LONGEST: Final = 60
_LARGEST: Final = 10**40


class MisfitError(Exception):
    """A value that a setting does not take; ``place`` is the way to it within the setting."""

    def __init__(self, place: Place, expected: str, got: Any) -> None:
        super().__init__(expected)
        self.place, self.expected, self.got = place, expected, got


@frozen
class Kind:
    """What a setting may be: ``spelled`` as in Python, ``expected`` in words.

    ``take`` gives the value as the filter gets it, or raises `MisfitError`.
    """

    spelled: str
    expected: str
    take: Callable[[Any], Any]


def kind_of(annotation: Any) -> Kind:
    """What an annotation means; `HandlerError` for one that no setting can have."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None and annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Annotated:
        return kind_of(arguments[0])
    if origin in (Union, types.UnionType):
        return _either(arguments)
    if origin is Literal:
        return _one_of(arguments)
    outer = origin or annotation
    is_fixed = outer is tuple and arguments and arguments[1:] != (...,)
    if outer in _LISTS and not is_fixed:
        return _list(*_LISTS[outer], kind_of(arguments[0]) if arguments else _ANYTHING)
    if outer in (dict, Mapping) and (not arguments or arguments[0] is str):
        return _table(kind_of(arguments[1]) if arguments else _ANYTHING)
    raise HandlerError(f"expected {EXPECTED}, got {_name(annotation)}")


EXPECTED: Final = (
    "str, int, float, bool, Path, date, time, datetime, Any, Literal, list, tuple[X, ...], set, "
    "frozenset, dict[str, X], or several of these with |"
)
"""What an annotation of a setting may be."""


def _name(annotation: Any) -> str:
    return safe(getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation))


def _plain(kind: type[Any], expected: str) -> Kind:
    def take(value: Any) -> Any:
        # True is an int, and a datetime is a date: nobody means that
        if type(value) is kind:
            return value
        raise MisfitError((), expected, value)

    return Kind(kind.__name__, expected, take)


def _number() -> Kind:
    expected = "a finite number"

    def take(value: Any) -> float:
        is_whole = type(value) is int and abs(value) < _LARGEST
        if is_whole or (type(value) is float and math.isfinite(value)):
            return float(value)
        raise MisfitError((), expected, value)

    return Kind("float", expected, take)


def _path() -> Kind:
    expected = "a path as text"

    def take(value: Any) -> Path:
        if isinstance(value, Path) or (isinstance(value, str) and value and "\0" not in value):
            return Path(value)
        raise MisfitError((), expected, value)

    return Kind("Path", expected, take)


_ANYTHING: Final = Kind("Any", "anything", lambda value: value)
_PLAIN: Final[Mapping[Any, Kind]] = {
    Any: _ANYTHING,
    object: _ANYTHING,
    str: _plain(str, "a text"),
    int: _plain(int, "a whole number"),
    bool: _plain(bool, "true or false"),
    date: _plain(date, "a date such as 2026-11-30"),
    time: _plain(time, "a time such as 07:30:00"),
    datetime: _plain(datetime, "a date and time such as 2026-11-30T07:30:00Z"),
    float: _number(),
    Path: _path(),
}
_LISTS: Final[Mapping[Any, tuple[str, type[Any]]]] = {
    list: ("list", list),
    tuple: ("tuple", tuple),
    set: ("set", set),
    frozenset: ("frozenset", frozenset),
    Sequence: ("list", list),
}


def _either(annotations: Iterable[Any]) -> Kind:
    """One of several; with None, which TOML cannot say, nothing is taken as well."""
    given = tuple(annotations)
    is_optional = types.NoneType in given
    kinds = [kind_of(one) for one in given if one is not types.NoneType]
    expected = " or ".join(one.expected for one in kinds)

    def take(value: Any) -> Any:
        if value is None and is_optional:
            return None
        for kind in kinds:
            try:
                return kind.take(value)
            except MisfitError:
                if len(kinds) == 1:
                    raise
        raise MisfitError((), expected, value)

    spelled = [one.spelled for one in kinds] + ["None"] * is_optional
    return Kind(" | ".join(spelled), expected, take)


def _one_of(values: Sequence[Any]) -> Kind:
    shown = ", ".join(show(one) for one in values)
    expected = f"one of {shown}"

    def take(value: Any) -> Any:
        if any(type(one) is type(value) and one == value for one in values):
            return value
        raise MisfitError((), expected, value)

    return Kind(f"Literal[{shown}]", expected, take)


def _list(name: str, make: type[Any], item: Kind) -> Kind:
    expected = f"a list (each: {item.expected})"

    def take(value: Any) -> Any:
        if not isinstance(value, list | tuple | set | frozenset):
            raise MisfitError((), expected, value)
        try:
            return make([_inside(number, item, one) for number, one in enumerate(value)])
        except TypeError:  # in a set, what can be changed
            raise MisfitError((), "a list of texts, numbers or dates", value) from None

    more = ", ..." if make is tuple else ""
    return Kind(f"{name}[{item.spelled}{more}]", expected, take)


def _table(item: Kind) -> Kind:
    expected = f"a table (each value: {item.expected})"

    def take(value: Any) -> Any:
        if not isinstance(value, Mapping) or any(not isinstance(key, str) for key in value):
            raise MisfitError((), expected, value)
        return {key: _inside(key, item, one) for key, one in value.items()}

    return Kind(f"dict[str, {item.spelled}]", expected, take)


def _inside(part: str | int, kind: Kind, value: Any) -> Any:
    try:
        return kind.take(value)
    except MisfitError as error:
        raise MisfitError((part, *error.place), error.expected, error.got) from None


# --------------------------------------------------------------------------------------- in words
_NOUNS: Final = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "a text"),
    (list | tuple | set | frozenset, "a list"),
    (Mapping, "a table"),
    (datetime, "a date and time"),
    (date, "a date"),
    (time, "a time"),
)


def noun_of(value: Any) -> str:
    """What a value is, without what is in it."""
    known = next((noun for kind, noun in _NOUNS if isinstance(value, kind)), "")
    return known or ("nothing" if value is None else _name(type(value)))


def show(value: Any) -> str:
    """A value for people, on one short line; of lists and tables only that they are such."""
    match value:
        case bool():
            return str(value).lower()
        case int() if abs(value) >= _LARGEST:
            return "a very large number"
        case int() | float():
            return repr(value)
        case date() | time():
            return value.isoformat()
        case str() | Path():
            text = str(value)
            short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
            escaped = short.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{safe(escaped)}"'
    return noun_of(value)
