"""What a verdict is, how strict, where it is legal, what it ends; and the fate of a message."""

from typing import get_args

import pytest

from demyjpy import actions as act
from demyjpy.codec import ACTIONS, action_row
from demyjpy.verdicts import (
    ENDINGS,
    LEGAL,
    REFUSALS,
    VERDICTS,
    Fate,
    decides,
    edits_made,
    ends_message,
    fate_of,
    fate_of_refusal,
    is_verdict,
    join_bodies,
    strictest,
    strictness,
    verdicts_in,
)

SAID = {
    "c": act.Continue(),
    "s": act.Skip(),
    "a": act.Accept(),
    "d": act.Discard(),
    "r": act.Reject(),
    "t": act.TemporaryFailure(),
    "y": act.ReplyCode(550),
}
ENDS = {
    "mail": "adrty",
    "recipient": "ad",
    "data": "adrty",
    "header": "adrty",
    "end_of_headers": "adrty",
    "body": "adrty",
    "end_of_message": "csadrty",
    "unknown": "",
}
ORDER = [act.Accept(), act.Skip(), act.Continue(), act.TemporaryFailure(), act.Reject(), act.Discard()]
EDIT, HELD = act.AddHeader("A", "1"), act.Quarantine("x")


# --------------------------------------------------------------------------------- what it is
def test_the_verdicts_are_those_of_the_type():
    """And those that stand last in a plan; no class is forgotten."""
    assert set(VERDICTS) == set(get_args(act.Verdict)) == {type(one) for one in SAID.values()}
    last = {kind for row in ACTIONS.values() if row.group == 5 for kind in row.actions}
    assert last == set(VERDICTS)


def test_modifications_and_signs_of_life_are_no_verdicts():
    """Nor is what no filter may say."""
    others = [EDIT, HELD, act.Progress(), act.Shutdown(), act.ConnectionFailed(), "accept", None]
    assert not [one for one in others if is_verdict(one)]
    assert verdicts_in([EDIT, act.Skip(), HELD, act.Reject()]) == [act.Skip(), act.Reject()]


@pytest.mark.parametrize("letter", SAID)
def test_all_verdicts_decide_something_but_continue_and_skip(letter):
    """With these two the message goes on as it was."""
    assert decides(SAID[letter]) is (letter not in "cs")


def test_a_refusal_is_what_the_client_hears():
    """Not Discard, which it never notices."""
    assert {type(SAID[letter]) for letter in "rty"} == set(REFUSALS)


# ------------------------------------------------------------------------------ how strict it is
def test_verdicts_have_an_order():
    """Accept < skip < continue < tempfail < reject < discard; replies rank by their class."""
    for at, milder in enumerate(ORDER):
        for stricter in ORDER[at:]:
            assert strictest([milder, stricter]) == strictest([stricter, milder]) == stricter
    own, later = act.ReplyCode(550), act.ReplyCode(450)
    assert strictest([act.TemporaryFailure(), own, act.Reject()]) == own
    assert strictest([act.Reject(), own]) == act.Reject()
    assert strictest([later, act.TemporaryFailure(), act.Continue()]) == later
    assert strictest([]) == act.Continue()


def test_a_refusal_is_stricter_than_what_goes_on():
    """And only a refusal, or Discard, is."""
    stricter = {type(one) for one in SAID.values() if strictness(one) > strictness(act.Continue())}
    assert stricter == {*REFUSALS, act.Discard}


# ---------------------------------------------------------------------------------- what it ends
@pytest.mark.parametrize("letter", SAID)
@pytest.mark.parametrize("event", ENDS)
def test_which_verdict_ends_a_message(event, letter):
    """Protocol file, section 8.5: at RCPT a refusal ends the recipient only, at UNKNOWN nothing ends."""
    assert ends_message(event, SAID[letter]) is (letter in ENDS[event])


def test_what_ends_a_message_is_legal_there():
    """But for Skip at its end, which an MTA may hear from filters of other libraries."""
    ends = {(event, letter) for event, letters in ENDS.items() for letter in letters}
    legal = {(event, letter) for event, letter in ends if isinstance(SAID[letter], LEGAL[event])}
    assert ends - legal == {("end_of_message", "s")}


# --------------------------------------------------------------------------------------- the fate
FATES = {
    "c": "accepted",
    "s": "accepted",
    "a": "accepted",
    "d": "discarded",
    "r": "rejected",
    "t": "tempfailed",
    "y": "rejected",
}


@pytest.mark.parametrize("letter", FATES)
def test_the_fate_of_a_message_follows_from_the_verdict(letter):
    """Quarantine counts if the message goes on; edits have an effect only then."""
    verdict, fate = SAID[letter], FATES[letter]
    assert fate_of(verdict) == fate_of(verdict, [EDIT]) == fate
    assert fate in ENDINGS
    goes_on = fate == "accepted"
    assert fate_of(verdict, [EDIT, HELD]) == ("quarantined" if goes_on else fate)
    assert edits_made(verdict, [EDIT, HELD]) == ((EDIT, HELD) if goes_on else ())


def test_a_reply_decides_by_its_class():
    """4xx is for now, 5xx for good."""
    assert fate_of(act.ReplyCode(450)) == fate_of_refusal(450) == Fate.TEMPFAILED
    assert fate_of_refusal(550) == Fate.REJECTED


def test_no_verdict_is_a_fate_too():
    """The filter never answered; nothing of what it asked for counts."""
    assert fate_of(None, [HELD]) == Fate.UNANSWERED
    assert edits_made(None, [EDIT]) == ()


BODY, MORE = act.ReplaceBody(b"one\r\n"), act.ReplaceBody(b"two\r\n")


@pytest.mark.parametrize(
    ("said", "joined"),
    [
        ((), ()),
        ((EDIT, BODY, HELD), (EDIT, BODY, HELD)),
        ((EDIT, BODY, HELD, MORE), (EDIT, act.ReplaceBody(b"one\r\ntwo\r\n"), HELD)),
        ((BODY, BODY), (act.ReplaceBody(b"one\r\none\r\n"),)),
    ],
)
def test_a_body_in_pieces_is_one_change(said, joined):
    """It stands where the first piece stood."""
    assert join_bodies(said) == joined


def test_every_verdict_can_be_sent():
    """Each has a row of the codec, and takes no permission."""
    assert not any(action_row(one).needs for one in SAID.values())
