"""A case for servers and models: a dialogue with scripted milters; and the packets that cases hold."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from tests.integration.mta import DefaultAction
from tests.integration.scenario import Mta
from tests.integration.smtp import Step

Answers = Mapping[str, bytes] | None
"""Bytes for a command, by its letter, or letter and number: ``R1`` is the second RCPT. Empty: close.

None: nobody listens.
"""


def packet(letter: str, payload: bytes = b"") -> bytes:
    """A whole packet."""
    return (len(payload) + 1).to_bytes(4, "big") + letter.encode() + payload


def number(value: int) -> bytes:
    """Four bytes, network order."""
    return value.to_bytes(4, "big")


def reply(text: str) -> bytes:
    """REPLYCODE."""
    return packet("y", text.encode() + b"\0")


def negotiation(version: int = 6, actions: int = 0x1FF, protocol: int = 0x400) -> bytes:
    """The answer to the offer."""
    return packet("O", number(version) + number(actions) + number(protocol))


CONTINUE: Final = packet("c")
GONE: Final = b"(and is gone)"
"""Behind what a milter says: it closes the connection, then."""

MESSAGE: Final = (
    b"From: a@test\r\nTo: b@test\r\nSubject: s\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@c.test>\r\n\r\nbody\r\n"
)
BARE: Final = b"Subject: s\r\n\r\nbody\r\n"
MAIL: Final = "MAIL FROM:<a@test>"
RCPT: Final = "RCPT TO:<b@test>"
ONE: Final = ("EHLO c.test", MAIL, RCPT, MESSAGE, "QUIT")


@frozen
class Case:
    """One dialogue. ``answers`` has one entry a milter; what it does not say is CONTINUE.

    ``mtas`` are the servers that survive it: an ACCEPT or DISCARD at an unknown command makes the
    smtpd(8) of Postfix 3.7.11 dump core. ``default_action``: what the server does without its milter.
    """

    name: str
    answers: tuple[Answers, ...] = ({},)
    steps: tuple[Step, ...] = field(default=ONE, repr=False)
    mtas: tuple[Mta, ...] = ("postfix", "sendmail")
    default_action: DefaultAction = "tempfail"


def at_end(name: str, *packets: bytes, message: bytes = MESSAGE) -> Case:
    """What a milter says to the end of the message before it continues."""
    steps = ("EHLO c.test", MAIL, RCPT, message, "QUIT")
    return Case(f"edit: {name}", ({"E": b"".join(packets) + CONTINUE},), steps)


def seen(name: str, message: bytes, mail: str = MAIL) -> Case:
    """A message as the server takes it."""
    return Case(f"message: {name}", steps=("EHLO c.test", mail, RCPT, message, "QUIT"))


def header(letter: str, name: bytes, value: bytes, index: int | None = None) -> bytes:
    """ADDHEADER, INSHEADER or CHGHEADER."""
    place = b"" if index is None else number(index)
    return packet(letter, place + name + b"\0" + value + b"\0")
