"""``bytes(message)`` is what an MTA queues, after any edits, as far as the models go."""

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from demyjpy.engine.chain_edits import modifications_of
from demyjpy.engine.plan import in_sending_order
from demyjpy.message import Message, apply_edits, difference, draft_of, shown_body
from demyjpy.mta.client_steps import Connect
from demyjpy.mta.postfix import Postfix
from demyjpy.mta.profile import Origin
from demyjpy.mta.sendmail import Sendmail
from demyjpy.mta.stored_mail import Envelope, StoredMail
from demyjpy.wire.fields import Parameters
from tests.examples import share_of
from tests.message.drafts import FILTERS, RECIPIENTS, after, headers, lines_of
from tests.message.drafts import draft_of as first_draft
from tests.message.edits import BODIES, EDITS, data_of

MTAS = {"postfix": Postfix(), "sendmail": Sendmail()}


def stored(mta, data, to):
    """A message in a server, before its first milter."""
    message = MTAS[mta].take_in(data, "a@test", "1", Connect(address="192.0.2.1"))
    own = MTAS[mta].own_fields(Origin(greeting="client.test", peer="client.test", queue_id="1"))
    recipients = tuple((address, Parameters()) for address in to)
    return StoredMail(
        Envelope("a@test", recipients=recipients), evolve(message, fields=(*own, *message.fields))
    )


def got_from(mail_in_mta):
    """The message as a filter gets it."""
    stored_message = mail_in_mta.message
    fields = [(one.name, one.raw) for one in stored_message.seen_fields]
    return Message.of(fields, stored_message.body, "a@test", RECIPIENTS)


def queued(mail_in_mta):
    """The bytes that the server holds, without what it added itself."""
    message = mail_in_mta.message
    left = tuple(one for one in message.fields if one.owner != "mta")
    return bytes(evolve(message, fields=left))


@pytest.mark.parametrize("mta", MTAS)
@settings(max_examples=share_of(150), deadline=None)
@given(headers(), BODIES, st.lists(EDITS, max_size=6))
def test_the_bytes_are_what_is_queued(mta, lines, body, edits):
    """Header, body, sender and recipients are those of the last value."""
    before = stored(mta, data_of(lines, body), RECIPIENTS)
    got = got_from(before)
    assert bytes(got) == queued(before)
    wish = got
    for edit in edits:
        wish = edit(wish)
    first = draft_of(got)
    plan = modifications_of(difference(first, draft_of(wish, got)), first)
    assert plan == in_sending_order(plan)
    after = MTAS[mta].edit(before, plan)
    assert queued(after) == bytes(wish)
    assert len(bytes(wish)) == wish.size
    assert after.envelope.sender == wish.sender
    found = sorted((address, parameters.words) for address, parameters in after.envelope.recipients)
    assert found == sorted((one.address, one.parameters.words) for one in wish.recipients)
    if wish is got:
        assert plan == ()


@settings(max_examples=share_of(150), deadline=None)
@given(headers(), FILTERS, st.lists(EDITS, max_size=4))
def test_a_wish_in_a_chain(lines, filters, edits):
    """Its modifications, as those of one filter, make of the earlier filters' draft what it wished."""
    draft = after(first_draft(*lines), apply_edits, *filters)
    body = b"as sent\r\n" if draft.body is None else shown_body(draft.body)
    got = Message.of([(one.name, one.raw) for one in draft.fields], body, "a@test", RECIPIENTS)
    wish = got
    for edit in edits:
        wish = edit(wish)
    first = draft_of(got)
    last = apply_edits(draft, modifications_of(difference(first, draft_of(wish, got)), first))
    assert lines_of(last) == [f"{one.name}:{one.raw}" for one in wish.fields]
    assert wish.body == (body if last.body is None else shown_body(last.body))
    if wish is got:
        assert last == draft
