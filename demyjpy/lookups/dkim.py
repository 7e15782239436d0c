"""Questions about signatures of DKIM (RFC 6376), with dkimpy (the extra ``dkim``): check and sign.

dkimpy works in a thread, on bytes of its own, and asks the resolver of the filter. What would cost it
more than linear time does not reach it: see the limits.
"""

import logging
import re
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Final, Self

from attrs import field, frozen

from demyjpy.lookups.clients import client_of, library
from demyjpy.lookups.dns import Resolver
from demyjpy.lookups.guard import RefusedError
from demyjpy.message import Message
from demyjpy.questions import Question, check_seconds

__all__ = ["CheckDkim", "DkimKeys", "SignDkim"]

dkim: Final = library("dkimpy", "dkim", *("dkim", "dkim.canonicalization", "dkim.crypto", "dkim.util"))

MOST_SIGNATURES: Final = 5
MOST_FIELDS: Final = 1_000
LARGEST_HEADER: Final = 1_000_000
"""Bytes of all fields: dkimpy needs a second for 5 MB of spaces, again for each signature."""

LONGEST_SIGNATURE: Final = 3_000
MOST_SPACES: Final = 100
"""In a row, in a signature: dkimpy needs n² time for them."""

LONGEST_KEY: Final = 800
"""Characters of a key record: RSA with 4096 bits has 740. A much longer key takes seconds."""

TIMEOUT: Final = 10.0
"""Seconds for the keys of all signatures of a message."""

ONCE: Final = (b"from", b"to", b"cc", b"subject", b"date", b"reply-to", b"message-id", b"content-type")
"""Fields of which nobody may add a second one later: they are signed once more than they are there."""

_QUIET: Final = logging.Logger("", logging.CRITICAL)  # noqa: LOG001  # no mail writes into the log
_MANY_SPACES: Final = re.compile(rb"\s{%d}" % (MOST_SPACES + 1))
_SIGNATURE: Final = b"dkim-signature"
_Base: Final[Any] = dkim.DKIM


def _headers_of(message: Message) -> list[list[bytes]]:
    """Names and what follows the colon, with CRLF, as dkimpy has them."""
    texts = (f"{one.name}:{one.raw}\n" for one in message.fields)
    lines = (one.encode("utf-8", "surrogateescape").replace(b"\n", b"\r\n") for one in texts)
    return [line.split(b":", 1) for line in lines]


def _relaxed(body: bytes) -> bytes:
    """The body in the relaxed form (RFC 6376, section 3.4.4), in linear time, whatever spaces it has.

    dkimpy needs n² time for them, and 20 s for 25 MB in which each line is a space.
    """
    body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    body = _simple(body.replace(b" \r\n", b"\r\n"))
    return b"" if body == b"\r\n" else body


def _simple(body: bytes) -> bytes:
    """The body in the simple form (section 3.4.3): with one end of a line at its end."""
    end = len(body.rstrip(b"\r\n"))
    tail = body[end:]
    at = max(tail.rfind(b"\n\n"), tail.rfind(b"\r\r")) + 1  # behind that they take turns
    if tail.endswith(b"\n"):
        body = body[: end + at + tail.startswith(b"\n", at)]
    return body + b"\r\n"


class _Dkim(_Base):  # type: ignore[misc]  # it has no types
    """One message for dkimpy, which checks the header; its form of the body is made here, once."""

    def __init__(self, headers: list[list[bytes]], body: bytes) -> None:
        super().__init__(logger=_QUIET)
        self.headers, self._body = headers, body
        self._forms: dict[bool, bytes] = {}

    def _canonical(self, form: bytes) -> bytes:
        is_relaxed = form.endswith(b"/relaxed")
        if is_relaxed not in self._forms:
            self._forms[is_relaxed] = (_relaxed if is_relaxed else _simple)(self._body)
        return self._forms[is_relaxed]

    def verify_sig_process(self, sig: dict[bytes, bytes], *more: Any) -> bool:
        """Also that the body is as long as ``l=`` says, or longer (section 3.5)."""
        rest = {key: value for key, value in sig.items() if key != b"bh"}  # then the body does not count
        if not super().verify_sig_process(rest, *more):
            return False
        body = memoryview(self._canonical(sig.get(b"c", b"")))
        size = int(sig.get(b"l", len(body)))
        return size <= len(body) and sha256(body[:size]).digest() == b64decode(sig[b"bh"])


class _Verifier:
    """The signatures of one message, and how long DNS may take for their keys."""

    def __init__(self, message: Message, resolver: Resolver, seconds: float) -> None:
        self._resolver, self._until = resolver, monotonic() + seconds
        headers = _headers_of(message)
        size = sum(len(name) + len(value) for name, value in headers)
        self._is_small = len(headers) <= MOST_FIELDS and size <= LARGEST_HEADER
        self.signatures = [value for name, value in headers if name.lower() == _SIGNATURE]
        self._dkim = _Dkim(headers, message.body if self.signatures else b"")
        self._tags: Mapping[bytes, bytes] = {}

    def check(self, at: int) -> tuple[str, str, str]:
        """Result, domain and selector of a signature."""
        self._dkim.domain = self._dkim.selector = b""
        result = self._result(at)
        domain, selector = (
            str(one, "ascii", "replace") for one in (self._dkim.domain, self._dkim.selector)
        )
        return result, domain, selector

    def _result(self, at: int) -> str:
        value = self.signatures[at]
        if not self._is_small or len(value) > LONGEST_SIGNATURE or _MANY_SPACES.search(value):
            return "policy"
        try:
            tags = self._tags = dkim.util.parse_tag_value(value)
            dkim.validate_signature_fields(tags)
        except (dkim.ValidationError, dkim.util.InvalidTagValueList):
            return "permerror"
        if tags[b"a"] == b"rsa-sha1":  # RFC 8301, section 3.1
            return "policy"
        if b"from" not in [one.strip().lower() for one in tags[b"h"].split(b":")]:  # section 6.1.1
            return "permerror"
        try:
            is_good = self._dkim.verify(at, self._key)
        except (dkim.DKIMException, dkim.util.InvalidTagValueList, ValueError):  # of numbers and base64
            return "permerror"
        except Exception:  # noqa: BLE001  # DNS does not answer, or what dkimpy did not think of
            return "temperror"
        return "pass" if is_good else "fail"

    def _key(self, name: bytes, timeout: float) -> bytes:
        left = max(0.0, self._until - monotonic())
        found = self._resolver.find_in_thread(name.decode("utf-8", "replace").rstrip("."), "TXT", left)
        if len(found) != 1 or len(found[0]) > LONGEST_KEY:
            raise dkim.ParameterError("no key, or no usable one")
        record = str(found[0]).encode("ascii", "replace")
        _check_key(dkim.util.parse_tag_value(record), self._tags)
        _read_key(record)
        return record


def _check_key(key: Mapping[bytes, bytes], signature: Mapping[bytes, bytes]) -> None:
    """What dkimpy does not look at in a key record (RFC 6376, section 3.6.1): ``h=`` and ``t=s``."""
    hashes = [one.strip() for one in key.get(b"h", b"sha256").split(b":")]
    flags = [one.strip() for one in key.get(b"t", b"").split(b":")]
    of_user = signature.get(b"i", b"").rpartition(b"@")[2].lower()
    if b"sha256" not in hashes or (b"s" in flags and of_user not in (b"", signature[b"d"].lower())):
        raise dkim.ParameterError("the key is not for such signatures")


def _read_key(record: bytes) -> None:
    """That it is a key, and is not revoked (section 6.1.2): dkimpy says only that it does not fit."""
    try:
        dkim.evaluate_pk("", record)
    except (dkim.DKIMException, ValueError, LookupError) as error:  # of base64, of what is cut
        raise dkim.ParameterError("no usable key") from error


def _seconds(value: Any) -> float:
    return check_seconds("timeout=", value)


@frozen
class CheckDkim(Question, pure=True):
    """The signatures of a message from the top: a tuple of result, domain and selector for each.

    Results are those of RFC 8601: ``pass``, ``fail``, ``permerror`` (no key, or one that was revoked; a
    signature that has expired, leaves out From, or cannot be read), ``temperror`` (DNS does not answer),
    ``policy`` (not checked: SHA-1, a signature of more than 3,000 characters or with more than 100
    spaces in a row, a message with more than 1,000 header fields, or with 1 MB of them).
    The first ``most`` are checked, the others left out. ``timeout``: seconds for the keys together.
    ``using``: the name of the resource, a `Resolver`. A message without its body is a failure.
    """

    message: Message
    most: int = MOST_SIGNATURES
    timeout: float = field(default=TIMEOUT, converter=_seconds)
    using: str = "dns"
    examples: ClassVar[tuple[Any, ...]] = (
        (),
        (("pass", "example.org", "s1"),),
        (("fail", "example.org", "s1"), ("temperror", "", "")),
    )

    def perform(self, resources: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
        """Have them checked."""
        verifier = _Verifier(self.message, client_of(resources, self.using, Resolver), self.timeout)
        return tuple(map(verifier.check, range(min(self.most, len(verifier.signatures)))))


class DkimKeys:
    """Private keys by domain, as in ``resources={"keys": lambda settings: DkimKeys(settings["keys"])}``.

    ``paths``: files with an RSA key in PEM for each domain. They are read when the filter is loaded; one
    that cannot be read, or is no key, ends that.
    """

    def __init__(self, paths: Mapping[str, str | Path]) -> None:
        self._paths = {domain.lower(): Path(path) for domain, path in paths.items()}
        self._keys: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        self._keys = {domain: path.read_bytes() for domain, path in self._paths.items()}
        for key in self._keys.values():
            dkim.crypto.parse_pem_private_key(key)
        return self

    def __exit__(self, *exc: object) -> None:
        self._keys = {}

    def key_of(self, domain: str) -> bytes:
        """The key of a domain, in PEM. `RefusedError` if there is none."""
        if domain.lower() not in self._keys:
            raise RefusedError(f"expected a key of one of {len(self._keys)} domains, got another domain")
        return self._keys[domain.lower()]


@frozen
class SignDkim(Question, pure=True):
    """The value of a DKIM-Signature field for a message, to be put on top of it.

    Header and body are signed in the relaxed form, the header fields that RFC 6376 names (section
    5.4.1), and those of `ONCE` so that none can be added. ``using``: the name of the resource, a
    `DkimKeys`, which has the key of ``domain``. A message without From, or without its body, is a
    failure. The answer holds the time, so it is recorded, and a replay has the same signature.
    """

    message: Message
    domain: str
    selector: str
    using: str = "keys"
    examples: ClassVar[tuple[Any, ...]] = (
        "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=x; h=from; bh=; b=",
    )

    def perform(self, resources: Mapping[str, Any]) -> str:
        """Have it signed."""
        keys = client_of(resources, self.using, DkimKeys, example='DkimKeys({"example.org": "/path"})')
        signer = dkim.DKIM(logger=_QUIET)
        signer.headers, signer.body = _headers_of(self.message), _relaxed(self.message.body)
        signer.add_frozen(ONCE)
        line = signer.sign(
            self.selector.encode(),
            self.domain.encode(),
            keys.key_of(self.domain),
            canonicalize=(b"relaxed", b"relaxed"),
        )
        return str(line, "ascii").removeprefix("DKIM-Signature: ").replace("\r\n", "\n").rstrip()
