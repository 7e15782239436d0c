"""The sessions that are played at every filter: 20, each worth another answer to somebody."""

import base64
import io
import zipfile
from typing import Final

from demyjpy.testing import Script, session

CLIENT: Final = session(client="192.0.2.7", name="mx.example.net", helo="mx.example.net")
STRANGER: Final = session(client="203.0.113.9", helo="odd.example.com")
ODD: Final = "x@odd.example.com"
HEADER: Final = "From: Ann <ann@example.net>\nTo: bob@example.org\nSubject: hello\nDate: today\n"
PLAIN: Final = f"{HEADER}\nHello Bob\n"


def _sent(script: Script, content: str | bytes, sender: str = "ann@example.net") -> Script:
    return script.mail(sender).rcpt("bob@example.org").message(content)


def _multipart(name: str, payload: bytes) -> str:
    data = base64.encodebytes(payload).decode()
    return (
        f'{HEADER}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="cut"\n\n'
        "--cut\nContent-Type: text/plain\n\nhello\n"
        f'--cut\nContent-Type: application/zip; name="{name}"\nContent-Transfer-Encoding: base64\n'
        f"Content-Disposition: attachment; filename={name}\n\n{data}\n--cut--\n"
    )


def _encrypted_zip() -> bytes:
    """An archive whose one file says that it is encrypted."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("secret.txt"), b"secret")
    data = bytearray(stream.getvalue())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    return bytes(data)


SIGNED: Final = (
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s; h=from:subject;\n"
    " bh=eA==;\n b=eA==\n"
)

SESSIONS: Final = {
    "a plain mail": _sent(CLIENT, PLAIN),
    "from a stranger": _sent(STRANGER, PLAIN.replace("ann@example.net", ODD), ODD),
    "a foreign From": _sent(CLIENT, PLAIN.replace("ann@example.net", "boss@bank.example")),
    "a foreign From with Reply-To, then one without": _sent(
        _sent(CLIENT, f"Reply-To: c@d.example\n{PLAIN}".replace("ann@example.net", "boss@bank.example")),
        PLAIN.replace("ann@example.net", "boss@bank.example"),
    ),
    "the null sender": _sent(CLIENT, PLAIN, ""),
    "a bounce to a false SRS address": CLIENT.mail("")
    .rcpt("SRS0=abcde=AB=example.com=user@example.org")
    .rcpt("bob@example.org")
    .message(PLAIN),
    "three recipients, one refused": CLIENT.mail("ann@example.net", SIZE="100", BODY="8BITMIME")
    .rcpt("bob@example.org", NOTIFY="NEVER")
    .rcpt("no@example.org", refused="5.1.1 User unknown")
    .rcpt("cid@host.corp")
    .message(PLAIN),
    "two mails in a session": _sent(_sent(CLIENT, PLAIN), f"X-Second: yes\n{PLAIN}", "dan@example.net"),
    "given up, and another": _sent(CLIENT.mail("x@example.net").rcpt("y@example.org").rset(), PLAIN),
    "gone within a message": CLIENT.mail("ann@example.net").rcpt("bob@example.org").drop(),
    "an unknown command": _sent(CLIENT.command("FROB x"), PLAIN),
    "no From and no body": _sent(CLIENT, "X-Only: this\n\n"),
    "8-bit and folded fields": _sent(
        CLIENT,
        HEADER.encode().replace(b"\n", b"\r\n")
        + b"X-Latin: caf\xe9\r\nX-Folded: one\r\n two\r\n\tthree\r\n"
        + b"X-Space:  two\r\nX-None:x\r\nX-Empty:\r\n"
        + "X-Utf8: käse\r\n\r\ncaf\xe9 käse\r\n".encode()
        + b"\xff\xfe\r\n",
    ),
    "a body of 200 kB": _sent(CLIENT, PLAIN + ("x" * 78 + "\n") * 2500),
    "a signature that does not verify": _sent(CLIENT, SIGNED + PLAIN),
    "results of somebody else, three of a name": _sent(
        CLIENT,
        "Authentication-Results: mx.example.org; spf=pass\nX-Multi: one\nX-Multi: two\nX-Multi: two\n"
        f"Authentication-Results: mx.example.org; dkim=pass header.d=bank.example\n{PLAIN}",
    ),
    "marked as a virus": _sent(CLIENT, f"X-Virus: Yes\n{PLAIN}"),
    "marked as spam": _sent(STRANGER, f"X-Spam: Yes\n{PLAIN}"),
    "an encrypted archive": _sent(CLIENT, _multipart("a.zip", _encrypted_zip())),
    "a program, by who logged in over TLS": _sent(
        session(client="2001:db8::7", name="home.example.net").starttls().ehlo().auth("ann"),
        _multipart("setup.exe", b"MZ plain"),
    ),
}
