"""What two and three filters did to a message, said as one plan to the real servers."""

from collections.abc import Iterable
from typing import Any, Final

import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demyjpy import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    ReplaceBody,
)
from demyjpy.engine.chain_edits import AT_END, modifications_of
from demyjpy.events import Header
from demyjpy.message import ChangeField, Draft, Edit, apply_edits, difference, shown_body
from tests.integration.conftest import FindSite
from tests.integration.running import MTAS, play
from tests.integration.scenario import (
    GREETING,
    HEADERS,
    OWN,
    Mail,
    Mta,
    Scenario,
    at_end,
    envelope,
    message,
)
from tests.message.drafts import HEADER_EDITS, headers, lines_of

FROM, TO, SUBJECT, DATE, ID, *THREE = HEADERS
RECIPIENTS: Final = ("b@test", "c@test", "D@test")


@frozen
class Case:
    """What filters in a row ask for, each of the message as the earlier ones made it, and the result."""

    name: str
    filters: tuple[tuple[Any, ...], ...]
    headers: tuple[str, ...] = (OWN, *HEADERS)
    recipients: tuple[str, ...] = RECIPIENTS
    sender: str = "a@test"
    body: bytes | None = None
    sent: tuple[str, ...] = HEADERS


CASES: Final = (
    Case(
        "the second edits by the numbers that the first left",
        (
            (
                DeleteHeader(1, "X-Three"),
                InsertHeader(1, "X-Three", "zero"),
                AddHeader("X-Three", "four"),
            ),
            (
                ChangeHeader(1, "x-three", "new zero"),
                DeleteHeader(2, "X-Three"),
                ChangeHeader(4, "X-THREE", "new four"),
                ChangeHeader(5, "X-Three", "five"),
            ),
        ),
        (OWN, "X-Three: new zero", *HEADERS[:5], THREE[2], "X-Three: new four", "X-Three: five"),
    ),
    Case(
        "delete all of a name upwards, then add it twice",
        (
            tuple(DeleteHeader(number, "X-Three") for number in (1, 2, 3)),
            (AddHeader("X-Three", "new"), AddHeader("X-Last", "1"), AddHeader("X-Three", "newer")),
        ),
        (OWN, *HEADERS[:5], "X-Three: new", "X-Last: 1", "X-Three: newer"),
    ),
    Case(
        "top, below and end by three filters",
        (
            (InsertHeader(0, "X-A", "1"), InsertHeader(1, "X-B", "1"), AddHeader("X-C", "1")),
            (InsertHeader(1, "X-B", "2"), InsertHeader(0, "X-A", "2"), InsertHeader(AT_END, "X-C", "2")),
            (AddHeader("X-A", "3"), InsertHeader(0, "X-C", "3"), InsertHeader(1, "X-B", "3")),
        ),
        (
            *("X-C: 3", "X-A: 2", "X-A: 1", OWN, "X-B: 3", "X-B: 2", "X-B: 1", *HEADERS),
            *("X-C: 1", "X-C: 2", "X-A: 3"),
        ),
    ),
    Case(
        "fields of names that the servers have themselves",
        (
            (AddHeader("Received", "by one"), AddHeader("From", "x@test")),
            (
                InsertHeader(1, "Received", "by two"),
                AddHeader("Full-Name", "x"),
                AddHeader("X-Last", "1"),
            ),
            (DeleteHeader(1, "Full-Name"), AddHeader("Date", "second")),
        ),
        (
            *(OWN, "Received: by two", *HEADERS, "Received: by one", "From: x@test"),
            *("X-Last: 1", "Date: second"),
        ),
    ),
    Case(
        "take back what an earlier filter added, change what it deleted",
        (
            (AddHeader("X-Gone", "1"), InsertHeader(0, "X-Gone", "2"), ChangeHeader(1, "subject", "")),
            (DeleteHeader(1, "X-Gone"), DeleteHeader(2, "X-Gone"), ChangeHeader(1, "Subject", "again")),
        ),
        (OWN, FROM, TO, DATE, ID, *THREE, "Subject: again"),
    ),
    Case(
        "delete and change a date, and add another",
        ((DeleteHeader(1, "Date"),), (AddHeader("Date", "new"),), (ChangeHeader(1, "DATE", "newer"),)),
        (OWN, FROM, TO, SUBJECT, ID, *THREE, "Date: newer"),
    ),
    Case(
        "two bodies, bare line feeds and no last line end",
        ((ReplaceBody(b"first\r\n"),), (ReplaceBody(b"one\ntwo"), ReplaceBody(b"\r\nthree"))),
        body=b"one\r\ntwo\r\nthree\r\n",
    ),
    Case(
        "recipients in other case, added, taken back and added again; the last sender",
        (
            (AddRecipient("new@test"), AddRecipient("c@test"), ChangeSender("x@test")),
            (DeleteRecipient("NEW@test"), DeleteRecipient("d@TEST"), DeleteRecipient("c@test")),
            (
                AddRecipient("c@test"),
                AddRecipient("new@test", "NOTIFY=NEVER"),
                DeleteRecipient("no@test"),
                ChangeSender("y@test"),
            ),
        ),
        recipients=("b@test", "c@test", "new@test NOTIFY=NEVER"),
        sender="y@test",
    ),
    Case(
        "fold, no space, bytes that are no UTF-8",
        (
            (ChangeHeader(2, "X-Three", raw="close\n\tfold"), AddHeader("X-New", raw="\tgr\udcfc\n x")),
            (ChangeHeader(1, "X-New", raw="\tgr\udcfc\n y"), ChangeHeader(1, "To", raw="  b@test")),
        ),
        (
            *(OWN, FROM, "To:  b@test", *HEADERS[2:6], "X-Three:close\r\n\tfold", THREE[2]),
            "X-New:\tgr\udcfc\r\n y",
        ),
    ),
)


def _draft(lines: tuple[str, ...]) -> Draft:
    """The message with these header lines as a server tells it to the first filter."""
    split = (line.partition(":") for line in lines)
    return Draft.of([(name, Header(name, text[1:]).raw) for name, _, text in split], RECIPIENTS)


_EDITS: Final = HEADER_EDITS.filter(lambda edit: edit.name != "From")
"""Edits of the header, without those of a field in which Sendmail completes addresses."""


def _play(find_site: FindSite, mta: Mta, edits: tuple[Edit, ...], sent: tuple[str, ...]) -> Any:
    """What the next hop gets if a milter asks for these edits."""
    return _delivered(find_site, mta, modifications_of(edits, _draft(sent)), sent)


def _delivered(find_site: FindSite, mta: Mta, plan: Iterable[Any], sent: Iterable[str]) -> Any:
    """What the next hop gets of a message with these header lines after this plan."""
    steps = (GREETING, *envelope("a@test", *RECIPIENTS), message(sent), "QUIT")
    return play(Scenario("edits", at_end(*plan), steps), find_site(mta, "inet"), "threads").delivered


@pytest.mark.parametrize("mta", MTAS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_edits_of_a_chain(find_site: FindSite, mta: Mta, case: Case) -> None:
    """Both servers deliver what the filters made of the message, one after the other."""
    first = last = _draft(case.sent)
    for edits in case.filters:
        last = apply_edits(last, edits)
    expected = Mail(case.sender, case.recipients, case.headers, case.body or Mail().body)
    assert _play(find_site, mta, difference(first, last), case.sent) == (expected,)
    assert case.body is None or shown_body(last.body or b"") == case.body


def test_a_date_that_sendmail_would_add_itself(find_site: FindSite) -> None:
    """A field that is missing in the message is there once, though Sendmail chooses its place."""
    lines = (FROM, TO, SUBJECT, ID)
    first = _draft(lines)
    last = apply_edits(first, [AddHeader("X-New", "1"), AddHeader("Date", "1"), AddHeader("Date", "2")])
    (mail,) = _play(find_site, "sendmail", difference(first, last), lines)
    assert mail.headers == (OWN, "Date: 1", *lines, "X-New: 1", "Date: 2")


@pytest.mark.parametrize("mta", MTAS)
def test_a_text_that_becomes_empty(find_site: FindSite, mta: Mta) -> None:
    """The field stays: an edit without a text would delete it."""
    (mail,) = _play(find_site, mta, (ChangeField("Subject", 1, ""),), HEADERS)
    assert mail.headers == (OWN, FROM, TO, "Subject: ", *HEADERS[3:])


@pytest.mark.parametrize("mta", MTAS)
@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(headers(), st.lists(st.lists(_EDITS, max_size=6), min_size=2, max_size=3))
def test_any_edits_of_the_header(find_site: FindSite, mta: Mta, lines: Any, filters: Any) -> None:
    """What is drawn at random comes out of both servers as the last filter left it."""
    sent = tuple(line.replace("\n", "\r\n") for line in lines)
    first = last = Draft.of([line.split(":", 1) for line in lines], RECIPIENTS)
    for edits in filters:
        last = apply_edits(last, edits)
    plan = modifications_of(difference(first, last), first)
    tops = sum(field.place == "top" for field in last.fields)
    left = [line.replace("\n", "\r\n") for line in lines_of(last)]
    assert _delivered(find_site, mta, plan, sent) == (
        Mail(recipients=RECIPIENTS, headers=(*left[:tops], OWN, *left[tops:])),
    )
