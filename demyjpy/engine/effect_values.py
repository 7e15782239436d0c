"""Effects as JSON and back: exactly, or not at all.

An effect that is kept on a disk is done by another process, perhaps by another version of its filter. So
its class is kept by its name, and its fields as data; what that cannot hold is an error. Nothing is
imported or called to read it: a class is one that is there already, and an object is made without its
``__init__``. Unlike a trace, which shows what was (`demyjpy.trace.format`), nothing is cut.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)
from typing import Any, Final, TypeAlias

import attrs
from pyrsistent import PMap, PSet, PVector, pmap, pset, pvector

from demyjpy.engine.stock import is_lent
from demyjpy.engine.told_questions import DEEPEST, field_names
from demyjpy.errors import HandlerError, MilterError, describe
from demyjpy.message import Message
from demyjpy.wire.fields import Definitions, Parameters
from demyjpy.wire.json_bytes import dump_bytes, dump_text, load_bytes

FindClass: TypeAlias = Callable[[str], type[Any]]
"""Gives the class of a name, ``module:qualified name``; `UnknownClassError` if there is none."""

_MOST: Final = 100_000  # values of one effect
_COLLECTIONS: Final[dict[str, tuple[type[Any], Callable[[Iterable[Any]], Any]]]] = {
    "tuple": (tuple, tuple),
    "list": (list, list),
    "set": (set, set),
    "frozenset": (frozenset, frozenset),
    "pvector": (PVector, pvector),
    "pset": (PSet, pset),
}
_MAPS: Final[dict[str, tuple[type[Any], Callable[[Any], Any]]]] = {
    "dict": (dict, dict),
    "pmap": (PMap, lambda pairs: pmap(dict(pairs))),
    "parameters": (Parameters, Parameters),
    "definitions": (Definitions, Definitions),
}
_TEXTS: Final[dict[str, tuple[type[Any], Callable[[Any], str], Callable[[str], Any]]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    **{one.__name__: (one, str, one) for one in (IPv4Address, IPv6Address, IPv4Network, IPv6Network)},
}


class UnkeepableError(HandlerError):
    """What an effect may not hold if it is to be kept."""


class UnknownClassError(MilterError):
    """The class of an effect that was kept is not there, or has other fields now."""


class UnreadableError(MilterError):
    """A record of an effect is none."""


def name_of_class(kind: type[Any]) -> str:
    """The name by which a class is found again; `UnkeepableError` if it has none."""
    if "<locals>" in kind.__qualname__:
        raise UnkeepableError(
            f"expected a class that is found again by its name, got {kind.__qualname__}, which was made "
            "in a function: define it in the module"
        )
    return f"{kind.__module__}:{kind.__qualname__}"


def is_made_of_fields(kind: type[Any]) -> bool:
    """Whether the fields of an object say all about it: of an attrs class, or a dataclass.

    No other object is made when a file is read, because its methods may do harm (``__del__`` above all).
    One with a ``__new__`` of its own, as an exception has, is more than its fields.
    """
    is_known = attrs.has(kind) or dataclasses.is_dataclass(kind)
    makes = getattr(kind, "__new__", None)
    return is_known and makes is object.__new__ and not issubclass(kind, Enum)


# ------------------------------------------------------------------------------------------ to JSON
def dump_effect(effect: Any, keep_message: Callable[[Message], int]) -> Any:
    """An effect as JSON; ``keep_message`` gives the number under which a message in it is kept.

    `UnkeepableError` names what is no data.
    """
    name = type(effect).__name__
    return _dump(effect, _Dumping(name, keep_message), 0)


class _Dumping:
    """What is dumped, and how much of it is left to be."""

    def __init__(self, name: str, keep_message: Callable[[Message], int]) -> None:
        self.name, self.keep_message, self.left = name, keep_message, _MOST

    def wrong(self, what: str) -> UnkeepableError:
        return UnkeepableError(f"expected the effect {self.name} to hold data only, got {what}")


def _dump(value: Any, dumping: _Dumping, depth: int) -> Any:
    dumping.left -= 1
    if depth > DEEPEST or dumping.left < 0:
        raise dumping.wrong(f"more than {_MOST} values, or {DEEPEST} levels of them")
    is_time = type(value) is datetime
    if is_time and repr(datetime.fromisoformat(value.isoformat())) != repr(value):
        raise dumping.wrong("a datetime that is more than a time and an offset from UTC: use UTC")
    plain = _dump_plain(value)
    if plain is not None or value is None:
        return plain
    if isinstance(value, Message):
        if is_lent(value.content):  # it could be written, and not be done from memory
            raise dumping.wrong("a Message as a key of a map, or behind 10,000 other values")
        return {"message": dumping.keep_message(value)}
    kind = type(value)
    for name, (klass, _) in _COLLECTIONS.items():
        if kind is klass or (name[0] == "p" and isinstance(value, klass)):
            return {name: [_dump(one, dumping, depth + 1) for one in value]}
    for name, (klass, _) in _MAPS.items():
        if kind is klass or (name == "pmap" and isinstance(value, klass)):
            known = value.words if hasattr(value, "words") else value.items()
            pairs = [[_dump(one, dumping, depth + 1) for one in pair] for pair in known]
            return {name: pairs}
    if isinstance(value, Enum):
        if value.name not in kind.__members__:
            raise dumping.wrong(f"a {kind.__name__} that is no single member: keep the members apart")
        return {"enum": name_of_class(kind), "name": value.name}
    if not is_made_of_fields(kind) or callable(value):
        raise dumping.wrong(describe(value))
    fields = {one: _dump(getattr(value, one), dumping, depth + 1) for one in field_names(value)}
    return {"object": name_of_class(kind), "fields": fields}


def _dump_plain(value: Any) -> Any:
    """A value without others in it; None if it is none of those that are known."""
    kind = type(value)
    if kind is bool or (kind is int and abs(value) < 1 << 64):
        return value
    if kind is int:
        return {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is str:
        if isinstance(dump_text(value), str):
            return value
        # each surrogate by itself: two of them may be the bytes of another text for `dump_text`
        return {"text": dump_bytes(value.encode("utf-8", "surrogatepass"))}
    if kind is bytes:
        return {"bytes": dump_bytes(value)}
    for name, (klass, dump, _) in _TEXTS.items():
        if kind is klass:
            return {name: dump(value)}
    return None


# ---------------------------------------------------------------------------------------- from JSON
def load_effect(record: Any, find: FindClass, message: Callable[[int], Message]) -> Any:
    """The inverse of `dump_effect`; ``message`` gives the message of a number.

    `UnknownClassError` if a class is not there any more, or has other fields. `UnreadableError` if it is
    no record.
    """
    try:
        return _load(record, find, message)
    except MilterError as error:
        if isinstance(error, UnknownClassError):
            raise
        raise UnreadableError(str(error)) from None
    except (
        TypeError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RecursionError,
    ) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from None


def _load(record: Any, find: FindClass, message: Callable[[int], Message]) -> Any:
    if record is None or isinstance(record, bool | int | float | str):
        return record
    match record:
        case {"object": str(name), "fields": dict(fields)}:
            found = {key: _load(one, find, message) for key, one in fields.items()}
            return _made_of(find(name), found, name)
        case {"enum": str(name), "name": str(member)}:
            return _member_of(find(name), member, name)
        case {"message": int(number)}:
            return message(number)
    ((kind, held),) = record.items()
    if kind in _COLLECTIONS:
        return _COLLECTIONS[kind][1]([_load(one, find, message) for one in held])
    if kind in _MAPS:
        pairs = [(_load(key, find, message), _load(one, find, message)) for key, one in held]
        return _MAPS[kind][1](pairs)
    if kind in _TEXTS:
        return _TEXTS[kind][2](held)
    return _PLAIN[kind](held)


_PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "int": lambda text: int(text, 16),
    "float": float,
    "text": lambda record: load_bytes(record).decode("utf-8", "surrogatepass"),
    "bytes": load_bytes,
}


def _made_of(kind: type[Any], fields: Mapping[str, Any], name: str) -> Any:
    if not is_made_of_fields(kind):
        raise UnknownClassError(
            f"expected {name} to be an attrs class or a dataclass, got another class"
        )
    known = [one.name for one in getattr(kind, "__attrs_attrs__", ())]
    known = known or [*getattr(kind, "__dataclass_fields__", ())]
    if set(known) != set(fields):
        raise UnknownClassError(
            f"expected the fields {', '.join(fields)} of {name}, got {', '.join(known)}"
        )
    made = object.__new__(kind)
    for key, value in fields.items():
        object.__setattr__(made, key, value)
    return made


def _member_of(kind: type[Any], member: str, name: str) -> Any:
    if not issubclass(kind, Enum) or member not in kind.__members__:
        raise UnknownClassError(f"expected the member {member} of {name}, got none")
    return kind.__members__[member]
