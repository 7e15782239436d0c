"""Real sockets for the MTA's side: what `demyjpy.mta.smtp` asks for, carried out with a milter.

`Channel` blocks, `AsyncChannel` awaits; both keep Postfix's timeouts. What goes wrong with a milter is
a `MilterFailedError`, whatever it was: nothing listens, it hangs, it closes, it talks nonsense.
"""

import asyncio
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self, TypeAlias

from attrs import field, frozen
from attrs import validators as v

from demyjpy.actions import Modification
from demyjpy.drivers.address import Address, parse_address
from demyjpy.drivers.waiting import within
from demyjpy.errors import AddressError
from demyjpy.mta.milter_link import Answer, MilterFailedError, MilterLink, hear
from demyjpy.mta.profile import CONTENT
from demyjpy.mta.smtp_session import Exchange

_READ_SIZE: Final = 65_536
_CLOSED: Final = "the connection is closed"


@frozen
class Timeouts:
    """How long a milter may take, in seconds, as Postfix has it.

    ``connect`` (``milter_connect_timeout``), ``command`` (``milter_command_timeout``, also for the
    negotiation) and ``content`` (``milter_content_timeout``), each for one read or write.
    """

    connect: float = field(default=30.0, validator=v.gt(0))
    command: float = field(default=30.0, validator=v.gt(0))
    content: float = field(default=300.0, validator=v.gt(0))

    def of(self, event: str | None) -> float:
        """The timeout at an event."""
        return self.content if event in CONTENT else self.command


def _failure(
    event: str | None, error: BaseException, timeout: float, said: tuple[Modification, ...] = ()
) -> MilterFailedError:
    if isinstance(error, MilterFailedError):
        return error
    is_late = isinstance(error, TimeoutError)
    reason = f"no answer within {timeout:g} s" if is_late else _reason(error)
    return MilterFailedError(event or "quit", reason, said=said)


def _reason(error: BaseException) -> str:
    """What the system says; asyncio puts words of its own around it."""
    number = re.search(r"\[Errno (\d+)\]", str(error))
    if number:
        return os.strerror(int(number[1]))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _cannot_connect(address: Address, error: BaseException, timeout: float) -> MilterFailedError:
    return MilterFailedError("connecting", f"{address}: {_failure(None, error, timeout).reason}")


def _where(address: str | int | Address) -> Address:
    where = address if isinstance(address, Address) else parse_address(address)
    if where.kind in ("fd", "systemd"):
        raise AddressError(f"expected the address of a milter, got {where}")
    return where


class Channel:
    """A blocking connection with a milter; a context manager that is connected while it is entered.

    It is closed as soon as the milter fails.
    """

    def __init__(self, address: str | int | Address, timeouts: Timeouts | None = None) -> None:
        self._address = _where(address)
        self._timeouts = timeouts or Timeouts()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        timeout = self._timeouts.connect
        address = self._address
        try:
            if address.kind == "unix":
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(timeout)
                self._socket.connect(address.path)
            else:
                self._socket = socket.create_connection((address.host, address.port), timeout)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.close()
            raise _cannot_connect(address, error, timeout) from error
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        """Write, and read until the answer is complete."""
        link, event = exchange.link, exchange.link.event
        timeout = self._timeouts.of(event)
        sock = self._socket
        if sock is None:
            raise MilterFailedError(event or "quit", _CLOSED)
        answer: Answer | None = None
        try:
            sock.settimeout(timeout)
            for data in exchange.writes:
                sock.sendall(data)
            while event is not None and answer is None:
                link, answer = hear(link, sock.recv(_READ_SIZE))
        except (OSError, MilterFailedError) as error:
            self.close()
            raise _failure(event, error, timeout, tuple(link.edits)) from error
        if exchange.closes:
            self.close()
        return link, answer


Tap: TypeAlias = Callable[[str, bytes], object]
"""Is given all bytes, as what the ``"mta"`` or the ``"filter"`` says."""


def untapped(direction: str, data: bytes) -> None:
    """Nobody listens."""


class AsyncChannel:
    """The same under asyncio; an async context manager.

    ``tap`` gets all bytes: the direction (``"mta"`` or ``"filter"``: who sends it) and the data.
    """

    def __init__(
        self,
        address: str | int | Address,
        timeouts: Timeouts | None = None,
        tap: Tap = untapped,
    ) -> None:
        self._address = _where(address)
        self._timeouts = timeouts or Timeouts()
        self._tap = tap
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None

    async def __aenter__(self) -> Self:
        timeout = self._timeouts.connect
        address = self._address
        try:
            async with asyncio.timeout(timeout):
                if address.kind == "unix":
                    opened = await asyncio.open_unix_connection(address.path)
                else:
                    opened = await asyncio.open_connection(address.host, address.port)
        except (OSError, TimeoutError) as error:
            raise _cannot_connect(address, error, timeout) from error
        self._reader, self._writer = opened
        self._transport = self._writer.transport
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, once all is written that the milter takes in time."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        with suppress(OSError):
            if await within(self._timeouts.command, writer.wait_closed()):
                return
        writer.transport.abort()

    def abort(self) -> None:
        """Cut the connection: nobody waits any more for what is still to be written."""
        if self._transport is not None:
            self._transport.abort()

    async def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        """Write, and read until the answer is complete."""
        link, event = exchange.link, exchange.link.event
        timeout = self._timeouts.of(event)
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            raise MilterFailedError(event or "quit", _CLOSED)
        answer: Answer | None = None
        try:
            for data in exchange.writes:
                self._tap("mta", data)
                writer.write(data)
                async with asyncio.timeout(timeout):
                    await writer.drain()
            while event is not None and answer is None:
                async with asyncio.timeout(timeout):
                    data = await reader.read(_READ_SIZE)
                self._tap("filter", data)
                link, answer = hear(link, data)
                await asyncio.sleep(0)  # reading what is there already lets nobody else run
        except (OSError, TimeoutError, MilterFailedError) as error:
            self._writer = None
            writer.transport.abort()  # whatever is still to be written
            raise _failure(event, error, timeout, tuple(link.edits)) from error
        if exchange.closes:
            await self.close()
        return link, answer
