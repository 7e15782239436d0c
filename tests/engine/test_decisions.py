"""What the filters of a connection have decided."""

import pytest

from demyjpy import actions as act
from demyjpy.engine.decisions import NO_DECISIONS, Decisions

TEMP, REJECT, DISCARD = act.TemporaryFailure(), act.Reject(), act.Discard()


def test_a_filter_that_accepts_is_done_and_one_that_skips_wants_no_body():
    """All other verdicts leave a filter where it is."""
    said = [(0, act.Accept()), (1, act.Skip()), (2, act.Continue()), (3, REJECT)]
    assert NO_DECISIONS.hear(said, of_connection=False) == Decisions(
        frozenset({0}), frozenset(), frozenset({1})
    )
    assert NO_DECISIONS.hear([], of_connection=False) == NO_DECISIONS


def test_what_is_accepted_at_connect_is_accepted_for_good():
    """Between messages only that remains."""
    at_connect = NO_DECISIONS.hear([(0, act.Accept())], of_connection=True)
    in_message = at_connect.hear([(1, act.Accept()), (2, act.Skip())], of_connection=False)
    assert in_message.done == {0, 1}
    assert in_message.between_messages() == at_connect
    assert at_connect.done_for_good == {0}


def test_done_in_a_message_is_not_done_for_good():
    """A later verdict about the connection includes all that are done then."""
    assert NO_DECISIONS.hear([(1, act.Accept())], of_connection=False).between_messages() == NO_DECISIONS


OWED = [
    (None, REJECT, REJECT),
    (None, TEMP, TEMP),
    (TEMP, REJECT, REJECT),
    (REJECT, TEMP, REJECT),
    (DISCARD, REJECT, DISCARD),
    (TEMP, act.ReplyCode(451), TEMP),
    (TEMP, act.ReplyCode(550), act.ReplyCode(550)),
    (None, act.Continue(), None),
    (TEMP, act.Continue(), TEMP),
    (None, act.Skip(), None),
]


@pytest.mark.parametrize(("before", "verdict", "after"), OWED)
def test_the_strictest_verdict_is_owed(before, verdict, after):
    """The first of equally strict ones; what lets the mail pass is never owed."""
    found = Decisions(owed=before).owe(verdict, 0, of_connection=False)
    assert found == Decisions(owed=after)
    assert found.between_messages() == NO_DECISIONS


def test_what_is_owed_since_connect_is_owed_to_every_message():
    """It stays between messages."""
    found = NO_DECISIONS.owe(REJECT, 0, of_connection=True)
    assert found.between_messages() == found == Decisions(owed=REJECT, owed_for_good=REJECT)


def test_a_filter_that_would_have_accepted_is_done():
    """Accept where no answer is due needs none; from the library itself it means nothing."""
    assert NO_DECISIONS.owe(act.Accept(), 1, of_connection=False) == Decisions(done=frozenset({1}))
    assert NO_DECISIONS.owe(act.Accept(), 1, of_connection=True).between_messages().done == {1}
    assert NO_DECISIONS.owe(act.Accept(), None, of_connection=False) == NO_DECISIONS
