"""The benchmarks' own code: tables, page, plots, arguments. What they measure is not measured here."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import filters, instructions, working
from benchmarks.figures import Figures
from benchmarks.goals import COMPILED_GOALS, GOALS, Comparison, Goal, judge
from benchmarks.jobs import JOBS, QUICK, SUBJECTS
from benchmarks.measure import Timing, load_command
from benchmarks.report import plots, write_page
from benchmarks.run import build_parser, main
from benchmarks.sessions import SESSIONS
from benchmarks.sessions import main as play_session
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
    for goal in (*GOALS, *COMPILED_GOALS):
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


@pytest.mark.parametrize("name", SESSIONS)
def test_a_counted_session_is_answered_as_it_says(name: str) -> None:
    """What is counted is the way that it should be, not that of an error."""
    play_session(name, 1)


def test_the_baseline_has_every_session_and_what_it_depends_on() -> None:
    """The baseline is that of the sessions that there are."""
    baseline = json.loads(instructions.BASELINE.read_text())
    assert set(baseline["sessions"]) == set(instructions.TIMES) == set(SESSIONS)
    assert {"python", "libc", "valgrind", "attrs", "pyrsistent"} <= set(baseline["versions"])


def test_a_session_may_cost_ten_per_cent_more() -> None:
    """More is refused, and so is a session that the baseline does not have; less asks to renew it."""
    baseline = {"noop": 1000, "bytecount": 1000, "merged": 1000}
    counts = {"noop": 1100, "bytecount": 1101, "merged": 800, "new": 1}
    verdicts = instructions.compare(counts, baseline)
    assert [verdict.is_dearer for verdict in verdicts] == [False, True, False, True]
    assert verdicts[0].text == "noop: 1,100 instructions, +10.0%"
    assert "expected at most 10% over 1,000" in verdicts[1].text
    assert all(instructions.RENEW in verdict.text for verdict in verdicts[1:])


def test_other_versions_are_told() -> None:
    """What is not as it was is named with both."""
    told = instructions.differences(
        {"python": "3.12", "libc": "2.36"}, {"python": "3.11", "libc": "2.36"}
    )
    assert told == ["python: expected 3.11, got 3.12"]


def test_the_committed_page_tells_every_goal() -> None:
    """docs/benchmarks.md was written with the goals that there are now."""
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert [goal.text for goal in GOALS if goal.text not in page] == []
