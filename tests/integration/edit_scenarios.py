"""Edits of envelope and body, quarantine, and every modification at once, at the end of a message."""

from typing import Final

from demyjpy import (
    Accept,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    Quarantine,
    Reject,
    ReplaceBody,
)
from tests.integration.scenario import (
    GREETING,
    HEADERS,
    OWN,
    Mail,
    PerMta,
    Scenario,
    at_end,
    envelope,
    message,
)

LARGE_BODY: Final = b"".join(b"%05d: a line of a large body\r\n" % n for n in range(6000))

TWO_RECIPIENTS: Final = (GREETING, *envelope("a@test", "b@test", "c@test"), message(), "QUIT")
TWO_TAKEN: Final = "220 | 250 | 250 | 250 | 250 | 354 | 250 | 221"


def _to(*recipients: str) -> tuple[Mail, ...]:
    return (Mail(recipients=recipients),)


def _from(sender: str) -> tuple[Mail, ...]:
    return (Mail(sender),)


ENVELOPE_SCENARIOS: Final = (
    Scenario(
        "change the sender",
        at_end(ChangeSender("new@test")),
        delivered=_from("new@test"),
    ),
    Scenario(
        "change the sender, in brackets",
        at_end(ChangeSender("<new@test>")),
        delivered=_from("new@test"),
    ),
    Scenario(
        "change the sender to the null sender",
        at_end(ChangeSender("")),
        delivered=_from(""),
    ),
    Scenario(
        "change the sender, with ESMTP arguments",
        at_end(ChangeSender("new@test", {"RET": "HDRS", "ENVID": "id7"})),
        delivered=_from("new@test ENVID=id7 RET=HDRS"),
    ),
    Scenario(
        "change the sender, with an argument that only Sendmail passes on",
        at_end(ChangeSender("new@test", "BODY=8BITMIME")),
        delivered=PerMta(_from("new@test"), _from("new@test BODY=8BITMIME")),
    ),
    Scenario(
        "add a recipient",
        at_end(AddRecipient("new@test")),
        delivered=_to("b@test", "new@test"),
    ),
    Scenario(
        "add a recipient with ESMTP arguments",
        at_end(AddRecipient("new@test", "NOTIFY=NEVER")),
        delivered=_to("b@test", "new@test NOTIFY=NEVER"),
    ),
    Scenario(
        "add a recipient with an argument that neither knows",
        at_end(AddRecipient("new@test", {"FOO": "BAR"})),
        delivered=PerMta(_to("b@test", "new@test"), _to("b@test")),
    ),
    Scenario(
        "add a recipient that is there",
        at_end(AddRecipient("b@test")),
        delivered=PerMta(_to("b@test", "b@test"), _to("b@test")),
    ),
    Scenario(
        "delete the second of two recipients",
        at_end(DeleteRecipient("c@test")),
        TWO_RECIPIENTS,
        TWO_TAKEN,
        _to("b@test"),
    ),
    Scenario(
        "delete a recipient that is not there",
        at_end(DeleteRecipient("x@test"), DeleteRecipient("B@TEST")),
    ),
    Scenario(
        "delete all recipients",
        at_end(DeleteRecipient("b@test"), DeleteRecipient("<c@test>")),
        TWO_RECIPIENTS,
        TWO_TAKEN,
        (),
    ),
    Scenario(
        "put another recipient in place",
        at_end(AddRecipient("new@test"), DeleteRecipient("b@test")),
        delivered=_to("new@test"),
    ),
)

BODY_SCENARIOS: Final = (
    Scenario(
        "replace the body by 200 kB",
        at_end(ReplaceBody(LARGE_BODY)),
        delivered=(Mail(body=LARGE_BODY),),
        everywhere=True,
    ),
    Scenario(
        "replace the body in two pieces, cut within a line end",
        at_end(ReplaceBody(b"one\r"), ReplaceBody(b"\ntwo\r\n")),
        delivered=(Mail(body=b"one\r\ntwo\r\n"),),
    ),
    Scenario(
        "replace the body by nothing",
        at_end(ReplaceBody(b"")),
        delivered=(Mail(body=b""),),
    ),
    Scenario(
        "replace an empty body by dots",
        at_end(ReplaceBody(b".\r\n..\r\n.end\r\n")),
        (GREETING, *envelope(), message(body=b""), "QUIT"),
        delivered=(Mail(body=b".\r\n..\r\n.end\r\n"),),
    ),
    Scenario(
        "replace the body by one without a last line end",
        at_end(ReplaceBody(b"no end")),
        delivered=(Mail(body=b"no end\r\n"),),
    ),
)

EVERYTHING: Final = (
    ReplaceBody(b"new body\r\n"),
    DeleteRecipient("b@test"),
    AddHeader("X-Added", "value"),
    ChangeSender("new@test"),
    InsertHeader(0, "X-Top", "value"),
    AddRecipient("new@test"),
    ChangeHeader(1, "Subject", "changed"),
    DeleteHeader(2, "X-Three"),
)
EVERYTHING_DONE: Final = Mail(
    "new@test",
    ("new@test",),
    (
        *("X-Top: value", OWN, *HEADERS[:2], "Subject: changed", *HEADERS[3:5]),
        *("X-Three: one", "X-Three: three", "X-Added: value"),
    ),
    b"new body\r\n",
)

TOGETHER_SCENARIOS: Final = (
    Scenario(
        "every modification at once",
        at_end(*EVERYTHING),
        delivered=(EVERYTHING_DONE,),
        everywhere=True,
    ),
    Scenario(
        "every modification at once, then accept",
        at_end(*EVERYTHING, Accept()),
        delivered=(EVERYTHING_DONE,),
    ),
    Scenario(
        "every modification at once, then reject",
        at_end(*EVERYTHING, Reject()),
        replies=PerMta(
            "220 | 250 | 250 | 250 | 354 | 550 5.7.1 | 221",
            "220 | 250 | 250 | 250 | 354 | 554 5.7.1 | 221",
        ),
        delivered=(),
    ),
    Scenario(
        "quarantine",
        at_end(Quarantine("looks odd")),
        delivered=(),
        held=PerMta(("a@test: None",), ("a@test: looks odd",)),
        everywhere=True,
    ),
    Scenario(
        "quarantine with every modification",
        at_end(Quarantine("looks odd"), *EVERYTHING),
        delivered=(),
        held=PerMta(("new@test: None",), ("new@test: looks odd",)),
    ),
)

SCENARIOS: Final = (
    *ENVELOPE_SCENARIOS,
    *BODY_SCENARIOS,
    *TOGETHER_SCENARIOS,
)
