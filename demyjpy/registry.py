"""Event to handler: the registry that ``define_event_handlers`` returns, and what is declared in it.

Definitions are checked here, when they are made, so that a filter that loads can also run. Calling
handlers is `demyjpy.engine.pipeline`'s.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, overload

from attrs import field, frozen

from demyjpy import events as ev
from demyjpy.codec import ROW_OF_NAME
from demyjpy.context import Context, check_mapping, check_state
from demyjpy.engine.negotiation import ACTION_FLAGS, EVENT_NAMES, MACRO_EVENTS
from demyjpy.errors import HandlerError
from demyjpy.wire.codes import MACROS_PER_STAGE
from demyjpy.wire.fields import spell_macro

E = TypeVar("E")
R = TypeVar("R", bound=Context | Awaitable[Context])

HANDLER_NAMES: Final = (*EVENT_NAMES, "disconnect", "options", "define_macros")
"""The names under which a handler may be registered."""

QUIETABLE: Final = tuple(name for name in EVENT_NAMES if ROW_OF_NAME[name].quiet)
"""The events whose handler may be declared ``reply=False``."""


@frozen
class Handler(Generic[E]):
    """A function under an event name, with what was declared for it. Calling it calls the function.

    ``reply`` is False for an observer, which never answers; ``blocking`` for one that may block;
    ``rejected`` (recipient) for one that also gets recipients that the MTA refused; ``progress``
    (end_of_message) is the time in seconds between signs of life while it runs, None for none.
    """

    event: str
    function: Callable[[E, Context], Any]
    reply: bool = True
    blocking: bool = False
    rejected: bool = False
    progress: float | None = 5.0
    is_async: bool = field(init=False)

    @is_async.default
    def _find_async(self) -> bool:
        call = getattr(self.function, "__call__", None)  # noqa: B004  # an object's async __call__
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)

    def __attrs_post_init__(self) -> None:
        if not callable(self.function):
            raise HandlerError(
                f"expected a function (event, ctx) -> ctx under {self.event!r}, got {self.function!r}"
            )
        if not self.reply and self.event not in QUIETABLE:
            raise HandlerError(
                f"expected reply=False only at {', '.join(QUIETABLE)}, got it at {self.event!r}"
            )
        if self.rejected and self.event != "recipient":
            raise HandlerError(f"expected rejected=True only at 'recipient', got {self.event!r}")
        if self.is_async and self.blocking:
            raise HandlerError(f"expected either async def or blocking=True, got both at {self.event!r}")
        if self.progress is not None and not (
            isinstance(self.progress, (int, float)) and self.progress > 0
        ):
            raise HandlerError(f"expected progress in seconds or None, got {self.progress!r}")

    def __call__(self, event: E, ctx: Context) -> Any:
        return self.function(event, ctx)

    @property
    def name(self) -> str:
        """Where the function is, for logs: module and name."""
        return name_of_function(self.function)


def name_of_function(function: Callable[..., Any]) -> str:
    """Module and name of a function, for people; of one that is wrapped, those of the inner one."""
    inner = inspect.unwrap(function)
    return f"{getattr(inner, '__module__', '?')}.{getattr(inner, '__qualname__', repr(inner))}"


def _names(kind: str, given: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    names, known = _items(f"a set of names as {kind}", given), tuple(known)
    unknown = sorted(str(name) for name in names if name not in known)
    if unknown:
        raise HandlerError(f"expected {kind} among {', '.join(known)}; got {', '.join(unknown)}")
    return frozenset(names)


def _items(expected: str, given: Any) -> tuple[Any, ...]:
    """What is in a collection; a string is none."""
    if isinstance(given, str):
        raise HandlerError(f"expected {expected}, got the string {given!r}")
    if not isinstance(given, Iterable):
        raise HandlerError(f"expected {expected}, got {given!r:.200}")
    return tuple(given)


def _macro_names(macros: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    _names("events in macros=", check_mapping("macros", macros), MACRO_EVENTS)
    spelled = {}
    for event, given in macros.items():
        names = _items(f"a tuple of macro names for {event!r}", given)
        for name in names:
            if not isinstance(name, str) or not re.fullmatch(
                r"\{[^\s,{}\0-\x1f]+\}|[^\s,{}\0-\x1f]+", name
            ):
                raise HandlerError(f"expected a macro name such as i or {{auth_type}}, got {name!r}")
        spelled[event] = tuple(dict.fromkeys(map(spell_macro, names)))
        if len(spelled[event]) > MACROS_PER_STAGE:
            raise HandlerError(
                f"expected at most {MACROS_PER_STAGE} macros for {event!r}, as Sendmail does, "
                f"got {len(spelled[event])}"
            )
    return spelled


def _actions(names: Iterable[str]) -> frozenset[str]:
    return _names("actions", names, ACTION_FLAGS)


def _events(names: Iterable[str]) -> frozenset[str]:
    return _names("optional events", names, EVENT_NAMES)


@frozen
class Declarations:
    """What a filter declares besides its handlers, checked."""

    actions: frozenset[str] = field(default=(), converter=_actions)
    optional_actions: frozenset[str] = field(default=(), converter=_actions)
    optional_events: frozenset[str] = field(default=(), converter=_events)
    macros: Mapping[str, tuple[str, ...]] = field(factory=dict, converter=_macro_names)
    state: Mapping[str, Any] = field(factory=dict, converter=check_state)


class Registry(Mapping[str, Handler[Any]]):
    """A filter: event names to handlers, and declarations. Made by `define_event_handlers`.

    Each event name is also a decorator: ``@handlers.body`` and ``@handlers.body(reply=False)``.
    """

    def __init__(
        self,
        handlers: Mapping[str, Callable[..., Any]] | None = None,
        declarations: Declarations | None = None,
    ) -> None:
        self.declarations = declarations or Declarations()
        self._handlers: dict[str, Handler[Any]] = {}
        for event, handler in check_mapping("handlers", handlers or {}).items():
            self.add(event, handler)

    def add(self, event: str, handler: Callable[..., Any], **options: Any) -> None:
        """Register a handler: a function with options, or a `Handler` as it is.

        A name that is no event, or a second handler for the same event, raises `HandlerError`.
        """
        if event not in HANDLER_NAMES:
            raise HandlerError(f"expected one of {', '.join(HANDLER_NAMES)}, got {event!r}")
        if event in self._handlers:
            raise HandlerError(
                f"expected one handler for {event!r}, got {self._handlers[event].name} and another: "
                "give each filter a registry of its own and merge_handlers them"
            )
        if not isinstance(handler, Handler):
            handler = Handler(event, handler, **options)
        elif handler.event != event:
            raise HandlerError(f"expected a handler for {event!r}, got one for {handler.event!r}")
        self._handlers[event] = handler

    def __getitem__(self, event: str) -> Handler[Any]:
        return self._handlers[event]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self) or 'empty'}>"

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def parts(self) -> tuple["Registry", ...]:
        """The filters that this one is merged from, in order; itself, if it is not merged."""
        return (self,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many handlers each part has. What is remembered about a filter holds while this does."""
        return tuple(map(len, self.parts))

    @property
    def actions(self) -> frozenset[str]:
        """The actions that the MTA must grant."""
        return self.declarations.actions

    @property
    def optional_actions(self) -> frozenset[str]:
        """The actions that are used if the MTA grants them."""
        return self.declarations.optional_actions

    @property
    def optional_events(self) -> frozenset[str]:
        """The events that may be missing from the MTA's offer."""
        return self.declarations.optional_events

    @property
    def macros(self) -> Mapping[str, tuple[str, ...]]:
        """The macros asked for, by event."""
        return self.declarations.macros

    @property
    def state(self) -> Mapping[str, Any]:
        """What a new connection's context starts with."""
        return self.declarations.state

    # The decorators: one line an event, so that a type checker knows what each handler gets.
    @property
    def connect(self) -> "Decorator[ev.Connect]":
        return Decorator(self, "connect")

    @property
    def hello(self) -> "Decorator[ev.Hello]":
        return Decorator(self, "hello")

    @property
    def mail(self) -> "Decorator[ev.Mail]":
        return Decorator(self, "mail")

    @property
    def recipient(self) -> "RecipientDecorator":
        return RecipientDecorator(self, "recipient")

    @property
    def data(self) -> "Decorator[ev.Data]":
        return Decorator(self, "data")

    @property
    def header(self) -> "Decorator[ev.Header]":
        return Decorator(self, "header")

    @property
    def end_of_headers(self) -> "Decorator[ev.EndOfHeaders]":
        return Decorator(self, "end_of_headers")

    @property
    def body(self) -> "Decorator[ev.Body]":
        return Decorator(self, "body")

    @property
    def end_of_message(self) -> "EndOfMessageDecorator":
        return EndOfMessageDecorator(self, "end_of_message")

    @property
    def abort(self) -> "PlainDecorator[ev.Abort]":
        return PlainDecorator(self, "abort")

    @property
    def unknown(self) -> "Decorator[ev.Unknown]":
        return Decorator(self, "unknown")

    @property
    def quit(self) -> "PlainDecorator[ev.Quit | ev.QuitNewConnection]":
        return PlainDecorator(self, "quit")

    @property
    def disconnect(self) -> "PlainDecorator[ev.Disconnect]":
        return PlainDecorator(self, "disconnect")

    @property
    def options(self) -> "PlainDecorator[ev.Options]":
        return PlainDecorator(self, "options")

    @property
    def define_macros(self) -> "PlainDecorator[ev.DefineMacros]":
        return PlainDecorator(self, "define_macros")

    if not TYPE_CHECKING:  # pragma: no branch  # for a type checker there must be no such name

        def __getattr__(self, name: str) -> Any:
            """Called for what is no attribute: `AttributeError` with the names that there are."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(f"expected one of {', '.join(HANDLER_NAMES)}, got {name!r}")


@frozen
class PlainDecorator(Generic[E]):
    """Registers a handler for an event that is never answered."""

    registry: Registry
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

    def __call__(self, function: Any = None, /, *, blocking: bool = False) -> Any:
        """``blocking=True``: the handler may block; the asyncio driver runs it in a thread."""
        return self._register(function, blocking=blocking)


@frozen
class Decorator(PlainDecorator[E]):
    """Registers a handler for an event that is answered."""

    @overload
    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...

    @overload
    def __call__(self, /, *, reply: bool = ..., blocking: bool = ...) -> "Register[E]": ...

    def __call__(self, function: Any = None, /, *, reply: bool = True, blocking: bool = False) -> Any:
        """``reply=False``: an observer, for which the MTA need not wait; it never answers."""
        return self._register(function, reply=reply, blocking=blocking)


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
    ) -> Any:
        """``rejected=True``: also recipients that the MTA refused; these are never answered."""
        return self._register(function, reply=reply, blocking=blocking, rejected=rejected)


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
    ) -> Any:
        """``progress``: seconds between signs of life while it runs; None for none."""
        return self._register(function, blocking=blocking, progress=progress)


class Register(Protocol[E]):
    """What a decorator with options returns: it takes the function and gives it back."""

    def __call__(self, function: Callable[[E, Context], R], /) -> Callable[[E, Context], R]: ...
