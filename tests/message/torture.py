"""Mails for parsers to fail on, each made of its number: what programs send, and what nobody should.

    python -m tests.message.torture NUMBER

prints one.
"""

import base64
import binascii
import quopri
import sys
from random import Random

WORDS = [
    "plain",
    "text",
    "größer",
    "a=b",
    "--b0",
    "From here",
    ".",
    "x" * 90,
    "",
    " lead",
    "tail ",
    "=?utf-8?q?x?=",
]
TYPES = [
    "text/plain",
    "text/html",
    "image/png",
    "application/octet-stream",
    "TEXT/Plain",
    "text",
    "a/b/c",
    "",
]
MULTIPARTS = ["mixed", "alternative", "related", "digest", "report", "signed", "Mixed"]
NAMES = [
    'filename="simple.txt"',
    "filename=bare name.txt",
    'filename="semi;colon.txt"',
    'filename="quo\\"te.txt"',
    "filename*=utf-8''gr%C3%B6%C3%9Fe.txt",
    'filename*0="long"; filename*1="er.txt"',
    "filename*0*=iso-8859-1'de'gr%F6; filename*1*=%DFe.txt",
    'filename="=?utf-8?b?Z3LDtsOfZS50eHQ=?="',
    'filename="größe.txt"',
    "filename*=x; filename*0*=y",
    "filename",
    'filename="open',
]
ENCODINGS = [
    "7bit",
    "8bit",
    "base64",
    "quoted-printable",
    "x-uuencode",
    "binary",
    "BASE64",
    "unknown",
    None,
]


class Maker:
    """Makes one mail."""

    def __init__(self, number: int) -> None:
        self.random = Random(number)
        self.count = 0

    def mail(self) -> bytes:
        """Header and body, with CRLF, and in every third mail some bytes that are wrong."""
        lines = ["From: a@example.org", "Subject: =?utf-8?q?t=C3=B6rture?=", "MIME-Version: 1.0"]
        data = "\r\n".join(lines).encode() + b"\r\n" + self.part(0)
        header, _, body = data.partition(b"\r\n\r\n")
        if self.random.random() < 0.35:
            body = self.broken(body)
        return header + b"\r\n\r\n" + body

    def one_in(self, count: int) -> bool:
        return self.random.randrange(count) == 0

    def part(self, depth: int) -> bytes:
        """Header and body of a part."""
        kind = self.random.random()
        if depth < 5 and kind < 0.55:
            return self.multipart(depth)
        if depth < 5 and kind < 0.68:
            kinds = ["rfc822", "rfc822", "global", "partial", "external-body"]
            head = f"Content-Type: message/{self.random.choice(kinds)}\r\n\r\n".encode()
            return head + b"Subject: inner\r\n" + self.part(depth + 1)
        return self.leaf()

    def multipart(self, depth: int) -> bytes:
        self.count += 1
        boundary = self.random.choice(
            [f"b{self.count}", f"b {self.count}", "b0", f"=_{self.count}--", f"b{self.count}:x"]
        )
        shown = f'"{boundary}"' if self.random.random() < 0.8 else boundary
        name = self.random.choice(["boundary", "Boundary", "boundary ", "boundary*0"])
        subtype = self.random.choice(MULTIPARTS)
        head = f"Content-Type: multipart/{subtype};\r\n {name}={shown}"
        if self.one_in(15):
            head = f"Content-Type: multipart/{subtype}"
        line = f"--{boundary}".encode()
        pieces = [head.encode(), b"\r\n\r\n"]
        if self.one_in(3):
            pieces.append(b"preamble --" + boundary.encode() + b"\r\n")
        for _ in range(self.random.randrange(4)):
            ends = [b"\r\n"] * 12 + [b" \t\r\n", b"\r\n" + line + b"\r\n", b"\n", b"\r"]
            pieces += [line, self.random.choice(ends), self.part(depth + 1), b"\r\n"]
        if not self.one_in(6):
            pieces += [line, b"--", self.random.choice([b"\r\n", b"", b"  \r\n", b"x\r\n"])]
        if self.one_in(3):
            pieces += [b"epilogue\r\n", line, b"\r\nagain\r\n"][: self.random.randrange(4)]
        return b"".join(pieces)

    def leaf(self) -> bytes:
        """A part that holds something."""
        pick = self.random.choice
        lines = []
        encoding = pick(ENCODINGS)
        if not self.one_in(6):
            charset = pick(["", "; charset=utf-8", '; charset="iso-8859-1"', "; charset=nonesuch", ";;"])
            name = f"; {pick(NAMES).replace('file', '')}" if self.one_in(3) else ""
            lines.append(f"Content-Type: {pick(TYPES)}{charset}{name}")
        if encoding is not None:
            lines.append(f"Content-Transfer-Encoding: {encoding}")
        if self.one_in(2):
            lines.append(
                f"Content-Disposition: {pick(['attachment', 'inline', 'ATTACHMENT'])}; {pick(NAMES)}"
            )
        if self.one_in(8):
            lines.insert(
                self.random.randrange(len(lines) + 1), pick(["From x", " folded", ": none", "odd line"])
            )
        head = "".join(f"{line}\r\n" for line in lines).encode()
        return head + (b"" if self.one_in(15) else b"\r\n") + self.content(encoding)

    def content(self, encoding: str | None) -> bytes:
        text = "\r\n".join(self.random.choices(WORDS, k=self.random.randrange(6))).encode()
        match (encoding or "").lower():
            case "base64":
                text = base64.encodebytes(text or b"x").replace(b"\n", b"\r\n")
                return text[: -self.random.randrange(1, 5)] if self.one_in(4) else text
            case "quoted-printable":
                return quopri.encodestring(text) if self.one_in(2) else text + b"=\r\n=ZZ=41"
            case "x-uuencode":
                lines = [binascii.b2a_uu(text[at : at + 45]) for at in range(0, len(text), 45)]
                end = b"`\nend\n" if not self.one_in(4) else b""
                return b"begin 644 x.txt\n" + b"".join(lines) + end
        return text

    def broken(self, body: bytes) -> bytes:
        """With a few bytes gone, doubled or replaced."""
        data = bytearray(body)
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(data) + 1)
            match self.random.randrange(4):
                case 0:
                    del data[at : at + self.random.randrange(1, 30)]
                case 1:
                    data[at:at] = self.random.choice(
                        [b"\r", b"\n", b"--", b"\0", b"\xff", b"\r\n\r\n", b'"']
                    )
                case 2:
                    data[at:at] = data[at : at + self.random.randrange(60)]
                case _:
                    del data[at:]
        return bytes(data)


def mail(number: int) -> bytes:
    """The mail of a number: always the same."""
    return Maker(number).mail()


if __name__ == "__main__":
    sys.stdout.buffer.write(mail(int(sys.argv[1])))
