"""The words that a filter looks for, read off its functions: generated mail should contain them.

A filter that refuses ``b"viagra"`` does nothing of interest until it meets it.
"""

from collections.abc import Callable, Iterator, Mapping
from inspect import getclosurevars, unwrap
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import CodeType
from typing import Any, Final

from demyjpy.context import Context, new_context
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.handlers import as_registry

_LONGEST: Final = 80
_MOST: Final = 60
_COLLECTIONS: Final = (tuple, list, set, frozenset)
_PLACES: Final = (IPv4Address, IPv4Network, IPv6Address, IPv6Network)


def words_of(handlers: Any) -> tuple[str, ...]:
    """Text, bytes and IP addresses that are constants of a filter's functions, or of what they refer to.

    ``handlers`` is a registry or an ``on_connect`` function; bytes come as text (UTF-8 with
    ``surrogateescape``), addresses and networks as they are written. In alphabetical order, at most
    60 of at most 80 characters.
    """
    on_connect: Callable[[Context], Context] = as_on_connect(handlers)
    registry = as_registry(on_connect(new_context())["handlers"])
    found = {
        word
        for part in registry.parts
        for handler in part.values()
        for function in (handler.function, handler.asking)
        if function is not None
        for word in _words_of_function(unwrap(function), depth=2)
    }
    return tuple(sorted(found)[:_MOST])


def _words_of_function(function: Any, depth: int) -> Iterator[str]:
    code = getattr(function, "__code__", None)
    if code is None:
        return
    yield from _words_of_code(code, getattr(function, "__doc__", None))
    known = getclosurevars(function)
    for value in (*known.globals.values(), *known.nonlocals.values()):
        if (getattr(value, "__module__", None) or "").startswith("demyjpy."):
            continue
        if depth and hasattr(value, "__code__"):
            yield from _words_of_function(value, depth - 1)
        else:
            yield from _words_in(value)


def _words_of_code(code: CodeType, doc: str | None) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _words_of_code(constant, None)
        elif constant != doc:
            yield from _words_in(constant)


def _words_in(value: object) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    elif isinstance(value, _PLACES):
        value = str(value)
    if isinstance(value, str):
        if 0 < len(value) <= _LONGEST and not set("\0\r\n") & set(value):
            yield value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _words_in(key)
    elif isinstance(value, _COLLECTIONS):
        for one in value:
            yield from _words_in(one)
