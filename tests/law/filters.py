"""Filters made of data: what they answer, what they edit, and that they write down what they see.

A filter acts by a `Plan`. What it sees goes into a list that belongs to the test, one entry an event, as
short text, so that two runs can be compared whatever process or model the filter ran in.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from demyjpy import (
    Abort,
    Body,
    Connect,
    Data,
    EndOfHeaders,
    EndOfMessage,
    Header,
    Hello,
    Mail,
    Message,
    Recipient,
    accept,
    become,
    define_event_handlers,
    discard,
    reject,
    send_action,
    skip,
    tempfail,
    with_handlers,
)
from tests.integration.scenario import permissions

Seen: TypeAlias = list[str]
"""What one filter saw, an entry an event; bodies are so small that they come in one piece."""

EVENTS: Final = (
    *("connect", "hello", "mail", "recipient", "data"),
    *("header", "end_of_headers", "body", "end_of_message"),
)
"""The events that a filter made of data may listen to; it always listens to ``abort``.

To ``message`` it listens if its plan has wishes, be they none.
"""

CONTENT: Final = ("header", "end_of_headers", "body", "end_of_message")
OF_WISHES: Final = frozenset(
    {
        *("add_header", "change_header", "change_body"),
        *("add_recipient", "delete_recipient", "change_sender"),
    }
)
"""The actions that a filter declares if it wishes."""

WishEdit: TypeAlias = tuple[Any, ...]
"""A method of `demyjpy.Message` by its name, with its arguments."""


class PlannedError(Exception):
    """A handler fails as its plan says."""


def _fail(ctx: Any) -> Any:
    raise PlannedError("as planned")


ANSWERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "accept": accept,
    "reject": reject,
    "tempfail": tempfail,
    "550": lambda ctx: reject(ctx, "5.7.1", "not here"),
    "554": lambda ctx: reject(ctx, "5.7.0", "not so", code=554),
    "451": lambda ctx: tempfail(ctx, "4.7.1", "not now"),
    "discard": discard,
    "skip": skip,
    "raise": _fail,
}
"""What a handler can answer, by a name. Whatever it is, it comes after the edits."""

REFUSALS: Final = ("reject", "tempfail", "550", "554", "451", "discard", "raise")
"""The answers that end a message, if errors of handlers do."""


@frozen
class Plan:
    """What a filter does.

    ``answers``: what it says at an event, or at an event with this entry in `Seen`, by the names of
    `ANSWERS`: ``{"mail": "reject"}``, ``{"RCPT bad@test": "550"}``. ``edits``: what it asks for at the
    end of each message. ``listens``: its events; those with an answer, and end of message if it edits,
    are always among them. ``silent``: the events at which it never answers (``reply=False``).
    ``wish``: what it makes of the message as a value; it says `become` with that at the event
    ``wishes_at``. None: it has no message handler. ``actions``: what it declares; if not given, what it
    asks for.
    """

    answers: Mapping[str, str] = field(factory=dict)
    edits: tuple[Any, ...] = ()
    listens: frozenset[str] = frozenset(EVENTS)
    silent: frozenset[str] = frozenset()
    wish: tuple[WishEdit, ...] | None = None
    wishes_at: str = "message"
    actions: frozenset[str] = field()

    @actions.default
    def _declared(self) -> frozenset[str]:
        return frozenset(permissions(*self.edits)) | (OF_WISHES if self.wish else frozenset())

    @property
    def is_forbidden(self) -> bool:
        """Whether it asks for what it has not declared: then its end of message fails."""
        return not permissions(*self.edits) <= self.actions

    @property
    def events(self) -> frozenset[str]:
        """The events for which it has a handler."""
        named = {_EVENT_OF_WORD.get(key.partition(" ")[0], key) for key in self.answers}
        at_end = (
            {"end_of_message"} if self.edits or (self.wish and self.wishes_at != "message") else set()
        )
        return self.listens | named | at_end | (set() if self.wish is None else {"message"})


_EVENT_OF_WORD: Final = {"RCPT": "recipient", "MAIL": "mail", "HELO": "hello", "HEADER": "header"}


def entry_of(event: Any) -> str:
    """How an event is written down."""
    match event:
        case Connect():
            return "CONNECT"
        case Hello():
            return f"HELO {event.greeting}"
        case Mail():
            return f"MAIL {event.sender}"
        case Recipient():
            return f"RCPT {event.address}"
        case Data():
            return "DATA"
        case Header():
            return f"HEADER {event.name}:{event.raw}"
        case EndOfHeaders():
            return "EOH"
        case Body():
            return f"BODY {event.data.decode('latin-1')}"
        case Message():
            return shown_message(
                event.sender, ((one.name, one.raw) for one in event.fields), event.body
            ) + "".join(f" {one.address}" for one in event.recipients)
        case EndOfMessage():
            return "EOM"
        case Abort():
            return "ABORT"
        case _:
            raise TypeError(f"expected an event that filters of data listen to, got {event!r}")


def shown_message(sender: str, fields: Iterable[tuple[str, str]], body: bytes) -> str:
    """How a message as a value is written down, but for its recipients."""
    header = "|".join(f"{name}:{raw}" for name, raw in fields)
    return f"MESSAGE {header}|{body.decode('latin-1')}|{sender}"


def wished(message: Message, edits: Iterable[WishEdit]) -> Message:
    """The message after these edits."""
    for method, *arguments in edits:
        message = getattr(message, method)(*arguments)
    return message


def made(plan: Plan, seen: Seen, **declared: Any) -> Any:
    """A filter that acts by a plan, and writes down what it sees."""
    handlers = define_event_handlers(actions=plan.actions, **declared)
    got: list[Message] = []

    def act(name: str, event: Any, ctx: Any) -> Any:
        entry = entry_of(event)
        seen.append(entry)
        if name == "message":
            got[:] = [event]
        if plan.wish and name == plan.wishes_at:
            ctx = become(ctx, wished(got[0], plan.wish))
        if name == "end_of_message":
            ctx = send_action(ctx, *plan.edits)
        answer = plan.answers.get(entry, plan.answers.get(name))
        return ctx if answer is None else ANSWERS[answer](ctx)

    def handler(name: str) -> Any:
        return lambda event, ctx: act(name, event, ctx)

    for name in (*EVENTS, "message"):
        if name in plan.events:
            handlers.add(name, handler(name), **({"reply": False} if name in plan.silent else {}))
    handlers.add("abort", handler("abort"))
    return handlers


class Watched:
    """A filter by a plan for ``on_connect``; ``seen`` has a list for each connection."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen: list[Seen] = []

    def __call__(self, ctx: Any) -> Any:
        self.seen.append([])
        return with_handlers(ctx, made(self.plan, self.seen[-1]))


def made_all(plans: Iterable[Plan]) -> tuple[list[Any], list[Seen]]:
    """Filters by plans, and what each will have seen."""
    seen: list[Seen] = [[] for _ in plans]
    return [made(plan, one) for plan, one in zip(plans, seen, strict=True)], seen
