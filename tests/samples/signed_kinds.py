"""The mails of `tests.samples.signed_mails`: how each kind is signed, and what becomes of it on its way.

The mails themselves are those of `tests.integration.signer`: of many MIME shapes, each by its number.
"""

import base64
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

import dkim
from attrs import frozen
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import HASH_ALGORITHMS, parse_pem_private_key

from tests.samples.keys import PRIVATE

DOMAIN: Final = b"test"
SIMPLE: Final = (b"simple", b"simple")
WAYS: Final = tuple((a, b) for a in (b"simple", b"relaxed") for b in (b"simple", b"relaxed"))

Way = tuple[bytes, bytes]
Change = Callable[[bytes], bytes]


# ---------------------------------------------------------------------------------- on their way
def same(content: bytes) -> bytes:
    """Nothing becomes of it."""
    return content


def other_body(content: bytes) -> bytes:
    """A word more at the end of the body, in the last line with text in it."""
    text = content.rstrip(b"\r\n")
    return text + b" money" + content[len(text) :]


def appended(content: bytes) -> bytes:
    """As a mailing list does."""
    return content + b"-- \r\nA list of ours\r\n"


def longer_end(content: bytes) -> bytes:
    """Empty lines at the end, which count in no form."""
    return content + b"\r\n\r\n"


def spaced(content: bytes) -> bytes:
    """Other spaces in the body, and at the ends of its lines: good in the relaxed form only."""
    header, _, body = content.partition(b"\r\n\r\n")
    return header + b"\r\n\r\n" + body.replace(b"\r\n", b" \t\r\n", 3)


def other_date(content: bytes) -> bytes:
    """Another text in a field that is signed."""
    return content.replace(b"10:00:00", b"10:00:01", 1)


def refolded(content: bytes) -> bytes:
    """A field that is signed is folded: good in the relaxed form only."""
    return content.replace(b"\r\nDate: Sat, 21", b"\r\nDATE:  Sat,\r\n\t21", 1)


def other_author(content: bytes) -> bytes:
    """One more From on top."""
    return b"From: eve@test\r\n" + content


def more_subjects(content: bytes) -> bytes:
    """One more Subject on top."""
    return b"Subject: money\r\n" + content


def more_received(content: bytes) -> bytes:
    """What each server does."""
    return b"Received: from a.test\r\n\tby b.test; Sat, 21 Nov 2026 10:00:00 +0000\r\n" + content


def cut_signature(content: bytes) -> bytes:
    """A character of the signature is another."""
    found = re.search(rb"[;\s]b=\s*\S{20}", content)
    at = found.end() if found else 0
    return content[:at] + (b"B" if content[at : at + 1] == b"A" else b"A") + content[at + 1 :]


# -------------------------------------------------------------------------------------- signed by
@frozen
class ByDkimpy:
    """dkimpy signs. ``tags``: others in place of its own; ``headers``: which fields are signed."""

    way: Way = SIMPLE
    tags: Mapping[bytes, bytes] = {}
    headers: str = "default"
    has_length: bool = False
    selector: bytes = b"s1"
    algorithm: bytes = b"rsa-sha256"

    def sign(self, content: bytes) -> bytes:
        """The mail with a signature on top."""
        signer = dkim.DKIM(content, signature_algorithm=self.algorithm)
        if self.headers == "once":
            signer.add_frozen((b"subject", b"date", b"to", b"reply-to"))
        include = {
            "all": signer.all_sign_headers(),
            "from": [b"from"],
            "subject": [b"subject"],
            "default": signer.default_sign_headers(),
            "once": [*signer.default_sign_headers(), b"reply-to"],
        }[self.headers]
        include = [name.lower() for name in include]
        policy = CanonicalizationPolicy.from_c_value(b"/".join(self.way))
        signer.hasher = HASH_ALGORITHMS[self.algorithm]
        body = policy.canonicalize_body(signer.body)
        length = {b"l": b"%d" % len(body)} if self.has_length else {}
        tags = {
            b"v": b"1",
            b"a": self.algorithm,
            b"c": b"/".join(self.way),
            b"d": DOMAIN,
            b"s": self.selector,
            b"t": b"%d" % time.time(),
            **length,
            b"h": b" : ".join(include),
            **self.tags,
            b"bh": base64.b64encode(signer.hasher(body).digest()),
            b"b": b"0" * 60,
        }
        key = parse_pem_private_key(PRIVATE.encode())
        line: bytes = signer.gen_header([*tags.items()], include, policy, b"DKIM-Signature", key)
        return b"DKIM-Signature: " + line + content


@frozen
class ByOpenDkim:
    """OpenDKIM signs; ``settings`` are lines of its configuration."""

    settings: Mapping[str, str] = {}


@frozen
class Kind:
    """A kind of mail: who signs it, and what becomes of it then.

    ``why``: if the sample says of it what another does not, the reason.
    """

    name: str
    signed: ByDkimpy | ByOpenDkim
    change: Change = same
    why: str = ""


def dkimpy_kinds() -> list[Kind]:
    """Signed by dkimpy."""
    relaxed = (b"relaxed", b"relaxed")
    now = int(time.time())
    by_way = [
        Kind(f"{b'/'.join(way).decode()}, {name}", ByDkimpy(way), change)
        for way in WAYS
        for name, change in (
            *(("as it was", same), ("with Received", more_received), ("other body", other_body)),
            *(("other spaces", spaced), ("other Date", other_date), ("Date folded", refolded)),
            *(("empty lines at the end", longer_end), ("text appended", appended)),
        )
    ]
    return [
        *by_way,
        Kind("all fields", ByDkimpy(headers="all")),
        Kind("From alone, other Date", ByDkimpy(headers="from"), other_date),
        Kind("one more From", ByDkimpy(), other_author),
        Kind("one more Subject", ByDkimpy(), more_subjects),
        Kind("one more Subject, signed once more", ByDkimpy(headers="once"), more_subjects),
        Kind("fields signed once more", ByDkimpy(headers="once")),
        Kind("l=", ByDkimpy(has_length=True)),
        Kind("l=, text appended", ByDkimpy(has_length=True), appended),
        Kind("l=, relaxed, text appended", ByDkimpy(relaxed, has_length=True), appended),
        Kind("l=, other Date", ByDkimpy(has_length=True), other_date),
        Kind("l=0, other body", ByDkimpy(has_length=True, tags={b"l": b"0"}), other_body),
        Kind("l= beyond the body", ByDkimpy(tags={b"l": b"999999"}), why="dkimpy does not look"),
        Kind("x= is past", ByDkimpy(tags={b"t": b"1500000000", b"x": b"1500003600"})),
        Kind("x= is to come", ByDkimpy(tags={b"x": b"%d" % (now + 86_400)})),
        Kind("t= is to come", ByDkimpy(tags={b"t": b"%d" % (now + 864_000)})),
        Kind("i= of a user", ByDkimpy(tags={b"i": b"ann@test"})),
        Kind("i= of a subdomain", ByDkimpy(tags={b"i": b"@mail.test"})),
        Kind("i= of another domain", ByDkimpy(tags={b"i": b"@example.org"})),
        Kind("v=2", ByDkimpy(tags={b"v": b"2"})),
        Kind("a form that nobody knows", ByDkimpy(tags={b"c": b"relaxed/loose"})),
        Kind("q= that nobody knows", ByDkimpy(tags={b"q": b"http"})),
        Kind("a tag that nobody knows", ByDkimpy(tags={b"zz": b"1"})),
        Kind("SHA-1", ByDkimpy(algorithm=b"rsa-sha1"), why="RFC 8301 forbids it"),
        Kind("another key", ByDkimpy(selector=b"other")),
        Kind("the key is revoked", ByDkimpy(selector=b"revoked")),
        Kind("no key", ByDkimpy(selector=b"none")),
        Kind("the key is no key", ByDkimpy(selector=b"broken")),
        Kind("the key is for SHA-1", ByDkimpy(selector=b"sha1only"), why="dkimpy does not look"),
        Kind("the key is for another service", ByDkimpy(selector=b"service")),
        Kind("the key is not for subdomains", ByDkimpy(selector=b"strict")),
        Kind(
            "the key is not for subdomains, i= of one",
            ByDkimpy(selector=b"strict", tags={b"i": b"@mail.test"}),
            why="dkimpy does not look",
        ),
        Kind("the key is on test, and has notes", ByDkimpy(selector=b"testing")),
        Kind("another character in b=", ByDkimpy(), cut_signature),
    ]


def _why(change: Change, settings: Mapping[str, str]) -> str:
    """OpenDKIM signs From as often as it is there, and lets one more come later."""
    is_open = change is other_author and "OversignHeaders" not in settings
    return "OpenDKIM lets one more From come" if is_open else ""


def opendkim_kinds() -> list[Kind]:
    """Signed by OpenDKIM."""
    changes = (
        *(("as it was", same), ("with Received", more_received), ("other body", other_body)),
        *(("other spaces", spaced), ("other Date", other_date), ("Date folded", refolded)),
        *(("one more From", other_author), ("one more Subject", more_subjects)),
        *(("text appended", appended), ("another character in b=", cut_signature)),
    )
    settings: dict[str, Mapping[str, str]] = {
        b"/".join(way).decode(): {"Canonicalization": b"/".join(way).decode()} for way in WAYS
    }
    settings["fields signed once more"] = {"OversignHeaders": "From,Subject,Reply-To"}
    settings["x="] = {"SignatureTTL": "86400", "Canonicalization": "relaxed/simple"}
    settings["From and Date alone"] = {"SignHeaders": "From,Date"}
    settings["z="] = {"Diagnostics": "yes", "Canonicalization": "relaxed/relaxed"}
    settings["l="] = {"BodyLengthDB": "csl:b@test", "Canonicalization": "simple/relaxed"}
    return [
        Kind(f"{name}, {told}", ByOpenDkim(lines), change, _why(change, lines))
        for name, lines in settings.items()
        for told, change in changes
    ]
