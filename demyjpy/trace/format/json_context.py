"""What is in a context, as JSON: any value of the user's is shown, none is refused.

What handlers usually keep (numbers, text, bytes, collections of them) comes back as it was; of anything
else its class and ``repr`` are kept (`Other`). Long values are cut (`Cut`), because a trace is no dump.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import frozen
from pyrsistent import PMap, PSet, PVector, pmap, pset, pvector

from demyjpy.context import ENGINE_KEYS, Context
from demyjpy.errors import HandlerError, TraceError
from demyjpy.findings import Finding
from demyjpy.wire.json_bytes import dump_bytes, dump_text, load_bytes, load_text

LONGEST: Final = 4096  # characters, bytes or items of one value that are kept

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


_BUILTINS: Final[dict[type[Any], str]] = {
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    dict: "dict",
}
_PERSISTENT: Final[tuple[tuple[type[Any], str], ...]] = (
    (PMap, "pmap"),
    (PVector, "pvector"),
    (PSet, "pset"),
)
_MAPS: Final = ("dict", "pmap")
_MISSING: Final = object()
_MAKERS: Final[dict[str, Callable[[Iterable[Any]], Any]]] = {
    **{name: klass for klass, name in _BUILTINS.items()},
    "pvector": pvector,
    "pset": pset,
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
    if type(value) is _Pair:
        return [_dump(one, depth, seen) for one in value]
    kind = _kind_of(value)
    if kind is None or depth == 0 or next(seen) > _MOST:
        return _other(value)
    try:
        items = _items(kind, value)
        return _cut(items, lambda part: {kind: [_dump(one, depth - 1, seen) for one in part]})
    except Exception:  # noqa: BLE001  # whatever a collection of the user's does
        return _other(value)


def _text(dumped: Any) -> Any:
    return dumped if isinstance(dumped, str) else {"text": dumped}


def _kind_of(value: Any) -> str | None:
    named = (name for klass, name in _PERSISTENT if isinstance(value, klass))
    return _BUILTINS.get(type(value)) or next(named, None)


def _items(kind: str, value: Any) -> list[Any]:
    if kind in _MAPS:
        return [_Pair(pair) for pair in value.items()]
    # the order of a set is chance, but a trace is not
    return sorted(value, key=repr) if "set" in kind else list(value)


class _Pair(tuple[Any, Any]):
    """A key of a map and its value."""

    __slots__ = ()


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
    """The inverse of `dump_value`, as far as there is one; `TraceError` if it is no value."""
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
        case dict() if [*map(type, value.values())] == [list] and value.keys() <= _MAKERS.keys():
            ((kind, items),) = value.items()
            return _collect(kind, items)
    raise TraceError(f"expected a value as a trace has it, got {value!r:.60}")


def _collect(kind: str, items: list[Any]) -> Any:
    if len(items) > LONGEST:  # hashes may be chosen to be equal, which makes a set quadratic
        raise TraceError(f"expected at most {LONGEST} items in a {kind}, got {len(items)}")
    try:
        if kind in _MAPS:
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
    added: dict[str, Any] = {}
    kept = 0
    for key, value in after.items():
        old = before.get(key, _MISSING)
        kept += old is not _MISSING
        if old is not value and key not in _NOT_THE_USERS and not _is_same(old, value):
            added[dump_key(key)] = dump_value(value)
    if added:
        found["set"] = added
    if kept < len(before):  # as rarely
        removed = [dump_key(key) for key in before if key not in after and key not in _NOT_THE_USERS]
        if removed:
            found["removed"] = sorted(removed)
    return found


def _is_same(old: Any, value: Any) -> bool:
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


# ---------------------------------------------------------------------------------- findings
def dump_finding(found: Finding) -> dict[str, Any]:
    """A finding as JSON; what was not given is left out."""
    record: dict[str, Any] = {"name": dump_text(found.name), "value": dump_value(found.value)}
    if found.score:
        record["score"] = found.score
    if found.source != "filter":
        record["source"] = found.source
    if found.fields:
        record["fields"] = {dump_key(key): dump_value(one) for key, one in found.fields.items()}
    for key, text in (("author", found.author), ("event", found.event)):
        if text is not None:
            record[key] = dump_text(text)
    return record


def load_finding(record: Any) -> Finding:
    """The inverse of `dump_finding`; `TraceError` if it is no finding."""
    if not isinstance(record, dict) or not isinstance(record.get("fields", {}), dict):
        raise TraceError(f"expected a finding, got {record!r:.60}")
    texts = {key: load_text(record[key]) for key in ("author", "event") if key in record}
    try:
        return Finding(
            load_text(record.get("name")),
            load_value(record.get("value")),
            record.get("score", 0.0),
            record.get("source", "filter"),
            {key: load_value(one) for key, one in record.get("fields", {}).items()},
            **texts,
        )
    except HandlerError as error:
        raise TraceError(str(error)) from None
