"""Answers that came too early, where something else goes wrong as well."""

from demyjpy.mta import client_steps
from demyjpy.mta.milter_link import Answer, MilterFailedError, MilterLink
from demyjpy.mta.profiles import Postfix
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import Exchange, new_session
from tests.model.case import CONTINUE, packet
from tests.model.playing import ScriptedFilter


class Breaking(ScriptedFilter):
    """A milter with whom the connection breaks when MAIL is written to it."""

    def carry_out(self, exchange: Exchange) -> tuple[MilterLink, Answer | None]:
        if b"M<" in b"".join(exchange.writes):
            raise MilterFailedError("mail", "broken pipe")
        return super().carry_out(exchange)


def test_a_connection_that_breaks_is_a_failure_whatever_was_said_before() -> None:
    """What came too much is no answer to a command that did not get there."""
    milter = Breaking({"H0": CONTINUE + packet("a")})
    session = new_session(Postfix())
    for step in (client_steps.Connect(), client_steps.Ehlo(), client_steps.Mail("a@test")):
        session, outcome = play(take_step(session, step), [milter])
    assert outcome.reply is not None
    assert outcome.reply.code == 451
    assert [failure.reason for failure in outcome.failures] == ["broken pipe"]


def test_nonsense_too_much_is_the_end_of_the_milter() -> None:
    """It is read as the answer to MAIL; the connection is closed then."""
    milter = ScriptedFilter({"H0": CONTINUE + packet("Z")})
    session = new_session(Postfix())
    for step in (
        client_steps.Connect(),
        client_steps.Ehlo(),
        client_steps.Mail("a@test"),
        client_steps.Rcpt("b@test"),
    ):
        session, _ = play(take_step(session, step), [milter])
    assert session.sides[0].failure is not None
    assert session.sides[0].failure.event == "mail"
