"""Postfix at a milter's side: its macros, replies, and what it makes of a message.

Facts are those of the protocol file, sections 8 to 15, of Postfix's manuals (milter(5), postconf(5),
cleanup(8)), and of Postfix 3.7.11 itself, asked by ``tests/model``.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final

from attrs import Factory, evolve, field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification, Verdict
from demyjpy.mta import client_steps
from demyjpy.mta.edits import POSTFIX_HEADER_LIMIT, postfix_edit
from demyjpy.mta.envelope import postfix_address, postfix_admits
from demyjpy.mta.milter_packets import MilterFailedError, Strictness
from demyjpy.mta.profile import CONTENT, OFFER, Offers, Profile, Reply, Trace, offer_of
from demyjpy.mta.stored_mail import Envelope, StoredField, StoredMail, StoredMessage, cut_header
from demyjpy.wire.codes import ActionFlag, ProtocolFlag
from demyjpy.wire.fields import Parameters

_OFFERS: Final[Offers] = (
    ((2, 3), ev.Options(2, ActionFlag(0x3F), ProtocolFlag(0x7F))),
    ((2, 6), OFFER),
)
"""Its default ``milter_protocol`` was 2 before 2.6."""

_MACROS: Final[Mapping[str, tuple[str, ...]]] = {
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

_SAYS: Final[Mapping[str, tuple[int, str]]] = {
    "greeting": (220, "{host} ESMTP Postfix"),
    "greeting of refusal": (554, "{host} ESMTP not accepting connections"),
    "greeting of farewell": (421, "{host} Service unavailable - try again later"),
    "hello": (250, "{host}"),
    "starttls": (220, "2.0.0 Ready to start TLS"),
    "auth": (235, "2.7.0 Authentication successful"),
    "mail": (250, "2.1.0 Ok"),
    "recipient": (250, "2.1.5 Ok"),
    "too many recipients": (452, "4.5.3 Error: too many recipients"),
    "refused": (550, "{enhanced} {address}: Recipient address rejected: {text}"),
    "data": (354, "End data with <CR><LF>.<CR><LF>"),
    "queued": (250, "2.0.0 Ok: queued as {queue_id}"),
    "rset": (250, "2.0.0 Ok"),
    "quit": (221, "2.0.0 Bye"),
    "unknown": (500, "5.5.2 Error: command not recognized"),
    "nested": (503, "5.5.1 Error: nested MAIL command"),
    "no mail before recipient": (503, "5.5.1 Error: need MAIL command"),
    "no mail before data": (503, "5.5.1 Error: need RCPT command"),
    "no recipient": (554, "5.5.1 Error: no valid recipients"),
    "shutdown": (421, "4.7.0 Server closing connection"),
}
_MISUSED: Final = "4.3.5 Server configuration problem - try again later"
_UNAVAILABLE: Final = "4.7.1 Service unavailable - try again later"
_DROPPED: Final = ("Return-Path", "Bcc", "Resent-Bcc", "Content-Length")
_LOCAL: Final = frozenset({"", "127.0.0.1", "::1"})


@frozen(kw_only=True)
class Postfix(Profile):
    """Postfix; ``release`` decides what it offers, and tells of unknown commands (3.7.11 was measured).

    ``local_clients`` are those to whose mail it adds missing header fields
    (``local_header_rewrite_clients``).
    """

    name: str = field(default="postfix", init=False)
    release: str = "3.7.11"
    offer: ev.Options = field(
        default=Factory(lambda self: offer_of(_OFFERS, self.release), takes_self=True)
    )
    host: str = "postfix.test"
    recipient_limit: int | None = 1000  # smtpd_recipient_limit
    macros: Mapping[str, tuple[str, ...]] = field(factory=lambda: _MACROS)
    local_clients: frozenset[str] = _LOCAL
    strictness: Strictness = Strictness(
        protocol_bits=False,
        replies=True,
        routes=True,
        progress_anywhere=True,
        skip_at_end=True,
        shutdown=True,
        continuation="\t",
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
        return name in ("connect", "hello", "mail", "recipient", "data", "unknown")

    def connect_event(self, client: client_steps.Connect) -> ev.Connect:
        if not client.address:  # cleanup(8) acts a session
            return ev.Connect("localhost", "4", ip_address("127.0.0.1"), 0)
        address = ip_address(client.address)
        return ev.Connect(client.name or f"[{address}]", str(address.version), address, client.port)

    @property
    def tells_whole_command(self) -> bool:
        """Whether an unknown command is told in whole: since the fix of 2023-03-10, so from 3.8 on."""
        first, second = (int(part) for part in self.release.split(".")[:2])
        return (first, second) >= (3, 8)

    def folded(self, address: str) -> str:
        return address.casefold()

    def says(self, what: str, **values: str) -> Reply:
        code, text = _SAYS[what]
        return Reply(code, text.format(host=self.host, **values))

    def refusal(self, verdict: Verdict, name: str, address: str = "") -> Reply:
        match verdict:
            case act.ReplyCode():
                start = f"{verdict.enhanced} " if verdict.enhanced else ""
                text = "\n".join(start + line for line in verdict.lines)
                if name in CONTENT:  # smtpd(8) prints what cleanup(8) says
                    text = re.sub(r"[\0-\x09\x0b-\x1f\x7f]", " ", text)
                return Reply(verdict.code, text)
            case act.TemporaryFailure():
                return Reply(451, _UNAVAILABLE)
            case _:
                return Reply(550, "5.7.1 Command rejected")

    def failure(self, error: MilterFailedError, name: str, address: str = "") -> Reply | None:
        if self.passes_unseen:
            return None
        is_misuse = error.kind == "misuse"
        if self.default_action == "reject" and not is_misuse:
            return Reply(550, "5.5.0 Service unavailable")
        code = 421 if self.default_action == "shutdown" else 451
        return Reply(code, _MISUSED if is_misuse else _UNAVAILABLE)

    def refused_sender(self, step: client_steps.Mail) -> Reply | None:
        return None  # without SMTPUTF8 too, unless strict_smtputf8

    def refused_text(self, text: str) -> str:
        return f"Recipient address rejected: {text}"

    def refused_content(self, content: bytes) -> Reply | None:
        return None

    def take_in(
        self, content: bytes, sender: str, queue_id: str, client: client_steps.Connect
    ) -> StoredMessage:
        # it puts a space for a CR alone (see message_strip_characters and smtpd_forbid_bare_newline)
        lines = content.replace(b"\r\n", b"\n").split(b"\n")
        text = b"\n".join(line.rstrip(b"\r").replace(b"\r", b" ") for line in lines)
        if text.startswith(b"From "):
            text = b"X-Mailbox-Line: " + text
        message = StoredMessage.parse(
            text, lambda line: line.partition(b"\0")[0]
        )  # it handles C strings
        has_resent = any(one.name.lower().startswith("resent-") for one in message.fields)
        message = message.without(*_DROPPED)
        if client.address in self.local_clients:
            message = self._completed(message, sender, queue_id, "Resent-" if has_resent else "")
        cut = tuple(cut_header(one, POSTFIX_HEADER_LIMIT) for one in message.fields)
        return evolve(message, fields=cut)

    def _completed(
        self, message: StoredMessage, sender: str, queue_id: str, resent: str
    ) -> StoredMessage:
        """With the fields that a local client left out, at the end."""
        missing = {
            f"{resent}Message-Id": self.message_id(queue_id),
            f"{resent}Date": self.date(),
            f"{resent}From": sender or "MAILER-DAEMON",
        }
        added = (
            StoredField(name, f" {value}") for name, value in missing.items() if name not in message
        )
        return evolve(message, fields=(*message.fields, *added))

    def address(self, given: str) -> str:
        return postfix_address(given) if given else given

    def admit(self, envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
        return postfix_admits(envelope, given, parameters)

    def own_fields(self, trace: Trace, message: StoredMessage) -> tuple[StoredField, ...]:
        by = f"by {self.host} (Postfix)"
        if not trace.client:  # pickup(8), when a user called sendmail(1)
            text = f" {by[:-1]}, from userid 0)\n\tid {trace.queue_id}; {self.date()}"
            return (StoredField("Received", text, owner="mta"),)
        protocol = "UTF8SMTP" if trace.is_utf8 else "ESMTP" if trace.is_esmtp else "SMTP"
        text = f" from {trace.client}\n\t{by} with {protocol} id {trace.queue_id}"
        end = f"\n\tfor <{self.address(trace.recipient)}>; " if trace.recipient else ";\n\t"
        return (StoredField("Received", f"{text}{end}{self.date()}", owner="mta"),)

    def edit(self, mail: StoredMail, edits: Iterable[Modification]) -> StoredMail:
        return postfix_edit(mail, edits)

    def deliver(self, mail: StoredMail) -> StoredMail:
        return mail
