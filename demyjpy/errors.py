"""Every exception that demyjpy raises, as one tree.

Nothing else lives here. A message says what was expected and what came; the pieces are attributes,
so that a program need not read the message. Messages go into logs, and no log may hold what is in a
mail: a message names classes, fields and sizes, and shows no value that may have come from outside.
"""

from collections.abc import Iterable
from typing import Any, Final

from attrs import fields, has

from demyjpy.hints import did_you_mean

_LARGEST: Final = 1 << 63
"""Numbers up to this one are shown: a larger one may hold a text."""


def describe(value: Any) -> str:
    """What a value is, for an error message: its kind and size, never what is in it."""
    if value is None or (type(value) in (bool, int, float) and abs(value) <= _LARGEST):
        return repr(value)
    kind = type(value).__name__
    if isinstance(value, str):
        found = [name for mark, name in (("\r", "CR"), ("\n", "LF"), ("\0", "NUL")) if mark in value]
        return f"text of {len(value)} characters" + (f" with {', '.join(found)}" if found else "")
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, BaseException):
        return f"{kind}({', '.join(describe(one) for one in value.args[:3])})"
    if has(type(value)):  # an action, or an event
        return f"{kind}({'...' if fields(type(value)) else ''})"
    return f"{'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}"


class MilterError(Exception):
    """The root of the tree: ``except MilterError`` catches whatever demyjpy raises itself."""


class RemoteProtocolError(MilterError):
    """The other side broke the protocol; the connection is closed.

    ``expected`` and ``got`` say what, in words.
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.expected, self.got)


class LimitError(RemoteProtocolError):
    """The other side sent more of something than `demyjpy.Limits` allows; the rest is refused.

    If it cannot be refused, as macros cannot, the connection is closed.
    """


class LocalProtocolError(MilterError, ValueError):
    """We were about to say what the protocol does not allow; nothing of it was sent.

    Raised by the action classes for a bad value, and for a plan that is not legal where it was made.
    """


class NegotiationError(MilterError):
    """The MTA does not offer what the filter needs; the session is refused.

    ``events`` and ``actions`` name what is missing.
    """

    def __init__(self, events: Iterable[str], actions: Iterable[str]) -> None:
        self.events = tuple(sorted(events))
        self.actions = tuple(sorted(actions))
        parts = [
            f"{kind} {', '.join(names)}"
            for kind, names in (("events", self.events), ("actions", self.actions))
            if names
        ]
        super().__init__(
            f"the MTA does not offer what the filter requires: {'; '.join(parts)}. Upgrade the MTA "
            "(or raise Postfix's milter_protocol), or declare them in optional_events= or "
            "optional_actions="
        )

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...], tuple[str, ...]]]:
        return type(self), (self.events, self.actions)


class HandlerError(MilterError):
    """A handler misbehaved: it returned no context, or the filter is put together wrongly."""


class SettingsError(HandlerError):
    """Settings that a filter cannot be made with; the message names file, line, table and key.

    It shows no value whose key looks like that of a secret.
    """


class DeadlineError(HandlerError):
    """A handler took longer than it may; ``handler`` is its name, ``seconds`` is what it had.

    ``option`` is what said so: ``handler_timeout=`` of the server, or ``timeout=`` of the handler or of
    its filter.
    """

    def __init__(
        self, handler: str, seconds: float, left: str, option: str = "handler_timeout="
    ) -> None:
        super().__init__(
            f"expected {handler} to return within {seconds:.4g} s (the option {option}), "
            f"got nothing; {left}"
        )
        self.handler = handler
        self.seconds = seconds
        self.left = left
        self.option = option

    def __reduce__(self) -> tuple[type, tuple[str, float, str, str]]:
        return type(self), (self.handler, self.seconds, self.left, self.option)


class AddressError(MilterError, ValueError):
    """An address to listen on or connect to that cannot be read or used."""


_LONGEST_KEY: Final = 40


class MissingKeyError(MilterError, KeyError):
    """A context has no such key. ``known`` are those that it has.

    The key is shown if it is a name as programs have them: others may have come with a mail.
    """

    def __init__(self, key: Any, known: Iterable[str] = ()) -> None:
        super().__init__(key)
        self.known = tuple(known)

    def __str__(self) -> str:
        key = self.args[0]
        is_name = isinstance(key, str) and len(key) <= _LONGEST_KEY and key.isidentifier()
        hint = did_you_mean(key, self.known) if is_name else ""
        return f"{repr(key) if is_name else describe(key)} is not in the context" + (
            hint
            or ": state= declares what is there from the start, and ctx.get(key) needs nothing there"
        )


class TraceError(MilterError):
    """A trace, or a record of one, that cannot be used."""


class TableError(MilterError):
    """A table that cannot be loaded or asked: which, where, and why."""
