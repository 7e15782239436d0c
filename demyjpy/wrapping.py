"""What stands around one call of a handler, plain or async: a generator, run as a function.

The handlers of filters that are scoped, merged or chosen are made of this.
"""

import inspect
from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias, TypeVar

from attrs import evolve
from pyrsistent import PMap

from demyjpy.context import Context
from demyjpy.errors import HandlerError, describe
from demyjpy.handler_functions import name_of_function
from demyjpy.registry import Handler

E = TypeVar("E")

Around: TypeAlias = Generator[Context, Context, Context]
"""What stands around one call of a handler: see `wrap_handler`."""


def wrap_handler(handler: Handler[E], around: Callable[[E, Context], Around]) -> Handler[E]:
    """A handler, plain or async, with something around it. It keeps its options, and its name in logs.

    ``around`` is a generator function of event and context. It yields the context that the handler gets.
    The ``yield`` gives what the handler returned, or raises what it raised. What ``around`` returns goes
    to the engine. If it returns before a ``yield``, the handler is not called. `HandlerError` if it is
    no generator function, or if ``handler`` is the bare function.

    If the handler has ``asking=``, ``around`` runs twice: first as far as its ``yield``, for the context
    that ``asking=`` gets. If it returns before, nothing is asked.
    """
    if not isinstance(handler, Handler):
        raise HandlerError(
            f"expected a Handler, which a registry has under its event, got {describe(handler)}"
        )
    if not inspect.isgeneratorfunction(around):
        raise HandlerError(
            "expected around= as a function (event, ctx) that yields the context for the handler, "
            f"got {describe(around)}"
        )

    def call(event: E, ctx: Any) -> Any:
        if not isinstance(ctx, PMap):
            raise HandlerError(
                f"expected {name_of_function(around)} to yield the context for {handler.name}, "
                f"got {describe(ctx)}"
            )
        return handler.function(event, ctx)

    run = as_function(around, call, is_async=handler.is_async)
    run.__wrapped__ = handler.function  # logs name the user's function
    asking = handler.asking
    if asking is None:
        return evolve(handler, function=run)

    def ask_around(event: E, ctx: Context) -> Any:
        running = around(event, ctx)
        try:
            seen = next(running)
        except StopIteration:
            return {}
        try:
            return asking(event, seen)
        finally:
            running.close()

    return evolve(handler, function=run, asking=ask_around)


_NOT_CALLED: Final[Any] = object()


def _returned(make: Callable[..., Any], value: Any, outcome: Any) -> Any:
    """What a generator returned; an error if it returned None, and the handler did not."""
    if value is None and outcome is not None:
        raise HandlerError(
            f"expected {name_of_function(make)} to return a context, got None; is there a return at its "
            "end, as in return (yield ctx)?"
        )
    return value


def _throw(running: Generator[Any, Any, Any], error: BaseException) -> Any:
    """As `Generator.throw`, which makes another error of a `StopIteration` (PEP 479)."""
    try:
        return running.throw(error)
    except RuntimeError as problem:
        if problem.__cause__ is not error:
            raise
    raise error


def as_function(
    make: Callable[[Any, Context], Generator[Any, Any, Any]],
    call: Callable[[Any, Any], Any],
    *,
    is_async: bool,
) -> Any:
    """A function ``(event, ctx)`` that runs a generator; ``call`` does what it yields."""

    def run(event: Any, ctx: Context) -> Any:
        running, outcome = make(event, ctx), _NOT_CALLED
        failed: BaseException | None = None
        try:
            asked = next(running)
            while True:
                try:
                    outcome = call(event, asked)
                except BaseException as error:  # noqa: BLE001  # the generator may handle it
                    failed = error
                    asked = _throw(running, error)
                else:
                    asked = running.send(outcome)
        except StopIteration as end:
            if end is failed:
                raise
            return _returned(make, end.value, outcome)

    async def run_async(event: Any, ctx: Context) -> Any:
        running, outcome = make(event, ctx), _NOT_CALLED
        failed: BaseException | None = None
        try:
            asked = next(running)
            while True:
                try:
                    outcome = call(event, asked)
                    outcome = await outcome if inspect.isawaitable(outcome) else outcome
                except BaseException as error:  # noqa: BLE001  # as above
                    failed = error
                    asked = _throw(running, error)
                else:
                    asked = running.send(outcome)
        except StopIteration as end:
            if end is failed:
                raise
            return _returned(make, end.value, outcome)

    return run_async if is_async else run
