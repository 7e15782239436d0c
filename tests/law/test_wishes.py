"""``bytes(message)`` is what is queued, through the engine: chains of filters that wish, both models."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from demyjpy import merge_handlers
from demyjpy.mta.profile import Profile
from demyjpy.mta.smtp_session import new_session
from demyjpy.testing import Postfix, Sendmail, run, session
from demyjpy.testing.run import play_steps
from tests.examples import share_of
from tests.law.hot import HotFilter
from tests.law.wishes import (
    SENDER,
    Noted,
    WishDraw,
    Wisher,
    delivered,
    expected_envelope,
    recipients_of,
    wish_draws,
    wishing,
)
from tests.message.drafts import RECIPIENTS
from tests.message.edits import Call

BOTH = pytest.mark.parametrize("mta", [Postfix(), Sendmail()], ids=lambda one: one.name)
SETTINGS = settings(
    max_examples=share_of(300), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def script_of(draw: WishDraw) -> Any:
    """The session of one message."""
    script = session().mail(SENDER)
    for one in RECIPIENTS:
        script = script.rcpt(one)
    return script.message(draw.data)


def filters_of(draw: WishDraw) -> tuple[list[Any], list[Noted]]:
    """The filters, and what each will have got and wished for."""
    notes = [Noted() for _ in draw.wishers]
    return [wishing(one, note) for one, note in zip(draw.wishers, notes, strict=True)], notes


def check(outcomes: Any, notes: list[Noted], mta: Profile) -> None:
    """Each filter got what the one before it wished for; the last wish is what is delivered.

    Sendmail takes no mail with a bare CR or LF, and mail without recipients is not delivered.
    """
    if notes[0].got is None:
        assert mta.name == "sendmail"
        return
    for one, following in pairwise(notes):
        assert following.data[0] == one.data[1]
    mails = [one.mail for one in outcomes if one.mail is not None]
    if not mails:
        assert expected_envelope(notes, mta.name)[1] == []
        return
    (mail,) = mails
    assert delivered(mail) == notes[-1].data[1]
    assert (mail.envelope.sender, recipients_of(mail)) == expected_envelope(notes, mta.name)


TWICE = WishDraw(
    (Wisher((), "end_of_message", (Call("prepend", ("X-A", "1")), Call("drop_recipient", ("b@test",)))),)
    * 2,
    b"From: a@test\r\nDate: now\r\nMessage-Id: <1@test>\r\n\r\nas sent\r\n",
)
"""Filters that wish for something, and then for what they got: only that counts."""


@BOTH
@SETTINGS
@given(draw=wish_draws())
@example(draw=TWICE)
def test_the_bytes_of_the_last_wish_are_queued(mta: Profile, draw: WishDraw) -> None:
    """Sender and recipients, too; whatever the sizes of the pieces in which the body comes."""
    filters, notes = filters_of(draw)
    result = run(merge_handlers(*filters), script_of(draw), mta=mta, chunk=draw.chunk)
    assert result.troubles == ()
    check([one.outcome for one in result.steps], notes, mta)


@BOTH
@SETTINGS
@given(draw=wish_draws())
def test_the_same_without_an_observer(mta: Profile, draw: WishDraw) -> None:
    """As the drivers hold a connection."""
    filters, notes = filters_of(draw)
    with HotFilter(merge_handlers(*filters)) as milter:
        outcomes = [one for _, one in play_steps(script_of(draw), new_session(mta), [milter])]
        milter.end()
        assert milter.troubles == []
    check(outcomes, notes, mta)
