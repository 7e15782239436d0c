"""A mail server in a box: SMTP in, milters asked as Postfix would ask them, Maildir out.

For trying a filter without installing an MTA; it relays nothing. SMTP itself is aiosmtpd's (the extra
``box``); here it is joined to `demyjpy.mta.smtp`.
"""

import asyncio
import functools
import mailbox
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

from aiosmtpd.smtp import SMTP

from demyjpy.drivers.address import Address, bound_address, listen, parse_address
from demyjpy.mta import steps
from demyjpy.mta.channel import AsyncChannel, Timeouts
from demyjpy.mta.link import MilterFailedError
from demyjpy.mta.message import Mail
from demyjpy.mta.profiles import Postfix, Profile, Reply
from demyjpy.mta.smtp import Outcome, Session, ask_data, new_session, play_async, take_content, take_step
from demyjpy.wire.fields import Parameters, encode_text

_LONGEST_LINE: Final = 1 << 20

Report = Callable[["Dialogue", Outcome | str], None]
"""Told of each step of each session: what came of it, or a line about the box itself."""


class Store:
    """Where mail goes: a Maildir, with held mail in its folder ``quarantine``."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._box = mailbox.Maildir(str(self.path), create=True)

    def add(self, mail: Mail) -> str:
        """Store a mail as the MTA would deliver it; the file's path."""
        box = self._box
        if mail.quarantine is not None:
            box = box.add_folder("quarantine")
        lines = [f"Return-Path: <{mail.envelope.sender}>"]
        lines += [f"Delivered-To: {address}" for address in mail.envelope.addresses]
        top = b"".join(encode_text(line) + b"\r\n" for line in lines)
        key = box.add(top + bytes(mail.message))
        return str(Path(box._path, box._lookup(key)))  # type: ignore[attr-defined]  # noqa: SLF001


class Dialogue(SMTP):
    """One SMTP client's connection."""

    line_length_limit = _LONGEST_LINE

    def __init__(self, box: "Box") -> None:
        super().__init__(
            self,
            hostname=box.profile.host,
            ident="demyjpy",
            enable_SMTPUTF8=True,
            data_size_limit=None,
            decode_data=False,
            loop=asyncio.get_running_loop(),
        )
        self.box = box
        self._session: Session = new_session(box.profile, len(box.milters))
        self._channels: Sequence[AsyncChannel] = ()
        self._smtp_methods = _Methods(self._smtp_methods, self._unknown)

    # ------------------------------------------------------------------- from connect to the end
    async def _handle_client(self) -> None:
        async with AsyncExitStack() as stack:
            self._channels = [
                await stack.enter_async_context(LateChannel(where, self.box.timeouts))
                for where in self.box.milters
            ]
            try:
                reply = await self._take(self._peer())
                if reply is not None and reply.is_refusal:
                    await self.push(str(reply))
                else:
                    await super()._handle_client()
            finally:
                if not self._session.is_closed:
                    await self._take(steps.Drop())
                if self.transport is not None:
                    self.transport.close()

    def _peer(self) -> steps.Connect:
        peer: Any = self.session.peer if self.session else None
        return steps.Connect(peer[0], _name_of(peer[0]), peer[1]) if peer else steps.Connect("")

    async def _take(self, step: steps.Step) -> Reply | None:
        self._session, outcome = await play_async(take_step(self._session, step), self._channels)
        self.box.report(self, outcome)
        return outcome.reply

    # ------------------------------------------------------------------ what aiosmtpd asks about
    async def handle_EHLO(  # noqa: N802  # the name that aiosmtpd looks for
        self, server: SMTP, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        """EHLO."""
        session.host_name = hostname
        reply = await self._take(steps.Ehlo(hostname))
        return responses if reply is None or not reply.is_refusal else [str(reply)]

    async def handle_HELO(self, server: SMTP, session: Any, envelope: Any, hostname: str) -> str:  # noqa: N802
        """HELO."""
        session.host_name = hostname
        return str(await self._take(steps.Ehlo(hostname, "HELO")))

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """MAIL FROM."""
        reply = await self._take(steps.Mail(address or "", Parameters.parse(options)))
        if reply is not None and not reply.is_refusal:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return str(reply)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """RCPT TO."""
        reply = await self._take(steps.Rcpt(address, Parameters.parse(options)))
        if reply is not None and not reply.is_refusal:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return str(reply)

    async def handle_RSET(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        """RSET."""
        return str(await self._take(steps.Rset()))

    async def handle_QUIT(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        """QUIT."""
        return str(await self._take(steps.Quit()))

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        """DATA: the milters are asked before 354 is said."""
        if self.envelope is None or not self.envelope.rcpt_tos or arg:
            await super().smtp_DATA(arg)
            return
        self._session, refusal = await play_async(ask_data(self._session), self._channels)
        if refusal is None:
            await super().smtp_DATA(arg)
            return
        self.box.report(self, Outcome(steps.Data(b""), refusal, self._session.heard))
        self._set_post_data_state()  # type: ignore[no-untyped-call]  # aiosmtpd's
        await self.push(str(refusal))

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        """The message after 354."""
        content: bytes = envelope.original_content
        played = await play_async(take_content(self._session, content), self._channels)
        self._session, reply, mail = played
        outcome = Outcome(
            steps.Data(content),
            reply,
            self._session.heard,
            mail,
            self._session.is_discarded,
            self._session.failures,
        )
        if mail is not None:
            try:
                self.box.report(self, f"stored {self.box.store.add(mail)}")
            except OSError as error:
                self.box.report(self, f"cannot store: {error}")
                return "451 4.3.0 Cannot store the message"
        self.box.report(self, outcome)
        return str(reply)

    async def _unknown(self, command: str, arg: str | None) -> None:
        line = f"{command} {arg}" if arg else command
        await self.push(str(await self._take(steps.Command(line))))


class _Methods(dict[str, Any]):
    """aiosmtpd's table of commands; one that it does not have goes to the milters."""

    def __init__(self, known: dict[str, Any], unknown: Callable[..., Any]) -> None:
        super().__init__(known)
        self._unknown = unknown

    def get(self, command: str, default: Any = None) -> Any:
        return super().get(command) or functools.partial(self._unknown, command)


class LateChannel(AsyncChannel):
    """A channel whose milter may be away: that shows when it is first asked, not before."""

    _away: MilterFailedError | None = None

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except MilterFailedError as failure:
            self._away = failure
            return self

    async def carry_out(self, exchange: Any) -> Any:
        if self._away is not None:
            raise self._away
        return await super().carry_out(exchange)


def _name_of(address: str) -> str | None:
    return "localhost" if address in ("127.0.0.1", "::1") else None


class Box:
    """The server; an async context manager that listens while it is entered.

    ``address`` is where (a port, or ``inet:PORT@HOST``), ``milters`` whom to ask, in order, ``store``
    where mail goes. ``report`` is told of every step.
    """

    def __init__(
        self,
        address: str | int,
        milters: Sequence[str | int],
        store: Store,
        *,
        profile: Profile | None = None,
        timeouts: Timeouts | None = None,
        report: Report = lambda dialogue, what: None,
    ) -> None:
        self._where = parse_address(address)
        self.milters: list[Address] = [parse_address(one) for one in milters]
        self.store = store
        self.profile = profile or Postfix(host="box.example")
        self.timeouts = timeouts or Timeouts()
        self.report = report

    async def __aenter__(self) -> Self:
        sock = listen(self._where)
        self.address = bound_address(self._where, sock)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Dialogue(self), sock=sock)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()
