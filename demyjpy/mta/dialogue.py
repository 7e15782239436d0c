"""An SMTP client's conversation with the box: what it may say, and what the box replies.

Lines and dots are aiosmtpd's, what the milters are asked is `demyjpy.mta.smtp`'s; the server around it
is `demyjpy.mta.box`.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from aiosmtpd.smtp import Envelope
from attrs import evolve
from pyrsistent import pvector

from demyjpy.mta import client_steps
from demyjpy.mta.box_settings import BoxSettings
from demyjpy.mta.mail_transaction import ask_data, take_content
from demyjpy.mta.profiles import Reply
from demyjpy.mta.smtp import play_async, take_step
from demyjpy.mta.smtp_path import split_path
from demyjpy.mta.smtp_protocol import SmtpProtocol, wire
from demyjpy.mta.smtp_session import Outcome, new_session
from demyjpy.mta.stored_mail import StoredMail
from demyjpy.mta.tolerant_channel import TolerantChannel
from demyjpy.wire.fields import Parameters

_NAMES: Final = {"127.0.0.1": "localhost", "::1": "localhost"}
_PARTING: Final = 1.0  # seconds for milters to get the end of a session
_PARAMETERS: Final = {
    "FROM": ("SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"),
    "TO": ("NOTIFY", "ORCPT"),
}
_TOO_LARGE: Final = Reply(552, "5.3.4 Error: message file too big")
_FIXED: Final = {
    "NOOP": Reply(250, "2.0.0 Ok"),
    "STARTTLS": Reply(502, "5.5.1 Error: command not implemented"),
    "AUTH": Reply(503, "5.5.1 Error: authentication not enabled"),
}
_EXTENSIONS: Final = ("PIPELINING", "SIZE {size}", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8")


class Dialogue(SmtpProtocol):
    """One SMTP client's connection."""

    def __init__(self, box: BoxSettings) -> None:
        super().__init__(box.host, box.max_message)
        self.box = box
        self.number = next(box.numbers)
        self._state = new_session(box.profile(), len(box.milters), max_answer=box.max_answer)
        self._channels: Sequence[TolerantChannel] = ()
        self._answer: Reply | None = None
        self._greeting: Reply | None = None
        self._is_receiving = False

    # ------------------------------------------------------------------- from connect to the end
    async def lead(self) -> None:
        """All of a session; aiosmtpd's part is between the greeting and the end."""
        transport: Any = self.transport
        with suppress(OSError):  # a client that is gone is no error
            async with AsyncExitStack() as stack:
                self._channels = [
                    await stack.enter_async_context(
                        TolerantChannel(
                            where,
                            self.box.timeouts,
                            stack.enter_context(self.box.tap(self.number, name)),
                        )
                    )
                    for name, where in self.box.milters.items()
                ]
                try:
                    await self._converse()
                finally:
                    if not self._state.is_closed:
                        await self._take(client_steps.Drop())
                    transport.close()

    async def _converse(self) -> None:
        session: Any = self.session
        session.host_name = "?"  # like Postfix, it does not insist on EHLO
        address, port = session.peer[:2] if session.peer else ("", 40000)
        self._greeting = await self._take(client_steps.Connect(address, _NAMES.get(address), port))
        if self._greeting.code == 421:
            await self.push(b"")
        else:  # after 554, too, a client may go on, to be refused at each command
            await self.hear()

    async def push(self, status: Any) -> None:
        """Send a reply; the greeting and the end of a message that is too large are not aiosmtpd's."""
        if self._greeting is not None:
            status, self._greeting = wire(self._greeting), None
        elif self._is_receiving and status[:3] in ("552", b"552"):
            self._answer = _TOO_LARGE
            status = wire(_TOO_LARGE)
        await super().push(status)

    async def _take(self, step: client_steps.ClientStep) -> Reply:
        self._state, outcome = await play_async(take_step(self._state, step), self._channels)
        self.box.report(self.number, outcome)
        return outcome.reply or Reply(250, "2.0.0 Ok")

    async def _say(self, reply: Reply) -> None:
        """Send a reply; 221 and 421 are the last that is said (aiosmtpd closes, then)."""
        await self.push(wire(reply))
        if reply.code in (221, 421):
            raise ConnectionResetError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        super().connection_made(transport)
        self.box.sessions[self.number] = self

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(error)
        self.box.sessions.pop(self.number, None)

    def leave(self) -> Coroutine[Any, Any, None]:
        """Reply to the client that the box closes, and end the session; await it to see it ended."""
        transport: Any = self.transport
        transport.write(wire(Reply(421, "4.3.2 The box is closing")) + b"\r\n")
        self.task.cancel()
        return self._ended(self.task, transport)

    async def _ended(self, task: "asyncio.Task[None]", transport: Any) -> None:
        """Wait for the end of the session and close its connection."""
        if (await asyncio.wait((task,), timeout=_PARTING))[1]:
            for channel in self._channels:
                channel.abort()
            await asyncio.wait((task,), timeout=_PARTING)
        if transport.get_write_buffer_size():
            transport.abort()  # the client does not read, and may never
        else:
            transport.close()

    async def handle_exception(self, error: Exception) -> str:
        """The reply if something went wrong: the client keeps its mail."""
        self.box.report(self.number, f"internal error: {error!r}")
        return "451 4.3.0 Internal error"

    # ------------------------------------------------------------------------ what a client says
    async def take_command(self, command: str, arg: str | None) -> None:
        """Answer a command."""
        reply = await self._reply_to(command, arg or "")
        if reply is not None:
            await self._say(reply)

    async def _reply_to(self, command: str, arg: str) -> Reply | None:
        """The reply to a command; None if it has been said."""
        match command:
            case "EHLO" | "HELO":
                return await self._hello(command, arg)
            case "MAIL":
                return await self._mail(arg)
            case "RCPT":
                return await self._recipient(arg)
            case "RSET" | "DATA" if arg:
                return Reply(501, f"5.5.4 Syntax: {command}")
            case "RSET":
                return await self._take(client_steps.Rset())
            case "DATA":
                return await self._data()
            case "VRFY":
                return self._verify(arg.strip())
            case "QUIT":
                return await self._take(client_steps.Quit())
        if command in _FIXED:
            return _FIXED[command]
        return await self._take(client_steps.Command(f"{command} {arg}" if arg else command))

    async def _hello(self, verb: str, name: str) -> Reply:
        if not name:
            return Reply(501, f"Syntax: {verb} hostname")
        session: Any = self.session
        session.extended_smtp = verb == "EHLO"
        session.host_name = name
        reply = await self._take(client_steps.Ehlo(name, verb))
        if reply.is_refusal or verb == "HELO":
            return reply
        extensions = "\n".join(_EXTENSIONS).format(size=self.box.max_message)
        return Reply(250, f"{self.box.host}\n{extensions}")

    async def _mail(self, arg: str) -> Reply:
        path = _path("MAIL", "FROM", arg)
        if isinstance(path, Reply):
            return path
        raw, sender, parameters = path
        size = parameters.get("SIZE") or "0"
        if size.isdigit() and int(size) > self.box.max_message:
            return Reply(552, "5.3.4 Message size exceeds fixed limit")
        return await self._take(client_steps.Mail(sender, parameters, raw))

    async def _recipient(self, arg: str) -> Reply:
        path = _path("RCPT", "TO", arg)
        if isinstance(path, Reply):
            return path
        raw, address, parameters = path
        if not address:
            return Reply(501, "5.1.3 Bad recipient address syntax")
        return await self._take(client_steps.Rcpt(address, parameters, raw))

    def _verify(self, arg: str) -> Reply:
        """Like Postfix it takes any address, and says no more; no milter is asked.

        But if one has failed, the answer is the default action's.
        """
        if not arg:
            return Reply(501, "5.5.4 Syntax: VRFY address [SMTPUTF8]")
        profile, sides = self._state.profile, self._state.sides
        failures = [side.failure for side in sides if side.failure]
        replies = [profile.failure(failure, "recipient", arg).reply for failure in failures]
        return next(filter(None, replies), Reply(252, f"2.0.0 {arg}"))

    async def _data(self) -> Reply | None:
        """The milters are asked before 354 is said; `handle_DATA` gets the message."""
        self._state = evolve(self._state, heard=pvector(), failed=())
        self._state, refusal = await play_async(ask_data(self._state), self._channels)
        if refusal is not None:
            self._report_message(b"", refusal, None)
            return refusal
        self.envelope = Envelope()
        self.envelope.rcpt_tos += self._state.envelope.addresses if self._state.envelope else ()
        self._answer = None
        self._is_receiving = True
        await self.smtp_DATA("")
        self._is_receiving = False
        if self._answer in (None, _TOO_LARGE):  # aiosmtpd has refused a line, or all of it
            step = client_steps.Rset()
            self._state, _ = await play_async(take_step(self._state, step), self._channels)
            self._report_message(b"", self._answer or Reply(500, "5.5.2 Line too long"), None)
        elif self._answer is not None and self._answer.code == 421:
            raise ConnectionResetError
        return None

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> bytes:  # noqa: N802  # the name that aiosmtpd looks for
        """Ask the milters about a message, and store it; the reply to the final dot."""
        content = envelope.original_content
        played = await play_async(take_content(self._state, content), self._channels)
        self._state, reply, mail = played
        if mail is not None:
            try:
                stored = self.box.store.add(mail)
            except OSError as error:
                self.box.report(self.number, f"cannot store: {error}")
                reply, mail = Reply(451, "4.3.0 Cannot store the message"), None
            else:
                self.box.report(self.number, f"stored {stored}")
        self._report_message(content, reply, mail)
        self._answer = reply
        return wire(reply)

    def _report_message(self, content: bytes, reply: Reply, mail: StoredMail | None) -> None:
        state = self._state
        outcome = Outcome(
            client_steps.Data(content),
            reply,
            tuple(state.heard),
            mail,
            mail is None and not reply.is_refusal,
            state.failed,
        )
        self.box.report(self.number, outcome)


def _path(verb: str, keyword: str, arg: str) -> tuple[str, str, Parameters] | Reply:
    """What stands behind ``FROM:`` or ``TO:``, or what is said to nonsense."""
    start, colon, rest = arg.partition(":")
    path = split_path(rest) if colon and start.strip().upper() == keyword else None
    if path is None:
        return Reply(501, f"5.5.4 Syntax: {verb} {keyword}:<address>")
    unknown = [parameter for parameter in path[2] if parameter not in _PARAMETERS[keyword]]
    return Reply(555, f"5.5.4 Unsupported option: {unknown[0]}") if unknown else path
