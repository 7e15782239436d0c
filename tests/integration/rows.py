"""Two filters in a row: what the second sees, what the client is told, what is delivered. Data only."""

from typing import Any, Final

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    ReplaceBody,
)
from tests.integration.row import Row, content, head, saw
from tests.integration.scenario import BODY, GREETING, HEADERS, OWN, Mail, PerMta, envelope, message
from tests.integration.smtp import Step
from tests.law.filters import Plan

NOTHING: Final = Plan()


def _edits(*edits: Any, answer: str | None = None) -> Plan:
    return Plan({"end_of_message": answer} if answer else {}, edits)


def _answers(**answers: str) -> Plan:
    return Plan(answers)


def _mail(*headers: str, **changes: Any) -> tuple[Mail, ...]:
    return (Mail(headers=(OWN, *headers), **changes),)


def _with_two(*recipients: str) -> tuple[Step, ...]:
    return (GREETING, *envelope("a@test", *recipients), message(), "QUIT")


_ALL: Final = saw(head(), content(*HEADERS))
_ONLY_ENVELOPE: Final = saw(head(), "ABORT")
_NO_THREE: Final = HEADERS[:-3]


SAME: Final = (
    Row(
        "the first refuses one of two recipients",
        (Plan({"RCPT bad@test": "550"}), NOTHING),
        saw(head("b@test"), content(*HEADERS)),
        replies="220 | 250 | 250 | 550 5.7.1 | 250 | 354 | 250 | 221",
        steps=_with_two("bad@test", "b@test"),
    ),
    Row(
        "the first refuses HELO",
        (Plan({"HELO client.test": "reject"}), NOTHING),
        ("CONNECT",),
        (),
        "220 | 250 | 550 |  | 221",
        (GREETING, *envelope(), "QUIT"),
    ),
    Row(
        "the first refuses MAIL",
        (Plan({"MAIL a@test": "550"}), Plan({"RCPT bad@test": "451"})),
        saw(),
        (),
        "220 | 250 | 550 5.7.1 | 503 | 221",
        (GREETING, *envelope("a@test", "bad@test"), "QUIT"),
    ),
    Row(
        "the first refuses the only recipient, the second would say something else",
        (Plan({"RCPT bad@test": "451"}), Plan({"RCPT bad@test": "554"})),
        saw("MAIL a@test", "ABORT"),
        (),
        "220 | 250 | 250 | 451 4.7.1 not now | 221",
        (GREETING, *envelope("a@test", "bad@test"), "QUIT"),
    ),
    *(
        Row(f"the first accepts at {event}", (_answers(**{event: "accept"}), NOTHING), _ALL)
        for event in ("mail", "recipient", "data", "header", "end_of_headers", "body", "end_of_message")
    ),
    Row("the first accepts at connect", (_answers(connect="accept"), NOTHING), _ALL),
    *(
        Row(
            f"the first rejects at {event}",
            (_answers(**{event: "550"}), NOTHING),
            _ONLY_ENVELOPE,
            (),
            "220 | 250 | 250 | 250 | 354 | 550 5.7.1 not here | 221",
        )
        for event in ("header", "end_of_headers", "body", "end_of_message")
    ),
    *(
        Row(
            f"the first discards at {event}",
            (_answers(**{event: "discard"}), NOTHING),
            _ONLY_ENVELOPE,
            (),
        )
        for event in ("header", "body", "end_of_message")
    ),
    Row(
        "the first fails at its end of message",
        (_edits(AddHeader("X-A", "a"), answer="raise"), NOTHING),
        _ONLY_ENVELOPE,
        (),
        "220 | 250 | 250 | 250 | 354 | 451 | 221",
    ),
    Row(
        "the first edits and refuses",
        (_edits(AddHeader("X-A", "a"), Quarantine("why"), answer="451"), NOTHING),
        _ONLY_ENVELOPE,
        (),
        "220 | 250 | 250 | 250 | 354 | 451 4.7.1 not now | 221",
    ),
    Row(
        "the first edits header, body and envelope",
        (
            _edits(
                ChangeHeader(1, "Subject", "changed"),
                DeleteHeader(1, "X-Three"),
                AddHeader("X-A", "a"),
                ReplaceBody(BODY + b"more\r\n"),
                AddRecipient("c@test"),
                ChangeSender("new@test"),
            ),
            _edits(AddHeader("X-B", "b"), DeleteHeader(1, "X-A")),
        ),
        saw(
            head(),
            content(
                *HEADERS[:2],
                "Subject: changed",
                *HEADERS[3:5],
                *HEADERS[6:],
                "X-A: a",
                body=BODY + b"more\r\n",
            ),
        ),
        _mail(
            *HEADERS[:2],
            "Subject: changed",
            *HEADERS[3:5],
            *HEADERS[6:],
            "X-B: b",
            body=BODY + b"more\r\n",
            recipients=("b@test", "c@test"),
            sender="new@test",
        ),
    ),
    Row("the first says SKIP", (_answers(body="skip"), NOTHING), _ALL),
    Row(
        "the second refuses a recipient",
        (NOTHING, Plan({"RCPT bad@test": "550"})),
        saw(head("bad@test", "b@test"), content(*HEADERS)),
        replies="220 | 250 | 250 | 550 5.7.1 | 250 | 354 | 250 | 221",
        steps=_with_two("bad@test", "b@test"),
        first=saw(head("bad@test", "b@test"), content(*HEADERS)),
    ),
    Row(
        "the second refuses the end of the message",
        (_edits(AddHeader("X-A", "a")), _answers(end_of_message="550")),
        saw(head(), content(*HEADERS, "X-A: a")),
        (),
        "220 | 250 | 250 | 250 | 354 | 550 5.7.1 not here | 221",
        first=_ALL,
    ),
    Row(
        "both replace the body",
        (_edits(ReplaceBody(b"first\r\n")), _edits(ReplaceBody(b"second\r\n"))),
        saw(head(), content(*HEADERS, body=b"first\r\n")),
        (Mail(body=b"second\r\n"),),
    ),
    Row(
        "the first empties the body",
        (_edits(ReplaceBody(b"")), NOTHING),
        saw(head(), content(*HEADERS, body=b"")),
        (Mail(body=b""),),
    ),
    Row(
        "the first gives a body with other line ends",
        (_edits(ReplaceBody(b"one\ntwo\r\n.three\r\n\r\nend\r\n")), NOTHING),
        saw(head(), content(*HEADERS, body=b"one\r\ntwo\r\n.three\r\n\r\nend\r\n")),
        (Mail(body=b"one\r\ntwo\r\n.three\r\n\r\nend\r\n"),),
    ),
    Row(
        "both insert at 0 and 1",
        (
            _edits(InsertHeader(0, "X-Top", "a"), InsertHeader(1, "X-One", "a")),
            _edits(
                InsertHeader(0, "X-Top", "b"),
                InsertHeader(1, "X-One", "b"),
                ChangeHeader(1, "X-Top", "changed"),
            ),
        ),
        saw(head(), content("X-Top: a", "X-One: a", *HEADERS)),
        (Mail(headers=("X-Top: changed", "X-One: b", "X-Top: a", "X-One: a", OWN, *HEADERS)),),
    ),
    Row(
        "the first deletes the first of three, the second changes the first that it sees",
        (_edits(DeleteHeader(1, "X-Three")), _edits(ChangeHeader(1, "X-Three", "changed"))),
        saw(head(), content(*_NO_THREE, *HEADERS[-2:])),
        _mail(*_NO_THREE, "X-Three: changed", HEADERS[-1]),
    ),
)
"""What both servers do with filters in a row."""

DIFFERENT: Final = (
    *(
        Row(
            f"the first changes the sender, the {which} refuses",
            plans,
            second,
            (),
            PerMta(
                "220 | 250 | 250 | 250 | 354 | 550 5.7.1 not here | 221",
                "220 | 250 | 250 | 250 | 354 | 550 5.7.1 <new@test>... not here | 221",
            ),
        )
        for which, plans, second in (
            ("first", (_edits(ChangeSender("new@test"), answer="550"), NOTHING), _ONLY_ENVELOPE),
            ("second", (_edits(ChangeSender("new@test")), _answers(end_of_message="550")), _ALL),
        )
    ),
    Row(
        "the first, which does not listen to MAIL, refuses the recipients of two messages",
        (Plan({"recipient": "550"}, listens=frozenset()), NOTHING),
        saw("MAIL a@test", "ABORT", "MAIL z@test", "ABORT"),
        (),
        "220 | 250 | 250 | 550 | 250 | 250 | 550 | 221",
        (GREETING, *envelope(), "RSET", *envelope("z@test"), "QUIT"),
        first=("RCPT b@test", "ABORT", "RCPT b@test", "ABORT"),
    ),
    Row(
        "the first quarantines",
        (_edits(Quarantine("why")), NOTHING),
        PerMta(_ONLY_ENVELOPE, _ALL),
        (),
        held=PerMta(("a@test: None",), ("a@test: why",)),
    ),
    Row(
        "the first quarantines and accepts, the second quarantines",
        (_edits(Quarantine("why"), answer="accept"), _edits(Quarantine("also"))),
        PerMta(_ONLY_ENVELOPE, _ALL),
        (),
        held=PerMta(("a@test: None",), ("a@test: also",)),
    ),
    Row(
        "the first quarantines, the second refuses",
        (_edits(Quarantine("why")), _answers(end_of_message="550")),
        PerMta(_ONLY_ENVELOPE, _ALL),
        (),
        "220 | 250 | 250 | 250 | 354 |  | 221",
        held=PerMta(("a@test: None",), ()),
    ),
    Row(
        "the first deletes three, upwards; the second changes the first",
        (
            _edits(*(DeleteHeader(number, "X-Three") for number in (1, 2, 3))),
            _edits(ChangeHeader(1, "X-Three", "changed")),
        ),
        PerMta(
            saw(head(), content(*_NO_THREE, "X-Three: two")),
            saw(head(), content(*_NO_THREE)),
        ),
        _mail(*_NO_THREE, "X-Three: changed"),
    ),
    Row(
        "the first deletes the first of three, the second changes one beyond the last",
        (_edits(DeleteHeader(1, "X-Three")), _edits(ChangeHeader(9, "X-Three", "changed"))),
        saw(head(), content(*_NO_THREE, *HEADERS[-2:])),
        PerMta(
            _mail(*_NO_THREE, *HEADERS[-2:], "X-Three: changed"),
            _mail(*_NO_THREE, "X-Three: changed", *HEADERS[-2:]),
        ),
    ),
    Row(
        "the first deletes the first of three, the second sees no header and changes the first",
        (
            _edits(DeleteHeader(1, "X-Three")),
            Plan(edits=(ChangeHeader(1, "X-Three", "changed"),), listens=frozenset({"mail"})),
        ),
        ("MAIL a@test", "EOM"),
        PerMta(
            _mail(*_NO_THREE, "X-Three: changed", HEADERS[-1]),
            _mail(*_NO_THREE, "X-Three: changed", *HEADERS[-2:]),
        ),
    ),
    Row(
        "both add fields of one name",
        (
            _edits(AddHeader("X-End", "a1"), AddHeader("X-End", "a2")),
            _edits(AddHeader("X-End", "b"), ChangeHeader(1, "X-End", "changed")),
        ),
        PerMta(
            saw(head(), content(*HEADERS, "X-End: a1", "X-End: a2")),
            saw(head(), content(*HEADERS, "X-End: a2", "X-End: a1")),
        ),
        PerMta(
            _mail(*HEADERS, "X-End: changed", "X-End: a2", "X-End: b"),
            _mail(*HEADERS, "X-End: changed", "X-End: a2", "X-End: a1"),
        ),
    ),
    Row(
        "the first changes a field beyond the last",
        (_edits(ChangeHeader(9, "X-Three", "beyond"), AddHeader("subject", "second")), NOTHING),
        PerMta(
            saw(head(), content(*HEADERS, "X-Three: beyond", "subject: second")),
            saw(
                head(),
                content(*HEADERS[:2], "subject: second", *HEADERS[2:5], "X-Three: beyond", *HEADERS[5:]),
            ),
        ),
        PerMta(
            _mail(*HEADERS, "X-Three: beyond", "subject: second"),
            _mail(*HEADERS[:2], "subject: second", *HEADERS[2:5], "X-Three: beyond", *HEADERS[5:]),
        ),
    ),
    Row(
        "the first gives a body without a last line end",
        (_edits(ReplaceBody(b"one\r\ntwo")), NOTHING),
        PerMta(
            saw(head(), content(*HEADERS, body=b"one\r\ntwo\r\n")),
            saw(head(), content(*HEADERS, body=b"one\r\ntwo")),
        ),
        (Mail(body=b"one\r\ntwo\r\n"),),
    ),
    Row(
        "the first gives a body that ends in CR",
        (_edits(ReplaceBody(b"one\rtwo\r")), NOTHING),
        PerMta(
            saw(head(), content(*HEADERS, body=b"one\rtwo\r\r\n")),
            saw(head(), content(*HEADERS, body=b"one\rtwo\r")),
        ),
        PerMta((Mail(body=b"one\rtwo\r\r\n"),), (Mail(body=b"one\rtwo\r\r\n"),)),
    ),
    Row(
        "the first adds a recipient who stands",
        (_edits(AddRecipient("b@test")), NOTHING),
        _ALL,
        PerMta((Mail(recipients=("b@test", "b@test")),), (Mail(),)),
    ),
    Row(
        "the first adds two spellings, the second deletes one",
        (
            _edits(AddRecipient("extra@test"), AddRecipient("Extra@test")),
            _edits(DeleteRecipient("extra@test")),
        ),
        _ALL,
        PerMta((Mail(),), (Mail(recipients=("b@test", "Extra@test")),)),
    ),
    Row(
        "the first discards at MAIL",
        (_answers(mail="discard"), NOTHING),
        saw(),
        (),
        "220 | 250 | 250 | 250 | 354 | 250 | 221",
        acted=("CONNECT", "HELO localhost"),
    ),
    Row(
        "the first discards at a recipient",
        (Plan({"RCPT b@test": "discard"}), NOTHING),
        saw("MAIL a@test", "ABORT"),
        (),
        "220 | 250 | 250 | 250 | 250 | 354 | 250 | 221",
        steps=_with_two("b@test", "c@test"),
        acted=("CONNECT", "HELO localhost", "MAIL a@test", "ABORT"),
    ),
    Row(
        "the first inserts below others",
        (_edits(InsertHeader(3, "X-In", "a")), _edits(InsertHeader(4, "X-In", "b"))),
        PerMta(
            saw(head(), content(*HEADERS[:2], "X-In: a", *HEADERS[2:])),
            saw(head(), content("X-In: a", *HEADERS)),
        ),
        PerMta(
            _mail(*HEADERS[:2], "X-In: a", "X-In: b", *HEADERS[2:]),
            _mail("X-In: a", "X-In: b", *HEADERS),
        ),
    ),
)
"""What the servers do differently, and similar things that one has to know to tell."""

ROWS: Final = (*SAME, *DIFFERENT)
