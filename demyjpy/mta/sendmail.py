"""Sendmail at a milter's side: its macros, replies, and what it makes of a message.

Facts are those of the protocol file, sections 8 to 16, of Sendmail's Operation Guide, and of Sendmail
8.17.1.9 itself, asked by ``tests/model``.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import ClassVar, Final

from attrs import Factory, evolve, field, frozen

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification
from demyjpy.mta import client_steps
from demyjpy.mta.edits import Fields, NewField, body_of, only, spliced
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
    OwnMacros,
    Profile,
    Reply,
    offer_of,
)
from demyjpy.mta.stored_mail import (
    Envelope,
    StoredField,
    StoredMail,
    StoredMessage,
    complete_lines,
)
from demyjpy.texts import bare_address
from demyjpy.wire.codes import ActionFlag, ProtocolFlag, Stage
from demyjpy.wire.fields import Parameters, decode_text, encode_text

_OFFERS: Final[Offers] = (
    ((8, 12), ev.Options(2, ActionFlag(0x1F), ProtocolFlag(0x7F))),
    ((8, 13), ev.Options(2, ActionFlag(0x3F), ProtocolFlag(0x7F))),
    ((8, 14), ev.Options(6, ActionFlag(0xFF), ProtocolFlag(0x1FFFFF))),
    ((8, 14, 1), OFFER),  # 8.14.0 forgot to offer SETSYMLIST
)

_MACROS: Final[Mapping[str, tuple[str, ...]]] = {
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

_TEXTS: Final[Mapping[str, tuple[int, str]]] = {
    "greeting": (220, "{host} ESMTP Sendmail {release}/{release}; {date}"),
    "greeting of refusal": (554, "{host} ESMTP not accepting messages"),
    "greeting of farewell": (421, "4.7.0 {host} closing connection"),
    "hello": (250, "{host} Hello {client}, pleased to meet you"),
    "starttls": (220, "2.0.0 Ready to start TLS"),
    "auth": (235, "2.0.0 OK Authenticated"),
    "mail": (250, "2.1.0 {address}... Sender ok"),
    "recipient": (250, "2.1.5 {address}... Recipient ok"),
    "too many recipients": (452, "4.5.3 Too many recipients"),
    "refused": (550, "{enhanced} {address}... {text}"),
    "data": (354, "End data with <CR><LF>.<CR><LF>"),
    "queued": (250, "2.0.0 {queue_id} Message accepted for delivery"),
    "rset": (250, "2.0.0 Reset state"),
    "quit": (221, "2.0.0 {host} closing connection"),
    "unknown": (500, '5.5.1 Command unrecognized: "{line}"'),
    "nested": (503, "5.5.0 Sender already specified"),
    "no mail before recipient": (503, "5.0.0 Need MAIL before RCPT"),
    "no mail before data": (503, "5.0.0 Need MAIL command"),
    "no recipient": (503, "5.0.0 Need RCPT (recipient)"),
}
_WITH_ADDRESS: Final = frozenset({450, 550, 553})
_UNSENT: Final = ("Return-Path", "Bcc", "Resent-Bcc", "Content-Length", "Full-Name")
# fields of the stock sendmail.cf that stand below Received in its own list; most are never sent
_DEFAULTS: Final = (
    "Resent-Date",
    "Date",
    "Resent-From",
    "From",
    "Full-Name",
    "Resent-Message-Id",
    "Message-Id",
)
_MAIL_PARAMETERS: Final = ("RET", "ENVID", "BODY", "SIZE", "AUTH", "BY", "SMTPUTF8")
_LONGEST_FIELD: Final = 2303  # bytes of a header field that it takes at once
_LONGEST_LINE: Final = 2039  # where it breaks a longer line


@frozen(kw_only=True)
class Sendmail(Profile):
    """Sendmail; ``release`` decides what it offers (8.17.1.9 was measured)."""

    name: str = field(default="sendmail", init=False)
    release: str = "8.17.1.9"
    offer: ev.Options = field(
        default=Factory(lambda self: offer_of(_OFFERS, self.release), takes_self=True)
    )
    host: str = "sendmail.test"
    macros: Mapping[str, tuple[str, ...]] = field(factory=lambda: _MACROS)
    strictness: Strictness = Strictness(
        payloads=False,
        newer=False,
        stages=True,
        edits=False,
        body_in_one=False,
        body_permission=True,
    )

    habits: ClassVar[Habits] = Habits(
        opens_all_first=True,
        stops_at_discard=True,
        resets_before_hello=True,
        queues_at_mail=True,
        hides_rule_refusals=True,
        counts_refused=True,
        ends_with_message=True,
        fails_late=True,
    )
    texts: ClassVar[Mapping[str, tuple[int, str]]] = _TEXTS

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

    def client_macros(self, connect: ev.Connect, event: ev.Event, message_id: str) -> OwnMacros:
        own: OwnMacros = {}
        if isinstance(connect.address, IPv4Address | IPv6Address) and connect.address.is_loopback:
            own = {"if_name": "localhost", "if_addr": None}
        match event:
            case ev.Mail(sender=""):
                return {**own, "mail_mailer": "local", "mail_host": ""}
            case ev.EndOfMessage():
                return {**own, "msg_id": message_id}
        return own

    def sends_macros_alone(self, name: str, is_declined: bool) -> bool:
        return name in ("connect", "hello", "mail", "recipient", "data")

    def chosen_macros(
        self, own: tuple[str, ...] | None, stage: Stage, asked: Mapping[int, tuple[str, ...]]
    ) -> tuple[str, ...] | None:
        # it looks at the list for end of headers to see whether there is one for the end
        decides = Stage.EOH if stage is Stage.EOM else stage
        return own if decides not in asked else asked.get(stage) or None

    def connect_event(self, client: client_steps.Connect) -> ev.Connect:
        if not client.address:  # on standard input
            return ev.Connect("localhost", "U")
        address = ip_address(client.address)
        raw = str(address)
        if isinstance(address, IPv6Address):
            raw = "IPv6:" + ":".join(f"{int(part, 16):x}" for part in address.exploded.split(":"))
        return ev.Connect(client.name or f"[{raw}]", str(address.version), address, client.port, raw=raw)

    def refusal(self, verdict: AnyVerdict, name: str, address: str = "") -> Reply:
        match verdict:
            case act.ReplyCode(code=421) if name == "connect":
                return self.says("greeting of farewell")
            case act.ReplyCode() if name == "connect":  # it keeps no more of the text than its class
                return self.refusal(_class_of(verdict), name)
            case act.ReplyCode():
                # of the content it names a sender that a milter has changed (setsender() sets e_to)
                is_named = verdict.code in _WITH_ADDRESS
                return _reply(verdict, f"{address}... " if address and is_named else "")
            case act.TemporaryFailure():
                return Reply(451, "4.3.2 Please try again later")
            case _ if name in CONTENT:
                return Reply(554, "5.7.1 Command rejected")
            case _ if name in CLIENT:
                return Reply(550, "5.0.0 Command rejected")
            case _:
                shown = f"{address}... " if name in ("mail", "recipient") else ""
                return Reply(550, f"5.7.1 {shown}Command rejected")

    def consequence(self, verdict: AnyVerdict, name: str, address: str = "") -> Consequence:
        gone = {} if name in ("recipient", "data") else {"in_message": False}
        match verdict:
            case act.Continue():
                return Consequence(changes=gone if name == "end_of_message" else {})
            case act.Skip() if name in CONTENT:
                return Consequence(changes={"skips": frozenset({"body"})})
            case act.Skip():
                return Consequence(changes={"is_deaf": True, "in_message": False})
            case _ if name in CLIENT:
                return self._consequence_for_client(verdict, name)
            case act.Accept() if name == "unknown":
                return Consequence()
            case act.Accept():
                changes = {"is_silent": True, "is_done": True, "in_message": False}
                return Consequence(changes=changes)
            case act.Discard():
                return Consequence(
                    drops=True, changes={**gone, "is_done": name not in ("mail", "unknown")}
                )
        reply = self.refusal(verdict, name, address)
        return Consequence(reply=reply, changes={} if name == "unknown" else gone)

    def _consequence_for_client(self, verdict: AnyVerdict, name: str) -> Consequence:
        """What an answer at connect or hello means; a milter that is not needed any more gets QUIT."""
        is_connect = name == "connect"
        match verdict:
            case act.Accept():
                return Consequence(closes="this")
            case act.Discard():  # it takes the mail unfiltered
                return Consequence(closes="all" if is_connect else "none")
        soft = _class_of(verdict) if is_connect else verdict
        return Consequence(
            reply=self.refusal(verdict, name),
            closes="all" if is_connect else "none",
            # for a plain tempfail it is MAIL that fails, and the rest lacks it
            bars="mail" if isinstance(soft, act.TemporaryFailure) else "transaction",
        )

    def failure(self, error: MilterFailedError, name: str, address: str = "") -> Consequence:
        if self.passes_unseen:
            return Consequence()
        return self.consequence(self.default_verdict, name, address)

    def refused_sender(self, step: client_steps.Mail) -> Reply | None:
        raw = step.raw if step.raw is not None else f"<{step.sender}>"
        if raw.isascii():
            return None
        seven = bytes(byte & 0x7F for byte in encode_text(raw)).decode("ascii")
        shown = re.sub(r"[\0-\x1f]", "?", seven)
        return Reply(501, f'5.1.7 8-bit character in mailbox address "{shown}"')

    def refused_content(self, content: bytes) -> Reply | None:
        found = re.search(rb"\r(?!\n)|(?<!\r)\n", content)
        if found is None:
            return None
        what = "carriage return (CR)" if found[0] == b"\r" else "linefeed (LF)"
        return Reply(421, f"4.5.0 Bare {what} not allowed")

    def take_in(
        self, content: bytes, sender: str, queue_id: str, client: client_steps.Connect
    ) -> StoredMessage:
        if content.startswith(b"From "):
            content = content.partition(b"\r\n")[2]
        message = StoredMessage.parse(content, lambda line: line.replace(b"\0", b""))
        return evolve(message, fields=(*self._defaults(message, sender, queue_id), *message.fields))

    def _defaults(self, message: StoredMessage, sender: str, queue_id: str) -> Iterable[StoredField]:
        """Its own fields, which no milter sees; most are never sent."""
        is_resent = any(one.name.lower().startswith("resent-") for one in message.fields)
        resent = "Resent-" if is_resent else ""
        full_name = message["Full-Name"]
        values = {
            f"{resent}Date": self.date(),
            f"{resent}From": f"{full_name} <{sender}>" if full_name else sender,
            f"{resent}Message-Id": self.message_id(queue_id),
        }
        for name in _DEFAULTS:
            is_unsent = name not in values or name in message
            yield StoredField(name, f" {values.get(name, '')}", owner="mta", is_deleted=is_unsent)

    def own_fields(self, origin: Origin) -> tuple[StoredField, ...]:
        received = self.received(origin, f"by {self.host} ({self.release}/{self.release})", "ESMTP")
        if origin.greeting is not None:
            return (received,)
        warning = f" {self.host}: {origin.peer} didn't use HELO protocol"
        return (received, StoredField("X-Authentication-Warning", warning, owner="mta"))

    def find(self, fields: Fields, name: str, index: int) -> int | None:
        """Beyond the last of a name the last that is not counted (milter_changeheader()).

        That is a default that it would still send, or a field that a milter before this one deleted.
        """
        at = super().find(fields, name, index)
        if at is not None:
            return at
        uncounted = [number for number, one in enumerate(fields) if _is_uncounted(one, name)]
        return uncounted[-1] if uncounted else None

    def as_shown(self, mail: StoredMail) -> StoredMail:
        """Deleted fields are not counted any more (milter_headers() takes H_USER from them)."""
        fields = mail.message.fields
        gone = (evolve(one, owner="gone") if _is_deleted(one) else one for one in fields)
        return evolve(mail, message=evolve(mail.message, fields=tuple(gone)))

    def new_body(self, edits: Iterable[Modification]) -> bytes | None:
        """The last line end is missing until it delivers the mail."""
        return body_of(edits)

    def with_field(self, fields: Fields, edit: NewField) -> Fields:
        """In place of its own default that is due; else before the first of that name; else at the end.

        Its own fields count, also those that it does not send.
        """
        for at, one in enumerate(fields):
            if one.is_named(edit.name):
                is_due = _is_default(one, edit.name) and not one.is_deleted
                return spliced(fields, at, self.new_field(edit), instead=int(is_due))
        return (*fields, self.new_field(edit))

    def without_field(self, fields: Fields, at: int) -> Fields:
        """It keeps its number."""
        return spliced(fields, at, evolve(fields[at], is_deleted=True), instead=1)

    def changed(self, fields: Fields, at: int, edit: act.ChangeHeader) -> Fields:
        """It keeps its name."""
        return spliced(fields, at, StoredField(fields[at].name, edit.raw), instead=1)

    def address(self, given: str) -> str:
        return bare_address(given)

    def admit(self, envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
        """Once; case and quotes make another (recipient())."""
        address = bare_address(given)
        if address in envelope.addresses:
            return envelope
        return evolve(envelope, recipients=(*envelope.recipients, (address, parameters)))

    def with_recipient(self, envelope: Envelope, edit: act.AddRecipient) -> Envelope:
        is_known = only(edit.parameters, "NOTIFY", "ORCPT") == edit.parameters
        return self.admit(envelope, edit.address, edit.parameters) if is_known else envelope

    def without_recipient(self, envelope: Envelope, address: str) -> Envelope:
        left = tuple(one for one in envelope.recipients if one[0] != address)
        return evolve(envelope, recipients=left)

    def with_sender(self, envelope: Envelope, edit: act.ChangeSender) -> Envelope:
        known = only(edit.parameters, *_MAIL_PARAMETERS)
        return evolve(envelope, sender=edit.address, parameters=known)

    def deliver(self, mail: StoredMail) -> StoredMail:
        message = mail.message.without(*_UNSENT)
        written = tuple(evolve(one, raw=_written(one)) for one in message.fields)
        body = complete_lines(message.body)
        return evolve(mail, message=evolve(message, fields=written, body=body))


def _class_of(verdict: AnyVerdict) -> AnyVerdict:
    """A refusal without its text."""
    if not isinstance(verdict, act.ReplyCode) or verdict.code == 421:
        return verdict
    return act.TemporaryFailure() if verdict.is_temporary else act.Reject()


def _is_deleted(one: StoredField) -> bool:
    return one.is_deleted and one.owner == "message"


def _is_uncounted(one: StoredField, name: str) -> bool:
    is_due = _is_default(one, name) and not one.is_deleted
    return is_due or (one.owner == "gone" and one.is_named(name))


def _is_default(one: StoredField, name: str) -> bool:
    return one.owner == "mta" and one.is_named(name) and one.name in _DEFAULTS


def _reply(verdict: act.ReplyCode, address: str) -> Reply:
    """A reply as it sends it: always with an enhanced code, if only in the first line."""
    start = f"{verdict.enhanced} " if verdict.enhanced else ""
    first, *others = verdict.lines
    found = re.match(r"[245]\.\d{1,3}\.\d{1,3} ", first)
    if not start and found:  # of another class than the code
        first = first.removeprefix(found[0])
        head = found[0]
    else:
        head = start or f"{verdict.code // 100}.0.0 "
    lines = (f"{head}{address}{_seven_bit(first)}", *(start + _seven_bit(line) for line in others))
    return Reply(verdict.code, "\n".join(lines))


def _seven_bit(text: str) -> str:
    """The text of a reply as it writes it: without the eighth bits, and a C string."""
    return bytes(byte & 0x7F for byte in encode_text(text)).partition(b"\0")[0].decode("ascii")


def _written(one: StoredField) -> str:
    """The text of a field as it writes it: cut, and long lines broken with ``!``.

    The last line is cut. Of another, each piece but the first loses a byte to a space (putheader()).
    """
    *others, last = encode_text(f"{one.name}:{one.raw}").split(b"\n")
    pieces: list[bytes] = []
    for line in others:
        pieces.append(line[:_LONGEST_FIELD])
        starts = range(_LONGEST_FIELD, len(line), _LONGEST_FIELD)
        pieces += (b" " + line[at + 1 : at + _LONGEST_FIELD] for at in starts)
    written: list[bytes] = []
    for piece in (*pieces, last[:_LONGEST_FIELD]):
        rest = piece
        while len(rest) > _LONGEST_LINE:
            written.append(rest[:_LONGEST_LINE] + b"!")
            rest = b" " + rest[_LONGEST_LINE:]
        written.append(rest)
    return decode_text(b"\n".join(written))[len(one.name) + 1 :]
