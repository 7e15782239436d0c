"""Questions to servers behind a TCP port or a Unix socket: one line for another, and clamd.

Each question has a connection of its own. A message is sent as it is read, piece by piece.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Final, Self, TypeAlias, TypeVar

from attrs import field, frozen

from demyjpy.drivers.address import parse_address
from demyjpy.errors import AddressError, HandlerError
from demyjpy.lookups.clients import client_of
from demyjpy.lookups.guard import TIMEOUT, Guard, RefusedError
from demyjpy.lookups.message_pieces import message_pieces
from demyjpy.message import Message
from demyjpy.questions import Question, check_seconds
from demyjpy.shown import safe

__all__ = ["AskLine", "ClamScan", "Streams"]

POOL: Final = 100
LONGEST_LINE: Final = 65_536
"""Bytes of an answer."""

_LONGEST_TEXT: Final = 200
"""Characters of what clamd says that are kept."""

SCANNING: Final = 30.0
"""Seconds for a virus scanner, by default."""


T = TypeVar("T")
Conversation: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, T]]
"""What is said on a connection."""


class Streams:
    """Asks servers at addresses, which the questions name.

    A filter without such a resource has the default. ``pool``: connections at once, to all servers
    together. ``timeout``: seconds for a question that says nothing else. The other options are those of
    `demyjpy.lookups.guard.Guard`; each address has a circuit breaker of its own.
    """

    def __init__(self, *, pool: int = POOL, timeout: float = TIMEOUT, **breaker: Any) -> None:
        self._guard = Guard("stream", places=pool, timeout=timeout, **breaker)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._guard.close()

    async def talk(self, server: str, conversation: Conversation[T], seconds: float | None = None) -> T:
        """What a conversation on a connection of its own returns. Errors as of `Guard.ask`."""

        async def talk() -> T:
            async with _connected(server) as (reader, writer):
                return await conversation(reader, writer)

        return await self._guard.ask(server, talk, seconds=seconds)

    async def scan(self, server: str, message: Message, seconds: float) -> bytes:
        """What clamd says of a message. Errors as of `Guard.ask`."""

        async def ask() -> bytes:
            async with _connected(server) as (reader, writer):
                reading = asyncio.ensure_future(read_until(reader, b"\0"))
                try:
                    await _send_in_chunks(writer, message, reading)
                    return await reading
                finally:
                    reading.cancel()

        async def ping() -> None:
            async with _connected(server) as (reader, writer):
                writer.write(b"zPING\0")
                await read_until(reader, b"\0")

        # a message that takes it long says nothing about clamd
        return await self._guard.ask(server, ask, is_alive=ping, seconds=seconds)


@asynccontextmanager
async def _connected(
    server: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    where = parse_address(server)
    if where.kind == "unix":
        reader, writer = await asyncio.open_unix_connection(where.path, limit=LONGEST_LINE)
    else:
        reader, writer = await asyncio.open_connection(where.host, where.port, limit=LONGEST_LINE)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # what a silent server has not read must not stay in memory


async def read_until(reader: asyncio.StreamReader, end: bytes) -> bytes:
    """What comes before this end. `EOFError` and `RefusedError` say what came in its place."""
    try:
        return (await reader.readuntil(end)).removesuffix(end)
    except asyncio.IncompleteReadError as error:
        raise EOFError(
            f"expected an answer, got {len(error.partial)} bytes of one and the end of the connection"
        ) from None
    except asyncio.LimitOverrunError:
        raise RefusedError(f"expected an answer of at most {LONGEST_LINE} bytes, got more") from None


async def _send_in_chunks(
    writer: asyncio.StreamWriter, message: Message, reading: "asyncio.Future[bytes]"
) -> None:
    """As clamd(8) wants it after INSTREAM: each chunk with its length before it, at last an empty one.

    It stops if there is an answer already, as to a message that is too large.
    """
    with suppress(ConnectionError):  # it has hung up: what it said before that counts
        writer.write(b"zINSTREAM\0")
        async for piece in message_pieces(message):
            if reading.done():
                return
            writer.write(len(piece).to_bytes(4, "big") + piece)
            await writer.drain()
        writer.write(b"\0\0\0\0")


def server_address(text: Any) -> str:
    """An address to connect to, in one spelling; `AddressError` for any other."""
    where = parse_address(text)
    if where.kind not in ("unix", "inet", "inet6"):
        raise AddressError(f"expected an address to connect to, got {text!r}")
    return str(where)


def _line(text: Any) -> str:
    if not isinstance(text, str) or any(one in text for one in "\r\n\0"):
        raise HandlerError("expected one line of text, got none, or one with a line end or NUL in it")
    return text


@frozen
class AskLine(Question):
    """The line with which a server answers a line, without its end.

    ``server``: ``inet:9998@127.0.0.1`` or ``unix:/run/x.sock``. Each question has a connection of its
    own. ``using``: the name of the resource. `HandlerError` for a line with a line end in it, which
    would be two. Derive a class with ``pure=True`` if asking changes nothing.
    """

    server: str = field(converter=server_address)
    line: str = field(converter=_line)
    using: str = "streams"
    examples: ClassVar[tuple[Any, ...]] = ("", "200 OK", "500 no such entry")

    async def perform(self, resources: Mapping[str, Any]) -> str:
        """Ask."""

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(self.line.encode("utf-8", "surrogateescape") + b"\n")
            return await read_until(reader, b"\n")

        found = await streams_of(resources, self.using).talk(self.server, ask)
        return found.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _seconds(value: Any) -> float:
    return check_seconds("timeout=", value)


@frozen
class ClamScan(Question):
    """The name of what clamd has found in a message, or None. What is not printable in it is escaped.

    The message is sent from where it lies, in pieces (``INSTREAM``). ``timeout``: seconds; give
    ``within=`` as many. A message that is larger than clamd's ``StreamMaxLength`` is a failure, and so
    is one without its body.
    """

    message: Message
    server: str = field(default="unix:/run/clamav/clamd.ctl", converter=server_address)
    timeout: float = field(default=SCANNING, converter=_seconds)
    using: str = "streams"
    examples: ClassVar[tuple[Any, ...]] = (None, "Eicar-Signature")

    async def perform(self, resources: Mapping[str, Any]) -> str | None:
        """Have it scanned."""
        streams = streams_of(resources, self.using)
        said = await streams.scan(self.server, self.message, self.timeout)
        text = said.decode("utf-8", "replace").removeprefix("stream: ")
        if text == "OK":
            return None
        if text.endswith(" FOUND"):
            return safe(text.removesuffix(" FOUND")[:_LONGEST_TEXT])
        got = safe(text[:_LONGEST_TEXT])
        raise RefusedError(f"expected OK or FOUND of clamd at {self.server}, got: {got}")


def streams_of(resources: Mapping[str, Any], name: str) -> Streams:
    """The resource of this name, or the default."""
    return client_of(resources, name, Streams, Streams)
