"""What a scenario is: a filter, an SMTP conversation, and what should come of it, all of it data.

Nothing here needs a mail server. What `expected` says holds for the real servers, and so for any
model of them that is given the same `Scenario.handlers` and `Scenario.steps`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from attrs import evolve, field, frozen

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
    define_event_handlers,
    send_action,
)
from tests.integration.smtp import Delivery, Step

T = TypeVar("T")
Mta: TypeAlias = Literal["postfix", "sendmail"]
Driver: TypeAlias = Literal["asyncio", "threads"]

OWN: Final = "Received: (the server's own)"
"""Stands for the header line that the server itself puts on top."""

HEADERS: Final = (
    "From: Sender <a@test>",
    "To: b@test",
    "Subject: as sent",
    "Date: Sat, 21 Nov 2026 10:00:00 +0000",
    "Message-ID: <1@client.test>",
    "X-Three: one",
    "X-Three: two",
    "X-Three: three",
)
BODY: Final = b"first line\r\n.line with a dot\r\n\r\nlast line\r\n"

GREETING: Final = "EHLO client.test"


def message(headers: Iterable[str] = HEADERS, body: bytes = BODY) -> bytes:
    """A message as it goes over the wire: header lines, an empty line, the body."""
    lines = (line.encode("utf-8", "surrogateescape") + b"\r\n" for line in headers)
    return b"".join(lines) + b"\r\n" + body


def envelope(sender: str = "a@test", *recipients: str) -> tuple[Step, ...]:
    """MAIL and RCPT commands; parameters are written after the address: ``a@test SIZE=10``."""
    commands = [f"MAIL FROM:{_in_brackets(sender)}"]
    commands += [f"RCPT TO:{_in_brackets(recipient)}" for recipient in recipients or ("b@test",)]
    return tuple(commands)


def _in_brackets(argument: str) -> str:
    address, space, parameters = argument.partition(" ")
    return f"<{address}>{space}{parameters}"


ONE_MAIL: Final[tuple[Step, ...]] = (GREETING, *envelope(), message(), "QUIT")
ONE_MAIL_TAKEN: Final = "220 | 250 | 250 | 250 | 354 | 250 | 221"


@frozen
class PerMta(Generic[T]):
    """Something in which the two servers differ."""

    postfix: T
    sendmail: T


def _as_set(recipients: Iterable[str]) -> tuple[str, ...]:
    """In alphabetical order, for the servers promise none."""
    return tuple(sorted(recipients))


def _short(content: bytes) -> str:
    return repr(content) if len(content) < 500 else f"{content[:200]!r}... {len(content)} bytes"


@frozen
class Mail:
    """A message at the next hop, or in quarantine: then without parameters, headers and body.

    ``received`` is the line for which `OWN` stands.
    """

    sender: str = "a@test"
    recipients: tuple[str, ...] = field(default=("b@test",), converter=_as_set)
    headers: tuple[str, ...] = (OWN, *HEADERS)
    body: bytes = field(default=BODY, repr=_short)
    received: str = field(default="", eq=False, repr=False)

    @classmethod
    def from_delivery(cls, delivery: Delivery) -> "Mail":
        """What the next hop got, without what differs from one time to the next."""
        head, _, body = delivery.content.partition(b"\r\n\r\n")
        lines = re.split(r"\r\n(?![ \t])", head.decode("utf-8", "surrogateescape"))
        return cls(
            _in_order(delivery.sender),
            tuple(_in_order(_without_own_orcpt(to)) for to in delivery.recipients),
            tuple(map(_without_stamp, lines)),
            body,
            next(filter(_is_stamp, lines), ""),
        )


def _is_stamp(line: str) -> bool:
    return bool(re.match(r"Received: .*?\bby (postfix|sendmail)\.test ", line, re.DOTALL))


def _without_stamp(line: str) -> str:
    return OWN if _is_stamp(line) else line


def _without_own_orcpt(recipient: str) -> str:
    """Postfix says ``ORCPT=`` with the address itself to a next hop that knows DSN."""
    address, *parameters = recipient.split(" ")
    own = f"ORCPT=rfc822;{_xtext(address)}"
    return " ".join([address, *(word for word in parameters if word != own)])


def _xtext(text: str) -> str:
    """RFC 3461: ``+XX`` for what is not printable ASCII, ``+`` or ``=``."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b"+=" else f"+{byte:02X}"
        for byte in text.encode()
    )


def _in_order(argument: str) -> str:
    """An address with its parameters in alphabetical order."""
    address, *parameters = argument.split(" ")
    return " ".join([address, *sorted(parameters)])


@frozen
class Expected:
    """What should come of a scenario.

    ``replies`` are the banner and the replies to all steps, as far as they matter: the code, or code and
    text, word by word; lines after the first follow after LF.
    """

    replies: tuple[str, ...]
    delivered: tuple[Mail, ...]
    held: tuple[str, ...]


@frozen
class Scenario:
    """A filter, the SMTP conversation in which it takes part, and its outcome.

    ``replies`` is written in one string, with `` | `` between two replies. ``held`` are the quarantined
    messages, as ``SENDER: REASON`` (Postfix keeps no reason). ``everywhere``: worth running with each
    combination of driver and socket.
    """

    name: str
    handlers: Mapping[str, Any] = field(repr=False)
    steps: tuple[Step, ...] = field(default=ONE_MAIL, repr=False)
    replies: str | PerMta[str] = ONE_MAIL_TAKEN
    delivered: tuple[Mail, ...] | PerMta[tuple[Mail, ...]] = field(default=(Mail(),), repr=False)
    held: tuple[str, ...] | PerMta[tuple[str, ...]] = ()
    on_error: Any = "tempfail"
    client: str = "127.0.0.1"
    drivers: tuple[Driver, ...] = ("asyncio", "threads")
    everywhere: bool = False

    def expected(self, mta: Mta) -> Expected:
        """What should come of it with this server."""
        return Expected(
            tuple(_choose(self.replies, mta).split(" | ")),
            _choose(self.delivered, mta),
            _choose(self.held, mta),
        )


def _choose(value: T | PerMta[T], mta: Mta) -> T:
    if isinstance(value, PerMta):
        return value.postfix if mta == "postfix" else value.sendmail
    return value


def as_expected(actual: Iterable[str], expected: Iterable[str]) -> tuple[str, ...]:
    """The actual replies, each cut to what is expected in its place if it agrees with that."""
    wanted = tuple(expected)
    replies = tuple(actual)
    missing = ("",) * (len(replies) - len(wanted))
    return tuple(
        want if want and f"{reply} ".startswith(f"{want} ") else reply
        for reply, want in zip(replies, wanted + missing, strict=False)
    )


def ordered(mails: Iterable[Mail]) -> tuple[Mail, ...]:
    """In an order that does not depend on which was delivered first."""
    return tuple(sorted(mails, key=lambda mail: (mail.sender, mail.recipients, mail.headers)))


# ------------------------------------------------------------------------- filters and outcomes
_PERMISSIONS: Final[Mapping[type, str]] = {
    AddHeader: "add_header",
    InsertHeader: "add_header",
    ChangeHeader: "change_header",
    DeleteHeader: "change_header",
    ReplaceBody: "change_body",
    AddRecipient: "add_recipient",
    DeleteRecipient: "delete_recipient",
    ChangeSender: "change_sender",
    Quarantine: "quarantine",
}


def permissions(*actions: Any) -> set[str]:
    """What a filter must declare to ask for these actions."""
    names = {_PERMISSIONS[type(action)] for action in actions if type(action) in _PERMISSIONS}
    if any(isinstance(action, AddRecipient) and action.parameters for action in actions):
        names.add("add_recipient_par")
    return names


def at_end(*actions: Any) -> Any:
    """A filter that asks for these actions at the end of each message."""
    handlers = define_event_handlers(actions=permissions(*actions))

    @handlers.end_of_message
    def ask(event: Any, ctx: Any) -> Any:
        return send_action(ctx, *actions)

    return handlers


def with_headers(*lines: str, **changes: Any) -> Mail:
    """The usual mail with these lines at the end of its header."""
    return evolve(Mail(headers=(OWN, *HEADERS, *lines)), **changes)
