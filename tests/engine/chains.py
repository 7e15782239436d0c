"""Filters for the tests of several in a row: one that writes down what it sees, one that edits."""

from typing import Any

from demyjpy.context import send_action
from demyjpy.handlers import define_event_handlers
from demyjpy.registry import Registry
from tests.engine.harness import EOH, EOM, MESSAGE, packet

HEADERS = (
    packet("L", b"Subject\0 one\0"),
    packet("L", b"X-Multi\0 1\0"),
    packet("L", b"X-Multi\0 2\0"),
    packet("L", b"X-Multi\0 3\0"),
)


class Seen(list[Any]):
    """What a filter saw, in words."""

    def handlers(self, *names: str, **more: Any) -> Registry:
        """A filter that writes it down; ``more`` are shorthands by event."""
        filter_ = define_event_handlers(actions=more.pop("actions", ()), state=more.pop("state", {}))
        for name in (*names, *(one for one in more if one not in names)):
            filter_.add(name, self._handler(name, more.get(name)))
        return filter_

    def _handler(self, name: str, then: Any) -> Any:
        def handle(event: Any, ctx: Any) -> Any:
            match name:
                case "header":
                    self.append(f"{event.name}:{event.raw}")
                case "body":
                    self.append(event.data)
                case _:
                    self.append(name)
            return ctx if then is None else then(ctx)

        return handle


def editing(*edits: Any, **more: Any) -> Registry:
    """A filter that asks for these edits at end of message."""
    kinds = {"add_header", "change_header", "change_body", "add_recipient", "delete_recipient"}
    return define_event_handlers(
        {"end_of_message": lambda event, ctx: send_action(ctx, *edits), **more},
        actions=kinds | {"quarantine", "change_sender"},
    )


def message(*headers: Any, body: bytes = b"text\r\n") -> tuple[Any, ...]:
    """A message with these header fields."""
    return (*MESSAGE[:3], *headers, EOH, packet("B", body), EOM)
