"""What tapes and steps hold of questions and answers: no message, and a known weight.

A question may hold a `Message`, as one for a scanner does. Who watches gets a digest in its place.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

from attrs import evolve
from pyrsistent import PMap, PSet, PVector, pmap, pvector

from demyjpy.engine.open_questions import Learned
from demyjpy.message import Message
from demyjpy.message.digest import digest_of
from demyjpy.questions import Ask
from demyjpy.requests import Request

DEEPEST: Final = 20
"""Levels of a question, or an effect, at which a message is looked for."""
_DEEPEST_ANSWER: Final = 25
_MOST: Final = 10_000  # values of one question that are looked at
_PLAIN: Final = frozenset({str, bytes, int, float, bool, type(None)})


# ------------------------------------------------------------------------------- without messages
def without_messages(value: Any) -> Any:
    """A value with a digest in place of each message in it; the same value if there is none.

    It looks into the fields of attrs classes and dataclasses, and into collections.
    """
    return replace_messages(value, digest_of)


def replace_messages(value: Any, change: Callable[[Message], Any]) -> Any:
    """The same with what ``change`` gives in place of each message in it."""
    return _replaced(value, DEEPEST, [_MOST], change)


def _replaced(value: Any, depth: int, left: list[int], change: Callable[[Message], Any]) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Message):
        return change(value)
    left[0] -= 1
    if depth == 0 or left[0] < 0:
        return value
    if isinstance(value, tuple | list | PVector):
        found = [_replaced(one, depth - 1, left, change) for one in value]
        return value if _are_same(found, value) else _collected(value, found)
    if isinstance(value, frozenset | set | PSet):
        found = [_replaced(one, depth - 1, left, change) for one in value]
        return value if _are_same(found, value) else frozenset(found)
    if isinstance(value, Mapping):
        found = [_replaced(one, depth - 1, left, change) for one in value.values()]
        return value if _are_same(found, value.values()) else pmap(dict(zip(value, found, strict=True)))
    names = field_names(value)
    held = [getattr(value, name, None) for name in names]
    found = [_replaced(one, depth - 1, left, change) for one in held]
    if _are_same(found, held):
        return value
    return _made_of(type(value), dict(zip(names, found, strict=True)))


def _are_same(found: Iterable[Any], given: Iterable[Any]) -> bool:
    return all(one is other for one, other in zip(found, given, strict=True))


def _collected(value: Any, found: list[Any]) -> Any:
    if isinstance(value, tuple):
        make = getattr(type(value), "_make", tuple)  # a named tuple
        return make(found)
    return found if isinstance(value, list) else pvector(found)


def field_names(value: Any) -> list[str]:
    """The names of the fields of an attrs class, a dataclass, or a plain object."""
    if isinstance(value, Enum | type):
        return []
    kind = type(value)
    known = [one.name for one in getattr(kind, "__attrs_attrs__", ())]
    return known or [*getattr(kind, "__dataclass_fields__", getattr(value, "__dict__", ()))]


def _made_of(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    """An object of a class with these fields; its own checks would refuse a digest."""
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def told_asks(asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
    """The same questions for who watches."""
    return tuple([evolve(one, question=without_messages(one.question)) for one in asks])


def told_learned(learned: Learned) -> Learned:
    """The same for who watches."""
    asked = learned.asked
    question = without_messages(asked.question)
    if question is asked.question:
        return learned
    return evolve(learned, asked=evolve(asked, question=question))


def told_queue(queue: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a handler queued, for who watches; the same tuple if it holds no message."""
    if not any(isinstance(one, Request) for one in queue):
        return queue
    found = tuple([without_messages(one) if isinstance(one, Request) else one for one in queue])
    return queue if _are_same(found, queue) else found


def told_context(ctx: Any) -> Any:
    """A context that a handler returned, for a tape: what is queued there holds no message."""
    queue = ctx.get("queue") if isinstance(ctx, PMap) else None
    if not isinstance(queue, tuple) or not queue:
        return ctx
    told = told_queue(queue)
    return ctx if told is queue else ctx.set("queue", told)


# ---------------------------------------------------------------------------------------- weight
_EACH: Final = 64  # bytes that a value takes besides its text


def weight_of_value(value: Any) -> int:
    """The bytes that a question or an answer takes, about, as far as it is looked at."""
    return _weight(value, _DEEPEST_ANSWER, [_MOST])


def weight_of_told(result: Any) -> int:
    """The bytes that the entry of a tape about questions takes, about; 0 for any other."""
    if isinstance(result, Learned):
        return weight_of_value(result.asked.question) + weight_of_value(result.outcome)
    if type(result) is tuple:
        return sum([weight_of_value(one) for one in result])
    return 0


def _weight(value: Any, depth: int, left: list[int]) -> int:
    left[0] -= 1
    kind = type(value)
    if kind is str or kind is bytes:
        return _EACH + len(value)
    if kind in _PLAIN or depth == 0 or left[0] < 0:
        return _EACH
    if isinstance(value, Mapping):
        known: Iterable[Any] = [*value, *value.values()]
    elif isinstance(value, tuple | list | PVector | frozenset | set | PSet):
        known = value
    else:
        known = [getattr(value, name, None) for name in field_names(value)]
    found = _EACH
    for one in known:
        if left[0] < 0:
            break
        found += _weight(one, depth - 1, left)
    return found
