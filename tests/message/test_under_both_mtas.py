"""What several filters did to a message comes out the same under both MTAs, as far as the models go.

What the real servers do with the same edits is in `tests.integration.test_chain_edits`.
"""

import pytest
from attrs import evolve
from hypothesis import example, given

from demyjpy import actions as act
from demyjpy.engine.chain_edits import AT_END, modifications_of
from demyjpy.engine.plan import in_sending_order
from demyjpy.message import ChangeField, apply_edits, difference, shown_body
from demyjpy.mta.client_steps import Connect
from demyjpy.mta.postfix import Postfix
from demyjpy.mta.profile import Origin
from demyjpy.mta.sendmail import Sendmail
from demyjpy.mta.stored_mail import Envelope, StoredMail
from demyjpy.wire.fields import Parameters, encode_text
from tests.message.drafts import FILTERS, RECIPIENTS, after, draft_of, headers, lines_of

MTAS = {"postfix": Postfix(), "sendmail": Sendmail()}
BODY = b"as sent\r\n"
ALL_THERE = ("From: a@test", "Date: now", "Message-Id: <1@test>")


def stored(mta, lines):
    """A message in a server, before its first milter."""
    content = b"".join(encode_text(line).replace(b"\n", b"\r\n") + b"\r\n" for line in lines)
    message = MTAS[mta].take_in(content + b"\r\n" + BODY, "a@test", "1", Connect(address="192.0.2.1"))
    own = MTAS[mta].own_fields(Origin(greeting="client.test", peer="client.test", queue_id="1"))
    recipients = tuple((address, Parameters()) for address in RECIPIENTS)
    return StoredMail(
        Envelope("a@test", recipients=recipients), evolve(message, fields=(*own, *message.fields))
    )


def sent_by(mta, lines, plan):
    """The mail that the model of a server delivers after a plan."""
    return MTAS[mta].deliver(MTAS[mta].edit(stored(mta, lines), plan))


def header_of(mail):
    """What is delivered of the header; the server's own fields are one line."""
    left = [one for one in mail.message.fields if not one.is_deleted]
    return ["own" if one.owner == "mta" else f"{one.name}:{one.raw}" for one in left]


def expected_header(draft):
    """The lines of a draft, with the server's own in their place."""
    lines, tops = lines_of(draft), sum(field.place == "top" for field in draft.fields)
    return [*lines[:tops], "own", *lines[tops:]]


def expected_recipients(mta, draft):
    """Who gets the message: Postfix adds one recipient once, whatever the case."""
    added = [(address, parameters.words) for address, parameters in draft.added]
    if mta == "postfix":
        added = {(address.lower(), words): (address, words) for address, words in added[::-1]}.values()
    return sorted([*((address, ()) for address in draft.recipients), *added])


@pytest.mark.parametrize("mta", MTAS)
@given(headers(), FILTERS)
@example([*ALL_THERE], [[act.AddHeader("X", "1"), act.AddHeader("X", "2")], [act.DeleteHeader(1, "x")]])
@example([*ALL_THERE], [[act.AddHeader("Received", "1")], [act.InsertHeader(0, "X-New", "1")]])
@example([*ALL_THERE], [[act.DeleteHeader(1, "Date")], [act.AddHeader("Date", "1")]])
def test_a_chain_is_one_plan(mta, lines, filters):
    """Header, recipients, sender, body and quarantine are those of the last draft."""
    first = draft_of(*lines)
    last = after(first, apply_edits, *filters)
    plan = modifications_of(difference(first, last), first)
    assert plan == in_sending_order(plan)
    mail = sent_by(mta, lines, plan)
    assert header_of(mail) == expected_header(last)
    found = sorted((address, parameters.words) for address, parameters in mail.envelope.recipients)
    assert found == expected_recipients(mta, last)
    assert mail.envelope.sender == (last.sender[0] if last.sender else "a@test")
    assert mail.message.body == (BODY if last.body is None else shown_body(last.body))
    assert mail.quarantine == last.quarantine


@pytest.mark.parametrize("mta", MTAS)
@given(headers(always=()), FILTERS)
def test_fields_that_sendmail_would_add(mta, lines, filters):
    """None of the filters' fields is lost, but Sendmail may choose the place of a Date."""
    first = draft_of(*lines)
    last = after(first, apply_edits, *filters)
    mail = sent_by(mta, lines, modifications_of(difference(first, last), first))
    found = [line for line in header_of(mail) if line != "own"]
    assert sorted(found) == sorted(lines_of(last))
    free = {"date", "from", "message-id"} - {field.key for field in first.fields}
    assert [line for line in found if line.split(":")[0].lower() not in free] == [
        line for line in lines_of(last) if line.split(":")[0].lower() not in free
    ]


def test_a_missing_date_is_there_once():
    """The first added one takes the place of the one that Sendmail would add."""
    first = draft_of("To: b@test")
    last = apply_edits(first, [act.AddHeader("Date", "1"), act.AddHeader("Date", "2")])
    plan = modifications_of(difference(first, last), first)
    assert plan == (act.AddHeader("Date", "1"), act.InsertHeader(AT_END, "Date", "2"))
    assert header_of(sent_by("sendmail", ["To: b@test"], plan)).count("Date: 1") == 1
    above = apply_edits(first, [act.InsertHeader(0, "Date", "0"), act.AddHeader("Date", "1")])
    assert modifications_of(difference(first, above), first) == (
        *(act.InsertHeader(0, "Date", "0"), act.InsertHeader(AT_END, "Date", "1")),
    )


def test_a_resent_message():
    """Sendmail adds the Resent- fields to a message that has one of them, so the added one is theirs."""
    added = [act.AddHeader("Resent-Date", "1")]
    for lines, plan in (
        ([*ALL_THERE, "Resent-To: x"], (act.AddHeader("Resent-Date", "1"),)),
        ([*ALL_THERE], (act.InsertHeader(AT_END, "Resent-Date", "1"),)),
    ):
        first = draft_of(*lines)
        assert modifications_of(difference(first, apply_edits(first, added)), first) == plan


def test_a_plan_is_as_plain_as_it_can_be():
    """A field whose name is new is added as a single filter adds it; deletions go upwards."""
    first = draft_of("A: 1", "A: 2", "B: 3")
    edits = [act.AddHeader("C", "4"), act.ChangeHeader(1, "B", "5"), act.AddHeader("A", "6")]
    deletions = [act.DeleteHeader(1, "A"), act.DeleteHeader(2, "A")]
    last = apply_edits(first, [*edits, *deletions])
    assert modifications_of(difference(first, last), first) == (
        *(act.ChangeHeader(1, "B", "5"), *deletions[::-1]),
        *(act.AddHeader("C", "4"), act.InsertHeader(AT_END, "A", "6")),
    )


@pytest.mark.parametrize("mta", MTAS)
def test_a_text_that_becomes_empty(mta):
    """The field stays, with a space as its text: without one the MTA would delete it."""
    plan = modifications_of([ChangeField("X-A", 1, "")], draft_of("X-A: 1"))
    assert header_of(sent_by(mta, [*ALL_THERE, "X-A: 1"], plan)) == ["own", *ALL_THERE, "X-A: "]
