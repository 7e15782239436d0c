"""Traces of several filters in a row: what is shown again, what is found, and who did what."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demyjpy import actions as act
from demyjpy import define_event_handlers, find, merge_handlers, reject, send_action
from demyjpy.engine.connection import Setup
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import as_on_connect, open_connection
from demyjpy.engine.tape import Stretch, Tape
from demyjpy.findings import Finding, new_findings
from demyjpy.handlers import default_event_handler
from demyjpy.trace import FlightRecorder, Privacy, Reading, Recorder, Trace, load
from demyjpy.trace.format.json_context import dump_finding, load_finding
from demyjpy.trace.format.recorded_steps import findings_in
from demyjpy.trace.live.kept_sessions import keep_stretch
from demyjpy.trace.replay.comparing import compare_bytes
from demyjpy.trace.replay.replaying import Filter
from tests.anyfilters import Notebook, finding_chains
from tests.engine.harness import ABORT, BODY, EOM, MAIL, MESSAGE, OPENING, QUIT, RCPT, join, packet
from tests.engine.test_tape import play
from tests.trace.format.test_records import saved, through_json
from tests.trace.live.test_tapes import of
from tests.trace.sessions import watched


def chain() -> Any:
    """A filter that edits, one that finds something, one that waits and refuses what it is shown."""
    editor = define_event_handlers(actions={"change_header", "change_body"}, name="editor")
    finder = define_event_handlers(name="finder")
    reader = define_event_handlers(name="reader")

    @editor.end_of_message
    def edit(event: Any, ctx: Any) -> Any:
        edits = act.ChangeHeader(1, "Subject", "two"), act.ReplaceBody(b"new\r\n")
        return send_action(ctx, *edits)

    @finder.mail
    def look(event: Any, ctx: Any) -> Any:
        return find(ctx, "spf", b"\xff", score=1.5, source="mta", domain="example.org")

    @reader.header
    def see(event: Any, ctx: Any) -> Any:
        return ctx.set("subject", event.value) if event.name == "Subject" else ctx

    @reader.body
    def refuse(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.data.startswith(b"new") else ctx

    return merge_handlers(editor, finder, reader)


SUBJECT = packet("L", b"Subject\0 one\0")
IN_CHAIN = (*OPENING, MAIL, RCPT, SUBJECT, packet("N"), BODY, EOM, QUIT)


@pytest.mark.parametrize("raw", [False, True])
def test_what_filters_that_waited_get_is_of_the_end_of_the_message(raw: bool) -> None:
    """The MTA said it once; the trace gives its bytes back, and is played exactly."""
    steps, session = watched(chain(), *IN_CHAIN)
    trace = saved(Trace.of_steps(steps, raw=raw))
    assert [one.sent for one in trace.exchanges] == [join([one]) for one in IN_CHAIN]
    assert b"".join(one.reply for one in trace.exchanges) == session.sent
    ends = [one for one in trace.records if one.get("event") == "end_of_message"]
    assert [(one.get("handler", "").partition(":")[0], one.get("again")) for one in ends[1:]] == [
        ("editor", None),
        ("reader", "header"),
        ("reader", "body"),
    ]
    assert ends[0]["direction"] == "mta"
    assert "fields" not in ends[0]
    assert ends[2]["changes"]["set"]["subject"] == "two"
    assert ends[3]["verdict"] == "Reject"
    assert compare_bytes(trace, Filter(chain())).is_same
    (message,) = trace.messages
    assert (message.outcome, message.at) == ("rejected", "end_of_message")


def test_what_each_handler_did_can_be_looked_at() -> None:
    """With what it got, if its filter waited, and with what it found."""
    moments = saved(Trace.of_steps(watched(chain(), *IN_CHAIN)[0])).moments
    mail = next(one for one in moments if one.name == "mail")
    (found,) = mail.parts[0].findings
    assert (found.name, found.value, found.score, found.source) == ("spf", b"\xff", 1.5, "mta")
    assert (found.author, found.event, dict(found.fields)) == (
        "finder",
        "mail",
        {"domain": "example.org"},
    )
    end = next(one for one in moments if one.name == "end_of_message")
    assert [one.again for one in end.parts] == ["", "header", "body"]
    assert end.parts[1].after["subject"] == "two"
    assert len(end.actions) == 3


def test_a_recording_from_the_tape_has_findings(tmp_path: Path) -> None:
    """Also of a session that never leaves the hot path, as nobody waits or refuses."""
    finder = define_event_handlers(name="finder")
    finder.mail(lambda event, ctx: find(ctx, "spf", "softfail"))
    keeper = define_event_handlers({"mail": lambda event, ctx: ctx.set("is_seen", True)})
    recorder = Recorder(tmp_path)
    tape = Tape(recorder.read, count().__next__, count(1000).__next__)
    line = Line(open_connection(Setup(as_on_connect(merge_handlers(finder, keeper))), "session"), tape)
    for one in (*OPENING, *MESSAGE, QUIT):
        line.receive_data(join([one]))
    recorder.close()
    (trace,) = [one for path in tmp_path.glob("*.jsonl") for one in Reading(str(path))]
    found = [one for moment in trace.moments for part in moment.parts for one in part.findings]
    assert [(one.name, one.author, one.event) for one in found] == [("spf", "finder", "mail")]


@pytest.mark.parametrize(
    "bad",
    [
        5,
        [5],
        [{"name": "a"}, {"name": "b", "value": 1, "score": "much"}],
        [{"name": "a", "value": 1, "fields": 5}],
        [{"name": "a", "value": 1, "author": 5}],
        [{"name": 5, "value": 1}],
    ],
)
def test_what_is_no_finding_is_left_out(bad: Any) -> None:
    """The rest of the record stays."""
    assert findings_in({"findings": bad}) == ()


@given(finding_chains, st.lists(st.sampled_from([*MESSAGE, ABORT, EOM])))
def test_any_session_with_a_chain_gives_its_bytes_back(chain: Any, packets: list[Any]) -> None:
    """Whatever is shown again, and found; the trace is as the schema has it."""
    handlers = merge_handlers(*[one.registry(Notebook()) for one in chain])
    steps, session = watched(handlers, *OPENING, *packets)
    trace = saved(Trace.of_steps(steps))
    sent = b"".join(one.sent for one in trace.exchanges)
    assert join((*OPENING, *packets)).startswith(sent)
    assert b"".join(one.reply for one in trace.exchanges) == session.sent
    found = [one.name for moment in trace.moments for part in moment.parts for one in part.findings]
    assert found == [one.name for step in steps for one in new_findings(step.before, step.after)]


@pytest.mark.parametrize(
    "found",
    [
        Finding("a", None),
        Finding("b", (1, "x"), 2.5, "header", {"domain": b"\xff"}, "spf", "mail"),
    ],
)
def test_a_finding_comes_back(found: Finding) -> None:
    """With all that it has."""
    assert load_finding(through_json(dump_finding(found))) == found


HELD = "secretword"


def holding() -> Any:
    """Filters that put a word of the mail into findings, at the negotiation, too."""
    first, second = define_event_handlers(name="first"), define_event_handlers()

    @first.options
    def negotiate(event: Any, ctx: Any) -> Any:
        return find(default_event_handler(event, ctx), "offer", HELD)

    @first.mail
    def look(event: Any, ctx: Any) -> Any:
        return find(ctx, "mail", HELD, word=HELD)

    second.recipient(lambda event, ctx: find(ctx, "recipient", HELD))
    return merge_handlers(first, second)


@pytest.mark.parametrize("one", [holding(), holding().parts[0]], ids=["chain", "alone"])
def test_findings_may_hold_anything_and_are_kept_as_contexts_are(one: Any, tmp_path: Any) -> None:
    """In a file, and in memory until it is written: only if all is kept."""
    packets = [join([one]) for one in (*OPENING, MAIL, RCPT, EOM, QUIT)]
    stretches: list[Stretch] = []
    play(of(one), packets, stretches.append)
    for privacy in (Privacy(), Privacy(keep="headers"), Privacy(hash_addresses=True)):
        recorder = FlightRecorder(tmp_path, privacy=privacy)
        kept = [keep_stretch(stretch, recorder._scrubber) for stretch in stretches]
        for stretch in stretches:
            recorder.read(stretch)
        path = recorder.dump()
        recorder.close()
        assert path is not None
        assert (HELD in path.read_text()) is privacy.keeps_all
        assert (HELD in repr(kept)) is privacy.keeps_all
        (trace,) = load(path)
        assert (trace.how, trace.problems) == ("quit", ())
        assert "error" not in path.read_text()
