"""The live filter as a shadow has it: as it is, with somebody who sees its steps."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from demyjpy.engine.connection import Observer
from demyjpy.engine.negotiation import unite_macros
from demyjpy.handlers import watch_envelope
from demyjpy.merging import watched_events
from demyjpy.registry import QUIETABLE, Handler, Registry


class Shadowed(Registry):
    """A filter, or several merged, with an observer. The observer has no part in what is answered.

    What only ``candidate`` wants to see is asked for, too: events without answers, and macros.
    """

    def __init__(self, live: Registry, candidate: Registry, observer: Observer) -> None:
        wanted = frozenset(candidate) | watched_events(candidate)
        self._inner = watch_envelope(live, [one for one in QUIETABLE if one in wanted])
        self._candidate, self._observer = candidate, observer
        super().__init__(None, self._inner.declarations)

    @property
    def observer(self) -> Observer | None:
        return self._observer

    @property
    def parts(self) -> tuple[Registry, ...]:
        return self._inner.parts

    @property
    def leaves(self) -> tuple[Registry, ...]:
        return self._inner.leaves

    def with_parts(self, change: Callable[[Registry], Registry]) -> Registry:
        return Shadowed(self._inner.with_parts(change), self._candidate, self._observer)

    @property
    def optional_events(self) -> frozenset[str]:
        return self._inner.optional_events

    @property
    def macros(self) -> Mapping[str, tuple[str, ...]]:
        """Those of both; a list replaces that of the MTA, so it has what the live filter relies on."""
        if not self._candidate.macros:
            return self._inner.macros
        return unite_macros([self._inner.macros, self._candidate.macros])

    @property
    def size(self) -> int:
        return self._inner.size

    def add(self, event: str, handler: Callable[..., Any], **options: Any) -> None:
        self._inner.add(event, handler, **options)

    def __getitem__(self, event: str) -> Handler[Any]:
        return self._inner[event]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)
