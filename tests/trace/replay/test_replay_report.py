"""What a replay found, in words: steps of a session, differences of messages."""

import os
import pty
import subprocess
import sys

import pytest
from attrs import evolve

from demyjpy import actions as act
from demyjpy import add_header, define_event_handlers, find, merge_handlers, reject
from demyjpy.cli.output import Paint
from demyjpy.cli.replay_report import (
    ContextChanges,
    SessionReport,
    StepReport,
    session_lines,
)
from demyjpy.cli.replay_steps import show_steps
from demyjpy.trace import Trace
from demyjpy.trace.display.wording import answer_words, words_of
from demyjpy.trace.format.exchanges import Unreadable
from demyjpy.trace.replay.comparing import Compared, compare_bytes, compare_messages, pairs_that_differ
from demyjpy.trace.replay.replaying import Filter
from tests.engine.harness import MAIL, MESSAGE, OPENING, QUIT, RCPT, packet
from tests.trace.sessions import CAPTURES, ROOT, tagger, watched


def test_step_tells_recorded_errors_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    """In milliseconds."""
    handlers = {"mail": lambda event, ctx: 1 / 0, "recipient": lambda event, ctx: len(event)}
    trace = Trace.of_steps(watched(handlers, *OPENING, MAIL, RCPT, clock=iter(range(99)).__next__)[0])
    show_steps(trace, None, Paint(False))
    output = capsys.readouterr().out
    assert "error: ZeroDivisionError: division by zero" in output
    assert "time: 1000.000 ms" in output
    show_steps(Trace("s", ({"direction": "mta", "event": None},)), None, Paint(True))
    assert "None" in capsys.readouterr().out


def test_step_waits_on_a_terminal() -> None:
    """For Enter, or q to end."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "demyjpy", "replay", str(CAPTURES[0]), "--step"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as started:
        os.write(master, b"\nq\n")
        assert started.wait(30) == 0
    os.close(slave)
    output = os.read(master, 65536).decode()
    os.close(master)
    assert output.count("Enter: next, q: end") == 2


def test_step_marks_what_comes_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is new, and one that is gone."""
    handlers = {
        "mail": lambda event, ctx: ctx.set("seen", 1),
        "recipient": lambda event, ctx: ctx.remove("seen"),
    }
    trace = Trace.of_steps(watched(handlers, *OPENING, MAIL, RCPT)[0])
    show_steps(trace, handlers, Paint(False))
    lines = capsys.readouterr().out.splitlines()
    assert "       + seen = 1" in lines
    assert "       - seen = 1" in lines


def test_another_negotiation_comes_with_advice() -> None:
    """It differs in bytes, and need not differ in meaning."""
    trace = Trace.of_steps(watched({"mail": lambda event, ctx: ctx}, *OPENING, MAIL, QUIT)[0])
    found = SessionReport.of(compare_bytes(trace, Filter(tagger())))
    assert any("--meaning compares" in line for line in session_lines(found))


def test_each_kind_of_difference_has_words() -> None:
    """Refused recipients, another order, a message that never began."""
    swap = define_event_handlers(actions={"add_header"})
    swap.recipient(lambda event, ctx: ctx)
    swap.end_of_message(lambda event, ctx: add_header(add_header(ctx, "A", "1"), "B", "2"))
    back = define_event_handlers(actions={"add_header"})
    back.recipient(lambda event, ctx: reject(ctx) if event.address == "bad" else ctx)
    back.end_of_message(lambda event, ctx: add_header(add_header(ctx, "B", "2"), "A", "1"))
    bad = packet("R", b"<bad>\0")
    trace = Trace.of_steps(watched(swap, *OPENING, MAIL, RCPT, bad, *MESSAGE[2:], QUIT)[0])
    found = SessionReport.of(compare_messages(trace, Filter(back)))
    assert [str(one) for one in found.differing[0].changed] == [
        "the order of the changes, or white space",
        "refused recipients: none -> bad (reject)",
    ]
    old, new = trace.messages[0], evolve(trace.messages[0], first=99, last=99)
    (one,) = pairs_that_differ([old], [new])
    assert one.new.outcome == "never begun"
    never = Compared("s", "", 1, differing=(one,))
    assert list(session_lines(SessionReport.of(never)))[1:] == ["    verdict: accepted -> never begun"]
    assert list(session_lines(SessionReport.of(Compared("s", "", 1)))) == []


def test_all_that_a_filter_may_say_has_words() -> None:
    """Also what none of ours says."""
    assert answer_words(()) == "nothing"
    assert words_of(act.Negotiate(6, 1, 2, ((0, ("i",)),))) == (
        "negotiates version 6, actions 0x1, steps 0x2, and asks for macros"
    )
    assert (
        answer_words((act.Accept(), Unreadable("z", b""))) == "accept; a packet 'z' that cannot be read"
    )
    step = StepReport(1, "mail", (), ("x",), changes=ContextChanges({"a": 1}))
    lines = session_lines(SessionReport("s", "t", 1, is_same=False, difference=step))
    assert list(lines) == [
        "session s: differs at step 1, mail",
        "        old: nothing",
        "        new: x",
        "        after it: a = 1",
    ]


def test_step_tells_who_of_a_chain_did_what(capsys: pytest.CaptureFixture[str]) -> None:
    """As recorded, and as it is now: for what a filter waited, and what it found out."""
    editor = define_event_handlers(actions={"add_header"}, name="editor")
    editor.end_of_message(lambda event, ctx: add_header(ctx, "X-A", "b"))
    reader = define_event_handlers(name="reader")
    reader.header(lambda event, ctx: find(ctx, "seen", event.name, source="header"))
    chain = merge_handlers(editor, reader)
    trace = Trace.of_steps(watched(chain, *OPENING, *MESSAGE, QUIT)[0])
    show_steps(trace, None, Paint(is_on=False))
    recorded = capsys.readouterr().out
    show_steps(trace, chain, Paint(is_on=False))
    for output in (recorded, capsys.readouterr().out):
        assert "handler: editor: " in output
        assert "found: seen X-A, from header, by reader" in output
    assert "(header, for which it waited)" in recorded
