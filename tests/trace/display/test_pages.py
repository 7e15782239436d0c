"""`demyjpy replay --html`: pages that show hostile mail, need nothing else, and are bounded."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from demyjpy import EndOfMessage, Reject, change_header, define_event_handlers, find, merge_handlers
from demyjpy import events as ev
from demyjpy.cli.replay_groups import Groups
from demyjpy.cli.replay_jobs import filter_of
from demyjpy.cli.replay_page import ReportPage
from demyjpy.cli.replay_report import (
    Change,
    ImpureReport,
    MessageReport,
    SessionReport,
    StepReport,
    Tally,
)
from demyjpy.cli.session_page import session_page
from demyjpy.cli.session_views import Act, View, played_views, recorded_views
from demyjpy.cli.written_files import numbered
from demyjpy.context import new_context
from demyjpy.testing import Postfix, session
from demyjpy.testing import run as play
from demyjpy.trace import MessageStory, Trace, write
from demyjpy.trace.display import pages
from demyjpy.trace.display.pages import Bounded, Markup, element, page, text
from demyjpy.verdicts import Fate
from tests.engine.harness import EOM, MAIL, OPENING, QUIT, RCPT, packet
from tests.pages.reading import Reader, is_self_contained
from tests.trace.sessions import WHOLE, tagger, watched

Run = Callable[..., tuple[int, str, str]]

HOSTILE = "</pre><script>alert(1)</script>\"'&\u202e\x1b[31m\udcff"

FILTER = """
    import random
    from demyjpy import add_header, define_event_handlers, reject, with_handlers

    handlers = define_event_handlers(actions={"add_header"}, state={"count": 0, "kept": 1})

    @handlers.mail
    def mail(event, ctx):
        return reject(ctx) if event.sender.startswith("bad") else ctx

    @handlers.recipient
    def count(event, ctx):
        return ctx.set("count", ctx["count"] + 1)

    @handlers.header
    def subject(event, ctx):
        return ctx.set("subject", event.value)

    @handlers.end_of_message
    def tag(event, ctx):
        return add_header(ctx.discard("kept").set("done", True), "X-Tag", VALUE)
"""


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Three sessions, one of them hostile, one refused; and filters beside them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    values = {"old": "'1'", "new": "'<b>' + str(ctx['count'])", "chance": "str(random.random())"}
    for name, value in values.items():
        made = dedent(FILTER).replace("VALUE", value)
        (tmp_path / f"{name}_page_filter.py").write_text(made)
    (tmp_path / "failing_page_filter.py").write_text(dedent(FILTER).replace("VALUE", "1 / 0"))
    namespace: dict[str, Any] = {"__name__": "old_page_filter"}
    exec((tmp_path / "old_page_filter.py").read_text(), namespace)
    found = []
    for name, sender in (("s1", "ann@x"), ("s2", "bad@x"), ("<s3>", "'<script>'@x")):
        script = session().mail(sender).rcpt("r@x").rcpt("<img onerror=1>@x")
        mail = "Subject: <script>alert(1)</script>\n\nhello\n"
        trace = play(namespace["handlers"], script.message(mail), mta=Postfix()).trace
        found.append(Trace(name, tuple({**one, "session": name} for one in trace.records)))
    write(tmp_path / "t.jsonl", found)
    yield tmp_path / "t.jsonl"
    filter_of.cache_clear()


# ------------------------------------------------------------------------------------ template
def test_whatever_is_shown_is_escaped() -> None:
    """Markup, quotes in attributes, control characters, text that turns direction, lone bytes."""
    found = page(HOSTILE, element("p", HOSTILE, title=HOSTILE), [HOSTILE, *[HOSTILE]])
    assert is_self_contained(found)
    assert Reader(found).names <= {"html", "head", "meta", "title", "style", "body", "main", "p"}
    assert not set(found) & {"\u202e", "\x1b", "\udcff"}
    assert "\\xff" in found
    assert found.encode().startswith(b"<!DOCTYPE html>\n<html")


def test_long_text_is_cut() -> None:
    """Before it is escaped, and the rest is counted; a block keeps its lines."""
    assert text("<" * 3000) == "&lt;" * 2000 + " [1,000 more]"
    assert text("a\nb") == "a\\nb"
    assert text("a\nb\r", is_block=True) == "a\nb\\r"


def test_only_changes_are_shown_as_changes() -> None:
    """What is gone, then what is new; marked by a sign, not by colour alone."""
    found = list(pages.changes({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"}))
    assert ["del" in one for one in found] == [True, False, True, False]
    assert "+ d = 5" in found[-1]


def test_a_page_holds_no_more_than_its_limit() -> None:
    """The rest is counted, also what would fit."""
    pieces = Bounded(limit=10)
    for piece in ("12345", "1234567", "1"):
        pieces.add(Markup(piece))
    assert (pieces.pieces, pieces.left_out) == (["12345"], 2)


# -------------------------------------------------------------------------------------- report
def test_a_report_has_the_figures_and_each_message_that_differs(run: Run, traces: Path) -> None:
    """Queue id, sender, what changed, step, handler, context; what a mail says stays text."""
    status, output, _ = run(
        "replay", traces, "--diff", "old_page_filter.py", "new_page_filter.py", "--html", "r.html"
    )
    assert status == 1
    assert output.endswith("3 messages, 0 verdicts differ, 2 headers differ\n")
    report = Path("r.html")
    assert report.stat().st_mode & 0o777 == 0o600
    found = report.read_text()
    assert is_self_contained(found)
    assert "<title>Replay: 3 messages, 0 verdicts differ, 2 headers differ</title>" in found
    assert "new_page_filter.py, compared with old_page_filter.py, by meaning" in found
    assert "1 trace file<" in found
    assert "<b>2</b>header lists differ" in found
    assert "<b>4D3E5F0001</b>" in found
    assert "&lt;ann@x&gt; -&gt; &lt;r@x&gt; and 1 more" in found
    assert "<del>\N{MINUS SIGN} add header X-Tag: 1</del>" in found
    assert "<ins>+ add header X-Tag: &lt;b&gt;2</ins>" in found
    assert "end_of_message, by <code>new_page_filter.tag</code>" in found
    assert "<ins>+ done = True</ins>" in found
    assert "<del>\N{MINUS SIGN} kept = 1</del>" in found
    assert "count = 2" in found
    assert "session &lt;s3&gt; in " in found


def test_a_report_where_nothing_differs(run: Run, traces: Path) -> None:
    """It says so, and takes the place of an older one."""
    Path("r.html").write_text("<!DOCTYPE html>" + "old" * 9999)
    assert run("replay", traces, "old_page_filter.py", "--html", "r.html")[0] == 0
    found = Path("r.html").read_text()
    assert "<p>Nothing.</p>" in found
    assert "oldold" not in found
    assert "compared with the recording, byte for byte" in found
    assert run("replay", traces, "--html", "r.html")[0] == 0
    assert "the recorded answers, compared with" in Path("r.html").read_text()


def test_a_report_names_handlers_that_are_not_pure_or_fail(run: Run, traces: Path) -> None:
    """With what they said first, and then."""
    run("replay", traces, "--diff", "old_page_filter.py", "chance_page_filter.py", "--html", "r.html")
    found = Path("r.html").read_text()
    assert is_self_contained(found)
    assert "<b>1</b>handler not pure" in found
    assert "not pure: chance_page_filter.tag, seen in 2 sessions" in found
    assert "<code>chance_page_filter.tag</code> at end_of_message was run twice." in found
    run("replay", traces, "failing_page_filter.py", "--html", "r.html", "--meaning")
    assert "ZeroDivisionError: division by zero" in Path("r.html").read_text()


def test_a_report_is_bounded() -> None:
    """What has no place is counted; so are the names of many files."""
    report = ReportPage("new, compared with old", tuple(map(str, range(150))), Groups(room=600))
    tally = Tally()
    left = SessionReport("s", "t", 1, is_same=False, failure=HOSTILE * 20, gaps=("body",))
    for _ in range(3):
        tally.add(left)
        report.add(left)
    made = report.as_text(tally)
    assert is_self_contained(made)
    assert "and 3 more, left out: the page is full" in made
    assert "and 50 more" in made
    assert "<b>3</b>sessions refused" in made
    report = ReportPage("new, compared with old", ())
    step = StepReport(1, "options", (), ())
    report.add(SessionReport("s", "t", 1, is_same=False, difference=step))
    impure = ImpureReport("f", "s", None, 2, "body", (), ("x",))
    report.add(SessionReport("s", "t", 1, failure="it left", impure=(impure,)))
    story = MessageStory("s", 1, 1, 2, Fate.ACCEPTED, "end_of_message")
    message = MessageReport(story, story, ("verdict",), (Change("", "verdict: a -> b"),))
    report.add(SessionReport("s", "t", 1, differing=(message,)))
    made = report.as_text(Tally(kinds=Counter({**tally.kinds, "body": 2, "sender": 1})))
    assert "other bytes" in made
    assert "--meaning compares" in made
    assert "refused by the filter: it left" in made
    assert made.index("was run twice") > made.index("verdict: a") > made.index('id="index"')
    assert "<b>2</b>bodies differ" in made
    assert "<b>1</b>sender differs" in made


# ------------------------------------------------------------------------------------- session
def test_a_session_is_a_diagram_of_its_steps(run: Run, traces: Path) -> None:
    """What was said, the handler with file, line, source and time, its context, the answer."""
    status, output, _ = run("replay", traces, "new_page_filter.py", "--step", "--html", "s.html")
    assert (status, output) == (0, "wrote s.html\nwrote s-2.html\nwrote s-3.html\n")
    found = Path("s.html").read_text()
    assert is_self_contained(found)
    assert "<b>mail</b> &lt;ann@x&gt;" in found
    assert "<code>new_page_filter.count</code>" in found
    assert "new_page_filter.py:11, " in found
    assert " ms</span>" in found
    assert "<del>\N{MINUS SIGN} count = 0</del>" in found
    assert "<ins>+ count = 1</ins>" in found
    assert "queued: add header X-Tag: &lt;b&gt;2" in found
    assert '<div class="answer">add header X-Tag: &lt;b&gt;2; continue</div>' in found
    assert "def count(event, ctx):\n" in found
    assert "Subject: &lt;script&gt;alert(1)&lt;/script&gt;" in found
    assert "as the filter answers now; ended: quit" in found
    assert "default_event_handler" not in found
    assert "decided " not in found
    assert 'no handler objected, at <a href="#step-14">' in found
    second, third = Path("s-2.html").read_text(), Path("s-3.html").read_text()
    assert is_self_contained(second)
    assert is_self_contained(third)
    assert Reader(found).links[0] == "./s-2.html"
    assert Reader(second).links[:3] == ["./s.html", "./s.html", "./s-3.html"]
    assert 'decided by <code>new_page_filter.mail</code> at <a href="#step-5">' in second


def test_a_recorded_session_has_a_page_too(run: Run, traces: Path) -> None:
    """As far as it was recorded; one is chosen by its queue id."""
    status, output, _ = run("replay", traces, "--step", "--html", "s.html", "--queue-id", "4D3E5F0001")
    assert (status, output) == (0, "wrote s.html\nwrote s-2.html\n")
    found = Path("s.html").read_text()
    assert is_self_contained(found)
    assert "as recorded; ended: quit" in found
    assert ".count</code>" in found
    assert "<ins>+ count = 1</ins>" in found


def test_no_more_than_twenty_pages_are_written(run: Run, tmp_path: Path) -> None:
    """The others are counted."""
    one = Trace.of_steps(watched(tagger(), *WHOLE)[0])
    many = [
        Trace(f"s{number}", tuple({**record, "session": f"s{number}"} for record in one.records))
        for number in range(22)
    ]
    write(tmp_path / "t.jsonl", many)
    output = run("replay", tmp_path / "t.jsonl", "--step", "--html", tmp_path / "s.html")[1]
    assert output.endswith("and 2 sessions more without a page: choose with --queue-id\n")
    assert len(list(tmp_path.glob("*.html"))) == 20


class Bad:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")


def test_merged_filters_are_one_step() -> None:
    """With a card for each handler; errors are told, and values that cannot be shown."""
    first = define_event_handlers()

    @first.recipient
    def keep(event: Any, ctx: Any) -> Any:
        return ctx.set("bad", Bad()).set("long", "x" * 5000)

    broken: Any = partial(lambda word, event, ctx: ctx[word], "none")
    second = define_event_handlers({"recipient": broken})
    steps, _ = watched(merge_handlers(first, second), *WHOLE)
    trace = Trace.of_steps(steps)
    views = list(played_views(steps))
    (one,) = (view for view in views if view.name == "recipient")
    assert len(one.acts) == 2
    found = session_page(trace, views, "now")
    assert is_self_contained(found)
    assert "a Bad whose repr fails: ValueError" in found
    assert "[5,000 in all]" in found
    assert "KeyError" in found
    assert list(played_views([])) == []
    assert is_self_contained(session_page(trace, recorded_views(trace.moments), "as recorded"))


def test_every_event_is_shown() -> None:
    """Also one that cannot be read; the page is bounded."""
    shown: list[ev.Event | None] = [
        ev.Connect("h", "4", IPv4Address("192.0.2.1"), 1, raw="192.0.2.1"),
        ev.Hello("hello"),
        ev.Body(b"x" * 9000),
        ev.Unknown("NOOP <b>"),
        ev.EndOfMessage(),
        None,
    ]
    views = [View("event", one, (), ()) for one in shown]
    found = session_page(Trace("s", ()), views, "now")
    assert is_self_contained(found)
    for words in ("h 192.0.2.1", "9,000 bytes", "NOOP &lt;b&gt;", "[9,000 in all]", "cannot be read"):
        assert words in found
    big = View("event", ev.Body(b"\0" * 2000), (), ())
    found = session_page(Trace("s", ()), [big] * 2500, "now")
    assert "steps more, left out: the page is full" in found
    assert len(found) < pages.LARGEST + 100_000


# --------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("path", ["missing/r.html", "."])
def test_a_page_that_cannot_be_written_is_told_at_once(run: Run, traces: Path, path: str) -> None:
    """In one line, with status 2, before anything is replayed."""
    status, output, errors = run("replay", traces, "--html", path)
    assert (status, output) == (2, "")
    assert f"demyjpy replay: cannot write {path}: " in errors
    assert errors.count("\n") == 1 or errors.startswith("usage")


def test_a_disk_that_is_full_is_told(run: Run, traces: Path) -> None:
    """Status 2."""
    status, _, errors = run("replay", traces, "--html", "/dev/full")
    assert status == 2
    assert "cannot write /dev/full: No space left on device" in errors


def test_a_trace_is_not_overwritten(run: Run, traces: Path) -> None:
    """Nor is a page left behind where there is nothing to show."""
    before = traces.read_bytes()
    status, _, errors = run("replay", traces, "--html", "t.jsonl")
    assert status == 2
    assert "expected a new file for --html, got the trace t.jsonl" in errors
    assert traces.read_bytes() == before
    assert run("replay", traces, "--step", "--html", "s.html", "--queue-id", "none")[0] == 1
    assert not Path("s.html").exists()


def test_only_pages_are_written_over(run: Run, traces: Path) -> None:
    """All names are looked at before the first page is written; an empty file is no loss."""
    other = Path("s-2.html")
    other.write_text("mine")
    status, output, errors = run("replay", traces, "--step", "--html", "s.html")
    assert (status, output) == (2, "")
    assert errors == (
        "demyjpy replay: expected a new file for --html, or a page that may be written over, got "
        "s-2.html: choose another name, or remove it\n"
    )
    assert (other.read_text(), Path("s.html").exists()) == ("mine", False)
    assert run("replay", traces, "--html", "s-2.html")[0] == 2
    for there in ("", "<!doctype HTML>old"):
        other.write_text(there)
        assert run("replay", traces, "--step", "--html", "s.html")[0] == 0
        assert other.read_text().startswith("<!DOCTYPE html>\n<html")


def test_pages_are_numbered() -> None:
    """From the second on."""
    assert [numbered("a/s.html", number) for number in (1, 2)] == ["a/s.html", "a/s-2.html"]


@pytest.mark.parametrize("is_played", [True, False])
def test_a_page_shows_who_of_a_chain_did_what(is_played: bool) -> None:
    """With the event for which a filter waited, and what it found out."""
    editor = define_event_handlers(actions={"change_header"}, name="editor")
    editor.end_of_message(lambda event, ctx: change_header(ctx, 1, "Subject", "two"))
    reader = define_event_handlers(name="reader")
    reader.header(lambda event, ctx: find(ctx, "seen", event.value, score=2.5))
    subject = packet("L", b"Subject\0 one\0")
    steps, _ = watched(merge_handlers(editor, reader), *OPENING, MAIL, RCPT, subject, EOM, QUIT)
    trace = Trace.of_steps(steps)
    views = list(played_views(steps) if is_played else recorded_views(trace.moments))
    end = next(one for one in views if one.name == "end_of_message")
    assert isinstance(end.event, EndOfMessage)
    assert [one.again for one in end.acts] == ["", "header"]
    found = session_page(trace, views, "now")
    assert is_self_contained(found)
    assert "found: seen two, score 2.5, by reader" in found
    assert "(header, for which it waited)" in found
    assert "editor: " in found


def test_what_nobody_decided_has_no_step() -> None:
    """A message that the client gave up; what a tried filter would have done stands in the list."""
    trace = Trace.of_steps(watched(tagger(), *OPENING, MAIL, RCPT, QUIT)[0])
    found = session_page(trace, recorded_views(trace.moments), "as recorded")
    assert is_self_contained(found)
    assert "<b>given up at quit</b>" in found
    assert "decided" not in found
    tried = Act("f.mail", new_context(), new_context(), withheld=(Reject(),))
    found = session_page(Trace("s", ()), [View("mail", None, (tried,), ())], "now")
    assert '<td data-label="what it did"><span>would have: reject</span></td>' in found
