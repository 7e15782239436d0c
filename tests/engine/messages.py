"""Filters with message handlers, for tests of the engine: they write down what they see, and wish."""

from typing import Any

from demyjpy.context import send_action
from demyjpy.handlers import define_event_handlers
from demyjpy.message import Message
from demyjpy.registry import Registry
from demyjpy.wishes import become
from tests.engine.harness import packet

ACTIONS = (
    *("add_header", "change_header", "change_body"),
    *("add_recipient", "add_recipient_par", "delete_recipient", "change_sender"),
)
PLAIN = (packet("L", b"Subject\0hello\0"), packet("N"), packet("B", b"text\r\n"))
"""The content of a message as the MTA says it."""


def noting(seen: list[Any], name: str, *events: str, **options: Any) -> Registry:
    """A filter that writes down ``name event`` at these events.

    ``options`` are those of its message handler, ``actions=``, and by event what it does then: a
    function from a context, or from an event and a context, to a context.
    """
    found = define_event_handlers(name=name, actions=options.pop("actions", ()))
    limits = {
        key: options.pop(key) for key in ("limit", "beyond", "blocking", "progress") if key in options
    }
    for event in (*events, *(one for one in options if one not in events)):

        def handle(happened: Any, ctx: Any, event: str = event) -> Any:
            seen.append(f"{name} {event}")
            then = options.get(event)
            return ctx if then is None else then(happened, ctx)

        found.add(event, handle, **(limits if event == "message" else {}))
    return found


def keeping(got: list[Message], **options: Any) -> Registry:
    """A filter that keeps the messages that it gets, and their bytes."""
    found = define_event_handlers(actions=options.pop("actions", ()))

    def handle(event: Message, ctx: Any) -> Any:
        got.append(event)
        return ctx

    found.add("message", handle, **options)
    return found


def wishing(make: Any, *edits: Any, at: str = "message", **more: Any) -> Registry:
    """A filter that wishes for ``make(message)`` at an event, and asks there for these edits, too."""
    got: list[Message] = []

    def take(event: Message, ctx: Any) -> Any:
        got[:] = [event]
        return wish(event, ctx) if at == "message" else ctx

    def wish(event: Any, ctx: Any) -> Any:
        return send_action(become(ctx, make(got[0])), *edits)

    events = {"message": take} if at == "message" else {"message": take, at: wish}
    return define_event_handlers({**events, **more.pop("events", {})}, **{"actions": ACTIONS, **more})
