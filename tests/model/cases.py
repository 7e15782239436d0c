"""What is put to the real servers and to their models alike: SMTP dialogues with scripted milters.

A case is data: what each milter answers to which command, and what the client says. What the real
servers made of each is in ``recorded.jsonl``, written by ``python -m tests.model.record``.
"""

from collections.abc import Iterator, Mapping
from typing import Final, get_args

from attrs import field, frozen

from tests.integration.mta import DefaultAction
from tests.integration.scenario import Mta
from tests.integration.smtp import Step

Answers = Mapping[str, bytes] | None
"""Bytes for a command, by its letter, or letter and number: ``R1`` is the second RCPT. Empty: close.

None: nobody listens.
"""


def packet(letter: str, payload: bytes = b"") -> bytes:
    """A whole packet."""
    return (len(payload) + 1).to_bytes(4, "big") + letter.encode() + payload


def number(value: int) -> bytes:
    """Four bytes, network order."""
    return value.to_bytes(4, "big")


def reply(text: str) -> bytes:
    """REPLYCODE."""
    return packet("y", text.encode() + b"\0")


def negotiation(version: int = 6, actions: int = 0x1FF, protocol: int = 0x400) -> bytes:
    """The answer to the offer."""
    return packet("O", number(version) + number(actions) + number(protocol))


CONTINUE: Final = packet("c")
GONE: Final = b"(and is gone)"
"""Behind what a milter says: it closes the connection, then."""

MESSAGE: Final = (
    b"From: a@test\r\nTo: b@test\r\nSubject: s\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@c.test>\r\n\r\nbody\r\n"
)
BARE: Final = b"Subject: s\r\n\r\nbody\r\n"
MAIL: Final = "MAIL FROM:<a@test>"
RCPT: Final = "RCPT TO:<b@test>"
ONE: Final = ("EHLO c.test", MAIL, RCPT, MESSAGE, "QUIT")


@frozen
class Case:
    """One dialogue. ``answers`` has one entry a milter; what it does not say is CONTINUE.

    ``mtas`` are the servers that survive it: an ACCEPT or DISCARD at an unknown command makes the
    smtpd(8) of Postfix 3.7.11 dump core. ``default_action``: what the server does without its milter.
    """

    name: str
    answers: tuple[Answers, ...] = ({},)
    steps: tuple[Step, ...] = field(default=ONE, repr=False)
    mtas: tuple[Mta, ...] = ("postfix", "sendmail")
    default_action: DefaultAction = "tempfail"


def at_end(name: str, *packets: bytes, message: bytes = MESSAGE) -> Case:
    """What a milter says to the end of the message before it continues."""
    steps = ("EHLO c.test", MAIL, RCPT, message, "QUIT")
    return Case(f"edit: {name}", ({"E": b"".join(packets) + CONTINUE},), steps)


def seen(name: str, message: bytes, mail: str = MAIL) -> Case:
    """A message as the server takes it."""
    return Case(f"message: {name}", steps=("EHLO c.test", mail, RCPT, message, "QUIT"))


VERDICTS: Final[Answers] = {
    "accept": packet("a"),
    "reject": packet("r"),
    "tempfail": packet("t"),
    "discard": packet("d"),
    "skip": packet("s"),
    "reply 554": reply("554 5.7.9 no"),
    "reply 452": reply("452 4.7.9 no"),
    "reply 421": reply("421 4.7.0 bye"),
    "bad reply": reply("250 ok"),
    "SHUTDOWN": packet("4"),
    "an unknown letter": packet("Z"),
    "an edit": packet("h", b"X-A\0v\0"),
    "PROGRESS, then continue": packet("p") + CONTINUE,
    "no answer, and closes": b"",
}
"""What a milter may say to a command, right or wrong."""

_LONG_TALK: Final = (
    *("EHLO c.test", "XFOO bar", "RSET", MAIL, RCPT, "RCPT TO:<c@test>", MESSAGE, "XFOO"),
    *("EHLO d.test", MAIL, RCPT, MESSAGE, "QUIT"),
)
_TALK_OF_TWO: Final = (
    *("EHLO c.test", "XFOO", MAIL, RCPT, "RCPT TO:<c@test>", MESSAGE, "RSET"),
    *(MAIL, RCPT, MESSAGE, "QUIT"),
)


def _survivors(name: str, letter: str) -> tuple[Mta, ...]:
    dies = letter == "U" and name in ("accept", "discard")
    return ("sendmail",) if dies else ("postfix", "sendmail")


def _verdicts() -> Iterator[Case]:
    for name, answer in VERDICTS.items():
        for letter in "CHUMRTLNBE":
            yield Case(
                f"{name} at {letter}", ({f"{letter}0": answer},), _LONG_TALK, _survivors(name, letter)
            )


def _two() -> Iterator[Case]:
    for name in ("accept", "reject", "tempfail", "discard", "reply 554", "no answer, and closes"):
        for letter in "CHUMRTLNBE":
            answer = {f"{letter}0": VERDICTS[name]}
            survivors = _survivors(name, letter)
            yield Case(f"{name} at {letter} by the first of two", (answer, {}), _TALK_OF_TWO, survivors)
            yield Case(f"{name} at {letter} by the second of two", ({}, answer), _TALK_OF_TWO, survivors)


def _replies() -> Iterator[Case]:
    steps = (
        *("EHLO c.test", MAIL, MAIL, RCPT, "RCPT TO:<c@test>", "RCPT TO:<d@test>", MESSAGE, "RSET"),
        *(MAIL, "RCPT TO:<e@test>", MESSAGE, "QUIT"),
    )
    for code in (450, 451, 452, 453, 454, 459, 500, 501, 530, 550, 551, 552, 553, 554, 555):
        own = f"{code} {code // 100}.7.9"
        answers = {
            "M0": reply(f"{own} m"),
            "R0": reply(f"{own} r"),
            "R1": reply(f"{code} r"),
            "T0": reply(f"{own} t"),
            "E0": reply(f"{code} e"),
        }
        yield Case(f"replies {code}", (answers,), steps)
    for name, answer in {
        "code only": reply("550"),
        "code and space": reply("550 "),
        "of another class": reply("550 4.7.1 no"),
        "with a lone percent sign": reply("550 5.7.1 100% no"),
        "with two percent signs": reply("550 5.7.1 100%% no"),
        "of letters": reply("abc"),
        "of two lines": reply("550-5.7.1 a\r\n550 5.7.1 b"),
        "of two lines without enhanced code": reply("550-a\r\n550 b"),
        "that begins with an address": reply("550 192.0.2.7 is listed"),
        "that begins with its class": reply("550 5 times no"),
        "whose second line begins with an address": reply("550-no\r\n550 192.0.2.7 is listed"),
        "whose second line is of another class": reply("550-5.7.1 no\r\n550 4.7.1 no"),
        "of 16 lines of 980 bytes": reply(f"550-5.7.1 {'x' * 980}\r\n" * 15 + f"550 5.7.1 {'x' * 980}"),
        "of 980 percent signs": reply("550 5.7.1 " + "%%" * 980),
        "in UTF-8": reply("550 5.7.1 grüße\u20ac \u2013 x"),
        "with control characters": reply("550 5.7.1 a\x01b\x1bc\td\x7fe"),
    }.items():
        for letter in "MRTE":
            yield Case(f"a reply {name} at {letter}", ({letter: answer},))


_OPTIONS: Final[Answers] = {
    "version 0": negotiation(0),
    "version 1": negotiation(1),
    "version 2": negotiation(2),
    "version 3": negotiation(3),
    "version 4": negotiation(4),
    "version 7": negotiation(7),
    "actions that were not offered": negotiation(actions=0xFFFF),
    "protocol bits that were not offered": negotiation(protocol=0x400400),
    "eleven bytes": packet("O", bytes(11)),
    "continue": CONTINUE,
    "no steps": negotiation(protocol=0x37F),
    "no replies": negotiation(protocol=0xFF080),
    "RCPT_REJ": negotiation(protocol=0x800),
    "leading space": negotiation(protocol=0x100000),
    "macro lists": packet("O", negotiation()[5:] + number(0) + b"j\0" + number(3) + b"{rcpt_addr}, i\0"),
    "macros for end of message": packet("O", negotiation()[5:] + number(5) + b"i j\0"),
    "macros for end of headers": packet("O", negotiation()[5:] + number(6) + b"i j\0"),
    "macros for both ends": packet("O", negotiation()[5:] + number(5) + b"i\0" + number(6) + b"j\0"),
    "no macros at MAIL": packet("O", negotiation()[5:] + number(2) + b"\0"),
    "macros for a stage 9": packet("O", negotiation()[5:] + number(9) + b"j\0" + number(2) + b"j\0"),
}
_OPTIONS_TALK: Final = (
    *("EHLO c.test", "XFOO bar", MAIL, "RCPT TO:<x@refused.test>", RCPT, "RCPT TO:<c@test>"),
    *(MESSAGE, "QUIT"),
)


def _negotiations() -> Iterator[Case]:
    for name, answer in _OPTIONS.items():
        quiet = dict.fromkeys("CHUMRTLNB", b"-") if name == "no replies" else {}
        yield Case(f"negotiates: {name}", ({"O": answer, **quiet},), _OPTIONS_TALK)


def _orders() -> Iterator[Case]:
    yield Case("commands out of order", steps=(
        *("EHLO c.test", RCPT, MESSAGE, MAIL, MESSAGE, "MAIL FROM:<c@test>", RCPT, RCPT, MAIL, MESSAGE),
        *(MESSAGE, "QUIT"),
    ))  # fmt: skip
    yield Case("no EHLO", steps=(MAIL, RCPT, MESSAGE, "HELO c.test", "EHLO d.test", "QUIT"))
    yield Case("resets", steps=(
        *("EHLO c.test", "RSET", MAIL, "RSET", "RSET", MAIL, "EHLO d.test", MAIL, RCPT, MESSAGE, "RSET"),
        *("EHLO e.test", "QUIT"),
    ))  # fmt: skip
    yield Case("gone after RCPT", steps=("EHLO c.test", MAIL, RCPT))
    yield Case("gone after a message", steps=ONE[:-1])
    yield Case("gone at once", steps=())
    yield Case("QUIT in a transaction", steps=("EHLO c.test", MAIL, RCPT, "QUIT"))
    yield Case("only a refused recipient", steps=(
        "EHLO c.test", MAIL, "RCPT TO:<x@refused.test>", MESSAGE, "QUIT",
    ))  # fmt: skip
    yield Case("one recipient twice", steps=("EHLO c.test", MAIL, RCPT, RCPT, MESSAGE, "QUIT"))
    for sender in ("grüße@test", "grüße@test SMTPUTF8"):
        address, space, parameter = sender.partition(" ")
        yield Case(
            f"a sender in UTF-8{space}{parameter}",
            steps=("EHLO c.test", f"MAIL FROM:<{address}>{space}{parameter}", RCPT, MESSAGE, "QUIT"),
        )
    yield Case(
        "capitals", steps=("EHLO c.test", "mail FROM:<A.B@Test>", "RCPT to:<B@TEST>", MESSAGE, "QUIT")
    )
    yield Case(
        "no brackets", steps=("EHLO c.test", "MAIL FROM:a@test", "RCPT TO:b@test", MESSAGE, "QUIT")
    )


def _surplus() -> Iterator[Case]:
    """More answers than questions: each is taken for the answer to what is said next."""
    refusal = reply("550 5.7.9 late")
    for letter, letters in {"O": "CHM", "C": "HM", "H": "UM", "M": "R", "R": "TLE", "L": "NE"}.items():
        own = negotiation() if letter == "O" else CONTINUE
        yield Case(f"a refusal too many at {letter}", ({f"{letter}0": own + refusal},), _LONG_TALK)
        late = {f"{letter}0": own + CONTINUE, f"{letters[0]}0": refusal}
        yield Case(f"continues twice at {letter}, then refuses", (late,), _LONG_TALK)
    yield Case("a refusal too many at E", ({"E0": CONTINUE + refusal},), _LONG_TALK)
    yield Case("an edit too many at B", ({"B": CONTINUE + header("h", b"X-A", b"v")},))
    yield Case("an edit after the end", ({"E": CONTINUE + header("h", b"X-A", b"v")},), _TALK_OF_TWO)
    first = {"M0": CONTINUE + refusal}
    yield Case("a refusal too many by the first of two", (first, {}), _TALK_OF_TWO)
    yield Case("a refusal too many, no replies at RCPT", (
        {"O": negotiation(protocol=0x2000), "M0": CONTINUE + refusal, "R": b"-"},
    ), _LONG_TALK)  # fmt: skip


def _without_milter() -> Iterator[Case]:
    """Default actions: nobody listens, or the milter goes in the middle."""
    said = {
        "a header": header("h", b"X-A", b"v"),
        "many edits": (
            header("h", b"X-A", b"v")
            + header("m", b"Subject", b"n", 1)
            + packet("+", b"<n@test>\0")
            + packet("-", b"<b@test>\0")
            + packet("e", b"<s@test>\0")
        ),
        "a body": packet("b", b"new\r\n"),
        "half a body, a header": packet("b", b"new\r\n") + header("h", b"X-A", b"v"),
        "a quarantine": packet("q", b"odd\0"),
        "PROGRESS": packet("p"),
    }
    for action in get_args(DefaultAction):
        yield Case(f"nobody listens, {action}", (None,), _LONG_TALK, default_action=action)
        for number, milters in enumerate([(None, {}), ({}, None)], 1):
            name = f"nobody listens as milter {number} of two, {action}"
            yield Case(name, milters, _TALK_OF_TWO, default_action=action)
        for letter in "OCHMRTLNBE":
            gone = {f"{letter}0": b""}
            yield Case(f"gone at {letter}, {action}", (gone,), _LONG_TALK, default_action=action)
        for name, packets in said.items():
            dies = {"E0": packets + GONE}
            yield Case(f"says {name}, then dies, {action}", (dies,), _LONG_TALK, default_action=action)
        for name, end in {"nonsense": packet("Z"), "a bad reply": reply("250 ok")}.items():
            says = {"E0": said["many edits"] + end}
            yield Case(f"says many edits, then {name}, {action}", (says,), default_action=action)
    for action in ("accept", "reject"):
        first = {"E0": said["many edits"] + GONE}
        yield Case(
            f"says many edits and dies, first of two, {action}", (first, {}), default_action=action
        )


def _recipients() -> Iterator[Case]:
    def to(*recipients: str) -> tuple[Step, ...]:
        return ("EHLO c.test", MAIL, *(f"RCPT TO:{one}" for one in recipients), MESSAGE, "QUIT")

    for name, recipients in {
        "the same twice": ("<bob@test>", "<bob@test>"),
        "in other case": ("<bob@test>", "<BOB@test>", "<bob@TEST>"),
        "with and without brackets": ("<bob@test>", "bob@test"),
        "with a source route": ("<@a.example,@b.example:user@test>", "<user@test>"),
        "quoted": ('<"bob"@test>', "<bob@test>"),
        "with parameters": ("<bob@test> NOTIFY=NEVER", "<bob@test> NOTIFY=FAILURE"),
        "with another ORCPT": ("<bob@test> ORCPT=rfc822;x@test", "<bob@test> ORCPT=rfc822;y@test"),
    }.items():
        yield Case(f"recipients: {name}", steps=to(*recipients))
    route = "<@a.example,@b.example:user@test>"
    deletions = {
        "a source route, as given": ((route, "<c@test>"), route),
        "a source route, without it": ((route, "<c@test>"), "<user@test>"),
        "one without, with a source route": (("<user@test>", "<c@test>"), route),
        "in quotes": (('<"bob"@test>', "<c@test>"), '<"bob"@test>'),
        "in quotes, without": (('<"bob"@test>', "<c@test>"), "<bob@test>"),
        "quoted space": (('<"b b"@test>', "<c@test>"), '<"b b"@test>'),
        "one that came twice": (("<bob@test>", "<bob@test>", "<c@test>"), "<bob@test>"),
        "one in other case": (("<bob@test>", "<BOB@test>", "<c@test>"), "<bob@test>"),
        "the domain in other case": (("<bob@test>", "<c@test>"), "<bob@TEST>"),
    }
    for name, (recipients, deleted) in deletions.items():
        yield Case(f"delete: {name}", ({"E": packet("-", deleted.encode() + b"\0") + CONTINUE},),
                   to(*recipients))  # fmt: skip
    additions = {
        "one twice": ("<n@test>", "<n@test>"),
        "one in other case": ("<n@test>", "<N@test>", "<n@TEST>"),
        "one that is there": ("<b@test>",),
        "one that is there, in other case": ("<B@test>",),
        "a source route": (route,),
        "a source route and without": (route, "<user@test>"),
        "a comment": ("<n@test> (new)",),
    }
    for name, added in additions.items():
        packets = b"".join(packet("+", one.encode() + b"\0") for one in added)
        yield Case(f"add: {name}", ({"E": packets + CONTINUE},))
        both = packets + packet("-", b"<b@test>\0") + CONTINUE
        yield Case(f"add: {name}, and delete", ({"E": both},))
    change = packet("e", route.encode() + b"\0") + CONTINUE
    yield Case("change sender: a source route", ({"E": change},))
    yield Case("a sender with a source route",
               steps=("EHLO c.test", f"MAIL FROM:{route}", RCPT, MESSAGE, "QUIT"))  # fmt: skip


def _traces() -> Iterator[Case]:
    """What the server writes into its own Received."""
    yield Case("HELO", steps=("HELO c.test", MAIL, RCPT, MESSAGE, "QUIT"))
    yield Case("one of many recipients",
               steps=("EHLO c.test", MAIL, RCPT, "RCPT TO:<c@test>", MESSAGE, "QUIT"))  # fmt: skip
    yield Case("a name that is none", steps=("EHLO [192.0.2.1]", MAIL, RCPT, MESSAGE, "QUIT"))


_TEXT: Final = MESSAGE[: MESSAGE.index(b"body")]


def _messages() -> Iterator[Case]:
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


def header(letter: str, name: bytes, value: bytes, index: int | None = None) -> bytes:
    """ADDHEADER, INSHEADER or CHGHEADER."""
    place = b"" if index is None else number(index)
    return packet(letter, place + name + b"\0" + value + b"\0")


def _header_edits() -> Iterator[Case]:
    for name, value in {
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
    }.items():
        yield at_end(f"add a header of {name}", header("h", b"X-A", value))
        yield at_end(f"change to a header of {name}", header("m", b"Subject", value, 1))
    edits = {
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
        **{
            f"insert at {n}": header("i", b"X-I", b"v", n)
            for n in (0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 99)
        },
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
        "delete, then change the same": header("m", b"Subject", b"", 1)
        + header("m", b"Subject", b"n", 1),
        "delete, then add the same": header("m", b"Subject", b"", 1) + header("h", b"Subject", b"n"),
        "delete, then delete the next": header("m", b"To", b"", 1) + header("m", b"To", b"", 2),
    }
    several = b"To: x@test\r\nSubject: first\r\n" + MESSAGE
    for name, packets in edits.items():
        yield at_end(name, packets)
        yield at_end(f"{name}, in a bare message", packets, message=BARE)
        yield at_end(f"{name}, in one with several of a name", packets, message=several)


def _other_edits() -> Iterator[Case]:
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


CASES: Final = (
    *_verdicts(),
    *_two(),
    *_replies(),
    *_negotiations(),
    *_orders(),
    *_surplus(),
    *_without_milter(),
    *_recipients(),
    *_traces(),
    *_messages(),
    *_header_edits(),
    *_other_edits(),
)
