"""The mails of `tests.chaos.nine`: what is sent, and what must become of it."""

import io
import re
import zipfile
from base64 import encodebytes
from collections.abc import Callable, Iterator

from attrs import frozen

from tests.integration.smtp import Delivery
from tests.samples.keys import PUBLIC, is_good, sign

DNS = f"""
example.org. TXT "v=spf1 ip4:203.0.113.8 -all"
_dmarc.example.org. TXT "v=DMARC1; p=reject"
s1._domainkey.example.org. TXT "{PUBLIC}"
bank.example. TXT "v=spf1 -all"
_dmarc.bank.example. TXT "v=DMARC1; p=reject"
mx.example. TXT "v=spf1 ip4:203.0.113.8 -all"
"""

VIRUS = b"this is the virus of the tests"
SIGNATURE = f"Test-Virus:0:*:{VIRUS.hex()}"
DISCLAIMER = b"\r\nExample Ltd., registered in Exampletown.\r\n"
RESULTS = b"Authentication-Results: postfix.test;"


def plain(author: str, text: bytes = b"hello") -> Callable[[str], bytes]:
    """A mail of one line."""
    return lambda subject: f"From: {author}\r\nSubject: {subject}\r\n\r\n".encode() + text + b"\r\n"


def signed(subject: str) -> bytes:
    """A mail of a stranger with a signature."""
    return sign(plain("ann@example.org")(subject))


def zipped(subject: str) -> bytes:
    """A mail with a program in a zip file in a zip file."""
    data, name = b"MZ", "run.exe"
    for wrapper in ("inner.zip", "outer.zip"):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(name, data)
        data, name = file.getvalue(), wrapper
    head = f"From: ann@example.org\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n".encode()
    coded = encodebytes(data).replace(b"\n", b"\r\n")
    return (
        head
        + b"Content-Type: application/zip; name=outer.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ) + coded


@frozen
class Kind:
    """A kind of mail. ``client``, ``user``, ``sender``, ``recipients``, ``content``: what is sent.

    ``replies``: how those from MAIL on begin. ``delivered``: to how many; None if it is not. ``has`` and
    ``has_not``: what is in the mail, and what is not. ``later``: the same after the delay of the
    greylist; ``away``: the same while no server answers.
    """

    name: str
    replies: tuple[str, ...]
    client: str = "203.0.113.8"
    user: str = ""
    sender: str = "ann@example.org"
    recipients: tuple[str, ...] = ("bob@example.net",)
    content: Callable[[str], bytes] = plain("ann@example.org")
    delivered: int | None = None
    has: tuple[bytes, ...] = ()
    has_not: tuple[bytes, ...] = ()
    is_signed: bool = False
    later: "Kind | None" = None
    away: "Kind | None" = None


OK = "250"
THROUGH = (OK, OK, OK)
FROM_US = {"client": "203.0.113.7", "user": "user", "sender": "ann@example.net"}
ONE_OF_US = {**FROM_US, "content": plain("ann@example.net")}
OURS = (b"\r\nDKIM-Signature:", b"\r\nhello\r\n\r\n", DISCLAIMER)
THEIRS = (b"\r\nDKIM-Signature:", DISCLAIMER, b"\r\nList-")

KINDS = (
    Kind(
        *("a stranger", (OK, "451 4.7.1 Greylisted")),
        client="203.0.113.7",
        sender="new{number}@elsewhere.example",
        later=Kind(
            *("a stranger again", THROUGH),
            client="203.0.113.7",
            sender="new{number}@elsewhere.example",
            content=plain("new@elsewhere.example"),
            delivered=1,
            has=(RESULTS, b"spf=none", b"dmarc=none"),
            has_not=THEIRS,
        ),
    ),
    Kind(
        *("from outside", THROUGH),
        delivered=1,
        has=(RESULTS, b"spf=pass smtp.mailfrom=example.org", b"dkim=none", b"dmarc=pass"),
        has_not=THEIRS,
        away=Kind(
            "from outside, nobody answers", (OK, OK, "451 4.7.0 The message could not be scanned")
        ),
    ),
    Kind(
        *("signed", THROUGH),
        sender="ann@elsewhere.example",
        content=signed,
        delivered=1,
        has=(RESULTS, b"spf=none", b"dkim=pass header.d=example.org", b"dmarc=pass"),
        has_not=THEIRS[1:],
    ),
    Kind(
        *("a bounce", THROUGH),
        sender="",
        content=plain("mailer-daemon@mx.example"),
        delivered=1,
        has=(RESULTS, b"spf=pass smtp.helo=mx.example"),
        has_not=THEIRS,
    ),
    Kind(
        *("forged", (OK, OK, "550 5.7.1 Rejected by the DMARC policy of bank.example")),
        client="203.0.113.9",
        sender="ann@bank.example",
        content=plain("ann@bank.example"),
    ),
    Kind(
        *("to nobody", (OK, "550 5.1.1 No such mailbox", OK, OK)),
        recipients=("nobody@example.net", "bob+box@example.net"),
        delivered=1,
        has=(RESULTS,),
    ),
    Kind(
        *("a virus", (OK, OK, "550 5.7.1 Virus found: Test-Virus")),
        content=plain("ann@example.org", VIRUS),
    ),
    Kind("a program", (OK, OK, "550 5.7.1 Not accepted: attached program"), content=zipped),
    Kind(
        *("from a user", THROUGH),
        **ONE_OF_US,
        recipients=("friend@elsewhere.example",),
        delivered=1,
        has=OURS,
        has_not=(RESULTS, b"\r\nList-"),
        is_signed=True,
        away=Kind(
            *("from a user, nobody answers", (OK, OK, "451 4.7.0 The message could not be scanned")),
            **ONE_OF_US,
            recipients=("friend@elsewhere.example",),
        ),
    ),
    Kind(
        *("to a list", THROUGH),
        **ONE_OF_US,
        recipients=("talk@example.net",),
        delivered=1,
        has=(*OURS, b"\r\nList-Id: Talk <talk.example.net>\r\nList-Post: <mailto:talk@example.net>\r\n"),
        is_signed=True,
    ),
    Kind(
        *("too many", (OK, OK, OK, "451 4.7.1 Too many recipients from this user", OK)),
        **ONE_OF_US,
        recipients=tuple(f"friend{number}@elsewhere.example" for number in range(3)),
        delivered=2,
        has=OURS,
        is_signed=True,
    ),
)


def problems_of(kind: Kind, replies: list[str], deliveries: list[Delivery]) -> Iterator[str]:
    """What is not as it must be with one mail."""
    told = [reply[: len(wanted)] for reply, wanted in zip(replies, kind.replies, strict=False)]
    if told != [*kind.replies] or len(replies) != len(kind.replies):
        yield f"expected {kind.replies}, got {replies}"
    recipients = sum(len(one.recipients) for one in deliveries)
    if recipients != (kind.delivered or 0):
        yield f"expected {kind.delivered} recipients, got {recipients}"
    for content in {one.content for one in deliveries}:
        unfolded = re.sub(rb"\r\n[ \t]+", b" ", content)
        yield from (f"expected {one!r}" for one in kind.has if one not in content + unfolded)
        yield from (f"expected no {one!r}" for one in kind.has_not if one in content + unfolded)
        if kind.is_signed and not is_good(content, "s1._domainkey.example.net."):
            yield "expected a signature that holds"
