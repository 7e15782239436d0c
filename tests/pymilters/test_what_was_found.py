"""What the public filters have shown: each was a difference to pymilter once."""

from demyjpy import ReplyCode
from demyjpy import pymilter as Milter  # noqa: N812  # as a script says it
from demyjpy.pymilter import filter_of
from demyjpy.testing import run, session

LETTER = session().mail("ann@example.net").rcpt("bob@example.org").message("Subject: x\n\nhello\n")


class Raising(Milter.Base):
    """As dspam-milter does, which adds bytes to text."""

    @Milter.noreply
    def body(self, chunk):
        return "" + chunk

    def eom(self):
        self.addheader("X-Seen", "yes")
        return Milter.ACCEPT


class Looking(Milter.Base):
    """As milter-nomix.py is, it has no eom."""

    def envrcpt(self, to, *parameters):
        return Milter.CONTINUE


def test_a_quiet_callback_that_raises_has_the_mail_put_off():
    """At the end of the message, where an answer is due: what it collected is not whole."""
    text = "pymilter: untrapped exception in Raising"
    assert run(filter_of(Raising), LETTER).verdict == ReplyCode(451, "4.3.0", text)


def test_a_filter_without_eom_is_one():
    """It asks for no edits, because it can make none."""
    quiet = filter_of(Looking)
    assert not quiet.actions | quiet.optional_actions
    assert run(quiet, LETTER).is_delivered
