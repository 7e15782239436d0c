"""The mails that ``demyjpy demo`` sends: what a filter meets on an ordinary day."""

from importlib.resources import files
from typing import Final

from attrs import frozen


@frozen
class Sample:
    """A mail in its envelope; ``content`` has CRLF line ends."""

    title: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    options: tuple[str, ...] = ()


_BOB: Final = "bob@example.net"
_LARGE: Final = 200_000


def samples() -> list[Sample]:
    """All of them."""
    return [
        Sample("a plain mail", "ann@example.org", (_BOB,), _read("plain.eml")),
        Sample(
            "text and HTML, a subject in UTF-8, two recipients",
            "zoe@example.org",
            (_BOB, "carol@example.net"),
            _read("alternative.eml"),
        ),
        Sample(
            "folded header fields, several of one name",
            "list-owner@example.com",
            (_BOB,),
            _read("folded.eml"),
        ),
        Sample("a bounce: the null sender", "", ("ann@example.org",), _read("bounce.eml")),
        Sample(
            "8-bit text that is not UTF-8",
            "jose@example.org",
            (_BOB,),
            _read("eightbit.eml"),
            ("BODY=8BITMIME",),
        ),
        Sample("a large one", "ann@example.org", (_BOB,), _large()),
    ]


def _read(name: str) -> bytes:
    data = files("demyjpy.cli").joinpath("mails", name).read_bytes()
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _large() -> bytes:
    """200 kB: more than one body chunk."""
    header = (
        b"From: Ann Example <ann@example.org>\r\nTo: bob@example.net\r\nSubject: The whole log\r\n"
        b"Date: Fri, 2 Jan 2026 14:00:00 +0100\r\nMessage-ID: <6.large@example.org>\r\n\r\n"
    )
    lines = (
        b"line %05d of the log, nothing to see here, move along\r\n" % number for number in range(_LARGE)
    )
    body = bytearray()
    while len(header) + len(body) < _LARGE:
        body += next(lines)
    return header + bytes(body)
