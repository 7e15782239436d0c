"""`demyjpy replay`: traces and filters in, what differs out."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from demyjpy.cli.loading import Wanted
from demyjpy.cli.replay_jobs import Task, _batches, filter_of, run_all
from demyjpy.cli.replay_report import (
    ImpureReport,
    SessionReport,
    Tally,
)
from demyjpy.testing import Postfix, session
from demyjpy.testing import run as play
from demyjpy.trace import FlightRecorder, Privacy, Trace, TraceError, write
from demyjpy.trace.format.reading import Reading
from tests.engine.harness import MAIL, OPENING, packet
from tests.trace.sessions import CAPTURES, WHOLE, watched

Run = Callable[..., tuple[int, str, str]]

FILTER = """
    import itertools, os, random, time
    from demyjpy import add_header, define_event_handlers, reject

    print("loaded")
    handlers = define_event_handlers(actions={"add_header"}, state={"count": 0})

    @handlers.mail
    def mail(event, ctx):
        return WHAT(ctx) if event.sender.startswith("bad") else ctx

    @handlers.recipient
    def count(event, ctx):
        return ctx.set("count", ctx["count"] + 1)

    @handlers.end_of_message
    def tag(event, ctx):
        return add_header(ctx, "X-Tag", VALUE)
"""


@pytest.fixture
def filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with filters: old, new (one verdict, one header), chance, failing, ending."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    made = {
        "first_filter": ("reject", "str(ctx['count'])"),
        "new_filter": ("lambda ctx: ctx", "'many' if ctx['count'] > 1 else '1'"),
        "chance_filter": ("reject", "str(random.random())"),
        "failing_filter": ("lambda ctx: 1 / 0", "str(ctx['count'])"),
        "ending_filter": ("lambda ctx: os._exit(1)", "str(ctx['count'])"),
    }
    for name, (what, value) in made.items():
        text = dedent(FILTER).replace("WHAT", f"({what})").replace("VALUE", value)
        (tmp_path / f"{name}.py").write_text(text)
    yield tmp_path
    filter_of.cache_clear()


def traced(handlers: Any, name: str, sender: str, count: int) -> Trace:
    script = session().mail(sender)
    for number in range(count):
        script = script.rcpt(f"r{number}@example.net")
    trace = play(handlers, script.message(), mta=Postfix()).trace
    return Trace(name, tuple({**one, "session": name} for one in trace.records))


@pytest.fixture
def traces(filters: Path) -> Path:
    """Twenty sessions with the first filter."""
    namespace: dict[str, Any] = {}
    text = (filters / "first_filter.py").read_text().replace('print("loaded")', "")
    exec(text, namespace)
    handlers = namespace["handlers"]
    path = filters / "t.jsonl"
    sessions = [
        traced(handlers, f"s{number}", "bad@x" if number == 3 else "ann@x", 2 if number == 5 else 1)
        for number in range(20)
    ]
    write(path, sessions)
    return path


def test_the_help_shows_how_it_is_called(run: Run) -> None:
    """One trace or more, and a filter after them, which may be left out; each has a line of its own."""
    status, output, _ = run("replay", "--help")
    assert status == 0
    usage, _, rest = output.partition("\n\n")
    assert usage.split("\n")[-1].strip() == "TRACE [TRACE ...] [FILTER]"
    lines = rest.splitlines()
    assert [line.split()[0] for line in lines[lines.index("positional arguments:") + 1 :][:2]] == [
        "TRACE",
        "FILTER",
    ]


def test_the_same_filter_answers_the_same(run: Run, traces: Path) -> None:
    """Status 0, and one line; what the filter prints is not in the way."""
    assert run("replay", traces, "first_filter.py") == (
        0,
        "20 sessions, 20 messages, 0 sessions differ\n",
        "loaded\n",
    )
    assert run("replay", traces, "first_filter.py:handlers", "--meaning", "--once")[:2] == (
        0,
        "20 messages, 0 verdicts differ, 0 headers differ\n",
    )


def test_two_filters_are_compared(run: Run, traces: Path) -> None:
    """Each difference with queue id, sender, what changed and why; then the summary; status 1."""
    status, output, _ = run("replay", traces, "--diff", "first_filter.py", "new_filter.py")
    assert status == 1
    lines = output.splitlines()
    assert lines[-1] == "20 messages, 1 verdict differs, 1 header differs"
    assert lines[0] == "s3#1  <bad@x> -> ?"
    assert (
        "    verdict: rejected at mail -> undecided: it goes on, and the recording ends there" in lines
    )
    assert "    differs at step 5, mail, by new_filter.mail" in lines
    assert "        old: reject" in lines
    assert "        new: continue" in lines
    assert "    no more: add header X-Tag: 2" in lines
    assert "    new: add header X-Tag: many" in lines
    assert "        context: count = 2" in lines


def test_json_has_a_line_a_session_that_differs_and_a_summary(run: Run, traces: Path) -> None:
    """For CI."""
    status, output, _ = run("replay", traces, "new_filter.py", "--json")
    first, second, last = map(json.loads, output.splitlines())
    assert status == last["summary"]["exit_status"] == 1
    assert (first["session"], second["session"]) == ("s3", "s5")
    assert second["differing"][0]["changed"] == [
        "no more: add header X-Tag: 2",
        "new: add header X-Tag: many",
    ]
    assert second["difference"]["context"] == {"count": 2}
    assert last["summary"]["differ"]["headers"] == 1


def test_handlers_that_are_not_pure_are_named(run: Run, traces: Path) -> None:
    """Status 3 where nothing else differs."""
    status, output, _ = run(
        "replay", traces, "--diff", "first_filter.py", "chance_filter.py", "--show", "1"
    )
    assert status == 1
    assert "not pure: chance_filter.tag, seen in 19 sessions: a clock, chance or the network?" in output
    assert "not pure: chance_filter.tag at end_of_message of" in output
    assert "and 18 more" in output
    tally = Tally()
    impure = ImpureReport("x", "s", None, 1, "body", (), ())
    tally.add(SessionReport("s", "t", 1, impure=(impure,), gaps=("body",), problems=("record 3: odd",)))
    assert tally.status == 3
    assert impure.as_json()["queue_id"] is None
    assert any(line.startswith("not recorded: body") for line in tally.lines(in_bytes=False))


def test_a_handler_that_fails_is_told_with_its_error(run: Run, traces: Path) -> None:
    """And --on-error counts."""
    status, output, _ = run("replay", traces, "failing_filter.py")
    assert status == 1
    assert "error: ZeroDivisionError: division by zero" in output
    assert "verdict: rejected at mail -> tempfailed at mail" in output
    assert run("replay", traces, "failing_filter.py", "--on-error", "reject")[0] == 0


def test_a_filter_that_cannot_begin_is_told(run: Run, filters: Path) -> None:
    """Once for each session; it is counted."""
    path = filters / "t.jsonl"
    write(
        path,
        [
            Trace.of_steps(
                watched(
                    {"mail": lambda event, ctx: ctx},
                    packet("O", b"\0\0\0\6" + b"\0" * 4 + b"\0\0\0\1"),
                    *OPENING[1:],
                    MAIL,
                )[0]
            )
        ],
    )
    (filters / "needy_filter.py").write_text(
        "from demyjpy import define_event_handlers\n"
        "handlers = define_event_handlers(actions={'quarantine'})\n"
        "handlers.end_of_message(lambda event, ctx: ctx)\n"
    )
    path.write_text(path.read_text().replace('"actions":0', '"actions":1', 1))
    status, output, _ = run("replay", path, "needy_filter.py")
    assert status == 1
    assert "the filter refused it: NegotiationError" in output
    assert "refused: 1 session" in output


def test_without_a_filter_the_recording_is_checked(run: Run) -> None:
    """All 52 captures are whole."""
    assert run("replay", *CAPTURES) == (0, "52 sessions, 54 messages, 0 sessions differ\n", "")


@pytest.mark.parametrize("keep", ["envelope", "headers"])
@pytest.mark.parametrize("options", [(), ("--meaning",)])
def test_values_that_were_left_out_count_as_equal(
    run: Run, filters: Path, keep: Any, options: tuple[str, ...]
) -> None:
    """A flight recording with the command's privacy; that it lacks something is told."""
    text = (
        "from demyjpy import add_header, define_event_handlers, replace_body\n"
        "handlers = define_event_handlers(actions={'add_header', 'change_body'})\n"
        "handlers.header(lambda event, ctx: ctx)\n"
        "handlers.body(lambda event, ctx: ctx)\n"
        "handlers.end_of_message(lambda event, ctx: add_header(replace_body(ctx, b'B'), 'A', 'b'))\n"
    )
    whole = "add_header(replace_body(ctx, b'B'), 'A', 'b')"
    changed = {
        "same": (whole, whole),
        "name": ("'A'", "'Z'"),
        "fewer": (whole, "add_header(ctx, 'A', 'b')"),
        "other": (whole, "add_header(add_header(ctx, 'A', 'b'), 'B', 'b')"),
    }
    for name, (old, new) in changed.items():
        (filters / f"{name}_{keep}.py").write_text(text.replace(old, new))
    recorder = FlightRecorder(filters / "flight", privacy=Privacy(keep=keep))
    for step in watched(filter_of(Wanted([f"same_{keep}.py"]), "tempfail").on_connect, *WHOLE)[0]:
        recorder(step)
    path = recorder.dump()
    note = (
        "not recorded: values that were left out for privacy, in 1 session: they count as equal to any "
        "other, and the filter does not get them"
    )
    status, output, _ = run("replay", path, f"same_{keep}.py", *options)
    assert (status, output.splitlines()[0]) == (0, note)
    for name in ("name", "fewer", "other"):
        status, output, _ = run("replay", path, f"{name}_{keep}.py", *options)
        assert (status, note in output) == (1, True)
    assert run("replay", path)[0] == 0


@pytest.mark.parametrize(
    ("act", "texts", "others"),
    [
        ("quarantine(ctx, 'one')", ("'one'", "'two'"), ("quarantine(ctx, 'one')", "ctx")),
        ("reject(ctx, '5.7.1', 'one')", ("'one'", "'two'"), ("5.7.1", "5.7.2")),
    ],
)
def test_texts_that_were_left_out_count_as_equal(
    run: Run, filters: Path, act: str, texts: tuple[str, str], others: tuple[str, str]
) -> None:
    """Of the envelope no text of a reply and no reason is kept; that there was one is compared."""
    text = (
        "from demyjpy import define_event_handlers, quarantine, reject\n"
        "handlers = define_event_handlers(actions={'quarantine'})\n"
        f"handlers.end_of_message(lambda event, ctx: {act})\n"
    )
    for name, (old, new) in {"same": ("", ""), "text": texts, "other": others}.items():
        (filters / f"{name}.py").write_text(text.replace(old, new) if old else text)
    recorder = FlightRecorder(filters / "flight", privacy=Privacy(keep="envelope"))
    for step in watched(filter_of(Wanted(["same.py"]), "tempfail").on_connect, *WHOLE)[0]:
        recorder(step)
    path = recorder.dump()
    assert b"one" not in Path(str(path)).read_bytes().replace(b"done", b"")
    assert [run("replay", path, f"{name}.py")[0] for name in ("same", "text", "other")] == [0, 0, 1]


def test_one_session_is_chosen_by_queue_id(run: Run, filters: Path) -> None:
    """None is status 1."""
    status, output, _ = run("replay", *CAPTURES, "--queue-id", "31855FDE071")
    assert (status, output) == (0, "1 session, 1 message, 0 sessions differ\n")
    assert run("replay", *CAPTURES, "--queue-id", "nonsense")[::2] == (
        1,
        "demyjpy replay: expected a session with queue id nonsense, got none\n",
    )


def test_many_sessions_go_to_many_processes(traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same result in the same order; a filter that ends its process is told."""
    monkeypatch.setattr("demyjpy.cli.replay_jobs._BATCH", 3000)
    sessions = list(Reading(str(traces)).lines())
    assert len(list(_batches(sessions))) > 6
    task = Task(Wanted(["new_filter.py"]))
    alone = list(run_all(task, sessions, 1))
    assert list(run_all(task, sessions, 2)) == alone
    assert len(alone) == 20
    with pytest.raises(TraceError, match="got a process that it ended"):
        list(run_all(Task(Wanted(["ending_filter.py"])), sessions, 2))


def test_not_every_session_is_watched(traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones are, and then one of so many, however they are divided among processes."""
    monkeypatch.setattr("demyjpy.cli.replay_jobs._WATCHED", 2)
    monkeypatch.setattr("demyjpy.cli.replay_jobs._SELDOM", 5)
    sessions = list(Reading(str(traces)).lines())
    for size in (1, 1 << 20):
        monkeypatch.setattr("demyjpy.cli.replay_jobs._BATCH", size)
        found = list(run_all(Task(Wanted(["chance_filter.py"])), sessions, 1))
        assert [at for at, one in enumerate(found) if one.reached] == [0, 1, 5, 10, 15]


def test_jobs_can_be_chosen(run: Run, traces: Path) -> None:
    """One works in this process."""
    assert run("replay", traces, "first_filter.py", "--jobs", "1")[0] == 0


def test_what_cannot_be_read_is_told_and_the_rest_replayed(run: Run, traces: Path) -> None:
    """On standard error."""
    with traces.open("ab") as stream:
        stream.write(b'nonsense\n{"session":"z","direction":"up"}\n')
    (traces.parent / "text.jsonl").write_bytes(b"\x28\xb5\x2f\xfd broken")
    status, output, errors = run("replay", traces, traces.parent / "text.jsonl", "first_filter.py")
    assert (status, output) == (0, "21 sessions, 20 messages, 0 sessions differ\n")
    assert "session z: record 1: expected a direction" in errors
    assert "no JSON: cut off or damaged" in errors
    assert "text.jsonl: line 1: the compressed file is damaged" in errors


def test_a_recording_that_is_not_whole_is_told_by_the_status(run: Run, traces: Path) -> None:
    """Without a filter that is the question; in the JSON, too."""
    assert run("replay", traces)[0] == 0
    traces.write_bytes(traces.read_bytes()[:-100])
    status, output, errors = run("replay", traces)
    assert (status, output) == (1, "20 sessions, 20 messages, 0 sessions differ\n")
    assert "no JSON: cut off or damaged" in errors
    summary = json.loads(run("replay", traces, "--json")[1].splitlines()[-1])["summary"]
    assert (summary["exit_status"], summary["problems"]) == (1, 1)
    assert run("replay", traces, "first_filter.py")[0] == 0


def test_a_library_that_is_missing_is_told(
    run: Run, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other files are replayed."""

    def lacks(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("demyjpy.trace.format.files.import_module", lacks)
    path = traces.parent / "t.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd broken")
    status, _, errors = run("replay", traces, path, "first_filter.py")
    assert status == 0
    assert "pip install 'demyjpy[zst]'" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("first_filter.py",), "expected a trace before the filter, got first_filter.py only"),
        (("none.jsonl",), "cannot read none.jsonl: No such file or directory"),
        (("t.jsonl", "none.py"), "expected a filter in none.py, got: No such file or directory"),
        (("empty.jsonl", "first_filter.py"), "expected recorded sessions, got none"),
        (("empty.jsonl", "--step"), "expected recorded sessions, got none"),
        (
            ("empty.jsonl", "--step", "--diff", "old.py", "new.py"),
            "--step shows one filter, not --diff: give the filter after the traces",
        ),
        (("empty.jsonl", "new.py", "--step", "--json"), "--step prints no JSON: leave out --json"),
        (("empty.jsonl", "--step", "--meaning"), "--step compares nothing: leave out --meaning"),
        (("empty.jsonl", "--step", "--once"), "--step compares nothing: leave out --once"),
        (("empty.jsonl", "--step", "--jobs", "2"), "--step compares nothing: leave out --jobs"),
        (("empty.jsonl", "--step", "--show", "20"), "--step compares nothing: leave out --show"),
        (
            ("empty.jsonl", "new.py", "--diff", "old.py", "new.py"),
            "expected two filters, after --diff, got new.py before them, which is no trace: name it",
        ),
    ],
)
def test_wrong_arguments_are_told_in_a_line(
    run: Run, traces: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Status 2."""
    Path("empty.jsonl").touch()
    status, _, errors = run("replay", *arguments)
    assert status == 2
    assert f"demyjpy replay: {message}" in errors


def test_step_shows_a_recorded_session(run: Run, traces: Path) -> None:
    """Event, handlers, what they queued, the answer, and the context with what changed."""
    status, output, _ = run("replay", traces, "--step")
    assert status == 0
    lines = output.splitlines()
    assert "       queued: add header X-Tag: 1" in lines
    assert "       answer: add header X-Tag: 1; continue" in lines
    assert "       - count = 0" in lines
    assert "       + count = 1" in lines
    assert any("answer: negotiates version 6" in line for line in lines)


def test_step_shows_a_session_as_a_filter_plays_it_now(run: Run, traces: Path) -> None:
    """With the file and line of each handler, and its error."""
    status, output, _ = run("replay", traces, "failing_filter.py", "--step")
    assert status == 0
    assert "       handler: failing_filter.mail (failing_filter.py:8)" in output.splitlines()
    assert "       error: ZeroDivisionError: division by zero" in output.splitlines()
    one = run("replay", *CAPTURES, "--step", "--queue-id", "31855FDE071")[1]
    assert one.count("session postfix/multi-rcpt, from ") == 1
