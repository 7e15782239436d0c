"""An SMTP client's conversation with the box: what it may say, and what it is told.

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
_PARTING: Final = 1.0  # seconds for milters to be told of the end of a session
_PARAMETERS: Final = {
    "FROM": ("SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"),
    "TO": ("NOTIFY", "ORCPT"),
}
_TOO_LARGE: Final = Reply(552, "5.3.4 Error: message file too big")
_EXTENSIONS: Final = ("PIPELINING", "SIZE", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8")


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
        """Tell the client that the box closes, and end the session; await it to see it ended."""
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
        """What the client is told where something went wrong: it keeps its mail."""
        self.box.report(self.number, f"internal error: {error!r}")
        return "451 4.3.0 Internal error"

    # ------------------------------------------------------------------------ what a client says
    async def smtp_EHLO(self, arg: str | None) -> None:  # noqa: N802  # the name that aiosmtpd looks for
        """EHLO."""
        await self._hello("EHLO", arg)

    async def smtp_HELO(self, arg: str | None) -> None:  # noqa: N802  # as above
        """HELO."""
        await self._hello("HELO", arg)

    async def _hello(self, verb: str, name: str | None) -> None:
        if not name:
            await self._say(Reply(501, f"Syntax: {verb} hostname"))
            return
        session: Any = self.session
        session.extended_smtp = verb == "EHLO"
        session.host_name = name
        reply = await self._take(client_steps.Ehlo(name, verb))
        if reply.is_refusal or verb == "HELO":
            await self._say(reply)
            return
        size = f"SIZE {self.box.max_message}"
        extensions = (size if one == "SIZE" else one for one in _EXTENSIONS)
        await self._say(Reply(250, "\n".join((self.box.host, *extensions))))

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802  # as above
        """MAIL FROM."""
        path = await self._path("FROM", arg)
        if path is None:
            return
        raw, sender, parameters = path
        size = parameters.get("SIZE") or "0"
        if size.isdigit() and int(size) > self.box.max_message:
            await self._say(Reply(552, "5.3.4 Message size exceeds fixed limit"))
        else:
            await self._say(await self._take(client_steps.Mail(sender, parameters, raw)))

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802  # as above
        """RCPT TO."""
        path = await self._path("TO", arg)
        if path is None:
            return
        raw, address, parameters = path
        if not address:
            await self._say(Reply(501, "5.1.3 Bad recipient address syntax"))
            return
        await self._say(await self._take(client_steps.Rcpt(address, parameters, raw)))

    async def _path(self, keyword: str, arg: str | None) -> tuple[str, str, Parameters] | None:
        """What stands behind ``FROM:`` or ``TO:``, or None once the client has been told."""
        start, colon, rest = (arg or "").partition(":")
        path = split_path(rest) if colon and start.strip().upper() == keyword else None
        if path is None:
            verb = "MAIL" if keyword == "FROM" else "RCPT"
            await self._say(Reply(501, f"5.5.4 Syntax: {verb} {keyword}:<address>"))
            return None
        for parameter in path[2]:
            if parameter not in _PARAMETERS[keyword]:
                await self._say(Reply(555, f"5.5.4 Unsupported option: {parameter}"))
                return None
        return path

    async def _has_argument(self, verb: str, arg: str | None) -> bool:
        """Whether a client has said too much; if so, it has been told."""
        if arg:
            await self._say(Reply(501, f"5.5.4 Syntax: {verb}"))
        return bool(arg)

    async def smtp_RSET(self, arg: str | None) -> None:  # noqa: N802  # as above
        """RSET."""
        if await self._has_argument("RSET", arg):
            return
        await self._say(await self._take(client_steps.Rset()))

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802  # as above
        """QUIT."""
        await self._say(await self._take(client_steps.Quit()))

    async def smtp_NOOP(self, arg: str | None) -> None:  # noqa: N802  # as above
        """NOOP."""
        await self._say(Reply(250, "2.0.0 Ok"))

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802  # as above
        """VRFY: like Postfix it takes any address, and says no more; no milter is asked.

        But if one has failed, the answer is the default action's.
        """
        if not (arg and arg.strip()):
            await self._say(Reply(501, "5.5.4 Syntax: VRFY address [SMTPUTF8]"))
            return
        profile, sides = self._state.profile, self._state.sides
        failures = [side.failure for side in sides if side.failure]
        replies = [profile.failure(failure, "recipient", arg).reply for failure in failures]
        await self._say(next(filter(None, replies), Reply(252, f"2.0.0 {arg.strip()}")))

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802  # as above
        """STARTTLS, which the box does not have."""
        await self._say(Reply(502, "5.5.1 Error: command not implemented"))

    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802  # as above
        """AUTH, which the box does not have."""
        await self._say(Reply(503, "5.5.1 Error: authentication not enabled"))

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802  # as above
        """DATA: the milters are asked before 354 is said; the message comes to `handle_DATA`."""
        if await self._has_argument("DATA", arg):
            return
        self._state = evolve(self._state, heard=pvector(), failed=())
        self._state, refusal = await play_async(ask_data(self._state), self._channels)
        if refusal is not None:
            self._report_message(b"", refusal, None)
            await self._say(refusal)
            return
        self.envelope = Envelope()
        self.envelope.rcpt_tos += self._state.envelope.addresses if self._state.envelope else ()
        self._answer = None
        self._is_receiving = True
        await super().smtp_DATA("")
        self._is_receiving = False
        if self._answer in (None, _TOO_LARGE):  # aiosmtpd has refused a line, or all of it
            self._state, _ = await play_async(
                take_step(self._state, client_steps.Rset()), self._channels
            )
            self._report_message(b"", self._answer or Reply(500, "5.5.2 Line too long"), None)
        elif self._answer is not None and self._answer.code == 421:
            raise ConnectionResetError

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> bytes:  # noqa: N802  # as above
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

    async def take_unknown(self, command: str, arg: str | None) -> None:
        """A command that goes to the milters."""
        line = f"{command} {arg}" if arg else command
        await self._say(await self._take(client_steps.Command(line)))
