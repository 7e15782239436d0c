"""A dialogue with the engine, seen from the MTA: packets in, bytes out, callbacks written down.

The packets are built here by hand, out of bytes: what the library encodes is never its own judge. The
network is a list of bytes; nothing stands in for anything.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from demyjpy import Limits, define_event_handlers, get_macro, send_action
from demyjpy.context import Context
from demyjpy.engine.connection import Connection, Setup, Trouble
from demyjpy.engine.pipeline import (
    as_on_connect,
    hang_up,
    open_connection,
    receive_data,
    resume,
    run_call,
)
from demyjpy.filter_policy import OnError


def packet(letter: bytes, payload: bytes = b"") -> bytes:
    """Length, letter, payload."""
    return struct.pack("!I", 1 + len(payload)) + letter + payload


def strings(*texts: bytes) -> bytes:
    """Each text and its NUL."""
    return b"".join(text + b"\0" for text in texts)


def options(version: int, actions: int, protocol: int, lists: bytes = b"") -> bytes:
    """OPTNEG, the same in both directions but for the macro lists."""
    return packet(b"O", struct.pack("!III", version, actions, protocol) + lists)


def macros(target: bytes, *texts: bytes) -> bytes:
    """Macros for a command: name, value, name, value ..."""
    return packet(b"D", target + strings(*texts))


def mail(*texts: bytes) -> bytes:
    """MAIL: address, then ESMTP parameters."""
    return packet(b"M", strings(*texts))


def recipient(*texts: bytes) -> bytes:
    """RCPT: address, then ESMTP parameters."""
    return packet(b"R", strings(*texts))


def header(name: bytes, value: bytes) -> bytes:
    """One header field."""
    return packet(b"L", strings(name, value))


def reply_code(text: bytes) -> bytes:
    """A reply of the filter's own."""
    return packet(b"y", strings(text))


ACTIONS = 0x1FF
STEPS = 0x1FFFFF
OFFER = options(6, ACTIONS, STEPS)
"""What today's Sendmail and Postfix offer."""

CONNECT = packet(b"C", b"mx.example\x004\x04\xd2192.0.2.1\0")
HELO = packet(b"H", b"cl.test\0")
MAIL = mail(b"<a@b>")
RCPT = recipient(b"<c@d>")
DATA = packet(b"T")
HEADER = header(b"Subject", b" hi")
EOH = packet(b"N")
BODY = packet(b"B", b"x\r\n")
EOM = packet(b"E")
UNKNOWN = packet(b"U", b"FOO bar\0")
ABORT = packet(b"A")
QUIT = packet(b"Q")
QUIT_NC = packet(b"K")

CONTINUE = packet(b"c")
ACCEPT = packet(b"a")
REJECT = packet(b"r")
TEMPFAIL = packet(b"t")
DISCARD = packet(b"d")
SKIP = packet(b"s")
PROGRESS = packet(b"p")

SESSION = {
    "connect": CONNECT,
    "hello": HELO,
    "mail": MAIL,
    "recipient": RCPT,
    "data": DATA,
    "header": HEADER,
    "end_of_headers": EOH,
    "body": BODY,
    "end_of_message": EOM,
}
"""A session with one message, after the negotiation; each of these is answered."""

ANSWERED = {**SESSION, "unknown": UNKNOWN}
"""All that is answered; UNKNOWN may come anywhere."""

MESSAGE = (MAIL, RCPT, DATA, HEADER, EOH, BODY, EOM)

EVENTS = (*ANSWERED, "abort", "quit", "disconnect")
"""What a filter that wants everything handles."""

MODIFICATIONS = {
    "add_header": 0x01,
    "change_body": 0x02,
    "add_recipient": 0x04,
    "delete_recipient": 0x08,
    "change_header": 0x10,
    "quarantine": 0x20,
    "change_sender": 0x40,
    "add_recipient_par": 0x80,
}
"""Permissions by name, and the bits that they stand for."""


def _answer(said: Any, event: Any, ctx: Context) -> Context:
    """What a handler returns: nothing special, one or several actions queued, or as a function says."""
    if said is None:
        return ctx
    if callable(said):
        return said(event, ctx)
    return send_action(ctx, *(said if isinstance(said, tuple) else (said,)))


class Talk:
    """One session of one filter that writes down what it hears, and answers what a test tells it to.

    ``answers`` maps event names to an action, several, or a handler; ``quiet`` are events that it never
    answers, ``blocking`` those whose handler waits for `finish`; ``events`` are those that it handles:
    all, if not given. ``heard`` are the names of the handlers that ran, in order; ``given`` the event
    and the context that each got.
    """

    def __init__(
        self,
        answers: Mapping[str, Any] | None = None,
        *,
        events: Iterable[str] = EVENTS,
        quiet: Iterable[str] = (),
        blocking: Iterable[str] = (),
        rejected: bool = False,
        on_error: OnError = "tempfail",
        limits: Limits | None = None,
        **declared: Any,
    ) -> None:
        self.heard: list[str] = []
        self.given: list[tuple[Any, Context]] = []
        self.troubles: list[Trouble] = []
        registry = define_event_handlers(**declared)
        answers = answers or {}
        for name in dict.fromkeys((*events, *answers)):
            chosen = {"rejected": True} if rejected and name == "recipient" else {}
            handler = self._handler(name, answers.get(name))
            registry.add(name, handler, reply=name not in quiet, blocking=name in blocking, **chosen)
        setup = Setup(as_on_connect(registry), on_error, limits or Limits())
        self.connection: Connection = open_connection(setup)

    def _handler(self, name: str, said: Any) -> Callable[[Any, Context], Context]:
        def handler(event: Any, ctx: Context) -> Context:
            self.heard.append(name)
            self.given.append((event, ctx))
            return _answer(said, event, ctx)

        return handler

    # ------------------------------------------------------------------------- what the MTA does
    def say(self, *packets: bytes) -> bytes:
        """Send packets in one write; what comes back."""
        return self._take(receive_data(self.connection, b"".join(packets)))

    def finish(self) -> bytes:
        """Let the handler run that was handed out; what comes back."""
        assert self.connection.call is not None
        return self._take(resume(self.connection, run_call(self.connection.call)))

    def hang_up(self) -> bytes:
        """Close the connection."""
        return self._take(hang_up(self.connection))

    def _take(self, connection: Connection) -> bytes:
        self.connection = connection
        self.troubles += connection.troubles
        return connection.data_to_send

    def greet(self, *packets: bytes, offer: bytes = OFFER) -> "Talk":
        """Negotiate and say some packets, whose answers do not matter; then ``heard`` starts anew."""
        self.say(offer, *packets)
        self.heard.clear()
        self.given.clear()
        return self

    def go_to(self, event: str, offer: bytes = OFFER) -> "Talk":
        """Negotiate and say all that usually comes before an event."""
        before = (
            list(SESSION)[: list(SESSION).index(event)] if event in SESSION else ["connect", "hello"]
        )
        return self.greet(*(SESSION[name] for name in before), offer=offer)

    # ----------------------------------------------------------------------------- what came of it
    @property
    def is_closed(self) -> bool:
        """Whether the filter has ended the connection."""
        return self.connection.is_closed

    @property
    def errors(self) -> list[type[Exception]]:
        """The classes of all that was logged."""
        return [type(trouble.error) for trouble in self.troubles]

    def count(self, name: str) -> int:
        """How often a handler ran."""
        return self.heard.count(name)

    def events(self, name: str) -> list[Any]:
        """The events that a handler got."""
        return [event for heard, (event, _) in zip(self.heard, self.given, strict=True) if heard == name]

    def context(self, name: str) -> Context:
        """The context that a handler got when it ran last."""
        found = [ctx for heard, (_, ctx) in zip(self.heard, self.given, strict=True) if heard == name]
        return found[-1]

    def macro(self, event: str, name: str) -> str | None:
        """A macro as the handler of an event saw it when it ran last."""
        return get_macro(self.context(event), name)
