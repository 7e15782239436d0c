"""The decorators of a registry: ``@handlers.body`` and the like, one class for each set of options.

Only what a decorator takes is here; what is registered is checked by `demyjpy.registry`. An option
that a decorator does not have is passed on (``**unknown``): the registry says which ones there are.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar, overload

from attrs import frozen

from demyjpy import events as ev
from demyjpy.context import Context
from demyjpy.message import Message

E = TypeVar("E")
R = TypeVar("R", bound=Context | Awaitable[Context])

Beyond: TypeAlias = Literal["headers", "tempfail", "reject"]
"""What becomes of a message that is larger than the limit of a message handler."""

LIMIT: Final = 25_000_000
"""Bytes of header and body: a message handler gets larger messages without their bodies."""


class Registers(Protocol):
    """A registry, as its decorators need it."""

    def add(self, event: str, handler: Callable[..., Any], **options: Any) -> None:
        """Register a handler."""


@frozen
class PlainDecorator(Generic[E]):
    """Registers a handler for an event that is never answered."""

    registry: Registers
    event: str

    def _register(self, function: Any, **options: Any) -> Any:
        def register(function: Any) -> Any:
            self.registry.add(self.event, function, **options)
            return function

        return register if function is None else register(function)

    @overload
    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...

    @overload
    def __call__(self, /, *, blocking: bool = ...) -> "Register[E]": ...

    def __call__(self, function: Any = None, /, *, blocking: bool = False, **unknown: Any) -> Any:
        """``blocking=True``: the handler may block; the asyncio driver runs it in a thread."""
        return self._register(function, blocking=blocking, **unknown)


@frozen
class Decorator(PlainDecorator[E]):
    """Registers a handler for an event that is answered."""

    @overload
    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...

    @overload
    def __call__(self, /, *, reply: bool = ..., blocking: bool = ...) -> "Register[E]": ...

    def __call__(
        self,
        function: Any = None,
        /,
        *,
        reply: bool = True,
        blocking: bool = False,
        **unknown: Any,
    ) -> Any:
        """``reply=False``: an observer, for which the MTA need not wait; it never answers."""
        return self._register(function, reply=reply, blocking=blocking, **unknown)


@frozen
class RecipientDecorator(PlainDecorator[ev.Recipient]):
    """Registers a handler for ``recipient``."""

    @overload
    def __call__(
        self, function: Callable[[ev.Recipient, Context], R], /
    ) -> Callable[[ev.Recipient, Context], R]: ...

    @overload
    def __call__(
        self, /, *, reply: bool = ..., blocking: bool = ..., rejected: bool = ...
    ) -> "Register[ev.Recipient]": ...

    def __call__(
        self,
        function: Any = None,
        /,
        *,
        reply: bool = True,
        blocking: bool = False,
        rejected: bool = False,
        **unknown: Any,
    ) -> Any:
        """``rejected=True``: also recipients that the MTA refused; these are never answered."""
        return self._register(function, reply=reply, blocking=blocking, rejected=rejected, **unknown)


@frozen
class EndOfMessageDecorator(PlainDecorator[ev.EndOfMessage]):
    """Registers a handler for ``end_of_message``."""

    @overload
    def __call__(
        self, function: Callable[[ev.EndOfMessage, Context], R], /
    ) -> Callable[[ev.EndOfMessage, Context], R]: ...

    @overload
    def __call__(
        self, /, *, blocking: bool = ..., progress: float | None = ...
    ) -> "Register[ev.EndOfMessage]": ...

    def __call__(
        self,
        function: Any = None,
        /,
        *,
        blocking: bool = False,
        progress: float | None = 5.0,
        **unknown: Any,
    ) -> Any:
        """``progress``: seconds between signs of life while it runs; None for none."""
        return self._register(function, blocking=blocking, progress=progress, **unknown)


@frozen
class MessageDecorator(PlainDecorator[Message]):
    """Registers a handler for ``message``, which gets all of a message as a value."""

    @overload
    def __call__(
        self, function: Callable[[Message, Context], R], /
    ) -> Callable[[Message, Context], R]: ...

    @overload
    def __call__(
        self,
        /,
        *,
        limit: int = ...,
        beyond: Beyond = ...,
        blocking: bool = ...,
        progress: float | None = ...,
    ) -> "Register[Message]": ...

    def __call__(
        self,
        function: Any = None,
        /,
        *,
        limit: int = LIMIT,
        beyond: Beyond = "headers",
        blocking: bool = False,
        progress: float | None = 5.0,
        **unknown: Any,
    ) -> Any:
        """``limit``: the largest message that it gets whole, in bytes of header and body.

        ``beyond``: what becomes of a larger one. It comes without its body (``"headers"``: its
        ``is_whole`` is False), or it is refused without a call of the handler, for now (``"tempfail"``)
        or for good (``"reject"``). ``progress``: seconds between signs of life while the handler runs;
        None for none.
        """
        return self._register(
            function, limit=limit, beyond=beyond, blocking=blocking, progress=progress, **unknown
        )


class Register(Protocol[E]):
    """What a decorator with options returns: it takes the function and gives it back."""

    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...
