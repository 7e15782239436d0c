"""What came of ``demyjpy send``, for programs: one JSON object.

Text in it is valid Unicode: bytes that are no UTF-8 are written as a backslash, x and two digits. The
message as it would be delivered is there as base64, too, byte for byte.
"""

import base64
import json
from typing import Any

from attrs import asdict, has

from demyjpy.cli.mail_diff import own_header
from demyjpy.cli.played_mail import PlayedMail
from demyjpy.mta.profiles import Profile
from demyjpy.mta.smtp_session import Heard, Outcome
from demyjpy.mta.stored_mail import StoredMail, StoredMessage
from demyjpy.wire.fields import Parameters


def as_json(sent: PlayedMail, milter: str, profile: Profile) -> str:
    """All of it; see docs/sending.md for the keys."""
    decisive, after = sent.decisive, sent.after
    reply = decisive.reply if decisive else None
    value = {
        "milter": milter,
        "mta": {"name": profile.name, "release": profile.release},
        "verdict": sent.verdict,
        "exit_status": sent.status,
        "reply": reply and {"code": reply.code, "text": reply.text},
        "failure": sent.failure and {"event": sent.failure.event, "reason": sent.failure.reason},
        "warnings": list(sent.warnings),
        "steps": [_step(outcome) for outcome in sent.outcomes],
        "modifications": [_value(edit) for edit in sent.edits],
        "sent": _mail(sent.before),
        "delivered": after and _mail(after),
    }
    return json.dumps(_safe(value), indent=2)


def _step(outcome: Outcome) -> dict[str, Any]:
    step, reply = outcome.step, outcome.reply
    fields = {
        name: _plain(value) for name, value in asdict(step, recurse=False).items() if name != "content"
    }
    return {
        "step": type(step).__name__.lower(),
        **fields,
        "reply": reply and {"code": reply.code, "text": reply.text},
        "answers": [_heard(heard) for heard in outcome.heard],
        "failures": [{"event": one.event, "reason": one.reason} for one in outcome.failures],
        "discarded": outcome.is_discarded,
    }


def _heard(heard: Heard) -> dict[str, Any]:
    return {
        "event": heard.event,
        "verdict": _value(heard.answer.verdict),
        "modifications": [_value(edit) for edit in heard.answer.modifications],
        "progress": heard.answer.progress,
    }


def _value(action: Any) -> dict[str, Any]:
    """A verdict or a modification: its class under ``action``, and its fields."""
    fields = asdict(action, recurse=False) if has(type(action)) else {}
    return {"action": type(action).__name__, **{name: _plain(one) for name, one in fields.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Parameters):
        return list(value.as_words())
    return value


def _mail(mail: StoredMail) -> dict[str, Any]:
    """Envelope and message, without the MTA's own fields."""
    header = own_header(mail)
    fields = tuple(one for one in mail.message.fields if one.owner == "message" and not one.is_deleted)
    data = bytes(StoredMessage(fields, mail.message.body))
    return {
        "sender": mail.envelope.sender,
        "parameters": _plain(mail.envelope.parameters),
        "recipients": [
            {"address": address, "parameters": _plain(words)}
            for address, words in mail.envelope.recipients
        ],
        "quarantine": mail.quarantine,
        "header": [{"name": name, "raw": raw} for name, raw in header],
        "body": _plain(mail.message.body),
        "message_base64": base64.b64encode(data).decode("ascii"),
    }


def _safe(value: Any) -> Any:
    """The same with text that any reader of JSON takes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {key: _safe(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_safe(one) for one in value]
    return value
