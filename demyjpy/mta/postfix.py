"""Postfix at a milter's side: its macros, replies, and what it makes of a message.

Facts are those of the protocol file, sections 8 to 15, of Postfix's manuals (milter(5), postconf(5),
cleanup(8)), and of Postfix 3.7.11 itself, asked by ``tests/model``.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import ClassVar, Final

from attrs import Factory, evolve, field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.mta import client_steps
from demyjpy.mta.edits import Fields, NewField, only, spliced
from demyjpy.mta.milter_packets import MilterFailedError, Strictness
from demyjpy.mta.profile import (
    CLIENT,
    CONTENT,
    OFFER,
    AnyVerdict,
    Consequence,
    Habits,
    Offers,
    Origin,
    Profile,
    Reply,
    offer_of,
)
from demyjpy.mta.stored_mail import Envelope, StoredField, StoredMessage, cut_header
from demyjpy.texts import bare_address
from demyjpy.wire.codes import ActionFlag, ProtocolFlag, Stage
from demyjpy.wire.fields import Parameters, encode_text

_OFFERS: Final[Offers] = (
    ((2, 3), ev.Options(2, ActionFlag(0x3F), ProtocolFlag(0x7F))),
    ((2, 6), OFFER),  # before, its default milter_protocol was 2
)

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

_TEXTS: Final[Mapping[str, tuple[int, str]]] = {
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
_HEADER_LIMIT: Final = 60_000  # bytes of a field: what it lowers header_size_limit to with milters
_DOT_ATOM: Final = re.compile(
    r"[^\s\0-\x1f\x7f\"(),:;<>@\[\]\\.]+(?:\.[^\s\0-\x1f\x7f\"(),:;<>@\[\]\\.]+)*"
)
_LOCAL: Final = frozenset({"", "127.0.0.1", "::1"})


@frozen(kw_only=True)
class Postfix(Profile):
    """Postfix; ``release`` decides what it offers, and sends of unknown commands (3.7.11 was measured).

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

    habits: ClassVar[Habits] = Habits(
        joins_macros=True,
        renews_skipping=True,
        aborts_always=True,
        hands_over_content=True,
        stops_at_quarantine=True,
        holds_at_end=True,
        acts_local_sessions=True,
    )
    texts: ClassVar[Mapping[str, tuple[int, str]]] = _TEXTS

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

    def stage_of(self, name: str) -> str:
        return {"header": "end_of_headers", "body": "end_of_message"}.get(name, name)

    def sends_macros_alone(self, name: str, is_declined: bool) -> bool:
        return is_declined and name in ("connect", "hello", "mail", "recipient", "data", "unknown")

    def chosen_macros(
        self, own: tuple[str, ...] | None, stage: Stage, asked: Mapping[int, tuple[str, ...]]
    ) -> tuple[str, ...] | None:
        return asked.get(stage) or own

    def nameless(self, address: str) -> str:
        return f"unknown [{address}]"

    def connect_event(self, client: client_steps.Connect) -> ev.Connect:
        if not client.address:  # cleanup(8) acts a session
            return ev.Connect("localhost", "4", ip_address("127.0.0.1"), 0)
        address = ip_address(client.address)
        return ev.Connect(client.name or f"[{address}]", str(address.version), address, client.port)

    @property
    def tells_whole_command(self) -> bool:
        """Whether milters get all of an unknown command: since the fix of 2023-03-10, so from 3.8 on."""
        first, second = (int(part) for part in self.release.split(".")[:2])
        return (first, second) >= (3, 8)

    def folded(self, address: str) -> str:
        return address.casefold()

    def refusal(self, verdict: AnyVerdict, name: str, address: str = "") -> Reply:
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

    def consequence(self, verdict: AnyVerdict, name: str, address: str = "") -> Consequence:
        is_of_client = name in CLIENT
        match verdict:
            case act.Skip():
                return Consequence(changes={"skips": frozenset({name})})
            case act.Shutdown() if name in CONTENT:
                return Consequence(drops=True)  # cleanup(8) says that it is queued, and it is lost
            case act.Shutdown():
                return _left(self.says("shutdown"))
            case act.Discard():
                return Consequence(drops=not is_of_client)  # of a client it only warns
            case act.Accept():
                return _left(None) if is_of_client else Consequence(changes={"is_silent": True})
            case act.Continue():
                return Consequence()
        reply = self.refusal(verdict, name, address)
        return _left(reply) if is_of_client else Consequence(reply=reply)

    def failure(self, error: MilterFailedError, name: str, address: str = "") -> Consequence:
        if self.passes_unseen:
            return Consequence()
        is_misuse = error.kind == "misuse"
        if self.default_action == "reject" and not is_misuse:
            return Consequence(reply=Reply(550, "5.5.0 Service unavailable"))
        code = 421 if self.default_action == "shutdown" else 451
        return Consequence(reply=Reply(code, _MISUSED if is_misuse else _UNAVAILABLE))

    def refused_text(self, text: str) -> str:
        return f"Recipient address rejected: {text}"

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
        cut = tuple(cut_header(one, _HEADER_LIMIT) for one in message.fields)
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

    def own_fields(self, origin: Origin) -> tuple[StoredField, ...]:
        by = f"by {self.host} (Postfix)"
        if not origin.peer:  # pickup(8), when a user called sendmail(1)
            text = f" {by[:-1]}, from userid 0)\n\tid {origin.queue_id}; {self.date()}"
            return (StoredField("Received", text, owner="mta"),)
        recipient = origin.recipient and f"<{self.address(origin.recipient)}>"
        return (self.received(evolve(origin, recipient=recipient), by, "UTF8SMTP"),)

    def new_field(self, edit: NewField) -> StoredField:
        return cut_header(super().new_field(edit), _HEADER_LIMIT)

    def with_field(self, fields: Fields, edit: NewField) -> Fields:
        return (*fields, self.new_field(edit))

    def without_field(self, fields: Fields, at: int) -> Fields:
        return spliced(fields, at, instead=1)

    def changed(self, fields: Fields, at: int, edit: act.ChangeHeader) -> Fields:
        return spliced(fields, at, self.new_field(edit), instead=1)

    def address(self, given: str) -> str:
        """Without brackets and source route, and with quotes only if they are needed.

        That is tok822_internalize() and quote_821_local().
        """
        local, at, domain = bare_address(given).rpartition("@")
        if not at:
            return domain
        if local[:1] == local[-1:] == '"' and len(local) > 1:
            local = re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)
        if not _DOT_ATOM.fullmatch(local):
            local = '"{}"'.format(re.sub(r'(["\\])', r"\\\1", local))
        return f"{local}@{domain.removesuffix('.')}"

    def admit(self, envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
        """Once, whatever its case (been_here()). Its first form, kept as ORCPT, distinguishes two."""
        address = self.address(given)
        if address != given and "ORCPT" not in parameters:
            parameters = Parameters((*parameters.words, ("ORCPT", f"rfc822;{_xtext(given)}")))
        key = _key(address, parameters)
        if any(one[0].lower() == key[0] and _key(*one) == key for one in envelope.recipients):
            return envelope
        return evolve(envelope, recipients=(*envelope.recipients, (address, parameters)))

    def with_recipient(self, envelope: Envelope, edit: act.AddRecipient) -> Envelope:
        """Once, but also if a client gave it."""
        address, known = self.address(edit.address), only(edit.parameters, "NOTIFY", "ORCPT")
        key = _key(address, known)
        if key in envelope.added:
            return envelope
        recipients = (*envelope.recipients, (address, known))
        return evolve(envelope, recipients=recipients, added=envelope.added | {key})

    def without_recipient(self, envelope: Envelope, address: str) -> Envelope:
        """It can be added again then."""
        gone = self.address(address)
        left = tuple(one for one in envelope.recipients if one[0] != gone)
        added = frozenset(key for key in envelope.added if key[0] != gone.lower())
        return evolve(envelope, recipients=left, added=added)

    def with_sender(self, envelope: Envelope, edit: act.ChangeSender) -> Envelope:
        known = only(edit.parameters, "RET", "ENVID")
        return evolve(envelope, sender=self.address(edit.address), parameters=known)


def _left(reply: Reply | None) -> Consequence:
    """It closes the connection without QUIT, and says this to each command from now on."""
    return Consequence(reply=reply, changes={"refusal": reply}, closes="this", says_quit=False)


def _key(address: str, parameters: Parameters) -> tuple[str, ...]:
    original = parameters.get("ORCPT") or ""
    return address.lower(), original.lower(), parameters.get("NOTIFY") or ""


def _xtext(text: str) -> str:
    """RFC 3461: ``+XX`` for what is not printable ASCII, ``+`` or ``=``."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b"+=" else f"+{byte:02X}"
        for byte in encode_text(text)
    )
