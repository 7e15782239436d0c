"""A question to a mail server: whether it takes a recipient, asked by RCPT without a mail."""

import asyncio
import re
import socket
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from attrs import field, frozen

from demyjpy.errors import describe
from demyjpy.lookups.guard import RefusedError, UnansweredError
from demyjpy.lookups.streams import read_until, server_address, streams_of
from demyjpy.questions import Question
from demyjpy.shown import safe

__all__ = ["RecipientProbe"]

REMEMBERED: Final = 600.0
"""Seconds."""

_MOST_LINES: Final = 100
_LONGEST_TEXT: Final = 1_000
LONGEST_ADDRESS: Final = 320
"""Characters of an address: 64, the sign ``@``, and 255 (RFC 5321, section 4.5.3.1)."""

_ADDRESS: Final = re.compile(r"[!-;=?-~]+")
"""Printable ASCII without a space, ``<`` and ``>``."""

_Reader = asyncio.StreamReader
_Writer = asyncio.StreamWriter


@frozen
class RecipientProbe(Question, pure=True, remember_for=REMEMBERED):
    """Whether a mail server takes a recipient: a map of ``is_known``, the reply's ``code`` and ``text``.

    ``server``: where the mail is to go, as ``inet:25@192.0.2.1``; do not probe servers of strangers, who
    count that as abuse. The sender is the null sender, and no mail is sent. A reply of class 4 is a
    failure, and so is an address with a space, a line end or a character that is no ASCII, or with more
    than `LONGEST_ADDRESS` characters. What is not printable in ``text`` is escaped. ``helo``: our name;
    by default that of this machine. ``using``: the name of a resource that is a
    `demyjpy.lookups.streams.Streams`.
    """

    address: str
    server: str = field(converter=server_address)
    helo: str = ""
    using: str = "streams"
    examples: ClassVar[tuple[Any, ...]] = (
        {"is_known": True, "code": 250, "text": "2.1.5 Ok"},
        {"is_known": False, "code": 550, "text": "5.1.1 User unknown"},
    )

    async def perform(self, resources: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the server."""
        for what, text in (("an address", self.address), ("helo=", self.helo or "x")):
            if len(text) > LONGEST_ADDRESS or not _ADDRESS.fullmatch(text):
                raise RefusedError(
                    f"expected {what} of printable ASCII without a space, of at most {LONGEST_ADDRESS} "
                    f"characters, got {describe(text)}"
                )
        code, text = await streams_of(resources, self.using).talk(self.server, self._talk)
        return {"is_known": code < 300, "code": code, "text": text}

    async def _talk(self, reader: _Reader, writer: _Writer) -> tuple[int, str]:
        _accepted("its greeting", *await _reply(reader))
        name = self.helo or socket.gethostname()
        code, text = await _say(reader, writer, f"EHLO {name}")
        if code >= 500:
            code, text = await _say(reader, writer, f"HELO {name}")
        _accepted("HELO", code, text)
        _accepted("MAIL FROM:<>", *await _say(reader, writer, "MAIL FROM:<>"))
        code, text = await _say(reader, writer, f"RCPT TO:<{self.address}>")
        if code < 500:
            _accepted("RCPT", code, text)
        writer.write(b"QUIT\r\n")
        return code, text


async def _say(reader: _Reader, writer: _Writer, command: str) -> tuple[int, str]:
    writer.write(command.encode("ascii") + b"\r\n")
    return await _reply(reader)


async def _reply(reader: _Reader) -> tuple[int, str]:
    """The code and the text of a reply (RFC 5321, section 4.2)."""
    texts = []
    for _ in range(_MOST_LINES):
        line = (await read_until(reader, b"\n")).decode("utf-8", "replace").rstrip("\r")
        if not re.match(r"[2-5][0-9][0-9]([ -]|$)", line):
            break
        texts.append(line[4:])
        if line[3:4] != "-":
            return int(line[:3]), safe(" ".join(texts)[:_LONGEST_TEXT])
    raise RefusedError("expected a reply of SMTP, got something else")


def _accepted(what: str, code: int, text: str) -> None:
    """Errors if a reply is not one of class 2; its text may name the recipient, and stays out."""
    if code == 421:  # it closes, whatever was asked
        raise UnansweredError(f"{what}: {code}")
    if code >= 300:
        raise RefusedError(f"expected {what} to be accepted, got {code} {text[:6].strip()}")
