"""A mail server in a box: SMTP in, milters asked as Postfix would ask them, Maildir out.

For trying a filter without installing an MTA; it relays nothing. It needs aiosmtpd (the extra ``box``).
Here are the server, what it has of an MTA, and where mail goes; a client's session is
`demyjpy.mta.dialogue`'s.
"""

import asyncio
import itertools
import mailbox
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from email.utils import formatdate
from pathlib import Path
from typing import Final, Self, TypeAlias

from attrs import field, frozen

from demyjpy.drivers.accepting import ProtocolServer
from demyjpy.drivers.address import Address, listen, parse_address
from demyjpy.mta.channel import Tap, Timeouts, untapped
from demyjpy.mta.dialogue import Dialogue, Report
from demyjpy.mta.milter_link import MAX_ANSWER
from demyjpy.mta.profiles import DefaultAction, Postfix, Profile
from demyjpy.mta.stored_mail import StoredMail
from demyjpy.wire.fields import encode_text

HOST: Final = "box.example"
MAX_RECIPIENTS: Final = 1000
"""Recipients of a message, as Postfix has it."""

MAX_MESSAGE: Final = 10_240_000
"""Bytes of a message, as Postfix's ``message_size_limit``."""


Tapping: TypeAlias = Callable[[int, str], AbstractContextManager[Tap]]


class Store:
    """Where mail goes: a Maildir, with held mail in its folder ``quarantine``."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        for part in ("tmp", "new", "cur"):
            (self.path / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._box = mailbox.Maildir(self.path)

    def add(self, mail: StoredMail) -> Path:
        """Store a mail as the MTA would deliver it, with LF line ends; the file."""
        lines = [f"Return-Path: <{mail.envelope.sender}>"]
        lines += [f"Delivered-To: {address}" for address in mail.envelope.addresses]
        top = b"".join(encode_text(line) + b"\n" for line in lines)
        box, path = self._box, self.path
        if mail.quarantine is not None:
            box, path = box.add_folder("quarantine"), path / ".quarantine"
        key = box.add(top + bytes(mail.message).replace(b"\r\n", b"\n"))
        return path / "new" / key


@frozen(kw_only=True)
class BoxProfile(Postfix):
    """Postfix as it is now: with the real date, and ids from a source that all sessions share."""

    host: str = HOST
    ids: Callable[[int], str] = field(repr=False, eq=False)

    def queue_id(self, number: int) -> str:
        return self.ids(number)

    def date(self) -> str:
        return formatdate(localtime=True)

    def message_id(self, queue_id: str) -> str:
        return f"<{time.strftime('%Y%m%d%H%M%S')}.{queue_id}@{self.host}>"


class Box:
    """The server; an async context manager that listens while it is entered.

    ``address`` is where (a port, or ``inet:PORT@HOST``), ``milters`` whom to ask, in order: addresses,
    or a mapping of names to addresses. ``store`` is where mail goes, ``report`` is told of every step.
    ``tap`` opens, for a session's number and a milter's name, what is given all bytes between the two.
    ``max_answer`` bounds what a milter may answer to one event, in bytes: a longer answer is a failure.
    ``default_action`` is what becomes of mail where a milter fails (``milter_default_action``).
    ``max_message`` is in bytes; recipients over ``max_recipients`` are refused for now
    (``smtpd_recipient_limit``).
    """

    def __init__(
        self,
        address: str | int,
        milters: Sequence[str | int] | Mapping[str, str | int],
        store: Store,
        *,
        host: str = HOST,
        default_action: DefaultAction = "tempfail",
        max_message: int = MAX_MESSAGE,
        max_answer: int = MAX_ANSWER,
        max_recipients: int = MAX_RECIPIENTS,
        timeouts: Timeouts | None = None,
        report: Report = lambda number, what: None,
        tap: Tapping = lambda number, name: nullcontext(untapped),
    ) -> None:
        self._where = parse_address(address)
        named = milters if isinstance(milters, Mapping) else {str(one): one for one in milters}
        self.milters: dict[str, Address] = {name: parse_address(one) for name, one in named.items()}
        self.store = store
        self.host = host
        self.default_action: DefaultAction = default_action
        self.max_message = max_message
        self.max_answer = max_answer
        self.max_recipients = max_recipients
        self.timeouts = timeouts or Timeouts()
        self.report = report
        self.tap = tap
        self.numbers: Iterator[int] = itertools.count(1)
        self._ids = itertools.count(time.time_ns() // 1000)
        self._sessions: dict[Dialogue, None] = {}

    def new_queue_id(self) -> str:
        """A queue id that no other message has, in this run or an earlier one."""
        return f"{next(self._ids):X}"

    def profile(self, ids: Callable[[int], str]) -> Profile:
        """What one session is led by; ``ids`` gives the id of its n-th message."""
        return BoxProfile(
            host=self.host,
            default_action=self.default_action,
            recipient_limit=self.max_recipients,
            ids=ids,
        )

    def enter(self, dialogue: Dialogue) -> None:
        """Keep a session, to end it when the box is left."""
        self._sessions[dialogue] = None

    def forget(self, dialogue: Dialogue) -> None:
        """A session is over."""
        self._sessions.pop(dialogue, None)

    async def __aenter__(self) -> Self:
        self._listener = listen(self._where)
        self.address = self._listener.address
        self._server = ProtocolServer(self._listener.socket, lambda: Dialogue(self))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self._listener.close()
        await self._server.wait_connected()
        await asyncio.gather(*[dialogue.leave() for dialogue in self._sessions])
