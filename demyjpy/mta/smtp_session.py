"""An SMTP session as an MTA with milters knows it: values, and what is yielded to a driver."""

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from attrs import evolve, field, frozen
from pyrsistent import PVector, pvector

from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import MAX_ANSWER, Answer, MilterLink
from demyjpy.mta.milter_packets import MilterFailedError
from demyjpy.mta.profile import Profile, Reply
from demyjpy.mta.stored_mail import Envelope, StoredMail

T = TypeVar("T")


@frozen
class Exchange:
    """For a driver: write these to a milter, each at once; read until its answer is complete.

    ``link.event`` is the event whose answer is awaited, or None if there is none. ``closes``: close
    the connection afterwards.
    """

    milter: int
    writes: tuple[bytes, ...]
    link: MilterLink
    closes: bool = False


CarriedOut: TypeAlias = tuple[MilterLink, Answer | None] | MilterFailedError
"""What came of an exchange: the link and the answer if one was awaited, or why there is none."""

Talk: TypeAlias = Generator[Exchange, CarriedOut, T]
"""Asks a driver for exchanges with milters, and returns something in the end."""


@frozen
class Side:
    """One milter of a session.

    ``is_off``: its connection is closed. ``is_deaf``: nothing more is said to it but QUIT
    (Sendmail's way with SKIP). ``is_silent``: nothing more about this message. ``is_done``: nothing
    more until the next message (or HELO), not even unknown commands (Sendmail). ``in_message``: it
    has got the beginning of a message, and not yet its end. ``skips`` are events that it has enough
    of. ``refusal`` is what Postfix answers to every command since this milter refused the client.
    """

    link: MilterLink
    is_off: bool = False
    is_deaf: bool = False
    is_silent: bool = False
    is_done: bool = False
    in_message: bool = False
    skips: frozenset[str] = frozenset()
    refusal: Reply | None = None
    failure: MilterFailedError | None = None

    @property
    def is_new(self) -> bool:
        """Whether there was no negotiation."""
        return self.link.agreement is None and self.failure is None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection on which something can be said."""
        is_connected = self.link.agreement is not None
        return is_connected and not self.is_off and self.failure is None


@frozen
class Heard:
    """What one milter answered to one event."""

    milter: int
    event: str
    answer: Answer


@frozen
class Failed:
    """Why one milter cannot be used any more."""

    milter: int
    error: MilterFailedError


@frozen
class Outcome:
    """What came of a step: the reply, who answered what or failed, and the mail that would be delivered.

    ``interim`` is the reply 354 to DATA, if it was given.
    """

    step: client_steps.ClientStep
    reply: Reply | None
    heard: tuple[Heard, ...] = ()
    mail: StoredMail | None = None
    is_discarded: bool = False
    failed: tuple[Failed, ...] = ()
    interim: Reply | None = None

    @property
    def failures(self) -> tuple[MilterFailedError, ...]:
        """Why milters failed."""
        return tuple(one.error for one in self.failed)


@frozen
class SmtpSession:
    """All that an MTA knows about one SMTP session.

    ``refusal`` is what Sendmail answers since a milter refused the client: to MAIL, or if
    ``refuses_all`` to every command of a transaction. ``given`` are the recipients of the transaction as
    the client wrote them, as far as its Received counts them: Postfix those taken, Sendmail all.
    ``new_sender`` is the sender of the transaction, with brackets, if a milter has changed it.
    """

    profile: Profile
    sides: tuple[Side, ...]
    client: client_steps.Connect = client_steps.Connect()
    helo: str | None = None
    is_esmtp: bool = False
    tls: tuple[tuple[str, str], ...] = ()
    auth: tuple[tuple[str, str], ...] = ()
    refusal: Reply | None = None
    refuses_all: bool = False
    is_closed: bool = False
    envelope: Envelope | None = None
    given: tuple[str, ...] = ()
    new_sender: str = ""
    is_queued: bool = False
    is_discarded: bool = False
    messages: int = 0
    message_id: str = ""
    heard: PVector[Heard] = field(factory=pvector, repr=False)  # a message has as many as header fields
    failed: tuple[Failed, ...] = ()

    @property
    def queue_id(self) -> str:
        """The queue id of the message that is on its way, or was the last."""
        return self.profile.queue_id(self.messages)

    @property
    def is_local(self) -> bool:
        """Whether mail is handed in by a program on the same machine, without a client."""
        return not self.client.address

    @property
    def is_acted(self) -> bool:
        """Whether the MTA acts the session for mail that came without SMTP."""
        return self.is_local and self.profile.habits.acts_local_sessions


def new_session(profile: Profile, milters: int = 1, *, max_answer: int = MAX_ANSWER) -> SmtpSession:
    """A session that has not begun, with milters; ``max_answer``: the bytes of each answer."""
    link = MilterLink(profile.offer, profile.strictness, max_answer=max_answer)
    return SmtpSession(profile, tuple(Side(link) for _ in range(milters)))


def with_side(session: SmtpSession, number: int, side: Side) -> SmtpSession:
    """The session after a change in one of its milters."""
    sides = session.sides
    return evolve(session, sides=(*sides[:number], side, *sides[number + 1 :]))
