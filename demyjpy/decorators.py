"""The decorators of a registry: ``@handlers.body`` and the like, one class for each set of options.

Only what a decorator takes is here; what is registered is checked by `demyjpy.registry`. An option
that a decorator does not have is passed on (``**unknown``): the registry says which ones there are.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

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


class PlainOptions(TypedDict, total=False):
    """Options of every decorator.

    ``blocking=True``: the handler may block; the asyncio driver runs it in a thread. ``timeout``: the
    most seconds that the handler may take; the server's ``handler_timeout`` if it says nothing.
    """

    blocking: bool
    timeout: float | None


class AskingOptions(PlainOptions, Generic[E], total=False):
    """Options of a handler that may wait for answers (see `demyjpy.ask`).

    ``needs``: keys of questions that were asked before: it is called when they are answered or late.
    ``asking``: a function ``(event, ctx)`` that returns questions by key, which are asked before the
    handler is called. ``within``: seconds for the answers to these, 5 if it says nothing.
    """

    needs: Collection[str]
    asking: Callable[[E, Context], Mapping[str, Any]]
    within: float


class AnsweringOptions(AskingOptions[E], total=False):
    """``reply=False``: an observer, for which the MTA need not wait; it never answers."""

    reply: bool


class RecipientOptions(AnsweringOptions[ev.Recipient], total=False):
    """``rejected=True``: also recipients that the MTA refused; these are never answered."""

    rejected: bool


class EndOfMessageOptions(AskingOptions[ev.EndOfMessage], total=False):
    """``progress``: seconds between signs of life while it runs or waits, 5 by default."""

    progress: float | None


class MessageOptions(AskingOptions[Message], total=False):
    """``limit``: the largest message that it gets whole, in bytes of header and body.

    ``beyond``: what becomes of a larger one. It comes without its body (``"headers"``: its ``is_whole``
    is False), or it is refused without a call of the handler, for now (``"tempfail"``) or for good
    (``"reject"``). ``progress``: seconds between signs of life while the handler runs or waits, 5 by
    default; None for none.
    """

    limit: int
    beyond: Beyond
    progress: float | None


@frozen
class PlainDecorator(Generic[E]):
    """Registers a handler for an event that is never answered. Its options: `PlainOptions`."""

    registry: Registers
    event: str

    @overload
    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...

    @overload
    def __call__(self, /, **options: Unpack[PlainOptions]) -> "Register[E]": ...

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """The function, registered; with options a decorator that registers it."""

        def register(function: Any) -> Any:
            self.registry.add(self.event, function, **options)
            return function

        return register if function is None else register(function)


@frozen
class Decorator(PlainDecorator[E]):
    """Registers a handler for an event that is answered. Its options: `AnsweringOptions`."""

    @overload
    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...

    @overload
    def __call__(self, /, **options: Unpack[AnsweringOptions[E]]) -> "Register[E]": ...

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """As `PlainDecorator`."""
        return PlainDecorator.__call__(self, function, **options)


@frozen
class RecipientDecorator(PlainDecorator[ev.Recipient]):
    """Registers a handler for ``recipient``. Its options: `RecipientOptions`."""

    @overload
    def __call__(
        self, function: Callable[[ev.Recipient, Context], R], /
    ) -> Callable[[ev.Recipient, Context], R]: ...

    @overload
    def __call__(self, /, **options: Unpack[RecipientOptions]) -> "Register[ev.Recipient]": ...

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """As `PlainDecorator`."""
        return PlainDecorator.__call__(self, function, **options)


@frozen
class EndOfMessageDecorator(PlainDecorator[ev.EndOfMessage]):
    """Registers a handler for ``end_of_message``. Its options: `EndOfMessageOptions`."""

    @overload
    def __call__(
        self, function: Callable[[ev.EndOfMessage, Context], R], /
    ) -> Callable[[ev.EndOfMessage, Context], R]: ...

    @overload
    def __call__(self, /, **options: Unpack[EndOfMessageOptions]) -> "Register[ev.EndOfMessage]": ...

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """As `PlainDecorator`."""
        return PlainDecorator.__call__(self, function, **options)


@frozen
class MessageDecorator(PlainDecorator[Message]):
    """Registers a handler for ``message``, which gets a message as a value: see `MessageOptions`."""

    @overload
    def __call__(
        self, function: Callable[[Message, Context], R], /
    ) -> Callable[[Message, Context], R]: ...

    @overload
    def __call__(self, /, **options: Unpack[MessageOptions]) -> "Register[Message]": ...

    def __call__(self, function: Any = None, /, **options: Any) -> Any:
        """As `PlainDecorator`."""
        return PlainDecorator.__call__(self, function, **options)


class Register(Protocol[E]):
    """What a decorator with options returns: it takes the function and gives it back."""

    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...
