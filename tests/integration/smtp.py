"""Both ends of the mail's way: a client that says what it is told, and a sink that keeps all it gets.

A conversation is a list of steps. A ``str`` is sent as one command line; ``bytes`` are a message: DATA
is sent and, if the server wants it, the message with its dots doubled. Each step gives one reply, a
message that was wanted gives two.
"""

# ruff: noqa: N802  (aiosmtpd calls its hooks by these names)

import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socket import IPPROTO_TCP, TCP_QUICKACK
from threading import Lock
from typing import IO, Any, Final, TypeAlias

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from attrs import field, frozen

from tests.integration.ports import free_port

Step: TypeAlias = str | bytes

PATIENCE: Final = 60.0
"""Seconds after which a client gives up on a reply."""

CLOSED: Final = "closed"
"""Stands for the reply of a server that has closed the connection."""


# ------------------------------------------------------------------------------------- client
class Client:
    """One SMTP conversation; `say` takes a step and returns the replies to it.

    A reply is its code and text, ``"550 5.7.1 no"``; the lines after the first follow after LF,
    without their code.
    """

    def __init__(self, from_server: IO[bytes], send: Callable[[bytes], object]) -> None:
        self._from_server = from_server
        self._send = send
        self.greeting = self._read_reply()

    def say(self, step: Step) -> tuple[str, ...]:
        """Send a command line or a message, whatever the server said so far."""
        if isinstance(step, str):
            return (self._ask(step.encode("utf-8", "surrogateescape")),)
        wanted = self._ask(b"DATA")
        if not wanted.startswith("354"):
            return (wanted,)
        return wanted, self._ask(re.sub(rb"(?m)^\.", b"..", step) + b".")

    def _ask(self, data: bytes) -> str:
        try:
            self._send(data + b"\r\n")
        except ConnectionError:
            return CLOSED
        return self._read_reply()

    def _read_reply(self) -> str:
        lines: list[str] = []
        while True:
            try:
                line = self._from_server.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
            except ConnectionError:
                line = ""
            if not line:
                return CLOSED
            lines.append(line)
            if line[3:4] != "-":
                break
        return "\n".join([f"{lines[0][:3]} {lines[0][4:]}", *(line[4:] for line in lines[1:])])


@contextmanager
def connected(port: int, host: str = "127.0.0.1") -> Iterator[Client]:
    """A client on a TCP connection, which is closed without another word when the block ends."""
    with (
        socket.create_connection((host, port), PATIENCE) as connection,
        connection.makefile("rb") as from_server,
    ):
        yield Client(from_server, connection.sendall)


def converse(port: int, steps: Iterable[Step], host: str = "127.0.0.1") -> tuple[str, ...]:
    """Take all steps on one connection, then close it; the banner and the replies to the steps."""
    with connected(port, host) as client:
        return client.greeting, *(reply for step in steps for reply in client.say(step))


# --------------------------------------------------------------------------------------- sink
@frozen
class Delivery:
    """A message as the next hop got it. Addresses are without ``<>``, with their ESMTP parameters."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=lambda content: f"<{len(content)} bytes>")


def _as_written(argument: str) -> str:
    """``FROM:<a@b> KEY=value`` as ``a@b KEY=value``."""
    return re.sub(r"^\w+:\s*<(.*?)>", r"\1", argument)


class _Recorder(SMTP):
    """An SMTP server that takes any MAIL and RCPT as it comes: aiosmtpd refuses DSN parameters."""

    line_length_limit = 1 << 20

    def data_received(self, data: bytes) -> None:
        # Sendmail writes a message in pieces, each held back until the one before is acknowledged
        if self.transport is not None:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 1)
        super().data_received(data)

    envelope: Envelope  # there is one as soon as there is a client

    async def smtp_MAIL(self, arg: str | None) -> None:
        self.envelope.mail_from = _as_written(arg or "")
        await self.push("250 2.1.0 Ok")

    async def smtp_RCPT(self, arg: str | None) -> None:
        self.envelope.rcpt_tos.append(_as_written(arg or ""))
        await self.push("250 2.1.5 Ok")


class Sink(Controller):
    """The next hop of all mail: an SMTP server on loopback, in a thread of its own."""

    def __init__(self) -> None:
        self._deliveries: list[Delivery] = []
        self._lock = Lock()
        super().__init__(self, hostname="127.0.0.1", port=free_port(), server_hostname="sink.test")

    def factory(self) -> SMTP:
        return _Recorder(self.handler, **self.SMTP_kwargs)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return ["250-sink.test", "250-8BITMIME", "250-SMTPUTF8", "250-DSN", "250 HELP"]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content: Any = envelope.original_content
        delivery = Delivery(envelope.mail_from or "", tuple(envelope.rcpt_tos), content)
        with self._lock:
            self._deliveries.append(delivery)
        return "250 2.0.0 kept"

    def take(self) -> tuple[Delivery, ...]:
        """All that came since the last call, in order of arrival."""
        with self._lock:
            taken = tuple(self._deliveries)
            self._deliveries.clear()
        return taken


@contextmanager
def running_sink() -> Iterator[Sink]:
    """A sink, until the block ends."""
    sink = Sink()
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()
