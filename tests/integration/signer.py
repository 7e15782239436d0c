"""A DKIM signer behind a disclaimer, behind the real servers: signatures verify at the next hop.

    python -m tests.integration.signer NUMBER

plays so many mails of many MIME shapes through both. For root, after `tests.integration.fetch_mtas`; it
needs dkimpy.
"""

# ruff: noqa: T201  (a program that prints)
import base64
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from random import Random
from typing import Any, Final

import dkim
from attrs import frozen

from demyjpy import become, define_event_handlers, merge_handlers, running
from demyjpy.message import Message
from tests.integration.running import MTAS, Site, milter_address, running_site
from tests.integration.scenario import GREETING, envelope
from tests.integration.smtp import converse

TEXT: Final = "-- \nThis mail is for größere Leute only.\n"
DOMAIN: Final = b"test"
SELECTOR: Final = b"sel"


@frozen
class Keys:
    """A key to sign with, and the record that DNS has of it."""

    private: bytes
    record: bytes


@cache
def keys() -> Keys:
    """Made anew in each run."""
    private = _openssl("genrsa", "-traditional", "1024")
    public = _openssl("rsa", "-pubout", "-outform", "DER", stdin=private)
    return Keys(private, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public))


def _openssl(*words: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=True).stdout


# ---------------------------------------------------------------------------------- the filters
def disclaimer() -> Any:
    """A filter that puts a text at the end of what people read."""
    handlers = define_event_handlers(name="disclaimer", edits="all")
    handlers.add("message", lambda event, ctx: become(ctx, event.append_text(TEXT)))
    return handlers


def signer(canonical: tuple[bytes, bytes] = (b"simple", b"simple")) -> Any:
    """A filter that signs the message as it gets it, field by field and byte by byte."""
    handlers = define_event_handlers(name="signer", edits="headers")

    @handlers.message(blocking=True)
    def sign(event: Message, ctx: Any) -> Any:
        line = dkim.sign(bytes(event), SELECTOR, DOMAIN, keys().private, canonicalize=canonical)
        name, _, value = line.decode().removesuffix("\r\n").replace("\r\n", "\n").partition(": ")
        return become(ctx, event.prepend(name, value))

    return handlers


def is_verified(data: bytes) -> bool:
    """Whether the signature of a mail is right."""
    verified: bool = dkim.verify(data, dnsfunc=lambda name, timeout=5: keys().record)
    return verified


def is_right(data: bytes) -> bool:
    """Whether it is, and the text of the disclaimer is there."""
    parts = Message.parse(data).parts()
    return is_verified(data) and any("größere Leute only." in (part.text or "") for part in parts)


# ------------------------------------------------------------------------------------- the mails
class Shapes:
    """Makes the mail of a number: whole MIME, 7-bit or with 8-bit text, that no server converts."""

    def __init__(self, number: int) -> None:
        self.number, self.random, self.count = number, Random(number), 0

    def mail(self) -> bytes:
        """Header and body."""
        pick = self.random.choice
        subject = pick(("plain", "=?utf-8?q?t=C3=B6rture?=", "folded\r\n over\r\n\ttwo lines", "  deep"))
        lines = [
            "From: A Sender <a@test>",
            "To: b@test",
            f"Subject: {subject}",
            "Date: Sat, 21 Nov 2026 10:00:00 +0000",
            f"Message-ID: <{self.number}@client.test>",
            *self.random.sample(("X-A: 1", "X-Tight:2", "x-a:   3 ", "List-Id: <l>", "X-Empty:"), 2),
        ]
        if self.number % 4 == 0:
            return _joined(lines, b"\r\n" + self.text())
        return _joined([*lines, "MIME-Version: 1.0"], self.part(0))

    def part(self, depth: int) -> bytes:
        """Header and body of a part."""
        kinds = ("text", "text", "html", "file", "qp", "base64", "utf8")
        more = ("mixed", "alternative", "related", "mixed", "digest")
        kind = self.random.choice((*kinds, *more) if 0 < depth < 4 else more if depth == 0 else kinds)
        match kind:
            case "text":
                return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + self.text()
            case "html":
                html = b"<html><body><p>Hello</p>\r\n" + self.text() + b"</body></html>\r\n"
                return b"Content-Type: text/html; charset=us-ascii\r\n\r\n" + html
            case "file":
                name = self.random.choice(("a.bin", "long name.bin"))
                data = base64.encodebytes(self.random.randbytes(200)).replace(b"\n", b"\r\n")
                head = f'Content-Type: application/octet-stream; name="{name}"\r\n'
                head += "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n"
                return head.encode() + data
            case "qp":
                head = b"Content-Type: text/plain; charset=iso-8859-1\r\n"
                return head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=F6=DFer=20\r\n"
            case "base64":
                data = base64.encodebytes("größer\r\n".encode()).replace(b"\n", b"\r\n")
                head = b"Content-Type: text/plain; charset=utf-8\r\n"
                return head + b"Content-Transfer-Encoding: base64\r\n\r\n" + data
            case "utf8":
                head = b"Content-Type: text/plain; charset=utf-8\r\n"
                return head + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + "größer\r\n".encode()
        return self.multipart(kind, depth)

    def multipart(self, kind: str, depth: int) -> bytes:
        """With one to three parts, and what may stand before and behind them."""
        self.count += 1
        boundary = self.random.choice((f"b{self.count}", f"=_{self.count}.x", f"b {self.count} y"))
        pieces = [f'Content-Type: multipart/{kind};\r\n\tboundary="{boundary}"\r\n\r\n'.encode()]
        if self.random.random() < 0.3:
            pieces.append(b"This is MIME.\r\n\r\n")
        for _ in range(self.random.randrange(1, 4)):
            if kind == "digest":
                inner = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n" + self.text()
            else:
                inner = self.part(depth + 1)
            pieces += [f"--{boundary}\r\n".encode(), inner, b"\r\n" * self.random.randrange(1, 3)]
        pieces.append(f"--{boundary}--\r\n".encode())
        if self.random.random() < 0.2:
            pieces.append(b"\r\nepilogue\r\n")
        return b"".join(pieces)

    def text(self) -> bytes:
        """Some lines, with what servers and canonical forms have to do with."""
        lines = ("hello", "", ".", "..dots", "From here", "trailing  ", "\ttab", "x" * 880, "-- ", "=3D")
        return "".join(f"{one}\r\n" for one in self.random.choices(lines, k=5)).encode()


def _joined(lines: list[str], rest: bytes) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode() + rest


def mail(number: int) -> bytes:
    """The mail of a number: always the same."""
    return Shapes(number).mail()


_PLAIN: Final = ["From: a@test", "Date: Sat, 21 Nov 2026 10:00:00 +0000", "Message-ID: <1@test>"]
_MIME: Final = [*_PLAIN, "MIME-Version: 1.0"]
_HELLO: Final = b"\r\nhello\r\n"

CONVERTED: Final[dict[str, bytes]] = {
    "ends a multipart that has no end": _joined(
        [*_MIME, "Content-Type: multipart/mixed; boundary=b1"], b"\r\n--b1\r\n\r\ntext\r\n"
    ),
    "knows no boundary in parts": _joined(
        [*_MIME, "Content-Type: multipart/mixed; boundary*0=b1"], b"\r\n--b1\r\n\r\ntext\r\n--b1--\r\n"
    ),
    "breaks a long line": _joined(_PLAIN, b"\r\n" + b"y" * 3000 + b"\r\n"),
    "breaks a long header field": _joined([*_PLAIN, "Subject: " + "y" * 3000], _HELLO),
    "writes addresses anew": _joined(['From: a@test ,  "B"   <b@test>', *_PLAIN[1:]], _HELLO),
    "gives addresses a domain": _joined([*_PLAIN, "To: b, c"], _HELLO),
}
"""Mails that Sendmail converts after its milters, by what it does. The signature is wrong then."""


# ---------------------------------------------------------------------------------- real servers
@contextmanager
def site_of(mta: Any) -> Iterator[Site]:
    """A server with one milter."""
    with ExitStack() as stack:
        address = stack.enter_context(milter_address("inet"))
        yield stack.enter_context(running_site(mta, (address,)))


def deliver(site: Site, data: bytes, *filters: Any) -> bytes:
    """What the next hop gets of a mail, after these filters; without any after disclaimer and signer."""
    site.sink.take()
    with running(merge_handlers(*(filters or (disclaimer(), signer()))), address=site.milter):
        sender = "a@test" if data.isascii() else "a@test BODY=8BITMIME"
        converse(site.server.port, (GREETING, *envelope(sender), data, "QUIT"))
    site.server.settle()
    (delivery,) = site.sink.take()
    return delivery.content


def main(mails: int) -> int:
    """Play so many mails; the number of those whose signature is wrong."""
    logging.disable(logging.CRITICAL)
    wrong = 0
    for mta in MTAS:
        with site_of(mta) as site:
            bad = [number for number in range(mails) if not is_right(deliver(site, mail(number)))]
        print(f"{mta}: {mails - len(bad)} of {mails} signatures verify; wrong: {bad}")
        wrong += len(bad)
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]))))
