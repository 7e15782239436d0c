"""The benchmarks' own code: tables, page, plots, arguments. What they measure is not measured here."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import filters, in_a_row, working
from benchmarks.figures import Figures
from benchmarks.goals import (
    COMPILED_GOALS,
    GOALS,
    LAYER_GOALS,
    MERGED_GOALS,
    WATCHED_GOALS,
    Comparison,
    Goal,
    judge,
)
from benchmarks.jobs import JOBS, QUICK, SUBJECTS, WATCHED
from benchmarks.measure import Timing, check_recordings, load_command
from benchmarks.recordings import Recorded, read_recordings
from benchmarks.report import plots, write_page
from benchmarks.run import build_parser, main
from benchmarks.servers import command_of
from demyjpy.registry import Registry

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "tests/benchmark_records.jsonl"

RATES = {
    "noop-tcp-10": (1.3, 1.6),
    "noop-tcp-100": (1.6, 2.0),
    "noop-tcp-500": (1.2, 1.6),
    "bytecount-unix-10": (1.5, 2.0),
    "bytecount-unix-100": (2.0, 2.5),
    "bytecount-unix-500": (2.0, 2.5),
    "bytecount-tcp-1": (90, 110),
    "bytecount-tcp-10": (50, 70),
    "bytecount-tcp-100": (7, 9),
}
"""Messages a second over libmilter's that are to be reached: with asyncio, with uvloop."""


def records(*rows: tuple[str, str, dict[str, float]]) -> Figures:
    """Figures of so many rounds: job, subject, what was measured."""
    return Figures(tuple({"job": job, "subject": subject, **values} for job, subject, values in rows))


@pytest.fixture
def recorded() -> Figures:
    """A quick run as it was recorded."""
    return Figures.read(RECORDS)


def test_every_goal_for_rates_is_in_the_table() -> None:
    """Each job of the table of issue 4 has its goal with asyncio and with uvloop."""
    found = {
        (goal.comparisons[0].job, goal.subject): goal.limit
        for goal in GOALS
        if goal.text.startswith("messages a second ÷ libmilter's") and goal.at_least
    }
    for job, (asyncio, uvloop) in RATES.items():
        assert found[job, "demyjpy"] == asyncio
        assert found[job, "demyjpy-uvloop"] == uvloop
    assert found["fresh-tcp-10", "demyjpy"] == found["fresh-unix-10", "demyjpy"] == 1.0


@pytest.mark.parametrize(
    ("job", "figure", "limit", "at_least"),
    [
        ("noop-tcp-1", "cpu_us", 2.0, False),
        ("noop-tcp-1", "cpu_us", 1.7, False),
        ("noop-tcp-100", "rate", 7, True),
        ("bytecount-tcp-100", "rate", 1.5, True),
        ("noop-tcp-10", "rate", 1.0, True),
        ("work-tcp-10", "rate", 1.1, True),
        ("big-unix-4", "mb_s", 1.1, True),
        ("big-tcp-4", "mb_s", 3.0, True),
        ("big-unix-4", "mb_s", 0.8, True),
        ("big-unix-4", "grown_mb", 10, False),
        ("idle-2000", "kb_each", 8, False),
        ("noop-tcp-500", "p99_ms", 1.0, False),
        ("bytecount-tcp-10", "split", 0, False),
        ("sendmail-noop-tcp", "ms_a_mail", 20, False),
        ("postfix-noop-tcp", "ms_a_mail", 20, False),
        ("startup", "cpu_s", 0.25, False),
    ],
)
def test_every_other_goal_is_in_the_table(job: str, figure: str, limit: float, at_least: bool) -> None:
    """A goal of issue 4 that is no row of its table has its limit, and the job that it is about."""
    assert any(
        goal.limit == limit
        and goal.at_least == at_least
        and any(one.job == job and one.figure == figure for one in goal.comparisons)
        for goal in GOALS
    )


def test_a_goal_compares_only_what_is_measured() -> None:
    """Subjects and jobs of every comparison are in the tables, and measured together."""
    for goal in (*GOALS, *COMPILED_GOALS, *WATCHED_GOALS, *MERGED_GOALS, *LAYER_GOALS):
        for one in goal.comparisons:
            assert JOBS[one.job].has(SUBJECTS[one.subject])
            other = JOBS[one.against_job or one.job]
            assert other.has(SUBJECTS[one.against or one.subject])


def test_the_compiled_engine_reaches_no_goal_of_the_package() -> None:
    """Its goals are those against libmilter, with the same limits, and are listed apart."""
    assert not any(SUBJECTS[goal.subject].compiled for goal in GOALS)
    assert all(SUBJECTS[goal.subject].compiled for goal in COMPILED_GOALS)
    assert all(
        SUBJECTS[one.subject].compiled and one.against == "libmilter"
        for goal in COMPILED_GOALS
        for one in goal.comparisons
    )
    limits = [goal.limit for goal in GOALS if goal.text.endswith(" ÷ libmilter's")]
    assert [goal.limit for goal in COMPILED_GOALS] == limits
    assert set(RATES) <= {goal.comparisons[0].job for goal in COMPILED_GOALS}


def test_a_goal_is_as_good_as_its_worst_comparison() -> None:
    """What misses is listed, the worst first; what was not measured does not count."""
    goal = Goal(
        "twice as fast",
        "demyjpy",
        2.0,
        tuple(Comparison(f"noop-tcp-{n}", "demyjpy", "rate", "libmilter") for n in (1, 10, 100, 500)),
    )
    figures = records(
        *(("noop-tcp-1", "libmilter", {"rate": rate}) for rate in (90.0, 100.0, 500.0)),
        ("noop-tcp-1", "demyjpy", {"rate": 150.0}),
        ("noop-tcp-10", "libmilter", {"rate": 100.0}),
        ("noop-tcp-10", "demyjpy", {"rate": 120.0}),
        ("noop-tcp-100", "libmilter", {"rate": 100.0}),
        ("noop-tcp-100", "demyjpy", {"rate": 200.0}),
    )
    result = judge(goal, figures)
    assert (result.state, result.value, result.measured) == ("missed", 1.2, 3)
    assert [one.job for one, _ in result.missed] == ["noop-tcp-10", "noop-tcp-1"]
    assert judge(goal, Figures()).state == "not measured"
    low = Goal("small", "demyjpy", 8, (Comparison("idle-2000", "demyjpy", "kb", how="value"),), False)
    assert judge(low, records(("idle-2000", "demyjpy", {"kb": 8.0}))).state == "reached"
    assert judge(low, records(("idle-2000", "demyjpy", {"kb": 8.1}))).state == "missed"


def test_the_page_has_all_that_was_recorded(recorded: Figures) -> None:
    """Every job has its table with every subject, every goal its row, and notes are taken over."""
    page = write_page(recorded, "## Remarks\n\nas it is")
    for job in recorded.jobs():
        _, _, rest = page.partition(f"### {job.title}\n")
        table = rest.partition("\n### ")[0]
        assert all(f"| {subject.label} |" in table for subject in recorded.subjects(job))
    assert all(goal.text in page for goal in GOALS)
    assert "as it is" in page
    assert "From a quick run" in page
    assert "has no --loop" in page


def test_the_tables_of_the_page_are_even(recorded: Figures) -> None:
    """All rows of a table have as many cells as its head."""
    for table in re.findall(r"(?:^\|.*\n)+", write_page(recorded), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_page_without_records_tells_the_goals() -> None:
    """Nothing was measured: nothing is reached, nothing missed."""
    page = write_page(Figures())
    assert f"0 of {len(GOALS)} goals are reached by the pure package, 0 are missed" in page
    assert f"0 of {len(COMPILED_GOALS)} goals are reached by the compiled one, 0 are missed" in page


def test_plots_are_svg_for_light_and_dark(recorded: Figures) -> None:
    """A plot is well-formed, has a bar for each subject, and colours of its own for the dark."""
    drawn = plots(recorded)
    assert len(drawn) == 3
    for name, text in drawn.items():
        assert name.endswith(".svg")
        assert "prefers-color-scheme: dark" in text
        root = ET.fromstring(text)
        widths = [float(bar.get("width", "0")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
        assert widths
        assert all(0 < width < 600 for width in widths)


def test_records_come_back_as_they_were_written(tmp_path: Path, recorded: Figures) -> None:
    """What is written is read; a job that is measured anew takes the place of the old one."""
    path = tmp_path / "below/records.jsonl"
    recorded.write(path)
    assert Figures.read(path) == recorded
    job = JOBS["startup"]
    anew = recorded.with_job(job, [{"job": "startup", "subject": "demyjpy", "cpu_s": 9.0}])
    assert anew.get("startup", "demyjpy", "cpu_s") == 9.0
    assert anew.jobs() == recorded.jobs()
    assert Figures.read(tmp_path / "nothing.jsonl") == Figures()


def test_what_went_wrong_is_told() -> None:
    """Errors are added up, failures tell the last reason, absence tells why."""
    figures = Figures(
        (
            {"job": "noop-tcp-1", "subject": "ppm", "rate": 1.0, "errors": 2},
            {"job": "noop-tcp-1", "subject": "ppm", "failed": "it ended: a\n  b"},
            {"job": "noop-tcp-1", "subject": "demyjpy-uvloop", "absent": "no --loop"},
        )
    )
    assert figures.troubles("noop-tcp-1", "ppm") == "2 errors; 1 of 2 runs failed: it ended: a b"
    assert figures.troubles("noop-tcp-1", "demyjpy-uvloop") == "not measured: no --loop"


def test_arguments_choose_jobs_and_subjects() -> None:
    """Patterns choose in the order of the tables; what matches nothing is refused."""
    options = build_parser().parse_args(["--jobs", "startup,noop-*", "--subjects", "demyjpy*"])
    assert options.jobs == ["noop-tcp-1", "noop-tcp-10", "noop-tcp-100", "noop-tcp-500", "startup"]
    assert options.subjects == [name for name in SUBJECTS if name.startswith("demyjpy")]
    assert build_parser().parse_args([]).jobs == list(JOBS)
    assert set(QUICK) <= set(SUBJECTS)


def test_an_unknown_job_is_an_error_that_names_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message says what was expected and what came."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--jobs", "nonsense"])
    message = capsys.readouterr().err
    assert "got 'nonsense'" in message
    assert "noop-tcp-10" in message


def test_the_command_writes_page_and_plots_from_records(tmp_path: Path) -> None:
    """--write-only measures nothing."""
    page = tmp_path / "page.md"
    main(["--write-only", "--records", str(RECORDS), "--page", str(page)])
    assert page.read_text(encoding="utf-8").startswith("# Benchmarks\n")
    assert len(list(tmp_path.glob("*.svg"))) == 3


def test_the_command_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """--list names every job and every subject."""
    main(["--list"])
    listed = capsys.readouterr().out.split()
    assert {*JOBS, *SUBJECTS} <= set(listed)


def test_the_load_generator_checks_what_a_filter_does() -> None:
    """Bodies change in size, and the added header must say it; noop adds none."""
    command = load_command(JOBS["bytecount-tcp-10"], Timing(), "inet:1@127.0.0.1")
    assert command[command.index("-X") + 1] == "X-Message-Size"
    assert command[command.index("-J") + 1] == "97"
    assert "-X" not in load_command(JOBS["noop-tcp-10"], Timing(), "inet:1@127.0.0.1")


def test_our_filters_are_there_for_every_job() -> None:
    """Each name that a job may ask of our side is a registry."""
    for job in JOBS.values():
        for subject in SUBJECTS.values():
            if subject.own and job.has(subject):
                module = working if job.filter == "work" else filters
                assert isinstance(getattr(module, job.filter + subject.suffix), Registry)


def test_the_committed_page_tells_every_goal() -> None:
    """docs/benchmarks.md was written with the goals that there are now."""
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert [goal.text for goal in (*GOALS, *WATCHED_GOALS, *MERGED_GOALS) if goal.text not in page] == []


def test_every_goal_for_watching_is_in_the_table() -> None:
    """Each watcher of issue 14 has its share of the plain speed in all jobs; so have all together."""
    found = {goal.subject: goal for goal in WATCHED_GOALS}
    limits = {"metrics": 0.85, "flight": 0.8, "explain": 0.7, "capsules": 0.95, "record": 0.5}
    for name, limit in limits.items():
        goal = found[f"demyjpy-{name}"]
        assert goal.limit == limit
        assert [one.job for one in goal.comparisons] == [
            f"watched-{filter_name}-{kind}-10"
            for filter_name in ("noop", "bytecount")
            for kind in ("tcp", "unix")
        ]
        assert {one.against for one in goal.comparisons} == {"demyjpy"}
    together = found["demyjpy-watched"]
    assert (together.limit, together.comparisons[0].against) == (1.0, "libmilter")


def test_what_is_watched_is_measured_only_where_it_is_named() -> None:
    """The watched subjects are in the watched jobs, beside libmilter and the plain one."""
    for job in JOBS.values():
        subjects = {subject.name for subject in SUBJECTS.values() if job.has(subject)}
        if job.kind == "watched":
            assert subjects == {"libmilter", "demyjpy", *WATCHED}
        else:
            assert not subjects & {*WATCHED}
    unseen = [name for name in WATCHED if "--no-see-envelope" not in SUBJECTS[name].command]
    assert unseen == ["demyjpy-explain-envelope"]


def test_merging_is_measured_beside_one_filter() -> None:
    """Two merged filters are in the merged jobs only, beside libmilter and the first filter alone."""
    assert [goal.comparisons[0].job for goal in MERGED_GOALS] == [
        f"merged-{name}-{kind}-10" for name in ("noop", "bytecount") for kind in ("tcp", "unix")
    ]
    assert {goal.limit for goal in MERGED_GOALS} == {1.5}
    for job in JOBS.values():
        subjects = {subject.name for subject in SUBJECTS.values() if job.has(subject)}
        assert ("demyjpy-merged" in subjects) == (job.kind == "merged")
        if job.kind == "merged":
            assert subjects == {"libmilter", "demyjpy", "demyjpy-merged"}
    page = write_page(
        records(
            ("merged-noop-tcp-10", "libmilter", {"rate": 1000.0, "cpu_us": 50.0}),
            ("merged-noop-tcp-10", "demyjpy", {"rate": 2000.0, "cpu_us": 100.0}),
            ("merged-noop-tcp-10", "demyjpy-merged", {"rate": 1500.0, "cpu_us": 140.0}),
        )
    )
    assert "| noop, TCP, 10 connections | 0.75 | 1.40 | 1.50 |  |" in page


def test_a_filter_of_pymilters_is_measured_beside_pymilter_and_ours() -> None:
    """The same script under pymilter and under the layer, in the layer's jobs only."""
    assert {(goal.subject, goal.limit) for goal in LAYER_GOALS} == {
        ("demyjpy-layer", 1.2),
        ("demyjpy-threads", 0.85),
        ("demyjpy-layer", 0.85),
    }
    for job in JOBS.values():
        subjects = {subject.name for subject in SUBJECTS.values() if job.has(subject)}
        assert ("demyjpy-layer" in subjects) == (job.kind == "layer")
    script = "{peers}/pymilter_peer.py"
    assert script in SUBJECTS["pymilter"].command
    assert script in SUBJECTS["demyjpy-layer"].command


def test_a_row_of_milters_is_beside_the_same_filters_merged() -> None:
    """Each arrangement has its medians, and how many times those of the same filters in a row."""
    plain = {"mails_s": 100.0, "ms_a_mail": 4.0, "cpu_us": 900.0}
    merged = {"mails_s": 120.0, "ms_a_mail": 3.0, "cpu_us": 450.0}
    rounds = [
        {name: merged if name.endswith("merged") else plain for name in in_a_row.ARRANGEMENTS},
        {name: merged if name.endswith("merged") else plain for name in in_a_row.ARRANGEMENTS},
    ]
    lines = in_a_row.table(rounds).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3] == "| noop, noop in a row | 100 | 1.00 | 4.00 | 1.00 | 900 | 1.00 |"
    assert lines[4] == "| noop and noop merged | 120 | 1.20 | 3.00 | 0.75 | 450 | 0.50 |"
    assert lines[7].startswith("| bytecount and largest merged | 120 | 1.20 |")
    known = vars(filters)
    assert {name for names in in_a_row.ARRANGEMENTS.values() for name in names} <= set(known)


def test_a_watcher_writes_below_its_server_own_directory(tmp_path: Path) -> None:
    """The placeholder is a directory of the server's; only what records has its recordings checked."""
    job = JOBS["watched-noop-tcp-10"]
    for name in WATCHED:
        command = command_of(SUBJECTS[name], job, "1", "inet:1@127.0.0.1", tmp_path)
        has_directory = any(part.startswith(str(tmp_path)) for part in command)
        assert has_directory == (name != "demyjpy-metrics")
        assert SUBJECTS[name].records == ("--record" in command)


RECORDING = (
    {"trace": 1},
    {"session": "a", "direction": "mta", "event": "end_of_message"},
    {"session": "a", "direction": "filter", "event": "end_of_message"},
    {"session": "a", "direction": "filter", "event": "mail", "fields": {"sender": "end_of_message"}},
    {"session": "b", "direction": "end", "how": "cut"},
    {"session": "a", "direction": "end", "how": "quit", "reason": "cut"},
)


def test_recordings_are_counted(tmp_path: Path) -> None:
    """Messages are answers at their end; a session that the recorder gave up is cut."""
    for name in ("one.jsonl", "other.jsonl"):
        (tmp_path / name).write_text("".join(f"{json.dumps(record)}\n" for record in RECORDING))
    (tmp_path / "log").write_text("else")
    assert read_recordings(tmp_path) == Recorded(messages=2, cut=2)


def test_a_recording_that_lacks_a_message_is_a_failure() -> None:
    """Unless sessions were cut, which the row says; a run that failed stays as it is."""
    record = {"rate": 1.0, "answered": 3}
    assert check_recordings(Recorded(3, 0), record) == {**record, "recorded": 3, "cut": 0}
    assert check_recordings(Recorded(2, 1), record) == {**record, "recorded": 2, "cut": 1}
    failed = check_recordings(Recorded(2, 0), record)
    assert failed == {"failed": "expected 3 messages in the recordings, got 2"}
    job, subject = "watched-noop-tcp-10", "demyjpy-record"
    figures = records((job, subject, {"answered": 3000, "recorded": 2000, "cut": 7}))
    assert figures.troubles(job, subject) == "7 sessions cut, 2,000 of 3,000 messages recorded"


def test_the_page_tells_what_watching_costs() -> None:
    """A row for each job and watcher: beside the plain filter, and beside libmilter."""
    job = "watched-noop-tcp-10"
    page = write_page(
        records(
            (job, "libmilter", {"rate": 50.0}),
            (job, "demyjpy", {"rate": 100.0, "cpu_us": 10.0}),
            (job, "demyjpy-flight", {"rate": 90.0, "cpu_us": 12.0}),
        ).with_job(JOBS["startup"], [{"job": "startup", "subject": "demyjpy", "cpu_s": 0.1}])
    )
    assert "| noop, TCP, 10 connections | flight recorder | 0.90 | 1.20 | 1.80 |  |" in page
    assert f"1 of {len(WATCHED_GOALS)} goals are reached by the pure package, 0 are missed" in page
