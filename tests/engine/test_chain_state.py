"""How far one message has come through several filters."""

from demyjpy import actions as act
from demyjpy.engine.chain_state import NEW_MESSAGE


def test_of_two_refusals_that_have_to_wait_the_earlier_filters_counts():
    """Whichever was said first; only its filter has ended the message itself."""
    second = NEW_MESSAGE.keep(2, act.Reject())
    assert second.keep(1, act.Discard()).kept == (1, act.Discard())
    first = NEW_MESSAGE.keep(1, act.Reject())
    assert first.keep(2, act.Discard()) is first
    assert first.told == {1}
