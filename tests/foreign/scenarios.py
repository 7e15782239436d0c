"""SMTP conversations that are put to every milter: 25, each worth a different answer to somebody."""

from typing import Final

from attrs import frozen

from tests.integration.scenario import BODY, GREETING, HEADERS, envelope, message
from tests.integration.smtp import Step

EICAR: Final = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE: Final = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@frozen
class Conversation:
    """A name, and what the client says."""

    name: str
    steps: tuple[Step, ...]


def _mail(content: bytes = message(), sender: str = "a@test", *recipients: str) -> tuple[Step, ...]:
    return (*envelope(sender, *recipients), content)


def _one(name: str, content: bytes = message(), sender: str = "a@test", *to: str) -> Conversation:
    return Conversation(name, (GREETING, *_mail(content, sender, *to), "QUIT"))


def _with(*lines: str, body: bytes = BODY) -> bytes:
    return message((*HEADERS, *lines), body)


def _multipart(payload: bytes, name: bytes = b"a.txt") -> bytes:
    head = _with("MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="cut"', body=b"")
    return (
        head
        + b"--cut\r\nContent-Type: text/plain\r\n\r\nhello\r\n--cut\r\n"
        + b'Content-Type: application/octet-stream; name="'
        + name
        + b'"\r\n\r\n'
        + payload
        + b"\r\n--cut--\r\n"
    )


CONVERSATIONS: Final = (
    _one("a plain mail"),
    _one("three recipients", message(), "a@test", "b@test", "c@test", "d@other.test"),
    _one("the null sender", message(), ""),
    _one("parameters", message(), "a@test SIZE=300 BODY=8BITMIME", "b@test NOTIFY=NEVER"),
    _one("one recipient twice", message(), "a@test", "b@test", "b@test"),
    Conversation(
        "two mails in one session", (GREETING, *_mail(), *_mail(_with("X-Second: yes")), "QUIT")
    ),
    Conversation("RSET and another", (GREETING, *envelope(), "RSET", *_mail(), "QUIT")),
    Conversation("EHLO within a message", (GREETING, *envelope(), GREETING, *_mail(), "QUIT")),
    Conversation("given up", (GREETING, *envelope())),
    Conversation("unknown commands", (GREETING, "FROB x", *_mail(), "VRFY b@test", "NOOP", "QUIT")),
    Conversation("no greeting", (*_mail(), "QUIT")),
    Conversation("HELO", ("HELO client.test", *_mail(), "QUIT")),
    _one("no header", b"\r\nonly a body\r\n"),
    _one("no body", message(body=b"")),
    _one("an empty message", b"\r\n"),
    _one(
        "a body of 200 kB", message(body=b"0123456789abcdef" * 4 + b"\r\n" + b"x" * 78 + b"\r\n" * 2500)
    ),
    _one(
        "folded and odd fields", _with("X-Folded: one\r\n two\r\n\tthree", "X-Empty:", "X-Space:  two")
    ),
    _one("8-bit header and body", _with("X-Latin: caf\udce9", body=b"caf\xe9 \xff\r\n")),
    _one(
        "a signed mail", _with("DKIM-Signature: v=1; a=rsa-sha256; d=test; s=x; h=from; bh=eA==; b=eA==")
    ),
    _one("results of somebody else", _with("Authentication-Results: postfix.test; spf=pass")),
    _one("a virus", _multipart(EICAR, b"eicar.com")),
    _one("spam", message(body=GTUBE + b"\r\n")),
    _one("an attachment", _multipart(b"MZ plain", b"a.exe")),
    _one("many fields", message((*HEADERS, *(f"X-Many-{number}: {number}" for number in range(150))))),
    _one("lines of 900 characters", message(body=(b"x" * 900 + b"\r\n") * 20)),
)
