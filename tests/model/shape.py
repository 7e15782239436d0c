"""What happened, in a shape in which a real server and its model can be compared.

Queue ids, dates of today and ports of a moment are replaced by words; long texts are cut, with a digest.
"""

import hashlib
import re
from typing import Any, Final

from tests.integration.scenario import Mail

_ID: Final = re.compile(r"\b(?:[0-9A-Za-z]{8}\d{6}|\d{14}(?=\.)|[0-9A-F]{10,12})\b")
_DATE: Final = re.compile(
    r"(?!Sat, 21 Nov 2026 10:00:00 \+0000)"
    r"[A-Z][a-z]{2}, +\d+ [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:[+-]\d{4}(?: \([A-Z]+\))?|GMT)"
)
_PORT: Final = re.compile(r"\[127\.0\.0\.1\]:\d+")


def plain(text: str) -> str:
    """Text without what differs from one time to the next."""
    text = _PORT.sub("[127.0.0.1]", _DATE.sub("DATE", _ID.sub("ID", text)))
    if len(text) < 400:
        return text
    return f"{text[:60]}... {len(text)}, {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def show_packet(frame: bytes) -> str:
    """A packet, from its letter on; of CONNECT without the port."""
    text = frame.decode("latin-1")
    if frame[:1] == b"C":
        text = re.sub("([46])..", r"\1", text, count=1, flags=re.DOTALL)
    return plain(text)


def show_mail(mail: Mail) -> list[Any]:
    """A delivered mail: sender, recipients, header lines, body, the server's own Received."""
    lines = [line.encode("utf-8", "surrogateescape").decode("latin-1") for line in mail.headers]
    body = plain(mail.body.decode("latin-1"))
    return [mail.sender, list(mail.recipients), [*map(plain, lines)], body, plain(mail.received)]


def first_line(reply: str) -> str:
    """A reply to EHLO without the extensions."""
    return plain(reply.partition("\n")[0] if reply.startswith("250 ") else reply)
