"""A `pyrsistent.PMap` that is kept as a dict while it is small.

A context has a dozen keys and is written some ten times a message: copying so small a dict takes a
third of the time that a tree of buckets takes, and reading it a quarter. It is a `PMap` in every
respect, and becomes an ordinary one if it grows beyond `LARGEST`, and wherever something is done to
it that is rare. Nothing about contexts is known here, except for what an error says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn

from pyrsistent import PMap, pmap

from demyjpy.errors import MissingKeyError

LARGEST: Final = 48
"""With more keys than that a tree is faster."""

_new: Final[Callable[..., "SmallMap"]] = object.__new__


class SmallMap(PMap[str, Any]):
    """The map; made by `small_map`, never changed."""

    __slots__ = ("_entries",)

    _entries: dict[str, Any]

    # what the methods of `PMap` that are not written anew here work on
    @property
    def _buckets(self) -> Any:
        return self._ordinary()._buckets  # noqa: SLF001  # a PMap's

    @property
    def _size(self) -> int:
        return len(self._entries)

    def _ordinary(self) -> PMap[str, Any]:
        return pmap(self._entries)

    def __getitem__(self, key: str) -> Any:
        try:
            return self._entries[key]
        except KeyError:
            raise MissingKeyError(key, tuple(self._entries)) from None

    def __getattr__(self, name: str) -> Any:
        """As that of `PMap`, which finds keys; for what is neither, the words are about a context."""
        if name.startswith("_") or name not in self._entries:
            raise AttributeError(
                f"a context has no attribute {name!r}: ctx[{name!r}] reads what a handler has kept by "
                f"ctx = ctx.set({name!r}, ...)",
                name=name,
                obj=self,
            )
        return self._entries[name]

    def __setitem__(self, key: str, value: Any) -> NoReturn:
        raise TypeError(f"a context cannot be changed: return ctx.set({key!r}, ...)")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise TypeError(f"a context cannot be changed: write ctx = ctx.set({name!r}, ...)")
        super().__setattr__(name, value)  # what a `PMap` remembers of itself

    def __delitem__(self, key: str) -> NoReturn:
        raise TypeError(f"a context cannot be changed: return ctx.remove({key!r})")

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def get(self, key: str, default: Any = None) -> Any:
        return self._entries.get(key, default)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def iterkeys(self) -> Iterable[str]:
        return iter(self._entries)

    def itervalues(self) -> Iterable[Any]:
        return iter(self._entries.values())

    def iteritems(self) -> Iterable[tuple[str, Any]]:
        return iter(self._entries.items())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SmallMap):
            return self._entries == other._entries
        if not isinstance(other, Mapping):
            return NotImplemented
        return self._entries == dict(other.items())

    __hash__ = PMap.__hash__

    def set(self, key: str, val: Any) -> PMap[str, Any]:
        entries = self._entries
        if key in entries:
            if entries[key] is val:
                return self
        elif len(entries) >= LARGEST:
            return self._ordinary().set(key, val)
        after = _new(SmallMap)
        _hold(after, {**entries, key: val})
        return after

    def update(self, *args: Mapping[str, Any]) -> PMap[str, Any]:
        entries = dict(self._entries)
        for one in args:
            entries.update(one.items())
        return small_map(entries)

    def remove(self, key: str) -> PMap[str, Any]:
        entries = dict(self._entries)
        del entries[key]
        return small_map(entries)


_hold: Final[Callable[[SmallMap, dict[str, Any]], None]] = SmallMap.__dict__["_entries"].__set__
_ABSENT: Final = object()


def changed_keys(before: PMap[str, Any], after: PMap[str, Any]) -> list[str]:
    """The keys that have another value in the second map, or are in one of the two only."""
    old, new = entries_of(before), entries_of(after)
    get = old.get
    found = [key for key, value in new.items() if get(key, _ABSENT) is not value]
    if len(new) - len([key for key in found if key not in old]) != len(old):
        found += [key for key in old if key not in new]
    return found


def entries_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is in a map, as a dict that nobody may change."""
    return given._entries if isinstance(given, SmallMap) else dict(given.items())  # noqa: SLF001


def small_map(entries: Mapping[str, Any]) -> PMap[str, Any]:
    """These entries as a persistent map, whatever their number."""
    return pmap(entries) if len(entries) > LARGEST else as_small_map(dict(entries))


def as_small_map(entries: dict[str, Any]) -> PMap[str, Any]:
    """The same of a new dict, which nobody else holds."""
    if len(entries) > LARGEST:
        return pmap(entries)
    made = _new(SmallMap)
    _hold(made, entries)
    return made
