"""How a question finds its client, and a client its library.

A client that keeps connections open is a resource, because only resources are closed. One that
keeps none open has a default: one of each kind in each event loop, so a process that was forked has
its own.
"""

import asyncio
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from demyjpy.errors import HandlerError

C = TypeVar("C")

Clients = dict[type, Any]


class Defaults:
    """Clients that nobody declared, by the loop that they live in. Call it in that loop."""

    def __init__(self) -> None:
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Clients] = WeakKeyDictionary()

    def get(self, make: Callable[[], C], kind: type[C]) -> C:
        """The one of a kind, made if there is none."""
        clients = self._by_loop.setdefault(asyncio.get_running_loop(), {})
        if kind not in clients:
            clients[kind] = make()
        found: C = clients[kind]
        return found


DEFAULTS: Final = Defaults()
"""Of this process: what is known of a server is the same for all filters in it."""


def library(package: str, extra: str, *modules: str) -> Any:
    """The first of some modules of a library that is an extra, all of them imported.

    `ImportError` says what to install.
    """
    try:
        found = [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise ImportError(
            f"expected {package} to be installed, got {error}: pip install 'demyjpy[{extra}]'"
        ) from None
    return found[0]


def client_of(
    resources: Mapping[str, Any],
    name: str,
    kind: type[C],
    make: Callable[[], C] | None = None,
    *,
    example: str = "",
) -> C:
    """The client for a question: the resource ``name``, or if there is none, the default.

    ``make`` makes that; without it there is none. ``example``: the call that makes such a resource.
    `HandlerError` if the resource is of another kind, or is missing.
    """
    found = resources.get(name)
    if isinstance(found, kind):
        return found
    if found is None and make is not None:
        return DEFAULTS.get(make, kind)
    example = example or f"{kind.__name__}()"
    raise HandlerError(
        f"expected the resource {name!r} of the filter to be a {kind.__name__}, got "
        f"{'none' if found is None else type(found).__name__}: declare "
        f"resources={{{name!r}: lambda settings: {example}}}"
    )
