"""Cases of what milters see of a message, and of what their edits make of it."""

from collections.abc import Iterator
from typing import Final

from tests.model.case import (
    BARE,
    CONTINUE,
    MAIL,
    MESSAGE,
    Case,
    at_end,
    header,
    negotiation,
    packet,
    seen,
)

_TEXT: Final = MESSAGE[: MESSAGE.index(b"body")]


def messages() -> Iterator[Case]:
    yield seen("bare", BARE)
    yield seen("bare, from the null sender", BARE, "MAIL FROM:<>")
    yield seen("no header", b"\r\nbody\r\n")
    yield seen("no header, no empty line", b"body line one\r\nline two\r\n")
    yield seen("nothing", b"")
    yield seen(
        "a line in the header that is none", b"Subject: s\r\nno colon here\r\nTo: b@test\r\n\r\nbody\r\n"
    )
    yield seen("space before colons", b"Subject : s\r\nTo\t: b@test\r\n\r\nbody\r\n")
    yield seen("begins with a continuation", b" cont\r\nSubject: s\r\n\r\nbody\r\n")
    yield seen("begins with From", b"From a@test Sat Nov 21 10:00:00 2026\r\nSubject: s\r\n\r\nbody\r\n")
    yield seen("bare CR and LF", _TEXT + b"a\rb\r\nc\nd\r\n\r\r\ne\r\n")
    yield seen("bare LF in the header", b"Subject: s\nTo: b@test\n\nbody\n")
    yield seen("NUL and 8 bit", _TEXT + b"a\0b\r\n\xff\xfe\r\n")
    yield seen("8 bit, declared", _TEXT + b"gr\xc3\xbc\r\n", f"{MAIL} BODY=8BITMIME")
    yield seen("header of 5000", b"X-Long: " + b"v" * 5000 + b"\r\n" + MESSAGE)
    yield seen(
        "header of 72000, folded", b"X-Long: " + b"\r\n ".join([b"v" * 900] * 80) + b"\r\n" + MESSAGE
    )
    yield seen("trace and blind copies", b"Return-Path: <x@test>\r\nBcc: z@test\r\nContent-Length: 5\r\n"
               b"Resent-Bcc: y@test\r\nFull-Name: Joe\r\nReceived: by x\r\n" + MESSAGE)  # fmt: skip
    yield seen("resent", b"Resent-From: r@test\r\n" + MESSAGE)
    yield seen(
        "odd headers",
        b"X-A:\r\nX-B:  two\r\nX-C:\ttab\r\nX-D: one\r\n\ttwo\r\nX-E: \r\n one\r\n" + MESSAGE,
    )
    for name, line in {
        "NUL": b"Subject: nul\0x",
        "NUL and more": b"Subject: nul\0x\r\n two\r\nX-B: b",
        "NUL in the second line": b"Subject: nul\r\n tw\0o\r\n three\r\nX-B: b",
        "NUL in a name": b"X-N\0UL: x\r\nX-B: b",
        "NUL first": b"Subject: \0x",
        "NUL only": b"Subject:\0",
        "two NUL": b"Subject: a\0b\0c",
        "white space only": b"Subject: one\r\n \r\n two\r\nX-B: b\r\n\t",
        "white space only, first": b"Subject:\r\n \r\n two",
        "white space only, last": b"Subject: one\r\n \r\n\t \r\nX-B: b",
        "nothing but white space": b"Subject: \r\n \r\nX-B: \t \r\nX-C:  ",
        "8 bit in a name": b"S\xc3\xbcbject: x\r\nX-B: b",
        "odd signs in names": b'X(A): a\r\nX"B": b\r\nX<C>: c\r\nX@D: d',
        "control characters": b"X-A: a\x01b\x1b\x7f\tc\x0bd\x0ce",
        "8 bit": b"X-A: \xff\xfe\x80\xa0gr\xc3\xbc",
        "trailing space": b"X-A: a  \r\n b \t\r\n  c ",
        "long lines": b"X-A: " + b"v" * 3000 + b"\r\n " + b"w" * 3000,
    }.items():
        yield seen(f"{name} in the header", line + b"\r\n" + MESSAGE)
    yield seen("a line of 100000", _TEXT + b"x" * 100_000 + b"\r\n")
    yield seen("header only", MESSAGE[: MESSAGE.index(b"\r\nbody")])
    yield seen("header, no last line end, empty line", MESSAGE[: MESSAGE.index(b"body")])
    yield seen("mbox lines", _TEXT + b"From a\r\n>From b\r\n.\r\n..\r\n")
    yield seen("only white space", b" \r\n\t\r\n")
    yield seen("a colon only", b":\r\n: x\r\n\r\nbody\r\n")
    yield seen(
        "several of a kind", b"To: x@test\r\nSubject: first\r\nFrom: z@test\r\nDate: d\r\n" + MESSAGE
    )


_VALUES: Final = {
    "3000 bytes": b"v" * 3000,
    "59996 bytes, folded": b"\n ".join([b"v" * 900] * 67)[:59996],
    "65000 bytes": b"v" * 65000,
    "65000 bytes, folded": b"\n ".join([b"v" * 900] * 72),
    "LF without white space": b"v\nX-B: w",
    "LF and a tab": b"v\n\tw",
    "LF SP LF SP": b"one\n \n two",
    "LF SP and no more": b"one\n ",
    "LF SP LF TAB": b"one\n \n\t",
    "one LF": b"one\n",
    "LF first": b"\none",
    "LF LF": b"one\n\n two",
    "LF LF, no space": b"one\n\ntwo",
    "CR": b"one\rtwo",
    "CR at the end": b"one\r",
    "CRLF TAB": b"one\r\n\ttwo",
    "CRLF, no space": b"one\r\ntwo: x",
    "CRLF CRLF": b"one\r\n\r\ntwo",
    "CRLF at the end": b"one\r\n",
    "control characters": b"a\x01b\x1b\x7f\tc\x0bd",
    "white space only": b" \t ",
    "LF only": b"\n",
    "LF and space only": b"\n ",
}
"""Texts of header fields."""

_HEADER_EDITS: Final = {
    "add From": header("h", b"From", b"<n@test>"),
    "add Message-Id": header("h", b"Message-Id", b"<9@test>"),
    "add Received": header("h", b"Received", b"by x"),
    "add Date": header("h", b"Date", b"Thu, 1 Jan 2026 00:00:00 +0000"),
    "change From 1": header("m", b"From", b"<n@test>", 1),
    "change From 2": header("m", b"From", b"<n@test>", 2),
    "change Date 0": header("m", b"Date", b"Thu, 1 Jan 2026 00:00:00 +0000", 0),
    "change Message-Id 1": header("m", b"MESSAGE-ID", b"<9@test>", 1),
    "change Received 1": header("m", b"Received", b"by x", 1),
    "change To 3": header("m", b"To", b"c@test", 3),
    "delete From": header("m", b"From", b"", 1),
    "delete Date": header("m", b"Date", b"", 1),
    "delete Message-Id": header("m", b"Message-Id", b"", 1),
    "delete Received": header("m", b"Received", b"", 1),
    **{f"insert at {n}": header("i", b"X-I", b"v", n) for n in (0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 99)},
    "insert From at 0, change From 1": (
        header("i", b"From", b"<i@test>", 0) + header("m", b"From", b"<n@test>", 1)
    ),
    "insert three": (
        header("i", b"X-I", b"v", 0) + header("i", b"X-J", b"v", 2) + header("i", b"X-K", b"v", 11)
    ),
    "add, change, delete, add": (
        header("h", b"X-A", b"1")
        + header("m", b"X-A", b"2", 1)
        + header("m", b"X-A", b"", 1)
        + header("h", b"X-A", b"3")
    ),
    "delete, then change the same": header("m", b"Subject", b"", 1) + header("m", b"Subject", b"n", 1),
    "delete, then add the same": header("m", b"Subject", b"", 1) + header("h", b"Subject", b"n"),
    "delete, then delete the next": header("m", b"To", b"", 1) + header("m", b"To", b"", 2),
}
"""What is done to the header of a message."""


def header_edits() -> Iterator[Case]:
    for name, value in _VALUES.items():
        yield at_end(f"add a header of {name}", header("h", b"X-A", value))
        yield at_end(f"change to a header of {name}", header("m", b"Subject", value, 1))
    several = b"To: x@test\r\nSubject: first\r\n" + MESSAGE
    for name, packets in _HEADER_EDITS.items():
        yield at_end(name, packets)
        yield at_end(f"{name}, in a bare message", packets, message=BARE)
        yield at_end(f"{name}, in one with several of a name", packets, message=several)


def other_edits() -> Iterator[Case]:
    add, delete = packet("+", b"<n@test>\0"), packet("-", b"<n@test>\0")
    edits = {
        "body, PROGRESS, body": packet("b", b"one\r\n") + packet("p") + packet("b", b"two\r\n"),
        "body, header, body": packet("b", b"one\r\n")
        + header("h", b"X-A", b"v")
        + packet("b", b"two\r\n"),
        "body with bare CR and LF": packet("b", b"a\nb\rc\r\r\nd"),
        "body with an empty line at the end": packet("b", b"a\r\n\r\n"),
        "body with NUL": packet("b", b"a\0b"),
        "add twice, delete": add + add + delete,
        "delete, add the same": packet("-", b"<b@test>\0") + packet("+", b"<b@test>\0"),
        "add without brackets": packet("+", b"n@test\0"),
        "add one there, in capitals": packet("+", b"<B@TEST>\0"),
        "delete without brackets": packet("-", b"b@test\0"),
        "delete in capitals": packet("-", b"<B@TEST>\0"),
        "add with parameters": packet("2", b"<n@test>\0NOTIFY=NEVER ORCPT=rfc822;o@test\0"),
        "add with a parameter unknown": packet("2", b"<n@test>\0FOO=BAR\0"),
        "change sender": packet("e", b"<n@test>\0"),
        "change sender to none": packet("e", b"<>\0"),
        "change sender, parameters": packet("e", b"<n@test>\0RET=FULL ENVID=x\0"),
        "change sender, parameters unknown": packet("e", b"<n@test>\0FOO=BAR\0"),
        "quarantine": packet("q", b"odd\0"),
        "quarantine and discard": packet("q", b"odd\0") + packet("d"),
        "edits, then reject": header("h", b"X-A", b"v") + packet("r"),
        "without the final NUL": packet("h", b"X-A\0v"),
        "with one string more": packet("h", b"X-A\0v\0w\0"),
        "an answer and a byte more": packet("c", b"x"),
    }
    for name, packets in edits.items():
        yield at_end(name, packets)
    not_asked = {"O": negotiation(actions=0), "E": packet("b", b"new\r\n") + CONTINUE}
    yield Case("edit: body without having asked", (not_asked,))
    not_asked = {"O": negotiation(actions=0), "E": header("h", b"X-A", b"v") + CONTINUE}
    yield Case("edit: header without having asked", (not_asked,))
