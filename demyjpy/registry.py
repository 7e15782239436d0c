"""Event to handler: the registry that ``define_event_handlers`` returns.

Definitions are checked here, when they are made, so that a filter that loads can also run. Calling
handlers is `demyjpy.engine.pipeline`'s.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, get_args

from attrs import evolve, field, fields, frozen

from demyjpy import events as ev
from demyjpy.codec import ROW_OF_NAME
from demyjpy.context import Context, check_mapping
from demyjpy.declarations import Declarations
from demyjpy.decorators import (
    LIMIT,
    Beyond,
    Decorator,
    EndOfMessageDecorator,
    MessageDecorator,
    PlainDecorator,
    RecipientDecorator,
)
from demyjpy.engine.negotiation import EVENT_NAMES
from demyjpy.errors import HandlerError, describe
from demyjpy.handler_functions import check_arguments, name_of_function
from demyjpy.hints import EVENTS, did_you_mean
from demyjpy.questions import WITHIN, as_keys, check_seconds

E = TypeVar("E")

HANDLER_NAMES: Final = (*EVENT_NAMES, "message", "disconnect", "options", "define_macros")
"""The names under which a handler may be registered."""

QUIETABLE: Final = tuple(name for name in EVENT_NAMES if ROW_OF_NAME[name].quiet)
"""The events whose handler may be declared ``reply=False``."""

ASKABLE: Final = (*(name for name in EVENT_NAMES if name not in ("abort", "quit")), "message")
"""The events whose handlers may wait for answers: all except those that say that something is over."""

_ENDS: Final = ("message", "end_of_message")


@frozen
class Handler(Generic[E]):
    """A function under an event name, with what was declared for it. Calling it calls the function.

    - ``reply``: False for an observer, which never answers.
    - ``blocking``: it may block.
    - ``rejected`` (recipient): it also gets recipients that the MTA refused.
    - ``progress`` (message, end_of_message): seconds between signs of life while it runs; None for
      none.
    - ``limit`` and ``beyond`` (message): the largest message in bytes, and the fate of a larger one.
    - ``timeout``: the most seconds that it may take, with what it waits for; None for the server's.
    - ``needs``: keys of questions for whose answers it waits.
    - ``asking``: a function ``(event, ctx)`` that returns questions by key, asked before it is called.
    - ``within``: the most seconds for their answers.
    - ``filter``: the name of its filter, None if that has none.
    """

    event: str
    function: Callable[[E, Context], Any]
    reply: bool = True
    blocking: bool = False
    rejected: bool = False
    progress: float | None = 5.0
    filter: str | None = None
    limit: int = LIMIT
    beyond: Beyond = "headers"
    timeout: float | None = None
    needs: frozenset[str] = field(default=frozenset(), converter=as_keys)
    asking: Callable[[E, Context], Any] | None = None
    within: float = WITHIN
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
        if self.event != "message" and (self.limit, self.beyond) != (LIMIT, "headers"):
            raise HandlerError(
                f"expected limit= and beyond= only at 'message', got them at {self.event!r}"
            )
        if type(self.limit) is not int or self.limit < 1:
            raise HandlerError(f"expected limit= as a number of bytes from 1, got {self.limit!r}")
        if self.beyond not in get_args(Beyond):
            names = ", ".join(map(repr, get_args(Beyond)))
            raise HandlerError(f"expected beyond= as one of {names}, got {self.beyond!r}")
        if self.timeout is not None:
            check_seconds("timeout=", self.timeout)
        check_seconds("within=", self.within)
        if (self.needs or self.asking is not None) and self.event not in ASKABLE:
            raise HandlerError(
                f"expected needs= and asking= at {', '.join(ASKABLE)}, got them at {self.event!r}"
            )
        if self.asking is not None and not callable(self.asking):
            raise HandlerError(
                "expected asking= as a function (event, ctx) that returns questions by key, got "
                f"{describe(self.asking)}"
            )

    @property
    def waits(self) -> bool:
        """Whether it is called only when questions are answered."""
        return bool(self.needs) or self.asking is not None

    def __call__(self, event: E, ctx: Context) -> Any:
        return self.function(event, ctx)

    @property
    def name(self) -> str:
        """Where the function is, for logs: module and name, after the name of its filter."""
        name = name_of_function(self.function)
        return name if self.filter is None else f"{self.filter}: {name}"


_OPTIONS: Final = frozenset(
    {
        "blocking",
        "reply",
        "rejected",
        "progress",
        "limit",
        "beyond",
        "timeout",
        "needs",
        "asking",
        "within",
    }
)


def _check_options(event: str, options: Mapping[str, Any]) -> None:
    """`HandlerError` for an option that a handler for this event does not have.

    One that says what holds anyway is no error: code that registers many handlers need not know
    which has it.
    """
    known = ["blocking"]
    known += ["reply"] if event in QUIETABLE else []
    known += ["rejected"] if event == "recipient" else []
    known += ["progress"] if event in _ENDS else []
    known += ["limit", "beyond"] if event == "message" else []
    known += ["timeout"]
    known += ["needs", "asking", "within"] if event in ASKABLE else []
    usual = {one.name: one.default for one in fields(Handler) if one.name in _OPTIONS}
    unknown = [
        name
        for name, value in options.items()
        if name not in known and (name not in usual or value != usual[name])
    ]
    if unknown:
        raise HandlerError(
            f"a handler for {event} has no option {unknown[0]}=: its options are "
            f"{', '.join(f'{name}=' for name in known)}"
        )


def _no_event(name: Any) -> str:
    hint = did_you_mean(name, HANDLER_NAMES, EVENTS) if isinstance(name, str) else ""
    return f"expected one of {', '.join(HANDLER_NAMES)}, got {name!r}{hint}"


def as_registry(handlers: Any) -> "Registry":
    """A registry as it is; any other map of event names to functions as a registry."""
    if isinstance(handlers, Registry):
        return handlers
    if isinstance(handlers, Mapping):
        return Registry(handlers)
    raise HandlerError(f"expected a registry or a map of event names, got {describe(handlers)}")


def name_of_filter(registry: "Registry") -> str:
    """What errors call a filter: its name, else the name of the function of its first handler."""
    if registry.name is not None:
        return registry.name
    for part in registry.parts:
        for event in part:
            return name_of_function(part[event].function)
    return "a filter without handlers"


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

        A name that is no event, a second handler for the same event, or an option that the event does
        not have raises `HandlerError`.
        """
        if event not in HANDLER_NAMES:
            raise HandlerError(_no_event(event))
        if event in self._handlers:
            raise HandlerError(
                f"expected one handler for {event!r}, got {self._handlers[event].name} and another: "
                "give each filter a registry of its own and merge_handlers them"
            )
        _check_options(event, options)
        check_arguments(event, handler.function if isinstance(handler, Handler) else handler)
        if not isinstance(handler, Handler):
            handler = Handler(event, handler, filter=self.name, **options)
        elif handler.event != event:
            raise HandlerError(f"expected a handler for {event!r}, got one for {handler.event!r}")
        elif self.name is not None:
            handler = evolve(handler, filter=self.name)
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
    def leaves(self) -> tuple["Registry", ...]:
        """As ``parts``, with those that have no handlers, or none yet."""
        return (self,)

    def with_parts(self, change: Callable[["Registry"], "Registry"]) -> "Registry":
        """The same filter, or several as one, with each of them changed."""
        return change(self)

    @property
    def size(self) -> int:
        """How many handlers were registered."""
        return len(self._handlers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many handlers each part has. What is remembered about a filter holds while this does."""
        return tuple([part.size for part in self.parts])

    @property
    def name(self) -> str | None:
        """What logs, traces and errors call the filter; None if it was given no name."""
        return self.declarations.name

    @property
    def observer(self) -> Callable[[Any], None] | None:
        """Who sees each step of the filter's sessions because the filter says so; None for nobody."""
        return None

    @property
    def after(self) -> frozenset[str]:
        """The names of filters that may not stand behind this one."""
        return self.declarations.after

    @property
    def scope(self) -> tuple[str, ...]:
        """The corner of the context that the filter works in, as a path; empty for the whole context."""
        return tuple([corner.name for corner in self.declarations.corners])

    @property
    def actions(self) -> frozenset[str]:
        """The actions that the MTA must grant."""
        return self.declarations.actions

    @property
    def optional_actions(self) -> frozenset[str]:
        """The actions that are used if the MTA grants them, and not required."""
        return self.declarations.optional_actions - self.declarations.actions

    @property
    def optional_events(self) -> frozenset[str]:
        """The events that may be missing from the MTA's offer."""
        return self.declarations.optional_events

    @property
    def macros(self) -> Mapping[str, tuple[str, ...]]:
        """The macros asked for, by event: those that are declared, and those that facts need."""
        return self.declarations.asked_macros

    @property
    def state(self) -> Mapping[str, Any]:
        """What a new connection's context starts with."""
        return self.declarations.state

    # The decorators: one line an event, so that a type checker knows what each handler gets.
    @property
    def connect(self) -> Decorator[ev.Connect]:
        return Decorator(self, "connect")

    @property
    def hello(self) -> Decorator[ev.Hello]:
        return Decorator(self, "hello")

    @property
    def mail(self) -> Decorator[ev.Mail]:
        return Decorator(self, "mail")

    @property
    def recipient(self) -> RecipientDecorator:
        return RecipientDecorator(self, "recipient")

    @property
    def data(self) -> Decorator[ev.Data]:
        return Decorator(self, "data")

    @property
    def header(self) -> Decorator[ev.Header]:
        return Decorator(self, "header")

    @property
    def end_of_headers(self) -> Decorator[ev.EndOfHeaders]:
        return Decorator(self, "end_of_headers")

    @property
    def body(self) -> Decorator[ev.Body]:
        return Decorator(self, "body")

    @property
    def message(self) -> MessageDecorator:
        return MessageDecorator(self, "message")

    @property
    def end_of_message(self) -> EndOfMessageDecorator:
        return EndOfMessageDecorator(self, "end_of_message")

    @property
    def abort(self) -> PlainDecorator[ev.Abort]:
        return PlainDecorator(self, "abort")

    @property
    def unknown(self) -> Decorator[ev.Unknown]:
        return Decorator(self, "unknown")

    @property
    def quit(self) -> PlainDecorator[ev.Quit | ev.QuitNewConnection]:
        return PlainDecorator(self, "quit")

    @property
    def disconnect(self) -> PlainDecorator[ev.Disconnect]:
        return PlainDecorator(self, "disconnect")

    @property
    def options(self) -> PlainDecorator[ev.Options]:
        return PlainDecorator(self, "options")

    @property
    def define_macros(self) -> PlainDecorator[ev.DefineMacros]:
        return PlainDecorator(self, "define_macros")

    if not TYPE_CHECKING:  # pragma: no branch  # for a type checker there must be no such name

        def __getattr__(self, name: str) -> Any:
            """Called for what is no attribute: `AttributeError` with the names that there are."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(_no_event(name))


class Redeclared(Registry):
    """One filter with other declarations. The inner one is read when asked, so it may still grow."""

    def __init__(self, inner: Registry, declarations: Declarations) -> None:
        self._inner = inner
        super().__init__(None, declarations)

    @property
    def optional_events(self) -> frozenset[str]:
        return self._inner.optional_events

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
