"""The MTA's side of a connection, as far as its tests have it in common."""

import pytest

from demyjpy import (
    EndOfMessage,
)
from demyjpy.mta.milter_link import (
    Answer,
    MilterLink,
    hear,
    say,
    start,
)
from demyjpy.mta.profiles import Postfix, Profile, Sendmail
from tests.model.case import ONE, Answers, negotiation, packet
from tests.model.playing import Played, ScriptedFilter, play_steps

POSTFIX = Postfix()
SENDMAIL = Sendmail()
BOTH = pytest.mark.parametrize("profile", [POSTFIX, SENDMAIL], ids=lambda one: one.name)


def negotiate(answer: bytes, profile: Profile = POSTFIX) -> MilterLink:
    """A connection after the milter's answer to the offer."""
    link, said = start(MilterLink(profile.offer, profile.strictness))
    assert said == bytes.fromhex("0000000d4f00000006000001ff001fffff")
    link, answered = hear(link, answer)
    assert answered == Answer()
    return link


def lists(*stages: bytes) -> bytes:
    """The answer to the offer with macro lists."""
    return packet("O", negotiation()[5:] + b"".join(stages))


def at(event: object, answer: bytes, profile: Profile = POSTFIX) -> tuple[MilterLink, Answer | None]:
    """What comes of the milter's bytes after an event."""
    link, _ = say(negotiate(negotiation(), profile), event)
    return hear(link, answer)


def heard(
    answers: Answers, profile: Profile = POSTFIX, steps: tuple[str | bytes, ...] = ONE
) -> tuple[str, Played]:
    """The letters that a milter hears in a session, without macros, and what came of it."""
    milter = ScriptedFilter(answers)
    played = play_steps(profile, steps, [milter])
    return "".join(chr(one[0]) for one in milter.heard if one[:1] != b"D"), played


END = EndOfMessage()
