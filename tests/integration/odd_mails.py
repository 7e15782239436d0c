"""Mails as nobody should write them, and as they come: some by hand, the rest put together by chance.

Each is bytes as they go over the wire after DATA, without dots doubled; it ends in CRLF, for a client
can say no other end. The same seed gives the same mails.
"""

# ruff: noqa: E501  # a mail a line

import random
from collections.abc import Iterator
from typing import Final

_HEAD: Final = b"From: a@test\r\nTo: b@test\r\nSubject: odd\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
_BODY: Final = b"\r\nbody\r\n"

BY_HAND: Final[dict[str, bytes]] = {
    "nothing": b"\r\n",
    "no header": b"\r\nbody\r\n",
    "no header, no empty line": b"just text\r\nmore text\r\n",
    "no body": _HEAD + b"\r\n",
    "header only": _HEAD,
    "empty lines": _HEAD + b"\r\n" * 20,
    "white space only": b" \r\n\t\r\n \r\n",
    "begins with a continuation": b" one\r\n\ttwo\r\n" + _HEAD + _BODY,
    "mbox line above": b"From a@test Sat Nov 21 10:00:00 2026\r\n" + _HEAD + _BODY,
    "mbox line among fields": _HEAD + b"From a@test Sat Nov 21 10:00:00 2026\r\nX-A: b\r\n" + _BODY,
    "mbox lines in the body": _HEAD + b"\r\nFrom a\r\n>From b\r\n\r\nFrom c\r\n",
    "dots": _HEAD + b"\r\n.\r\n..\r\n...\r\n. a\r\n.\r\n\r\n.\r\n",
    "bare CR": _HEAD + b"X-A: one\rtwo\r\n" + b"\r\na\rb\r\n\rc\r\r\nd\r\n",
    "bare LF": _HEAD.replace(b"\r\n", b"\n") + b"\nbody\nmore\r\n",
    "LF CR": _HEAD + b"\r\na\n\rb\n\r\r\n",
    "NUL everywhere": _HEAD + b"X-A: a\0b\r\n c\0d\r\nX-B:\0\r\n\r\na\0b\0\r\n\0\r\n",
    "NUL in a name": _HEAD + b"X-\0A: b\r\n" + _BODY,
    "8 bit everywhere": b"X-A: \xff\xfe\x80\r\n" + _HEAD + b"X-B: gr\xc3\xbc\xdfe\r\n\r\n\x80\xff\xc3\r\n",
    "8 bit in a name": _HEAD + b"S\xc3\xbcbject: a\r\n" + _BODY,
    "all control characters": _HEAD + b"X-A: " + bytes(sorted({*range(1, 32)} - {10, 13})) + b"\x7f\r\n"
    + b"\r\n" + bytes(range(256)) + b"\r\n",
    "continuations of white space only": _HEAD + b"X-A: one\r\n \r\n\t\r\n two\r\nX-B:\r\n \r\n\t \r\n" + _BODY,
    "ends in a continuation of white space": _HEAD + b"X-A: one\r\n \r\n" + _BODY,
    "all folded": _HEAD.replace(b": ", b":\r\n ").replace(b"@", b"\r\n @") + _BODY,
    "fields without text": b"X-A:\r\nX-B: \r\nX-C:\t\r\nX-D:   \r\n" + _HEAD + _BODY,
    "spaces before colons": b"X-A : a\r\nX-B\t: b\r\nX-C \t : c\r\n" + _HEAD + _BODY,
    "no space behind colons": _HEAD.replace(b": ", b":") + _BODY,
    "colons only": _HEAD + b":\r\n: a\r\n::\r\n" + _BODY,
    "a field that is none": _HEAD + b"X-A: a\r\nno colon\r\nX-B: b\r\n" + _BODY,
    "odd names": _HEAD + b'X(A): a\r\nX"B": b\r\nX<C>: c\r\nX@D: d\r\n!: e\r\n~: f\r\n' + _BODY,
    "a name of 900": _HEAD + b"X" * 900 + b": a\r\n" + _BODY,
    "trailing white space": _HEAD + b"X-A: a  \r\n b \t\r\n  c \r\n\r\na \t\r\n \r\n",
    "many of a name": _HEAD + b"".join(b"X-A: %d\r\n" % number for number in range(50)) + _BODY,
    "names in any case": _HEAD + b"x-a: 1\r\nX-A: 2\r\nX-a: 3\r\n" + _BODY,
    "100 fields": _HEAD + b"".join(b"X-%d: v\r\n" % number for number in range(100)) + _BODY,
    "a field of 20000, folded": _HEAD + b"X-A: " + b"\r\n ".join([b"v" * 500] * 40) + b"\r\n" + _BODY,
    "a field of 20000, not folded": _HEAD + b"X-A: " + b"v" * 20_000 + b"\r\n" + _BODY,
    "500 continuations": _HEAD + b"X-A: a" + b"\r\n b" * 500 + b"\r\n" + _BODY,
    "a line of 1 MB": _HEAD + b"\r\n" + b"x" * 1_000_000 + b"\r\n",
    "a line of 1 MB of 8 bit": _HEAD + b"\r\n" + b"\xe4" * 1_000_000 + b"\r\nend\r\n",
    "10000 empty lines": _HEAD + b"\r\n" * 10_000,
    "encoded words": _HEAD + b"X-A: =?utf-8?q?=0D=0ABcc:_x?= =?x?b?AA?= =?=\r\n" + _BODY,
    "percent signs": _HEAD + b"X-A: 100% %s %n %%\r\n\r\n%s%n\r\n",
    "MIME without an end": _HEAD + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--y--\r\n",
    "own fields of servers": b"Return-Path: <x@test>\r\nReceived: by x\r\nDelivered-To: y\r\nBcc: z@test\r\n"
    b"Content-Length: 5\r\n" + _HEAD + _BODY,
    "resent": b"Resent-From: r@test\r\nResent-To: s@test\r\n" + _HEAD + _BODY,
    "SMTP in the body": _HEAD + b"\r\nQUIT\r\nRSET\r\nDATA\r\n354 go\r\n",
}  # fmt: skip
"""What has a name."""

_NAMES: Final = (
    b"Subject",
    b"X-A",
    b"x-a",
    b"Comments",
    b"X_B",
    b"Received",
    b"X-Long-" + b"n" * 60,
    b"!#$%&",
)
_PIECES: Final = (
    b"", b" ", b"\t", b"word", b"\r\n ", b"\r\n\t", b"\r\n \r\n ", b"\0", b"\r", b"\x01\x1b", b"\xff\xfe",
    b"\xc3\xa4", b"=?utf-8?b?w6Q=?=", b'"q\\"', b"(c", b"<a@b>", b"%s", b",;:", b"w" * 300, b"..", b"From ",
)  # fmt: skip
_LINES: Final = (
    b"", b".", b"..", b"text", b" ", b"\t", b"From x", b">From y", b"a\rb", b"\0", b"\xe4\xf6", b"z" * 3000,
    b"X: y", b"--b", b"a\nb", b"\r", b"=20", b"QUIT",
)  # fmt: skip


def by_chance(count: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """So many mails, put together of odd pieces."""
    dice = random.Random(seed)
    for number in range(count):
        fields = [
            dice.choice(_NAMES) + b":" + b"".join(dice.choices(_PIECES, k=dice.randrange(9)))
            for _ in range(dice.randrange(12))
        ]
        if dice.random() < 0.1:
            fields.insert(dice.randrange(len(fields) + 1), dice.choice(_LINES))
        body = dice.choices(_LINES, k=dice.randrange(15))
        lines = [*fields, *([] if dice.random() < 0.1 else [b""]), *body]
        yield f"by chance {number}", b"\r\n".join([*lines, b""])


MAILS: Final[dict[str, bytes]] = {**BY_HAND, **dict(by_chance(150))}
"""All, by name."""
