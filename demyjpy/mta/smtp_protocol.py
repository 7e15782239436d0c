"""SMTP's lines: how a reply is written, what aiosmtpd reads from, and where it looks commands up."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final

from demyjpy.mta.profiles import Reply
from demyjpy.wire.fields import encode_text

_NOT_HERE: Final = frozenset({"HELP", "EXPN"})


def wire(reply: Reply) -> bytes:
    """A reply as it is sent, without its last line end."""
    *lines, last = reply.text.split("\n")
    return encode_text(
        "\r\n".join([*(f"{reply.code}-{line}" for line in lines), f"{reply.code} {last}"])
    )


class Reader:
    """What aiosmtpd reads from; the end is a lost connection, which it understands."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.read = reader.read

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """A line; a command ends at a NUL, of which no milter could be told."""
        try:
            line = await self._reader.readuntil(separator)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError from error
        return line.partition(b"\0")[0] if separator == b"\n" else line


class Methods(dict[str, Any]):
    """aiosmtpd's table of commands; one that it does not have goes to the milters."""

    def __init__(self, known: dict[str, Any], unknown: Callable[..., Any]) -> None:
        super().__init__((name, known[name]) for name in known if name not in _NOT_HERE)
        self._unknown = unknown

    def get(self, command: str, default: Any = None) -> Any:
        return super().get(command) or functools.partial(self._unknown, command)
