"""What is put to the real servers and to their models alike: SMTP dialogues with scripted milters.

A case is data: what each milter answers to which command, and what the client says. What the real
servers made of each is in ``recorded.jsonl``, written by ``python -m tests.model.record``.
"""

from collections.abc import Iterator
from typing import Final, get_args

from tests.integration.mta import DefaultAction
from tests.integration.scenario import Mta
from tests.integration.smtp import Step
from tests.model.case import (
    CONTINUE,
    GONE,
    MAIL,
    MESSAGE,
    ONE,
    RCPT,
    Answers,
    Case,
    header,
    negotiation,
    number,
    packet,
    reply,
)
from tests.model.cases_of_messages import header_edits, messages, other_edits

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
        for which, milters in enumerate([(None, {}), ({}, None)], 1):
            name = f"nobody listens as milter {which} of two, {action}"
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
    *messages(),
    *header_edits(),
    *other_edits(),
)
