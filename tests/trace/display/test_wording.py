"""What is said of edits and of messages in a line."""

from array import array

from demyjpy import actions as act
from demyjpy.cli.replay_steps import _shown
from demyjpy.context import new_context
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import open_connection
from demyjpy.engine.tape import Stretch
from demyjpy.events import Disconnect
from demyjpy.message import Message
from demyjpy.trace.display.wording import summary_of
from demyjpy.trace.format.exchanges import Unreadable
from demyjpy.trace.format.message_stories import Follower
from demyjpy.trace.live.explain_line import _editor_in, _note_findings, _SessionNotes


def test_several_recipients_are_counted():
    """A line names one of a kind only."""
    edits = [act.AddRecipient("a@b"), act.AddRecipient("c@d"), act.DeleteRecipient("e@f")]
    assert summary_of(edits) == "2 recipients added, recipient <e@f> deleted"


def test_a_packet_that_is_not_understood_is_in_the_line():
    """It may be a change."""
    assert "A" in summary_of([Unreadable("A", b"x")])


def test_a_message_is_shown_by_what_it_is_made_of():
    """Its steps were shown before."""
    message = Message.of([("Subject", " hi")], b"text\r\n", "a@b", ["c@d", "e@f"])
    assert _shown(message) == "2 recipients, 1 header field, 21 bytes"
    assert _shown(Disconnect()) == "Disconnect()"


def test_nobody_has_edited_if_nothing_was_queued():
    """A handler that failed has queued nothing, and has no findings."""
    opened = open_connection(Setup(new_context))
    stretch = Stretch(opened, (), array("d"), (None,), array("d"), {}, (), None)
    assert _editor_in(stretch) is None
    notes = _SessionNotes(Follower("s"))
    before = notes.findings
    _note_findings(notes, {0: ValueError()})
    assert notes.findings is before
