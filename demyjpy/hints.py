"""What somebody may have meant who has written something that is not there; for errors only."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

EVENTS: Final[Mapping[str, str]] = {
    "accept": "connect",
    "helo": "hello",
    "ehlo": "hello",
    "envfrom": "mail",
    "from": "mail",
    "mail_from": "mail",
    "sender": "mail",
    "envrcpt": "recipient",
    "rcpt": "recipient",
    "rcpt_to": "recipient",
    "to": "recipient",
    "headers": "header",
    "eoh": "end_of_headers",
    "end_of_header": "end_of_headers",
    "chunk": "body",
    "eob": "end_of_message",
    "eom": "end_of_message",
    "end_of_body": "end_of_message",
    "rset": "abort",
    "close": "disconnect",
    "negotiate": "options",
    "macros": "define_macros",
}
"""Names that SMTP, libmilter and pymilter have for events."""

ACTIONS: Final[Mapping[str, str]] = {
    "addheader": "add_header",
    "insert_header": "add_header",
    "chgheader": "change_header",
    "delete_header": "change_header",
    "delete_headers": "change_header",
    "replace_body": "change_body",
    "replacebody": "change_body",
    "addrcpt": "add_recipient",
    "delrcpt": "delete_recipient",
    "remove_recipient": "delete_recipient",
    "chgfrom": "change_sender",
}
"""Names of functions, here and in libmilter, for the action that the MTA must grant."""

FACTS: Final = ("client", "helo", "sender", "recipients", "user", "tls")
"""What a handler may look for in an event, and finds with ``facts`` and ``recipients``."""

RESULTS: Final[Mapping[str, str]] = {
    "accepted": "is_delivered",
    "body": "message.body",
    "code": "reply.code",
    "fields": "message.fields",
    "header": "message.get(name)",
    "headers": "message.fields",
    "rejected": "fate",
    "status": "reply.code",
    "subject": "message.get('Subject')",
    "text": "reply.text",
}
"""What a test may look for in a result, and where it is."""


def attribute_hint(name: str, known: Iterable[str]) -> str:
    """What to write instead of an attribute that an event does not have."""
    if name in ("set", "get", "update"):
        return ": a handler's arguments are (event, ctx), in this order"
    if name in FACTS:
        call = "recipients(ctx)" if name == "recipients" else f"facts(ctx).{name}"
        return f": declare facts={{{name!r}}} and write {call}"
    if name == "queue_id":
        return ": write facts(ctx).queue_id"
    return did_you_mean(name, known)


def did_you_mean(given: str, known: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """``; did you mean 'this'?`` or nothing. ``others``: other names, with what they are here."""
    name = (others or {}).get(given.lower())
    found = [name] if name else get_close_matches(given, known, n=1, cutoff=0.7)
    return f"; did you mean {found[0]!r}?" if found else ""
