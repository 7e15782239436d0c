"""What is in a context, as JSON: any value of the user's is shown, none is refused.

What handlers usually keep (numbers, text, bytes, collections of them) comes back as it was; of anything
else its class and ``repr`` are kept (`Other`). Long values are cut (`Cut`), for a trace is no dump.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import frozen
from pyrsistent import PMap, PSet, PVector, pmap, pset, pvector

from demyjpy.context import ENGINE_KEYS, Context
from demyjpy.errors import TraceError
from demyjpy.trace.format.json_bytes import dump_bytes, dump_text, load_bytes, load_text

LONGEST: Final = 4096
"""Characters, bytes or items of one value that are kept."""

_DEEPEST: Final = 12
_MOST: Final = 2000  # values within one, however they are nested
_NOT_THE_USERS: Final = ENGINE_KEYS - {"connection", "events", "actions"}


@frozen
class Other:
    """A value that JSON cannot hold: its class, and its ``repr``."""

    kind: str
    text: str

    def __repr__(self) -> str:
        return self.text


@frozen
class Cut:
    """The beginning of a long value, and how long it was."""

    head: Any
    size: int

    def __repr__(self) -> str:
        return f"{self.head!r:.200}... ({self.size} in all)"


_COLLECTIONS: Final[dict[type[Any], tuple[str, Callable[[Iterable[Any]], Any]]]] = {
    list: ("list", list),
    tuple: ("tuple", tuple),
    set: ("set", set),
    frozenset: ("frozenset", frozenset),
}
_MAKERS: Final[dict[str, Callable[[Iterable[Any]], Any]]] = {
    **dict(_COLLECTIONS.values()),
    "pvector": pvector,
    "pset": pset,
    "dict": dict,
    "pmap": lambda pairs: pmap(dict(pairs)),
}


def dump_value(value: Any) -> Any:
    """Any value as JSON."""
    return _dump(value, _DEEPEST, itertools.count())


def _dump(value: Any, depth: int, seen: "itertools.count[int]") -> Any:
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) is str:
        return _cut(value, lambda part: _text(dump_text(part)))
    if type(value) is bytes:
        return _cut(value, lambda part: {"bytes": dump_bytes(part)})
    kind = _kind_of(value)
    if kind is None or depth == 0 or next(seen) > _MOST:
        return _other(value)
    try:
        return _cut(
            _items(value), lambda part: {kind: [_dump_item(one, depth - 1, seen) for one in part]}
        )
    except Exception:  # noqa: BLE001  # whatever a collection of the user's does
        return _other(value)


def _text(dumped: Any) -> Any:
    return dumped if isinstance(dumped, str) else {"text": dumped}


def _kind_of(value: Any) -> str | None:
    known = _COLLECTIONS.get(type(value))
    if known:
        return known[0]
    if type(value) is dict:
        return "dict"
    if isinstance(value, PMap):
        return "pmap"
    if isinstance(value, PVector):
        return "pvector"
    return "pset" if isinstance(value, PSet) else None


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [_Pair(key, one) for key, one in value.items()]
    items = list(value)
    # the order of a set is chance, but a trace is not
    return sorted(items, key=repr) if isinstance(value, set | frozenset | PSet) else items


@frozen
class _Pair:
    key: Any
    value: Any


def _dump_item(item: Any, depth: int, seen: "itertools.count[int]") -> Any:
    if isinstance(item, _Pair):
        return [_dump(item.key, depth, seen), _dump(item.value, depth, seen)]
    return _dump(item, depth, seen)


def _cut(value: Any, dump: Callable[[Any], Any]) -> Any:
    if len(value) <= LONGEST:
        return dump(value)
    return {"cut": len(value), "head": dump(value[: LONGEST // 16])}


def _other(value: Any) -> Any:
    kind = type(value)
    try:
        text = repr(value)[:LONGEST]
    except Exception as error:  # noqa: BLE001  # repr is the user's
        text = f"<repr failed: {type(error).__name__}>"
    return {"other": f"{kind.__module__}.{kind.__qualname__}", "repr": dump_text(text)}


def load_value(value: Any) -> Any:
    """The inverse of `dump_value`, as far as there is one; `TraceError` where it is no value."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    match value:
        case {"float": str(text)} if text in ("nan", "inf", "-inf"):
            return float(text)
        case {"text": text}:
            return load_text(text)
        case {"bytes": data}:
            return load_bytes(data)
        case {"cut": int(size), "head": head}:
            return Cut(load_value(head), size)
        case {"other": str(kind), "repr": text}:
            return Other(kind, load_text(text))
        case dict() if len(value) == 1:
            ((kind, items),) = value.items()
            if kind in _MAKERS and isinstance(items, list):
                return _collect(kind, items)
    raise TraceError(f"expected a value as a trace has it, got {value!r:.60}")


def _collect(kind: str, items: list[Any]) -> Any:
    if len(items) > LONGEST:  # hashes may be chosen to be equal, which makes a set quadratic
        raise TraceError(f"expected at most {LONGEST} items in a {kind}, got {len(items)}")
    try:
        if kind in ("dict", "pmap"):
            return _MAKERS[kind]([(load_value(key), load_value(one)) for key, one in items])
        return _MAKERS[kind]([load_value(one) for one in items])
    except (TypeError, ValueError) as error:
        raise TraceError(f"expected a {kind}, got {items!r:.60}: {error}") from None


# ---------------------------------------------------------------------------------- contexts
def changes(before: Context, after: Context) -> dict[str, Any]:
    """How a context differs from the one before: ``set`` and ``removed``; nothing if it does not.

    Keys that only the engine reads are left out.
    """
    if before is after:
        return {}
    found: dict[str, Any] = {}
    added = {
        dump_key(key): dump_value(value)
        for key, value in after.items()
        if key not in _NOT_THE_USERS and not _is_same(before, key, value)
    }
    removed = [dump_key(key) for key in before if key not in after and key not in _NOT_THE_USERS]
    if added:
        found["set"] = added
    if removed:
        found["removed"] = sorted(removed)
    return found


def _is_same(before: Context, key: Any, value: Any) -> bool:
    if key not in before:
        return False
    old = before[key]
    if old is value:
        return True
    try:
        return type(old) is type(value) and bool(old == value)
    except Exception:  # noqa: BLE001  # == is the user's
        return False


def dump_key(key: Any) -> str:
    """A key of a context: its text; of any other value, how it is written."""
    return key if isinstance(key, str) and dump_text(key) == key else repr(key)


def apply_changes(ctx: Context, found: Any) -> Context:
    """The context after recorded changes; `TraceError` for what are none."""
    if not isinstance(found, dict):
        raise TraceError(f"expected changes, got {found!r:.60}")
    after = ctx
    for key, value in found.get("set", {}).items():
        after = after.set(key, load_value(value))
    for key in found.get("removed", ()):
        after = after.discard(key)
    return after
