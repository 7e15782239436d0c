"""aiosmtpd's SMTP as the box uses it: how a reply is written, how lines are read, and what it lacks."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final

from aiosmtpd.smtp import SMTP

from demyjpy.mta.profiles import Reply
from demyjpy.wire.fields import encode_text

_LONGEST_LINE: Final = 1 << 20
_IDLE: Final = 1800.0  # seconds after which a client that says nothing is left


def wire(reply: Reply) -> bytes:
    """A reply as it is sent, without its last line end."""
    *lines, last = reply.text.split("\n")
    return encode_text(
        "\r\n".join([*(f"{reply.code}-{line}" for line in lines), f"{reply.code} {last}"])
    )


class SmtpProtocol(SMTP):
    """aiosmtpd's SMTP as lines and dots: a session is `lead`, and each command goes to `take_command`.

    A subclass uses what aiosmtpd documents: ``push``, ``session``, ``envelope``, ``smtp_DATA``,
    ``handle_DATA`` and ``handle_exception`` (it is its own handler). The four private names of
    aiosmtpd 1.4 that are touched in this class, and nowhere else, stand for what no hook of it does:
    something to await before the greeting and after the end (``_handle_client``), ending a session
    from outside (``_handler_coroutine``), a reader that a client's end of data does not cancel
    (``_cb_client_connected``), and commands that it does not know (``_smtp_methods``).
    """

    line_length_limit = _LONGEST_LINE
    command_size_limit = 4096

    def __init__(self, host: str, max_message: int) -> None:
        super().__init__(
            self,
            timeout=_IDLE,
            hostname=host,
            ident="ESMTP demyjpy",
            enable_SMTPUTF8=True,
            data_size_limit=max_message,
            loop=asyncio.get_running_loop(),
        )
        self._smtp_methods = _EveryCommand(self.take_command)

    async def lead(self) -> None:
        """All of a session; `hear` is aiosmtpd's part of it."""

    async def hear(self) -> None:
        """Greet, and answer commands until the client is gone."""
        await super()._handle_client()

    async def take_command(self, command: str, arg: str | None) -> None:
        """Answer a command."""

    @property
    def task(self) -> Any:
        """The `asyncio.Task` that leads the session, from `connection_made` on."""
        return self._handler_coroutine

    async def _handle_client(self) -> None:
        await self.lead()

    def _cb_client_connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        only_lines: Any = _Reader(reader)
        super()._cb_client_connected(only_lines, writer)

    def eof_received(self) -> bool | None:
        """A client that says no more still gets its answers, unlike with aiosmtpd alone."""
        return asyncio.StreamReaderProtocol.eof_received(self)


class _Reader:
    """What aiosmtpd reads from; the end is a lost connection, which it understands."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.read = reader.read

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """A line; a command ends at a NUL, because no packet to a milter could hold it."""
        try:
            line = await self._reader.readuntil(separator)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError from error
        return line.partition(b"\0")[0] if separator == b"\n" else line


class _EveryCommand(dict[str, Any]):
    """In place of aiosmtpd's table of commands: each command, known or not, is taken."""

    def __init__(self, take: Callable[..., Any]) -> None:
        super().__init__()
        self._take = take

    def get(self, command: str, default: Any = None) -> Any:
        return functools.partial(self._take, command)
