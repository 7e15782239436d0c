"""What any MTA at a milter's side has, as `demyjpy.mta.smtp` asks for it; no MTA in particular."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from attrs import frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification, Verdict
from demyjpy.errors import LocalProtocolError
from demyjpy.mta import client_steps
from demyjpy.mta.milter_packets import MilterFailedError, Strictness
from demyjpy.mta.stored_mail import Envelope, StoredField, StoredMail, StoredMessage
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.fields import Parameters

DefaultAction: TypeAlias = Literal["accept", "tempfail", "reject", "shutdown", "quarantine"]

Offers: TypeAlias = tuple[tuple[tuple[int, ...], ev.Options], ...]
"""What releases offer: the first of them, as numbers, and the offer; in their order."""

OFFER: Final = ev.Options(6, ActionFlag(0x1FF), ProtocolFlag(0x1FFFFF))
"""What Sendmail from 8.14.1 and Postfix from 2.6 offer."""


def offer_of(offers: Offers, release: str) -> ev.Options:
    """What a release offers: the entry of the last one that is not later.

    `LocalProtocolError` for what is no release, and for one before milters.
    """
    try:
        wanted = tuple(int(part) for part in release.split("."))
        return [offer for first, offer in offers if first <= wanted][-1]
    except (ValueError, IndexError):
        oldest = ".".join(map(str, offers[0][0]))
        raise LocalProtocolError(
            f"expected a release such as {oldest} or later, got {release!r}; offer= says what others do"
        ) from None


DATE: Final = "Thu, 1 Jan 2026 00:00:00 +0000"
"""The date that the models write: a session gives the same bytes whenever it is played."""

CONTENT: Final = frozenset({"header", "end_of_headers", "body", "end_of_message"})
"""The events of a message's content, in which Postfix's cleanup(8) takes the place of smtpd(8)."""


@frozen
class Reply:
    """What the SMTP client is told; several lines are apart by LF."""

    code: int
    text: str

    @property
    def is_refusal(self) -> bool:
        """Whether it is a 4xx or 5xx."""
        return self.code >= 400

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@frozen(kw_only=True)
class Trace:
    """Of what an MTA's own Received tells: RFC 5321, section 4.4.

    ``client`` is ``HELO (NAME [ADDRESS])``, ``""`` for mail that came without SMTP; ``recipient`` is the
    only one that was given, as it was given, or None.
    """

    client: str
    queue_id: str
    is_esmtp: bool = True
    is_utf8: bool = False
    recipient: str | None = None


@frozen(kw_only=True)
class Profile(ABC):
    """An MTA at a milter's side. `Postfix` and `Sendmail` fill in what differs.

    ``host`` is its own name, ``offer`` what it offers in negotiation (if not given, what its ``release``
    did), ``default_action`` what it does
    without its milter (``milter_default_action``, ``F=``), ``next_hop`` where it sends mail.
    ``recipient_limit`` is how many recipients of a message it takes.
    """

    name: str
    release: str
    host: str
    macros: Mapping[str, tuple[str, ...]]
    strictness: Strictness
    offer: ev.Options
    default_action: DefaultAction = "tempfail"
    next_hop: str = "[192.0.2.25]"
    recipient_limit: int | None = None

    @property
    def is_postfix(self) -> bool:
        """Whether ABORT is said at the end of every transaction, among other habits."""
        return self.name == "postfix"

    @property
    def default_verdict(self) -> Verdict:
        """What it takes for the verdict of a milter that cannot be asked, where mail does not pass."""
        match self.default_action:
            case "reject":
                return act.Reject()
            case "shutdown":
                return act.ReplyCode(421, "4.7.0", f"{self.host} closing connection")
            case _:
                return act.TemporaryFailure()

    @property
    def passes_unseen(self) -> bool:
        """Whether mail passes without a milter that cannot be asked, if only into quarantine."""
        return self.default_action in ("accept", "quarantine")

    @property
    def tells_whole_command(self) -> bool:
        """Whether of an unknown command more than its first word is told."""
        return True

    def folded(self, address: str) -> str:
        """An address as macros have it."""
        return address

    def date(self) -> str:
        """The date that it writes into header fields."""
        return DATE

    @abstractmethod
    def fixed_macros(self) -> dict[str, str]:
        """Macros that do not depend on the session, by bare name."""

    @abstractmethod
    def queue_id(self, number: int) -> str:
        """The queue id of the number-th message of a session."""

    def message_id(self, queue_id: str) -> str:
        """The Message-Id for a message without one."""
        return f"<20260101000000.{queue_id}@{self.host}>"

    @abstractmethod
    def stage_of(self, name: str) -> str | None:
        """The event whose macro list is sent with an event; None where none is sent."""

    @abstractmethod
    def sends_macros_unasked(self, name: str) -> bool:
        """Whether macros are sent for an event that the filter declined."""

    @abstractmethod
    def connect_event(self, client: client_steps.Connect) -> ev.Connect:
        """What it tells of a client."""

    @abstractmethod
    def says(self, what: str, **values: str) -> Reply:
        """Its own reply to something, with values filled in."""

    @abstractmethod
    def refusal(self, verdict: Verdict, name: str, address: str = "") -> Reply:
        """The reply that a refusing verdict becomes at an event; ``address`` as the client wrote it."""

    @abstractmethod
    def failure(self, error: MilterFailedError, name: str, address: str = "") -> Reply | None:
        """The reply at an event where a milter cannot be used; None where mail passes without it."""

    @abstractmethod
    def refused_sender(self, step: client_steps.Mail) -> Reply | None:
        """The reply to a sender that it takes in no case."""

    def refused_text(self, text: str) -> str:
        """Its own refusal of a recipient, as the macro ``{rcpt_addr}`` has it."""
        return text

    @abstractmethod
    def refused_content(self, content: bytes) -> Reply | None:
        """The reply to a message that it takes in no case."""

    @abstractmethod
    def take_in(
        self, content: bytes, sender: str, queue_id: str, client: client_steps.Connect
    ) -> StoredMessage:
        """A message as it takes it in, and as milters see it."""

    @abstractmethod
    def address(self, given: str) -> str:
        """An address as it knows it, of what a client gave."""

    @abstractmethod
    def admit(self, envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
        """The envelope with a recipient whom it takes."""

    @abstractmethod
    def own_fields(self, trace: Trace, message: StoredMessage) -> tuple[StoredField, ...]:
        """The header fields that it puts on top of a message, seen by no milter."""

    @abstractmethod
    def edit(self, mail: StoredMail, edits: Iterable[Modification]) -> StoredMail:
        """The mail after a milter's edits."""

    @abstractmethod
    def deliver(self, mail: StoredMail) -> StoredMail:
        """The mail as it passes it on."""
