"""What is worked out once, for all connections to come: bounded, for keys come from what MTAs offer."""

from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_MOST_MADE: Final = 64


class Cache:
    """Values by key. With more than ``most`` of them it begins anew.

    Threads may share it: two that miss a value both make it, and one of the two is kept.
    """

    def __init__(self, most: int = _MOST_MADE) -> None:
        self._most = most
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returns, made once for each key."""
        made: T | None = self.get(key)
        return self.keep(key, make()) if made is None else made

    def get(self, key: Hashable) -> Any:
        """What was kept under this key; None if nothing was."""
        return self._made.get(key)

    def keep(self, key: Hashable, made: T) -> T:
        """Keep a value, and return it."""
        if len(self._made) >= self._most:
            self._made.clear()
        self._made[key] = made
        return made


class Caches:
    """A `Cache` for each filter, and gone with it: a function may make one for each connection.

    A filter that its own cached values hold is not gone by itself; so there is a bound here, too.
    """

    def __init__(self) -> None:
        self._caches: WeakKeyDictionary[Any, Cache] = WeakKeyDictionary()

    def of(self, owner: object) -> Cache:
        """That of a filter, a new one if need be."""
        found = self._caches.get(owner)
        if found is None:
            if len(self._caches) >= _MOST_MADE:
                self._caches.clear()
            found = self._caches[owner] = Cache()
        return found
