"""What any MTA at a milter's side has, as `demyjpy.mta.smtp` asks for it; no MTA in particular."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, TypeAlias

from attrs import field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Verdict
from demyjpy.errors import LocalProtocolError
from demyjpy.mta import client_steps
from demyjpy.mta.edits import MailEditor
from demyjpy.mta.milter_packets import MilterFailedError, Strictness
from demyjpy.mta.stored_mail import StoredField, StoredMail, StoredMessage
from demyjpy.wire.codes import ActionFlag, ProtocolFlag, Stage

DefaultAction: TypeAlias = Literal["accept", "tempfail", "reject", "shutdown", "quarantine"]

AnyVerdict: TypeAlias = Verdict | act.Shutdown

OwnMacros: TypeAlias = dict[str, str | None]
"""Values by bare name; a macro with None has no value."""

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

CLIENT: Final = ("connect", "hello")
"""The events about the client, before any message."""

CONTENT: Final = frozenset({"header", "end_of_headers", "body", "end_of_message"})
"""The events of a message's content, in which Postfix's cleanup(8) takes the place of smtpd(8)."""


@frozen
class Reply:
    """A reply to the SMTP client; LF is between lines."""

    code: int
    text: str

    @property
    def is_refusal(self) -> bool:
        """Whether it is a 4xx or 5xx."""
        return self.code >= 400

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@frozen(kw_only=True)
class Origin:
    """What an MTA's own fields say about where a message came from: RFC 5321, section 4.4.

    ``greeting`` is what the client said at HELO, or None; ``peer`` the client as the MTA knows it,
    ``""`` for mail that came without SMTP; ``recipient`` is the only one that was given, as it was
    given, or None.
    """

    greeting: str | None
    peer: str
    queue_id: str
    is_esmtp: bool = True
    is_utf8: bool = False
    recipient: str | None = None


@frozen(kw_only=True)
class Consequence:
    """What follows from an answer, for the milter that gave it, the message and the client.

    ``reply``: the client gets this refusal. ``changes``: what the MTA knows from now on about this
    milter (attributes of `demyjpy.mta.smtp_session.Side`). ``drops``: the message is discarded.
    ``closes``: the connection with this milter, or those with all, are closed, with QUIT if
    ``says_quit``. ``bars``: the reply is also the one to later MAIL commands, or to all commands of a
    transaction.
    """

    reply: Reply | None = None
    changes: Mapping[str, Any] = field(factory=dict)
    drops: bool = False
    closes: Literal["none", "this", "all"] = "none"
    says_quit: bool = True
    bars: Literal["nothing", "mail", "transaction"] = "nothing"


@frozen(kw_only=True)
class Habits:
    """How an MTA speaks with its milters. What is not so is the other MTA's way.

    ``joins_macros``: macros and their event leave in one write (Postfix, milter8.c, milter8_event()).
    ``opens_all_first``: it negotiates with all milters before the first hears of the client (Sendmail,
    milter.c, milter_init()).
    ``stops_at_discard``: one milter's DISCARD spares the others this event (Sendmail, srvrsmtp.c).
    ``renews_skipping``: SKIP is forgotten when another event is said (Postfix, milter8_event()).
    ``aborts_always``: ABORT is said at the end of each transaction and session, also outside of a
    message (Postfix, smtpd.c, milter_abort()).
    ``resets_before_hello``: EHLO ends an open message before the milters hear of it (Sendmail).
    ``queues_at_mail``: the queue id is there at MAIL, not after the first recipient (Sendmail).
    ``hides_rule_refusals``: no milter hears of a recipient that an access rule refuses (Sendmail).
    ``counts_refused``: refused recipients count in "for" of its Received, too (Sendmail).
    ``ends_with_message``: a milter that has seen a message hears nothing, not even unknown commands,
    until the next one begins (Sendmail, MILTER_CHECK_DONE_MSG).
    ``fails_late``: a bogus packet at a command counts from the next command on (Sendmail, 14.2 in the
    protocol file).
    ``hands_over_content``: another process, cleanup(8), speaks with the milters about the content; its
    buffer and its errors are its own (Postfix, cleanup_milter.c).
    ``stops_at_quarantine``: milters behind one that quarantines a message do not see its content, and
    those behind one that cannot be asked are not asked if mail is quarantined without it (Postfix,
    milter.c, milter_message(): each answer but "continue" ends the loop).
    ``holds_at_end``: a quarantine is done at the end, not when it is read (Postfix, cleanup_milter.c).
    ``acts_local_sessions``: cleanup(8) acts a session for mail that came without SMTP (Postfix,
    cleanup_milter_emul_mail()).
    """

    joins_macros: bool = False
    opens_all_first: bool = False
    stops_at_discard: bool = False
    renews_skipping: bool = False
    aborts_always: bool = False
    resets_before_hello: bool = False
    queues_at_mail: bool = False
    hides_rule_refusals: bool = False
    counts_refused: bool = False
    ends_with_message: bool = False
    fails_late: bool = False
    hands_over_content: bool = False
    stops_at_quarantine: bool = False
    holds_at_end: bool = False
    acts_local_sessions: bool = False


@frozen(kw_only=True)
class Profile(MailEditor, ABC):
    """An MTA at a milter's side. `Postfix` and `Sendmail` fill in what differs; a third is such a file.

    ``host`` is its own name, ``offer`` what it offers in negotiation (if not given, what its ``release``
    did), ``default_action`` what it does
    without its milter (``milter_default_action``, ``F=``), ``next_hop`` where it sends mail.
    ``recipient_limit`` is how many recipients of a message it takes.
    """

    habits: ClassVar[Habits]
    texts: ClassVar[Mapping[str, tuple[int, str]]]
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
    def default_verdict(self) -> Verdict:
        """What it takes for the verdict of a milter that cannot be asked, if mail does not pass."""
        refusals: dict[str, Verdict] = {
            "reject": act.Reject(),
            "shutdown": act.ReplyCode(421, "4.7.0", f"{self.host} closing connection"),
        }
        return refusals.get(self.default_action, act.TemporaryFailure())

    @property
    def passes_unseen(self) -> bool:
        """Whether mail passes without a milter that cannot be asked, if only into quarantine."""
        return self.default_action in ("accept", "quarantine")

    @property
    def tells_whole_command(self) -> bool:
        """Whether milters get more of an unknown command than its first word."""
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

    def client_macros(self, connect: ev.Connect, event: ev.Event, message_id: str) -> OwnMacros:
        """Macros that depend on the client or the event, in this MTA only."""
        return {}

    def stage_of(self, name: str) -> str:
        """The event whose macro list is sent with an event."""
        return name

    @abstractmethod
    def sends_macros_alone(self, name: str, is_declined: bool) -> bool:
        """Whether macros are sent without their event; ``is_declined``: the filter did not want it."""

    @abstractmethod
    def chosen_macros(
        self, own: tuple[str, ...] | None, stage: Stage, asked: Mapping[int, tuple[str, ...]]
    ) -> tuple[str, ...] | None:
        """The macros to send at a stage: its own list, or what the filter asked for; None: no packet."""

    @abstractmethod
    def connect_event(self, client: client_steps.Connect) -> ev.Connect:
        """What it sends of a client."""

    def nameless(self, address: str) -> str:
        """A client without a verified name, as the macro ``_`` and Received have it."""
        return f"[{address}]"

    def says(self, what: str, **values: str) -> Reply:
        """Its own reply to something, with values filled in."""
        code, text = self.texts[what]
        own = {"host": self.host, "release": self.release, "date": self.date()}
        return Reply(code, text.format(**own, **values))

    @abstractmethod
    def refusal(self, verdict: AnyVerdict, name: str, address: str = "") -> Reply:
        """The reply that a refusing verdict becomes at an event; ``address`` as the client wrote it."""

    @abstractmethod
    def consequence(self, verdict: AnyVerdict, name: str, address: str = "") -> Consequence:
        """What follows from a verdict at an event (protocol file, sections 8.4 to 8.6)."""

    @abstractmethod
    def failure(self, error: MilterFailedError, name: str, address: str = "") -> Consequence:
        """What follows at an event if a milter cannot be used; no reply if mail passes without it."""

    def refused_sender(self, step: client_steps.Mail) -> Reply | None:
        """The reply to a sender that it takes in no case."""
        return None

    def refused_text(self, text: str) -> str:
        """Its own refusal of a recipient, as the macro ``{rcpt_addr}`` has it."""
        return text

    def refused_content(self, content: bytes) -> Reply | None:
        """The reply to a message that it takes in no case."""
        return None

    @abstractmethod
    def take_in(
        self, content: bytes, sender: str, queue_id: str, client: client_steps.Connect
    ) -> StoredMessage:
        """A message as it takes it in, and as milters see it."""

    def received(self, origin: Origin, by: str, utf8_protocol: str) -> StoredField:
        """Its Received field; ``by`` is the MTA in it, ``utf8_protocol`` its word for SMTPUTF8."""
        protocol = utf8_protocol if origin.is_utf8 else "ESMTP" if origin.is_esmtp else "SMTP"
        client = f"{origin.greeting or origin.peer.partition(' ')[0]} ({origin.peer})"
        end = f"\n\tfor {origin.recipient}; " if origin.recipient else ";\n\t"
        text = f" from {client}\n\t{by} with {protocol} id {origin.queue_id}{end}{self.date()}"
        return StoredField("Received", text, owner="mta")

    @abstractmethod
    def own_fields(self, origin: Origin) -> tuple[StoredField, ...]:
        """The header fields that it puts on top of a message, seen by no milter."""

    def deliver(self, mail: StoredMail) -> StoredMail:
        """The mail as it passes it on."""
        return mail
