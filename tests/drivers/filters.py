"""Filters for the tests of the drivers, and what they tell the test."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen

from demyjpy import Registry, define_event_handlers
from tests.drivers.peer import WAIT

SEEN = ("connect", "mail", "end_of_message", "abort", "disconnect")


def wait_until(is_done: Callable[[], bool]) -> None:
    """Look until it is so."""
    end = time.monotonic() + WAIT
    while not is_done():
        assert time.monotonic() < end, f"waited {WAIT} s in vain"
        time.sleep(0.001)


class Notes:
    """What handlers have noted, in order, in whatever thread they ran."""

    def __init__(self) -> None:
        self._notes: list[Any] = []
        self._changed = threading.Condition()

    def add(self, note: Any) -> None:
        """Note something."""
        with self._changed:
            self._notes.append(note)
            self._changed.notify_all()

    def all(self) -> list[Any]:
        """All notes up to now."""
        with self._changed:
            return list(self._notes)

    def wait_for(self, note: Any, count: int = 1) -> None:
        """Until this has been noted so often."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._notes.count(note) >= count, WAIT)
            assert found, f"waited {WAIT} s for {count} times {note!r}, got {self._notes}"


def noting(notes: Notes, events: Iterable[str] = SEEN, **declared: Any) -> Registry:
    """A filter that notes the names of these events, and does nothing else."""
    handlers = define_event_handlers(**declared)

    def note(name: str) -> Callable[[Any, Any], Any]:
        def handler(event: Any, ctx: Any) -> Any:
            notes.add(name)
            return ctx

        return handler

    for name in events:
        handlers.add(name, note(name))
    return handlers


def editor() -> Registry:
    """A filter that may change the header and the body, so that those behind it wait."""
    handlers = {"end_of_message": lambda event, ctx: ctx}
    return define_event_handlers(handlers, actions={"add_header", "change_body"})


def without(*events: str) -> tuple[str, ...]:
    """The events that `noting` handles, except these."""
    return tuple(name for name in SEEN if name not in events)


@frozen
class Way:
    """A driver, and a kind of handler that may take its time under it."""

    driver: str
    kind: str

    def __str__(self) -> str:
        return f"{self.driver}-{self.kind}"

    def add(
        self, handlers: Registry, event: str, act: Callable[[Any, Any], Any], **options: Any
    ) -> None:
        """Register a handler of this kind."""
        if self.kind == "async":

            async def act_async(event: Any, ctx: Any) -> Any:
                await asyncio.sleep(0)
                return act(event, ctx)

            handlers.add(event, act_async, **options)
        else:
            handlers.add(event, act, blocking=self.kind == "blocking", **options)

    def add_slow(
        self,
        handlers: Registry,
        event: str,
        gate: threading.Event,
        act: Callable[[Any, Any], Any] = lambda event, ctx: ctx,
        **options: Any,
    ) -> None:
        """Register a handler that waits for a gate before it acts."""
        if self.kind == "async":

            async def act_async(event: Any, ctx: Any) -> Any:
                end = time.monotonic() + WAIT
                while not gate.is_set() and time.monotonic() < end:  # noqa: ASYNC110  # set in a thread
                    await asyncio.sleep(0.01)
                return act(event, ctx)

            handlers.add(event, act_async, **options)
        else:

            def act_slowly(event: Any, ctx: Any) -> Any:
                gate.wait(WAIT)
                return act(event, ctx)

            handlers.add(event, act_slowly, blocking=self.kind == "blocking", **options)


WAYS = (Way("asyncio", "blocking"), Way("asyncio", "async"), Way("threads", "plain"))
"""All that a slow handler can be."""
