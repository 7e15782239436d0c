"""Results that a handler drops, as they stand in its source: an action that is queued in no context."""

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from textwrap import dedent
from typing import Any, Final

from demyjpy.cli.places import short_path
from demyjpy.context import Context

_METHODS: Final = frozenset({"set", "remove", "discard", "update", "transform"})
"""What gives another context, and leaves the one that it is called on as it was."""


def dropped_in(function: Callable[..., Any]) -> Iterator[str]:
    """A line for each statement of a function that makes a context, and does nothing with it.

    Only calls of demyjpy's own functions count, and methods of the second argument. A function without
    source has none.
    """
    inner: Any = inspect.unwrap(function)
    if not inspect.isfunction(inner) or inner.__code__.co_argcount < 2:
        return
    code = inner.__code__
    ctx = code.co_varnames[1]
    with suppress(OSError, SyntaxError, ValueError):  # or a name that is still to be bound
        tree = ast.parse(dedent(inspect.getsource(inner)))
        names = {**inner.__globals__, **_closure(inner)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = _called(node.value.func, names, ctx)
                if called:
                    line = code.co_firstlineno + node.lineno - 1
                    where = f"{short_path(code.co_filename)}:{line}"
                    yield f"{where}: nobody uses what {called} returns: write {ctx} = {called}(...)"


def _closure(function: Any) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells}


def _called(function: ast.expr, names: dict[str, Any], ctx: str) -> str | None:
    """What is called, if its result is a context and nothing else comes of it."""
    match function:
        case ast.Attribute(value=ast.Name(id=name), attr=method) if name == ctx:
            return f"{name}.{method}" if method in _METHODS else None
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            module = names.get(name)
            found = getattr(module, attribute, None) if inspect.ismodule(module) else None
            words = f"{name}.{attribute}"
        case ast.Name(id=name):
            found, words = names.get(name), name
        case _:
            return None
    if not (inspect.isfunction(found) and str(found.__module__).startswith("demyjpy.")):
        return None
    return words if found.__annotations__.get("return") == Context else None
