"""What the mail server in a box is set up with, what it has of an MTA, and where its mail goes."""

import itertools
import mailbox
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from email.utils import formatdate
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen, setters

from demyjpy.drivers.address import Address, parse_address
from demyjpy.mta.channel import Tap, Timeouts, untapped
from demyjpy.mta.milter_link import MAX_ANSWER
from demyjpy.mta.profiles import DefaultAction, Postfix, Profile
from demyjpy.mta.smtp_session import Outcome
from demyjpy.mta.stored_mail import StoredMail
from demyjpy.wire.fields import encode_text

HOST: Final = "box.example"
MAX_RECIPIENTS: Final = 1000  # of a message, as Postfix has it
MAX_MESSAGE: Final = 10_240_000  # bytes, as Postfix's message_size_limit

Report: TypeAlias = Callable[[int, Outcome | str], None]
"""Told of each step: the number of the session, and what came of it, or a line about the box itself."""

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


def _named(milters: Sequence[str | int] | Mapping[str, str | int]) -> dict[str, Address]:
    named = milters if isinstance(milters, Mapping) else {str(one): one for one in milters}
    return {name: parse_address(one) for name, one in named.items()}


@define(eq=False, slots=False, on_setattr=setters.NO_OP)
class BoxSettings:
    """What all sessions of a box share.

    ``address`` is where it listens (a port, or ``inet:PORT@HOST``), ``milters`` whom to ask, in order:
    addresses, or a mapping of names to addresses. ``store`` is where mail goes, ``report`` gets
    every step. ``tap`` opens, for a session's number and a milter's name, what is given all bytes
    between the two. ``max_answer`` bounds what a milter may answer to one event, in bytes: a longer
    answer is a failure. ``default_action`` is the fate of mail if a milter fails
    (``milter_default_action``). ``max_message`` is in bytes; recipients over ``max_recipients`` are
    refused for now (``smtpd_recipient_limit``). ``sessions`` are those that are open, by number.
    """

    address: Address = field(converter=parse_address)
    milters: dict[str, Address] = field(converter=_named)
    store: Store
    host: str = field(default=HOST, kw_only=True)
    default_action: DefaultAction = field(default="tempfail", kw_only=True)
    max_message: int = field(default=MAX_MESSAGE, kw_only=True)
    max_answer: int = field(default=MAX_ANSWER, kw_only=True)
    max_recipients: int = field(default=MAX_RECIPIENTS, kw_only=True)
    timeouts: Timeouts = field(factory=Timeouts, kw_only=True)
    report: Report = field(default=lambda number, what: None, kw_only=True)
    tap: Tapping = field(default=lambda number, name: nullcontext(untapped), kw_only=True)
    numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)
    sessions: dict[int, Any] = field(factory=dict, init=False)
    _ids: Iterator[int] = field(factory=lambda: itertools.count(time.time_ns() // 1000), init=False)

    def profile(self) -> Profile:
        """What one session is led by; its messages have ids that no other has, in this run or before."""
        return BoxProfile(
            host=self.host,
            default_action=self.default_action,
            recipient_limit=self.max_recipients,
            ids=cache(lambda number: f"{next(self._ids):X}"),
        )
