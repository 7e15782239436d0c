"""What a change of a body would break: signatures, and text that only its reader can open."""

import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

from demyjpy.errors import LocalProtocolError
from demyjpy.message.fields import Field
from demyjpy.message.mime.part import Part

Protection: TypeAlias = Literal["dkim", "smime", "pgp", "inline", "encrypted"]
"""``"dkim"``: a DKIM signature; ``"smime"`` and ``"pgp"``: a signature of S/MIME or PGP/MIME;
``"inline"``: PGP in the text; ``"encrypted"``: S/MIME, PGP/MIME or PGP in the text."""

_INLINE: Final = re.compile(
    rb"^-----BEGIN PGP (?:(SIGNED )?MESSAGE|SIGNATURE)-----[ \t]*\r?$", re.MULTILINE
)
_SMIME: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_SMIME_SIGNATURE: Final = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature"})
_SIGNED: Final = frozenset({"signed-data", "certs-only", "compressed-data"})


def kinds_of_protection(given: Protection | Iterable[Protection]) -> frozenset[Protection]:
    """The kinds that a caller names, one or several; an error for any other word."""
    kinds = frozenset([given] if isinstance(given, str) else given)
    if unknown := kinds - frozenset(get_args(Protection)):
        raise LocalProtocolError(
            f"expected despite as some of {', '.join(get_args(Protection))}, got {len(unknown)} other(s)"
        )
    return kinds


def protection_of(fields: Iterable[Field], parts: Iterable[Part]) -> frozenset[Protection]:
    """All kinds of protection that a message has, also in a part of it, but not in a message in it."""
    found: set[Protection] = set()
    if any(one.key == "dkim-signature" for one in fields):
        found.add("dkim")
    inner: list[tuple[int, ...]] = []
    for part in parts:
        if inner and part.path[: len(inner[-1])] == inner[-1]:
            continue
        if part.type.startswith("message/"):
            inner.append(part.path)
        found |= _of_part(part)
    return frozenset(found)


def _of_part(part: Part) -> set[Protection]:
    match part.type:
        case "multipart/signed":
            protocol = (part.parameter("protocol") or "").lower()
            return {"pgp" if "pgp" in protocol else "smime"}
        case "multipart/encrypted" | "application/pgp-encrypted":
            return {"encrypted"}
        case "application/pgp-signature":
            return {"pgp"}
        case kind if kind in _SMIME_SIGNATURE:
            return {"smime"}
        case kind if kind in _SMIME:
            is_signed = (part.parameter("smime-type") or "").lower() in _SIGNED
            return {"smime" if is_signed else "encrypted"}
        case kind if kind.startswith("text/") and not part.is_container and _is_shown(part):
            return _of_text(part.content)
    return set()


def _is_shown(part: Part) -> bool:
    return part.disposition != "attachment"


def _of_text(data: bytes) -> set[Protection]:
    found: set[Protection] = set()
    if b"-----BEGIN PGP " in data:
        for one in _INLINE.finditer(data):
            is_closed = one[0].startswith(b"-----BEGIN PGP MESSAGE")
            found.add("encrypted" if is_closed else "inline")
    return found
