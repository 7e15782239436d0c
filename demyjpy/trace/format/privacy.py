"""What of a mail is kept in a record: mail is private, and a trace need not hold all of it.

Records in, records out. Whatever is left out is counted under the record's key ``left_out``, in bytes.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen
from attrs import validators as v

from demyjpy.trace.format.records import Record
from demyjpy.wire.fields import encode_text
from demyjpy.wire.json_bytes import dump_text, load_bytes, load_text

Keep: TypeAlias = Literal["envelope", "headers", "all"]

REDACTED: Final = "(redacted)"

_ADDRESS_MACROS: Final = frozenset(
    {"mail_addr", "rcpt_addr", "auth_authen", "auth_author", "mail_from", "rcpt_to"}
)
# Of whose values no more is known than the envelope, the client and the queue id.
_ENVELOPE_MACROS: Final = frozenset(
    {"i", "mail_addr", "rcpt_addr", "client_addr", "client_name", "client_ptr", "client_port"}
)


_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}", re.ASCII)


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


# Names of header fields that say nothing of a mail: RFC 5322, section 3.6, and such.
_USUAL: Final = _names(
    [
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "bcc",
        "message-id",
        "in-reply-to",
        "references",
        "subject",
        "comments",
        "keywords",
        "date",
        "received",
        "return-path",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "list-id",
        "list-unsubscribe",
        "list-post",
        "precedence",
        "auto-submitted",
        "dkim-signature",
        "authentication-results",
        "user-agent",
        "x-mailer",
    ]
)

# Keys of records under which handlers may have put anything.
_ANYTHING: Final = frozenset({"changes", "findings", "raw"})

_HEADER_EDITS: Final = frozenset({"AddHeader", "InsertHeader", "ChangeHeader"})
_ADDRESS_EDITS: Final = frozenset({"AddRecipient", "DeleteRecipient", "ChangeSender"})


@frozen(kw_only=True)
class Privacy:
    """What is kept.

    ``keep``: ``"envelope"`` (client, addresses, queue id and what the filter changed; no HELO,
    ESMTP parameters and other macros, of header fields only usual names, no texts of replies),
    ``"headers"`` (no bodies), or ``"all"``. ``redact``: names of header fields whose values are not
    kept. ``hash_addresses``: addresses of the envelope are replaced by hashes, equal for equal
    ones, made with ``salt``. Contexts, findings and errors of handlers, and questions with their
    answers may hold anything: they are kept only if everything else is. Else a question is the name
    of its class, its key if that is a name such as ``spf``, and what became of it: answered, failed
    or late.
    """

    keep: Keep = field(default="all", validator=v.in_(("envelope", "headers", "all")))
    redact: frozenset[str] = field(default=frozenset(), converter=_names)
    hash_addresses: bool = False
    salt: bytes = b""

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is left out."""
        return self.keep == "all" and not self.redact and not self.hash_addresses

    # ------------------------------------------------- what is kept: for records, and for packets
    @property
    def keeps_bodies(self) -> bool:
        """Whether bodies are kept."""
        return self.keep == "all"

    @property
    def keeps_texts(self) -> bool:
        """Whether what is neither field nor address is kept: HELO, unknown commands, reasons."""
        return self.keep != "envelope"

    @property
    def keeps_bare_envelope(self) -> bool:
        """Whether ESMTP parameters and the texts of replies go: both may hold addresses."""
        return self.hash_addresses or self.keep == "envelope"

    def hides_name(self, name: str) -> bool:
        """Whether the name of a header field is not kept."""
        return self.keep == "envelope" and name.lower() not in _USUAL

    def hides_value(self, name: str) -> bool:
        """Whether the value of a header field of this name is not kept."""
        return self.keep == "envelope" or name.lower() in self.redact

    def hides_macro(self, name: str) -> bool:
        """Whether neither the name of this macro nor its value are kept."""
        return self.keep == "envelope" and name.strip("{}") not in _ENVELOPE_MACROS

    def hashes_macro(self, name: str) -> bool:
        """Whether the value of this macro is an address of which only a hash is kept."""
        return self.hash_addresses and name.strip("{}") in _ADDRESS_MACROS

    def hashed(self, address: str) -> str:
        """``5f1c...@9ab0...``: both parts hashed; the null sender stays."""
        parts = address.rpartition("@") if "@" in address else ("", "", address)
        return parts[1].join(self._hash(part) for part in (parts[0], parts[2]) if part)

    def _hash(self, text: str) -> str:
        return hmac.new(self.salt, encode_text(text), hashlib.sha256).hexdigest()[:12]

    # ------------------------------------------------------------------------------------ records
    def of(self, record: Record) -> Record:
        """A record with what may be kept of it."""
        if self.keeps_all:
            return record
        found = {key: value for key, value in record.items() if key not in _ANYTHING}
        left_out = [0]
        if "fields" in record:
            found["fields"] = self._fields(record["event"], record["fields"], left_out)
        for key in ("answer", "actions", "withheld"):
            if key in record:
                found[key] = [self._action(one, left_out) for one in record[key]]
        if "learned" in record:
            found["learned"] = [_bare_question(one) for one in record["learned"]]
        if "error" in record:
            found["error"] = {**record["error"], "text": REDACTED}
        if left_out[0]:
            found["left_out"] = left_out[0]
        return found

    def _fields(self, event: str, fields: dict[str, Any], left_out: list[int]) -> dict[str, Any]:
        match event:
            case "header":
                kept = self._header(fields, left_out)
                if self.hides_name(load_text(fields["name"])):
                    kept["name"] = self._left_out(fields["name"], left_out)
                return kept
            case "hello" | "unknown" if not self.keeps_texts:
                return {name: self._left_out(text, left_out) for name, text in fields.items()}
            case "body" if not self.keeps_bodies:
                left_out[0] += len(load_bytes(fields["data"]))
                return {"data": ""}
            case "mail" | "recipient" if self.hash_addresses:
                name = "sender" if event == "mail" else "address"
                return {name: self._address(fields[name]), "parameters": []}
            case "mail" | "recipient" if self.keeps_bare_envelope:
                return {**fields, "parameters": []}
            case "define_macros" if self.keeps_bare_envelope:
                macros = [self._macro(name, value, left_out) for name, value in fields["definitions"]]
                return {**fields, "definitions": macros}
            case _:
                return fields

    def _header(self, fields: dict[str, Any], left_out: list[int]) -> dict[str, Any]:
        """A field or an edit without its value, if that is not kept."""
        if not self.hides_value(load_text(fields["name"])):
            return fields
        kept = {key: one for key, one in fields.items() if key != "raw"}
        return {**kept, "value": self._left_out(fields["value"], left_out)}

    def _left_out(self, dumped: Any, left_out: list[int]) -> str:
        left_out[0] += len(encode_text(load_text(dumped)))
        return REDACTED

    def _action(self, action: dict[str, Any], left_out: list[int]) -> dict[str, Any]:
        kind = action["action"]
        if kind == "Ask":
            return _bare_question(action)
        if kind == "Request":
            return {**action, "text": REDACTED}
        if kind in _HEADER_EDITS:
            return self._header(action, left_out)
        if kind == "ReplaceBody" and not self.keeps_bodies:
            left_out[0] += len(load_bytes(action["data"]))
            return {**action, "data": ""}
        if kind in _ADDRESS_EDITS and self.hash_addresses:
            bare: dict[str, Any] = {"parameters": []} if "parameters" in action else {}
            return {**action, "address": self._address(action["address"]), **bare}
        if kind == "Quarantine" and not self.keeps_texts:
            return {**action, "reason": self._left_out(action["reason"], left_out)}
        if kind == "?" and not self.keeps_texts:
            return {"action": kind, "text": REDACTED}
        if kind == "ReplyCode" and self.keeps_bare_envelope:
            text = "".join(map(load_text, action["lines"]))
            return {**action, "lines": [self._left_out(dump_text(text), left_out)]}
        return action

    def _macro(self, name: Any, value: Any, left_out: list[int]) -> list[Any]:
        if value is None:
            return [name, value]
        if self.hides_macro(load_text(name)):
            return [REDACTED, self._left_out(value, left_out)]
        if self.hashes_macro(load_text(name)):
            return [name, self._address(value)]
        return [name, value]

    def _address(self, dumped: Any) -> Any:
        return self.hashed(load_text(dumped))


def _bare_question(record: dict[str, Any]) -> dict[str, Any]:
    """What was asked or learned, with no more of the question than its class."""
    question = {"class": record["question"]["class"], "fields": None}
    kept = {key: one for key, one in record.items() if key not in ("value", "error")}
    return {**kept, "key": kept_key(load_text(record["key"])), "question": question}


def kept_key(key: str) -> str:
    """The key of a question if it is a name, as ``spf``: another may hold an address."""
    return key if _NAME.fullmatch(key) else REDACTED
