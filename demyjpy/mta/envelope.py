"""Addresses as an MTA knows them: what it makes of those that clients and milters give, and who is one.

No I/O, no protocol. What Postfix does is tok822_internalize(), quote_821_local() and been_here() of
cleanup(8); what Sendmail does, recipient() and removefromlist().
"""

import re
from typing import Final

from attrs import evolve

from demyjpy.mta.stored_mail import Envelope
from demyjpy.texts import bare_address
from demyjpy.wire.fields import Parameters, encode_text

_DOT_ATOM: Final = re.compile(
    r"[^\s\0-\x1f\x7f\"(),:;<>@\[\]\\.]+(?:\.[^\s\0-\x1f\x7f\"(),:;<>@\[\]\\.]+)*"
)


def postfix_address(given: str) -> str:
    """Without brackets and source route, and with quotes where they are needed only."""
    local, at, domain = bare_address(given).rpartition("@")
    if not at:
        return domain
    if local[:1] == local[-1:] == '"' and len(local) > 1:
        local = re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)
    if not _DOT_ATOM.fullmatch(local):
        local = '"{}"'.format(re.sub(r'(["\\])', r"\\\1", local))
    return f"{local}@{domain.removesuffix('.')}"


def postfix_admits(envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
    """A recipient that a client gave: once, whatever its case.

    Its first form goes on as ORCPT, and keeps two apart.
    """
    address = postfix_address(given)
    if address != given and "ORCPT" not in parameters:
        parameters = Parameters((*parameters.words, ("ORCPT", f"rfc822;{_xtext(given)}")))
    key = _key(address, parameters)
    if any(one[0].lower() == key[0] and _key(*one) == key for one in envelope.recipients):
        return envelope
    return evolve(envelope, recipients=(*envelope.recipients, (address, parameters)))


def postfix_adds(envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
    """A recipient that a milter added: once, but also if a client gave it."""
    address = postfix_address(given)
    key = _key(address, parameters)
    if key in envelope.added:
        return envelope
    recipients = (*envelope.recipients, (address, parameters))
    return evolve(envelope, recipients=recipients, added=envelope.added | {key})


def postfix_drops(envelope: Envelope, given: str) -> Envelope:
    """All of an address, which can be added again then."""
    address = postfix_address(given)
    left = tuple(one for one in envelope.recipients if one[0] != address)
    added = frozenset(key for key in envelope.added if key[0] != address.lower())
    return evolve(envelope, recipients=left, added=added)


def sendmail_admits(envelope: Envelope, given: str, parameters: Parameters) -> Envelope:
    """A recipient, once; case and quotes make another."""
    address = bare_address(given)
    if address in envelope.addresses:
        return envelope
    return evolve(envelope, recipients=(*envelope.recipients, (address, parameters)))


def _key(address: str, parameters: Parameters) -> tuple[str, ...]:
    original = parameters.get("ORCPT") or ""
    return address.lower(), original.lower(), parameters.get("NOTIFY") or ""


def _xtext(text: str) -> str:
    """RFC 3461: ``+XX`` for what is not printable ASCII, ``+`` or ``=``."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte not in b"+=" else f"+{byte:02X}"
        for byte in encode_text(text)
    )
