"""Rows 34-41: the MTA's side of the negotiation, seen from the milter that it talks to."""

import pytest

from demyjpy.actions import Negotiate
from demyjpy.mta.milter_link import (
    MilterFailedError,
)
from demyjpy.wire.codes import ProtocolFlag, Stage
from tests.conformance.mta_side import BOTH, POSTFIX, SENDMAIL, heard, lists, negotiate
from tests.model.case import CONTINUE, ONE, negotiation, number, packet, reply


def test_row_034_unknown_stage_is_skipped():
    """A list for a stage that does not exist is passed over with a warning, the others count."""
    link = negotiate(lists(number(0) + b"j\0", number(9) + b"x\0", number(2) + b"i\0"))
    assert link.macro_lists[Stage.CONNECT] == ("j",)
    assert link.macro_lists[Stage.ENVFROM] == ("i",)
    assert link.warnings == ("macros for a stage 9 that does not exist",)


def test_row_034_unknown_stage_ends_the_lists_of_sendmail():
    """Sendmail reads no further: what follows is lost."""
    answer = lists(number(0) + b"j\0", number(9) + b"x\0", number(2) + b"i\0")
    link = negotiate(answer, SENDMAIL)
    assert link.macro_lists[Stage.CONNECT] == ("j",)
    assert Stage.ENVFROM not in link.macro_lists


@BOTH
def test_row_035_list_without_nul(profile):
    """A macro list that does not end in NUL is no answer to the offer."""
    with pytest.raises(MilterFailedError, match="macro names that ends in NUL"):
        negotiate(lists(number(0) + b"j"), profile)


def test_row_036_names_apart_by_anything():
    """Names may be apart by commas, tabs and several spaces."""
    link = negotiate(lists(number(3) + b"{rcpt_addr},i\t{x}  y, z\0"))
    assert link.macro_lists[Stage.ENVRCPT] == ("{rcpt_addr}", "i", "{x}", "y", "z")


def test_row_037_version_above_the_offer():
    """A version above the offer is an error."""
    with pytest.raises(MilterFailedError, match="expected a version up to 6, got 7"):
        negotiate(negotiation(7))


@pytest.mark.parametrize(
    ("profile", "answered", "counts"),
    [
        (POSTFIX, 0, 6),
        (POSTFIX, 1, 6),
        (POSTFIX, 2, 2),
        (SENDMAIL, 0, 2),
        (SENDMAIL, 5, 5),
        (SENDMAIL, 1000, 6),
    ],
)
def test_row_037_versions_that_are_taken(profile, answered, counts):
    """What is odd but taken by a server counts as it counts there."""
    link = negotiate(negotiation(answered), profile)
    assert link.agreement is not None
    assert link.agreement.version == counts


def test_row_037_version_1_is_too_old_for_sendmail():
    """Sendmail refuses version 1."""
    with pytest.raises(MilterFailedError, match="got 1"):
        negotiate(negotiation(1), SENDMAIL)


@BOTH
@pytest.mark.parametrize(("version", "letters"), [(2, ""), (3, "U"), (4, "UT"), (6, "UT")])
def test_row_038_old_versions(profile, version, letters):
    """UNKNOWN and DATA are not sent to a filter that is too old for them."""
    steps = ("EHLO c.test", "XFOO", *ONE[1:])
    said, _ = heard({"O": negotiation(version)}, profile, steps)
    assert "".join(letter for letter in said if letter in "UT") == letters


@BOTH
def test_row_039_unoffered_action(profile):
    """An action that was not offered is an error."""
    with pytest.raises(MilterFailedError, match="expected actions within"):
        negotiate(negotiation(actions=0x3FF), profile)


def test_row_040_unoffered_protocol_bit_is_an_error():
    """A protocol bit that was not offered is an error to Sendmail."""
    with pytest.raises(MilterFailedError, match="got 0x400000 too"):
        negotiate(negotiation(protocol=0x400400), SENDMAIL)


def test_row_040_unoffered_protocol_bit_is_ignored():
    """To Postfix it is nothing."""
    link = negotiate(negotiation(protocol=0x400400))
    assert link.agreement == Negotiate(6, 0x1FF, ProtocolFlag.SKIP)


@BOTH
@pytest.mark.parametrize("answer", [CONTINUE, packet("O", bytes(11)), b"", reply("550 no"), packet("Z")])
def test_row_041_no_answer_to_the_offer(profile, answer):
    """Another packet, a short one, and the end of the connection are no answer to the offer."""
    with pytest.raises(MilterFailedError, match="the milter failed at options") as caught:
        negotiate(answer, profile)
    assert caught.value.event == "options"
