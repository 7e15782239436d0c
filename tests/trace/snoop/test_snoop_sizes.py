"""The snooper and packets of any size: it goes on looking, and bytes that are none are told once."""

import asyncio
import socket
from typing import Any

import pytest

from demyjpy.cli.commands.snoop import Outbox, Screen
from demyjpy.cli.output import Paint
from demyjpy.trace.format.converters import AFTER_LOSS, WireConverter
from demyjpy.trace.format.records import LONGEST_PACKET
from demyjpy.trace.snoop.snooper import Snooper
from tests.cli.servers import AGREED, frame, listening
from tests.trace.snoop.test_snooper import Seen, client, snooping

MDS_1M = (1 << 20) - 1
"""The largest payload that can be negotiated."""


@pytest.mark.parametrize("size", [65_535, 65_536, 262_143, MDS_1M, 3 << 20])
def test_a_packet_of_any_size_is_looked_at(size: int) -> None:
    """In both directions; and what follows it, too."""
    converter = WireConverter("s")
    list(converter.take("mta", frame(b"O", b"\0\0\0\6\0\0\1\xff\x30\x1f\xff\xff"), 1.0))
    list(converter.take("filter", AGREED, 1.0))
    (body,) = converter.take("mta", frame(b"B", b"x" * size), 1.0)
    assert (body["event"], len(body["fields"]["data"])) == ("body", size)
    list(converter.take("filter", frame(b"c"), 1.0))
    list(converter.take("mta", frame(b"E"), 1.0))
    new, verdict = converter.take("filter", frame(b"b", b"y" * size) + frame(b"c"), 1.0)
    assert len(new["answer"][0]["data"]) == size
    assert "raw" not in new
    assert verdict["verdict"] == "Continue"


def test_a_snooper_goes_on_after_a_large_packet(caplog: pytest.LogCaptureFixture) -> None:
    """The milter speaks first here; then its session is seen to the end."""
    large = frame(b"b", b"x" * 300_000)

    def behave(sock: socket.socket) -> None:
        sock.sendall(large)
        while sock.recv(65_536):
            pass

    with listening(behave) as milter:

        async def inside(snooper: Snooper, seen: Seen) -> None:
            def both() -> None:
                with client(snooper.address) as sock:
                    got = 0
                    while got < len(large):
                        got += len(sock.recv(65_536))
                    sock.sendall(frame(b"Q"))

            await asyncio.to_thread(both)

        seen = snooping(milter, inside)
    assert [record["direction"] for record in seen] == ["filter", "mta", "end"]
    assert seen[0]["answer"][0]["action"] == "ReplaceBody"
    assert caplog.records == []


def test_what_is_over_the_bound_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no packet; the recording has all its bytes, the screen one line of each direction."""
    converter = WireConverter("s")
    start = (LONGEST_PACKET + 1).to_bytes(4, "big")
    records: list[Any] = []
    for direction in ("mta", "filter"):
        for data in (start + b"x" * 100, b"x" * 1000, b"x" * 1000):
            records += converter.take(direction, data, 1.0)
    with Outbox() as outbox:
        screen = Screen(Paint(False), outbox)
        for record in records:
            screen("s", [record])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("cannot be read: expected a packet length from 1 to 16777216" in line for line in lines)
    assert [record["problem"] for record in records].count(AFTER_LOSS) == 4
