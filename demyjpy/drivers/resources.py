"""The resources of filters: opened before a filter is asked about mail, closed when nobody needs it.

``resources={"redis": open_redis}`` declares them, by functions of the settings that return context
managers. Each process that serves opens its own, so nothing is shared across a fork. What performers do
with them is not known here.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

from demyjpy.declarations import Declarations
from demyjpy.drivers.births import BIRTHS
from demyjpy.drivers.loading import why
from demyjpy.drivers.report import log
from demyjpy.drivers.side_loop import Loop
from demyjpy.errors import HandlerError, describe
from demyjpy.registry import Registry, as_registry, name_of_filter
from demyjpy.settings.making import Opener, without_secrets

NOTHING_OPEN: Final[Mapping[str, Any]] = MappingProxyType({})
"""What performers get of a filter without resources."""

CLOSING: Final = 2.0
"""Seconds for what closes, however many there are."""
NOT_CLOSED: Final = "resources did not close within %g s, and are left as they are"
"""What the log says then."""
_LATER: Final = 1.0  # seconds after the deadline at which nobody waits any more


def leaves_of(on_connect: Any) -> tuple[Registry, ...]:
    """The filters that declare something: of a registry, or of a map of handlers.

    A function that is called once a connection shows its filter only then: it has none.
    """
    return as_registry(on_connect).leaves if isinstance(on_connect, Mapping) else ()


def has_resources(on_connect: Any) -> bool:
    """Whether something has to be opened before this filter serves."""
    return any(leaf.declarations.resources for leaf in leaves_of(on_connect))


@frozen(eq=False)
class _Resource:
    """One that is open, and how it is closed: within so many seconds, or it raises."""

    where: str
    close: Callable[[float], None]


class Opened:
    """What one filter has open. It is closed when nobody holds it any more.

    Whoever opened it holds it first. From any thread.
    """

    def __init__(self, parts: Iterable[Declarations] = ()) -> None:
        self._parts: list[tuple[Declarations, dict[str, Any]]] = [(part, {}) for part in parts]
        self._by_id = {id(part): values for part, values in self._parts}
        self._resources: list[_Resource] = []
        self._lock = threading.Lock()
        self._holders = 1
        self._is_closing = False
        self.closed: Future[None] = Future()
        """Done when it is closed."""

    def of(self, declarations: Declarations) -> Mapping[str, Any] | None:
        """The resources of a filter by name; None if this filter is no part of it."""
        found = self._by_id.get(id(declarations))
        if found is None:  # a copy of it, as `with_handlers` makes some
            same = (one for part, one in self._parts if part.resources == declarations.resources)
            found = next(same, None)
        return found

    def add(self, declarations: Declarations, name: str, value: Any, resource: _Resource) -> None:
        """One more is open."""
        self._by_id[id(declarations)][name] = value
        self._resources.append(resource)

    def hold(self) -> None:
        """Somebody needs it: it stays open until `release`."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """One who holds it needs it no more; the last one has it closed."""
        with self._lock:
            self._holders -= 1
            is_needed = self._holders > 0
        if not is_needed:
            self.close()

    def close(self) -> None:
        """Close it now, in a thread, whoever holds it. Calling it again does nothing."""
        with self._lock:
            is_closing, self._is_closing = self._is_closing, True
        if is_closing:
            return
        try:
            if self._resources:
                BIRTHS.start(threading.Thread(target=self._close, name="demyjpy-close", daemon=True))
                return
        except RuntimeError as error:
            log.error("cannot close resources: %s", error)
        self.closed.set_result(None)

    def _close(self) -> None:
        close_all(self._resources)
        self.closed.set_result(None)


def close_all(resources: list[_Resource]) -> None:
    """Close them, the last one first; what fails is logged, and the others are closed all the same."""
    end = time.monotonic() + CLOSING
    while resources:
        one = resources.pop()
        try:
            one.close(max(0.0, end - time.monotonic()))
        except BaseException as error:  # noqa: BLE001  # it is the user's code
            log.error("%s did not close: %s", one.where, why(error))


class Resources:
    """All that a server has open, for the filter that it serves and for those before it.

    ``settings`` is given to the functions that open; ``loop`` is where async context managers are.
    """

    def __init__(self, settings: Mapping[str, Any], loop: Loop) -> None:
        self._settings, self._loop = settings, loop
        self._all: tuple[Opened, ...] = ()
        self._lock = threading.Lock()
        self._is_over = False

    def of(self, declarations: Declarations) -> Mapping[str, Any]:
        """The resources of a filter by name, from any thread; `HandlerError` if they are not open."""
        if not declarations.resources:
            return NOTHING_OPEN
        for one in reversed(self._all):
            found = one.of(declarations)
            if found is not None:
                return found
        raise HandlerError(
            f"expected the resources {', '.join(declarations.resources)} to be open, got none: give "
            "start_milter a registry that declares them, not a function that makes one"
        )

    def open(self, on_connect: Any, seconds: float) -> "Future[Opened]":
        """Begin to open what a filter declares. `HandlerError` comes if that fails, or takes longer."""
        future: Future[Opened] = Future()
        leaves = [leaf for leaf in leaves_of(on_connect) if leaf.declarations.resources]
        if not leaves:
            future.set_result(Opened())
            return future
        opening = _Opening(leaves, self._settings, self._loop, seconds)

        def watch() -> None:
            try:
                opened = opening.run()
            except BaseException as error:  # noqa: BLE001  # it is the user's code
                future.set_exception(error)
                return
            with self._lock:
                is_over = self._is_over
                self._all = (*(one for one in self._all if not one.closed.done()), opened)
            if is_over:
                opened.close()
            future.set_result(opened)

        try:
            BIRTHS.start(threading.Thread(target=watch, name="demyjpy-open", daemon=True))
        except RuntimeError as error:
            future.set_exception(
                HandlerError(f"expected a thread to open resources in, got none: {error}")
            )
        return future

    def end(self) -> "tuple[Future[None], ...]":
        """Close all, whoever holds them; each of these is done when something is closed.

        Calling it again does nothing.
        """
        with self._lock:
            self._is_over = True
            known, self._all = self._all, ()
        for one in known:
            one.close()
        return tuple(one.closed for one in known)


class _Opening:
    """Opens the resources of a filter, in a thread that can be left behind."""

    def __init__(
        self, leaves: list[Registry], settings: Mapping[str, Any], loop: Loop, seconds: float
    ) -> None:
        self._leaves, self._settings, self._loop, self._seconds = leaves, settings, loop, seconds
        self._end = time.monotonic() + seconds
        self._at = ""
        self._done: Future[Opened] = Future()

    def run(self) -> Opened:
        """What was opened; `HandlerError` if not all of it was."""
        BIRTHS.start(threading.Thread(target=self._open, name="demyjpy-open-all", daemon=True))
        try:
            return self._done.result(self._seconds)
        except TimeoutError:
            self._done.add_done_callback(_drop)
            raise HandlerError(
                f"expected {self._at} to open within {self._seconds:g} s (the option load_timeout=), "
                "got nothing"
            ) from None

    def _open(self) -> None:
        opened = Opened([leaf.declarations for leaf in self._leaves])
        secrets: tuple[str, ...] = ()
        try:
            for leaf in self._leaves:
                for name, make in leaf.declarations.resources.items():
                    secrets = make.secrets if isinstance(make, Opener) else ()
                    self._at = f"the resource {name!r} of {name_of_filter(leaf)}"
                    value, resource = self._open_one(self._at, make)
                    opened.add(leaf.declarations, name, value, resource)
        except BaseException as error:  # noqa: BLE001  # it is the user's code
            opened.release()
            said = without_secrets(why(error), secrets)
            self._done.set_exception(HandlerError(f"expected {self._at} to open, got {said}"))
            return
        self._done.set_result(opened)

    def _open_one(self, where: str, make: Callable[..., Any]) -> tuple[Any, _Resource]:
        manager = make(self._settings)
        if hasattr(type(manager), "__aenter__"):
            return self._open_async(where, manager)
        if not hasattr(type(manager), "__enter__"):
            raise HandlerError(f"no context manager but {describe(manager)}")
        value = manager.__enter__()
        return value, _Resource(where, lambda seconds: manager.__exit__(None, None, None))

    def _open_async(self, where: str, manager: Any) -> tuple[Any, _Resource]:
        entered: Future[Any] = Future()
        leaving = asyncio.Event()

        async def hold() -> None:
            try:
                # one task enters and leaves: groups of tasks and time limits want that
                async with manager as value:
                    entered.set_result(value)
                    await leaving.wait()
            except BaseException as error:
                if entered.done():
                    raise
                entered.set_exception(error)

        async def leave() -> None:
            leaving.set()

        holding = self._loop.submit(hold())

        def close(seconds: float) -> None:
            self._loop.submit(leave())
            holding.result(seconds)

        try:
            return entered.result(max(0.0, self._end - time.monotonic()) + _LATER), _Resource(
                where, close
            )
        except BaseException:
            holding.cancel()
            raise


def _drop(opening: "Future[Opened]") -> None:
    """What was opened too late is closed."""
    if opening.exception() is None:
        opening.result().release()
