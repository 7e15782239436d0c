"""What distinguishes Postfix from Sendmail at a milter's side, as data and small functions.

One class for each, with its versions and settings as fields: macros and their values, the replies that
verdicts become, which events follow which. How edits are applied is `demyjpy.mta.message`'s. Facts are
those of the protocol file, sections 8 to 15, and of the MTAs' own manuals.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification, Verdict
from demyjpy.mta.link import Strictness
from demyjpy.mta.message import (
    SENDMAIL_DEFAULTS,
    Field,
    Mail,
    Message,
    postfix_edit,
    sendmail_edit,
)
from demyjpy.wire.codes import ActionFlag, ProtocolFlag

DefaultAction: TypeAlias = Literal["accept", "tempfail", "reject"]

OFFER: Final = ev.Options(6, ActionFlag(0x1FF), ProtocolFlag(0x1FFFFF))
"""What Sendmail from 8.14.1 and Postfix from 2.6 offer."""

_POSTFIX_MACROS: Final[Mapping[str, tuple[str, ...]]] = {
    "connect": ("j", "{daemon_name}", "{daemon_addr}", "v", "_"),
    "hello": ("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
    "mail": (
        "i",
        "{auth_type}",
        "{auth_authen}",
        "{auth_author}",
        "{mail_addr}",
        "{mail_host}",
        "{mail_mailer}",
    ),
    "recipient": ("i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    "data": ("i",),
    "end_of_headers": ("i",),
    "end_of_message": ("i",),
    "unknown": (),
}
_SENDMAIL_MACROS: Final[Mapping[str, tuple[str, ...]]] = {
    "connect": ("j", "_", "{daemon_name}", "{if_name}", "{if_addr}"),
    "hello": ("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}"),
    "mail": (
        "i",
        "{auth_type}",
        "{auth_authen}",
        "{auth_ssf}",
        "{auth_author}",
        "{mail_mailer}",
        "{mail_host}",
        "{mail_addr}",
    ),
    "recipient": ("{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}"),
    "end_of_message": ("{msg_id}",),
}


_CONNECTION_STAGES: Final = ("connect", "hello")
_CONTENT: Final = ("header", "end_of_headers", "body", "end_of_message")


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
class Profile:
    """An MTA at a milter's side. `Postfix` and `Sendmail` fill in what differs.

    ``host`` is its own name, ``offer`` what it offers in negotiation, ``default_action`` what it does
    without its milter (``milter_default_action``, ``F=``), ``next_hop`` where it sends mail.
    """

    name: str
    release: str
    host: str
    macros: Mapping[str, tuple[str, ...]]
    strictness: Strictness
    offer: ev.Options = OFFER
    default_action: DefaultAction = "tempfail"
    next_hop: str = "[192.0.2.25]"

    def fixed_macros(self) -> dict[str, str]:
        """Macros that do not depend on the session, by bare name."""
        raise NotImplementedError

    def queue_id(self, number: int) -> str:
        """The queue id of the number-th message of a session."""
        raise NotImplementedError

    def stage_of(self, name: str) -> str | None:
        """The event whose macro list is sent with an event; None where none is sent."""
        raise NotImplementedError

    def sends_macros_unasked(self, name: str) -> bool:
        """Whether macros are sent for an event that the filter declined."""
        raise NotImplementedError

    def refusal(self, verdict: Verdict, name: str, address: str = "") -> Reply:
        """The reply that a refusing verdict becomes at an event."""
        raise NotImplementedError

    def failure(self) -> Reply | None:
        """The reply where the milter cannot be used; None where mail passes without it."""
        raise NotImplementedError

    def edit(self, mail: Mail, edits: Iterable[Modification]) -> Mail:
        """The mail after a milter's edits."""
        raise NotImplementedError

    def own_fields(self, session: str, queue_id: str, message: Message) -> tuple[Field, ...]:
        """The header fields that it puts on top of a message, seen by no milter."""
        raise NotImplementedError

    @property
    def is_postfix(self) -> bool:
        """Whether ABORT is said at the end of every transaction, among other habits."""
        return self.name == "postfix"


def _lines(reply: act.ReplyCode) -> str:
    start = f"{reply.enhanced} " if reply.enhanced else ""
    return "\n".join(start + line for line in reply.lines)


@frozen(kw_only=True)
class Postfix(Profile):
    """Postfix; what the release changes is decided by ``release`` (3.7.11 was measured)."""

    name: str = field(default="postfix", init=False)
    release: str = "3.7.11"
    host: str = "postfix.test"
    macros: Mapping[str, tuple[str, ...]] = field(factory=lambda: _POSTFIX_MACROS)
    strictness: Strictness = Strictness(
        payloads=True,
        protocol_bits=False,
        progress_anywhere=True,
        skip_anywhere=True,
        shutdown=True,
    )

    def fixed_macros(self) -> dict[str, str]:
        return {
            "j": self.host,
            "v": f"Postfix {self.release}",
            "daemon_name": self.host,
            "daemon_addr": "127.0.0.1",
            "mail_host": self.next_hop,
            "mail_mailer": "smtp",
            "rcpt_host": self.next_hop,
            "rcpt_mailer": "smtp",
        }

    def queue_id(self, number: int) -> str:
        return f"4D3E5F{number:04X}"

    def stage_of(self, name: str) -> str | None:
        return {"header": "end_of_headers", "body": "end_of_message"}.get(name, name)

    def sends_macros_unasked(self, name: str) -> bool:
        return name in ("connect", "hello", "mail", "recipient", "data")

    def refusal(self, verdict: Verdict, name: str, address: str = "") -> Reply:
        match verdict:
            case act.ReplyCode():
                return Reply(verdict.code, _lines(verdict))
            case act.TemporaryFailure():
                return Reply(451, "4.7.1 Service unavailable - try again later")
            case _:
                return Reply(550, "5.7.1 Command rejected")

    def failure(self) -> Reply | None:
        match self.default_action:
            case "accept":
                return None
            case "reject":
                return Reply(550, "5.5.0 Service unavailable")
            case _:
                return Reply(451, "4.7.1 Service unavailable - try again later")

    def edit(self, mail: Mail, edits: Iterable[Modification]) -> Mail:
        return postfix_edit(mail, edits)

    def own_fields(self, session: str, queue_id: str, message: Message) -> tuple[Field, ...]:
        received = f" from {session}\n\tby {self.host} (Postfix) with ESMTP id {queue_id};\n\t{DATE}"
        return (Field("Received", received, owner="mta"),)


@frozen(kw_only=True)
class Sendmail(Profile):
    """Sendmail (8.17.1.9 was measured)."""

    name: str = field(default="sendmail", init=False)
    release: str = "8.17.1.9"
    host: str = "sendmail.test"
    macros: Mapping[str, tuple[str, ...]] = field(factory=lambda: _SENDMAIL_MACROS)
    strictness: Strictness = Strictness(
        payloads=False,
        protocol_bits=True,
        progress_anywhere=False,
        skip_anywhere=False,
        shutdown=False,
    )

    def fixed_macros(self) -> dict[str, str]:
        return {
            "j": self.host,
            "v": self.release,
            "daemon_name": "MTA",
            "if_name": self.host,
            "if_addr": "192.0.2.25",
            "mail_host": self.next_hop,
            "mail_mailer": "relay",
            "rcpt_host": self.next_hop,
            "rcpt_mailer": "relay",
        }

    def queue_id(self, number: int) -> str:
        return f"6AL70{number:03d}001234"

    def stage_of(self, name: str) -> str | None:
        return name if name in ("connect", "hello", "mail", "recipient", "end_of_message") else None

    def sends_macros_unasked(self, name: str) -> bool:
        return name in ("connect", "hello", "mail", "recipient")

    def refusal(self, verdict: Verdict, name: str, address: str = "") -> Reply:
        match verdict:
            case act.ReplyCode():
                shown = f"<{address}>... " if name in ("mail", "recipient") else ""
                if verdict.code in (450, 550) and shown:
                    enhanced = (
                        f"{verdict.enhanced} " if verdict.enhanced else f"{verdict.code // 100}.0.0 "
                    )
                    return Reply(verdict.code, f"{enhanced}{shown}" + "\n".join(verdict.lines))
                return Reply(verdict.code, _lines(verdict))
            case act.TemporaryFailure():
                return Reply(451, "4.3.2 Please try again later")
            case _ if name in _CONTENT:
                return Reply(554, "5.7.1 Command rejected")
            case _ if name in _CONNECTION_STAGES:
                return Reply(550, "5.0.0 Command rejected")
            case _:
                return Reply(550, "5.7.1 Command rejected")

    def failure(self) -> Reply | None:
        match self.default_action:
            case "accept":
                return None
            case "reject":
                return Reply(554, "5.7.1 Command rejected")
            case _:
                return Reply(451, "4.3.2 Please try again later")

    def edit(self, mail: Mail, edits: Iterable[Modification]) -> Mail:
        return sendmail_edit(mail, edits)

    def own_fields(self, session: str, queue_id: str, message: Message) -> tuple[Field, ...]:
        received = (
            f" from {session}\n\tby {self.host} ({self.release}/{self.release}) with ESMTP id {queue_id};"
            f"\n\t{DATE}"
        )
        values = {"Date": f" {DATE}", "From": " <unknown>", "Message-Id": f" <{queue_id}@{self.host}>"}
        defaults = (
            Field(
                name,
                values.get(name, ""),
                owner="mta",
                is_deleted=name not in values or name in message,
            )
            for name in SENDMAIL_DEFAULTS
        )
        return (Field("Received", received, owner="mta"), *defaults)


DATE: Final = "Thu, 1 Jan 2026 00:00:00 +0000"
"""The date that the models write: a session gives the same bytes whenever it is played."""
