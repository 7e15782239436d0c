"""Clients of the chaos program: those that keep to the protocol, and those that do not."""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from attrs import Factory, define

from demyjpy import (
    AddHeader,
    Body,
    Connect,
    Continue,
    EndOfHeaders,
    EndOfMessage,
    Header,
    Hello,
    Mail,
    Negotiate,
    Recipient,
    TemporaryFailure,
)
from demyjpy.codec import decode_action
from demyjpy.codec.commands import ROW_OF_EVENT
from demyjpy.wire.codes import ProtocolFlag
from demyjpy.wire.framing import NOTHING_UNREAD, split_frames
from tests.drivers.peer import offer, packet

WAIT = 60.0
BAD = ("closes", "resets", "stalls", "garbage", "deaf")


class LeftError(Exception):
    """The milter has closed the connection."""


@define
class Tally:
    """What the clients have seen. ``wrong`` must stay empty."""

    answered: list[str] = Factory(list)
    interrupted: list[str] = Factory(list)
    refused: int = 0
    wrong: list[str] = Factory(list)
    bad: Counter[str] = Factory(Counter)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unread, self._packets = NOTHING_UNREAD, list[tuple[int, bytes]]()
        self._agreed = Negotiate(6, offer().actions, ProtocolFlag(0))

    @classmethod
    async def connect(cls, address: tuple[str, int]) -> "Client":
        """A new one; it waits where nobody accepts."""
        return cls(*await asyncio.wait_for(asyncio.open_connection(*address), WAIT))

    async def hear(self) -> object:
        """The next action; `LeftError` where there is none."""
        while not self._packets:
            try:
                data = await asyncio.wait_for(self._reader.read(65536), WAIT)
            except ConnectionError:
                data = b""
            if not data:
                raise LeftError
            packets, self._unread = split_frames(self._unread, data, 1 << 24)
            self._packets += packets
        return decode_action(
            self._packets.pop(0), bool(self._agreed.protocol & ProtocolFlag.HDR_LEADSPC)
        )

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)

    async def ask(self, event: object) -> object:
        """Say something that was agreed on; the answer, None where none is due."""
        row = ROW_OF_EVENT[type(event)]
        if row.off & self._agreed.protocol:
            return None
        self.send(packet(event))
        if not row.replies or row.quiet & self._agreed.protocol:
            return None
        return await self.hear()

    async def begin(self) -> None:
        """Up to where messages may come."""
        self.send(packet(offer()))
        answer = await self.hear()
        if isinstance(answer, Negotiate):
            self._agreed = answer
        await self.ask(Connect("[127.0.0.1]"))
        await self.ask(Hello("client.example.org"))

    async def drain(self) -> None:
        """Until what was written has left."""
        with suppress(ConnectionError):
            await self._writer.drain()

    def close(self, *, hard: bool = False) -> None:
        """Go; hard: with a reset."""
        if hard:
            with suppress(OSError):  # the milter has closed it before
                sock = self._writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.close()


def content(size: int) -> tuple[object, ...]:
    """The rest of a message after MAIL, but for its end."""
    body = Body(b"x" * size)
    return Recipient("to@example.org"), Header("Subject", "chaos"), EndOfHeaders(), body


async def send_message(client: Client, name: str, size: int, tally: Tally) -> None:
    """One message of a good client; what is answered has to be right."""
    said: list[object] = []
    events = (Mail(name), *content(size))
    for event in events:
        answer = await client.ask(event)
        if answer is not None:
            said.append(answer)
    client.send(packet(EndOfMessage()))
    while not isinstance(answer := await client.hear(), Continue | TemporaryFailure):
        said.append(answer)
    wanted = [Continue(), Continue(), AddHeader("X-Chaos", f"{name} {5 + size}")]
    if isinstance(answer, TemporaryFailure):
        tally.refused += 1
        tally.interrupted.append(name)
    elif said == wanted:
        tally.answered.append(name)
    else:
        tally.wrong.append(f"{name}: expected {wanted}, got {said}")


async def good(
    number: int, address: tuple[str, int], more: Callable[[], bool], chance: random.Random, tally: Tally
) -> None:
    """Messages, several in a session, until there are enough. Who is cut off connects again."""
    count = 0
    while more():
        name = ""
        client = None
        try:
            client = await Client.connect(address)
            await client.begin()
            for _ in range(chance.randint(1, 8)):
                count += 1
                name = f"{number}-{count}"
                await send_message(client, name, chance.choice((0, 10, 4000, 60_000)), tally)
        except (LeftError, ConnectionError):
            tally.interrupted.append(name)
        except TimeoutError:
            tally.wrong.append(f"{name}: waited {WAIT} s in vain")
            return
        finally:
            if client is not None:
                client.close()


async def bad(address: tuple[str, int], chance: random.Random, tally: Tally) -> None:
    """One session that does not keep to the protocol."""
    kind = chance.choice(BAD)
    tally.bad[kind] += 1
    with suppress(LeftError, ConnectionError):
        client = await Client.connect(address)
        try:
            try:
                await client.begin()
            except TimeoutError:
                tally.wrong.append(f"one that is {kind} waited {WAIT} s in vain")
            events = (Mail("bad"), *content(2000), EndOfMessage())
            data = b"".join(packet(event) for event in events)
            match kind:
                case "garbage":
                    client.send(chance.randbytes(chance.randint(1, 300)))
                case "deaf":
                    client.send(b"".join(packet(Mail("bad")) for _ in range(3000)))
                    await asyncio.sleep(chance.random() / 4)
                case _:
                    client.send(data[: chance.randrange(len(data))])
            if kind == "stalls":
                await asyncio.sleep(chance.random() / 2)
            elif kind != "deaf":
                await client.drain()
        finally:
            client.close(hard=kind in ("resets", "deaf"))
