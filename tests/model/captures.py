"""The recorded sessions of ``tests/captures``: what the servers said to a filter, byte for byte."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from demyjpy.codec import decode_event
from demyjpy.events import Body, Connect, DefineMacros, Header
from demyjpy.mta.milter_link import Answer, MilterFailedError, MilterLink, hear
from demyjpy.mta.smtp_session import Exchange
from demyjpy.wire.codes import ProtocolFlag
from tests.integration.scenario import Mta
from tests.integration.smtp import Step

CAPTURES: Final = Path(__file__).parents[1] / "captures"


@frozen
class Capture:
    """One session. ``packets`` are (is the MTA's, letter and payload)."""

    mta: Mta
    name: str
    about: Any
    packets: tuple[tuple[bool, bytes], ...]

    def __str__(self) -> str:
        return f"{self.mta}-{self.name}"

    @property
    def said(self) -> list[bytes]:
        """What the MTA said."""
        return [packet for is_mtas, packet in self.packets if is_mtas]

    @property
    def answers(self) -> list[bytes]:
        """What the milter said to one thing after the other, as it goes over the wire."""
        runs: list[bytes] = []
        was_mtas = True
        for is_mtas, packet in self.packets:
            if not is_mtas:
                frame = len(packet).to_bytes(4, "big") + packet
                runs = [*runs, frame] if was_mtas else [*runs[:-1], runs[-1] + frame]
            was_mtas = is_mtas
        return runs

    @property
    def client(self) -> Connect:
        """The client, as the MTA told of it."""
        for packet in self.said:
            event = decode_event((packet[0], packet[1:]))
            if isinstance(event, Connect):
                return event
        return Connect("localhost")  # the filter did not want to know

    @property
    def steps(self) -> list[Step]:
        """What the client said; DATA that was refused is a message that nobody saw."""
        lines = [line[3:] for line in self.about["smtp"] if line.startswith("C: ")]
        said: list[Step] = []
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            if line.startswith("[message of "):
                said.append(self.message(int(line.split()[2])))
            elif line != "DATA":
                said.append(line)
            elif not after.startswith("[message of "):
                said.append(b"")
        return said

    def message(self, size: int) -> bytes:
        """The message, from what was told of it; the rest is made up to its size."""
        is_verbatim = any(_flags(packet) & ProtocolFlag.HDR_LEADSPC for packet in self._options)
        head, body = b"", b""
        for packet in self.said:
            event = decode_event((packet[0], packet[1:]), is_verbatim)
            if isinstance(event, Header):
                head += f"{event.name}:{event.raw}\n".encode("utf-8", "surrogateescape")
            elif isinstance(event, Body):
                body += event.data
            elif isinstance(event, DefineMacros) and event.definitions.get("msg_id") and not head:
                head += f"Message-ID: {event.definitions['msg_id']}\n".encode()
        head = head.replace(b"\n", b"\r\n") or b"Subject: unseen\r\n"
        missing = size - len(head) - 2 - len(body)
        return head + b"\r\n" + body + b"x" * max(0, missing - 2) + b"\r\n" * (missing > 1)

    @property
    def _options(self) -> Iterator[bytes]:
        """The milter's answer to the offer."""
        return (packet for is_mtas, packet in self.packets if not is_mtas and packet[:1] == b"O")

    @property
    def replies(self) -> list[str]:
        """The banner and all replies; further lines after LF."""
        replies: list[str] = []
        lines: list[str] = []
        for line in self.about["smtp"]:
            if line.startswith("S: "):
                lines.append(line[3:] if not lines else line[7:])
                if line[6:7] != "-":
                    text = "\n".join(lines)
                    replies.append(f"{text[:3]} {text[4:]}")
                    lines = []
        return replies


def _flags(packet: bytes) -> int:
    return int.from_bytes(packet[9:13], "big")


def captures() -> Iterator[Capture]:
    """All of them."""
    for mta in ("postfix", "sendmail"):
        for path in sorted((CAPTURES / mta).glob("*.jsonl")):
            about, *lines = map(json.loads, path.read_text().splitlines())
            packets = tuple(
                (line["dir"] == "mta", bytes.fromhex(line["hex"])[4:]) for line in lines if "hex" in line
            )
            yield Capture(mta, path.stem, about, packets)


class RecordedFilter:
    """A milter that answers as it did when it was recorded, and keeps what it hears."""

    def __init__(self, capture: Capture) -> None:
        self._answers = iter(capture.answers)
        self.heard: list[bytes] = []

    def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        """Write, and read the answer."""
        data = b"".join(exchange.writes)
        while data:
            size = 4 + int.from_bytes(data[:4], "big")
            self.heard.append(data[4:size])
            data = data[size:]
        name = exchange.link.event
        if name is None:
            return exchange.link, None
        said = next(self._answers, b"")
        if not said:
            raise MilterFailedError(name, "no answer within 8 s")
        return hear(exchange.link, said)
