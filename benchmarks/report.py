"""The page and its plots, from records: `write_page` gives texts, nothing is measured here."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from benchmarks.figures import Figures
from benchmarks.goals import (
    COMPILED_GOALS,
    GOALS,
    LAYER_GOALS,
    MERGED_GOALS,
    WATCHED_GOALS,
    Goal,
    Result,
    judge,
)
from benchmarks.jobs import JOBS, SUBJECTS, Job, Subject
from benchmarks.plots import Bar, Group, draw

Row = list[str]

_INTRO: Final = """\
You need this page if you want to know how fast demyjpy is: beside the C library and the other
libraries for Python, and behind real mail servers. `python3 -m benchmarks.run` writes this page and
its plots; [Contributing](contributing.md#benchmarks) says how.

All cells are medians over the rounds, and each round measures every library. `noop` answers every
event of a session: 17 for a message of 10 header fields, 2 recipients and 2 kB. `bytecount` answers
three (MAIL, body, end of message) and adds a header field, whose value the client checks.

The client plays Postfix's side, a message at a time on each connection, and shares the machine with
the milter. So a library that uses several processors has less of them here than on a larger
machine. Ours is the pure package. Only the rows that say "compiled" have the [compiled
engine](running.md#a-compiled-engine).
"""

_QUICK: Final = """\
> **From a quick run**: short, one round, other work on the machine. It shows that every job works, and
> says little about speed: that takes a whole run.
"""

_WATCHED: Final = """\
The same filter with a watcher, beside the same filter that nobody watches, in one run:

- `--http` counts metrics and shows them.
- `--flight` keeps envelopes in memory.
- `--explain` and `--log-to` write a line for each message to a file.
- `--capsules` waits for a failure that does not happen.
- `--record` writes all sessions.

Each has `--no-see-envelope`, except in the row that says otherwise: there the MTA also sends what
the filter does not ask for. After a run with `--record` the messages in its files are counted. If
the disk did not keep up, the row says how many sessions were cut.
"""

_MERGED: Final = """\
Two filters that wait for nothing, merged, beside the first of them alone, in one run. The second
has handlers for the same events, and edits nothing. The pairs are two `noop`, and `bytecount` with
a filter that keeps the size of the largest piece of a body.
"""

_LAYER: Final = """\
The same two filters, written for pymilter: run by pymilter, and unchanged by
`demyjpy run --pymilter`. Beside them: ours under the threads driver, in the same run.
"""

PLOTS: Final = {
    "benchmarks-noop": ("noop over TCP: messages a second ÷ libmilter's", "noop-tcp-"),
    "benchmarks-bytecount-unix": (
        "bytecount over a Unix socket: messages a second ÷ libmilter's",
        "bytecount-unix-",
    ),
    "benchmarks-bytecount-tcp": (
        "bytecount over TCP: messages a second ÷ libmilter's",
        "bytecount-tcp-",
    ),
}
"""Names of files, their titles, and what the names of their jobs begin with."""


def _number(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return "–"
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *(list(row) for row in rows)]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _goal_row(result: Result) -> Row:
    goal = result.goal
    relation = "at least" if goal.at_least else "at most"
    one = len(goal.comparisons) == 1
    where = JOBS[goal.comparisons[0].job].title if one else f"{result.measured} comparisons, the worst"
    state = f"**{result.state}**" if result.state == "missed" else result.state
    if result.missed and not one:
        misses = [f"{comparison}: {_number(value)}" for comparison, value in result.missed]
        more = f"; and {len(misses) - 6} more" if len(misses) > 6 else ""
        state += f" at {'; '.join(misses[:6])}{more}"
    return [
        goal.text,
        where,
        SUBJECTS[goal.subject].label,
        f"{relation} {goal.limit:g} {goal.unit}",
        "–" if result.value is None else f"{_number(result.value)} {goal.unit}",
        state,
    ]


def goals_table(figures: Figures, goals: Iterable[Goal], who: str) -> str:
    """Every goal beside what was measured."""
    results = [judge(goal, figures) for goal in goals]
    reached = sum(result.state == "reached" for result in results)
    missed = sum(result.state == "missed" for result in results)
    head = ("what", "job", "who", "goal", "measured", "")
    summary = f"{reached} of {len(results)} goals are reached by {who}, {missed} are missed"
    rest = len(results) - reached - missed
    summary += f", {rest} were not measured.\n\n" if rest else ".\n\n"
    return summary + _table(head, map(_goal_row, results))


def _load_row(figures: Figures, job: Job, subject: Subject) -> Row:
    def get(name: str) -> float | None:
        return figures.get(job.name, subject.name, name)

    span = figures.span(job.name, subject.name, "rate")
    main = "mb_s" if job.body > 100_000 else "rate"
    return [
        subject.label,
        _number(get("rate")),
        f"{_number(span[0])} – {_number(span[1])}" if span else "–",
        *([_number(get("mb_s"), 0)] if main == "mb_s" else []),
        _number(figures.ratio(job.name, subject.name, main)),
        _number(get("cpu_us"), 0),
        _number(figures.ratio(job.name, subject.name, "cpu_us")),
        _number(get("p50_ms")),
        _number(get("p99_ms")),
        _number(get("peak_mb"), 0),
        figures.troubles(job.name, subject.name),
    ]


def _load_table(figures: Figures, job: Job) -> str:
    megabytes = ["MB/s"] if job.body > 100_000 else []
    head = [
        "",
        "messages/s",
        "least – most",
        *megabytes,
        "÷ libmilter",
        "CPU µs a message",
        "÷ libmilter",
    ]
    head += ["p50 ms", "p99 ms", "peak MB", ""]
    return _table(head, (_load_row(figures, job, subject) for subject in figures.subjects(job)))


def _idle_table(figures: Figures, job: Job) -> str:
    names = ("kb_each", "base_mb", "open_s", "cpu_share")
    head = ("", "kB each", "MB before", "s to open all", "CPU while idle", "")
    return _table(head, _plain_rows(figures, job, names))


def _startup_table(figures: Figures, job: Job) -> str:
    return _table(("", "CPU s", ""), _plain_rows(figures, job, ("cpu_s",)))


def _plain_rows(figures: Figures, job: Job, names: Iterable[str]) -> Iterable[Row]:
    for subject in figures.subjects(job):
        cells = [_number(figures.get(job.name, subject.name, name)) for name in names]
        yield [subject.label, *cells, figures.troubles(job.name, subject.name)]


def _mta_table(figures: Figures, job: Job) -> str:
    plain = figures.get(job.name, "none", "ms_a_mail")
    rows = []
    for subject in figures.subjects(job):
        one = figures.get(job.name, subject.name, "ms_a_mail")
        added = one - plain if one is not None and plain is not None else None
        cells = [_number(one), _number(added), _number(figures.get(job.name, subject.name, "mails_s"))]
        rows.append([subject.label, *cells, figures.troubles(job.name, subject.name)])
    sessions = f"mails/s, {job.connections} sessions"
    return _table(("", "ms a mail, one by one", "added ms", sessions, ""), rows)


_TABLES: Final[Mapping[str, Callable[[Figures, Job], str]]] = {
    "load": _load_table,
    "watched": _load_table,
    "merged": _load_table,
    "layer": _load_table,
    "idle": _idle_table,
    "startup": _startup_table,
    "mta": _mta_table,
}


def unanswered_table(figures: Figures) -> str:
    """What `reply=False` brings in each job."""
    rows = []
    for job in figures.jobs():
        factor = figures.ratio(job.name, "demyjpy-unanswered", "rate", "demyjpy")
        cpu = figures.ratio(job.name, "demyjpy-unanswered", "cpu_us", "demyjpy")
        if factor is not None:
            rows.append([job.title, _number(factor), _number(cpu)])
    return _table(("job", "messages a second, times", "CPU a message, times"), rows)


def watched_table(figures: Figures) -> str:
    """What each watcher leaves of the messages a second in each job, and what it adds in CPU."""
    rows = []
    for job in figures.jobs():
        if job.kind != "watched":
            continue
        for subject in figures.subjects(job):
            if not subject.watches:
                continue
            rate = figures.ratio(job.name, subject.name, "rate", "demyjpy")
            cpu = figures.ratio(job.name, subject.name, "cpu_us", "demyjpy")
            peer = figures.ratio(job.name, subject.name, "rate")
            trouble = figures.troubles(job.name, subject.name)
            title = job.title.removeprefix("Watched: ")
            rows.append([title, subject.watches, _number(rate), _number(cpu), _number(peer), trouble])
    head = ("job", "watched by", "messages a second, times", "CPU a message, times")
    return _table((*head, "messages a second ÷ libmilter's", ""), rows)


def merged_table(figures: Figures) -> str:
    """What two merged filters leave of the messages a second of one, and what they add in CPU."""
    rows = []
    for job in figures.jobs():
        if job.kind == "merged":
            rate, cpu, peer = (
                figures.ratio(job.name, "demyjpy-merged", name, against)
                for name, against in (("rate", "demyjpy"), ("cpu_us", "demyjpy"), ("rate", "libmilter"))
            )
            trouble = figures.troubles(job.name, "demyjpy-merged")
            title = job.title.removeprefix("Merged: ")
            rows.append([title, _number(rate), _number(cpu), _number(peer), trouble])
    head = ("job", "messages a second, times", "CPU a message, times")
    return _table((*head, "messages a second ÷ one of libmilter's", ""), rows)


def plots(figures: Figures) -> dict[str, str]:
    """Names of SVG files and what is in them."""
    drawn = {}
    for name, (title, prefix) in PLOTS.items():
        groups = []
        for job in figures.jobs():
            if not job.name.startswith(prefix):
                continue
            bars = tuple(
                Bar(subject.label, ratio, subject.own)
                for subject in figures.subjects(job)
                if (ratio := figures.ratio(job.name, subject.name, "rate")) is not None
            )
            plural = "s" if job.connections > 1 else ""
            groups.append(Group(f"{job.connections} connection{plural}", bars))
        if any(group.bars for group in groups):
            drawn[f"{name}.svg"] = draw(title, groups)
    return drawn


def _about(figures: Figures) -> str:
    lines: list[str] = []
    for about in figures.about():
        lines += (
            f"- {about['date']}: `{about['command']}`",
            f"  - {about['rounds']} rounds of {about['seconds']:g} s; {about['machine']}",
            f"  - Python {about['python']}; demyjpy {about['demyjpy']}; libmilter {about['libmilter']}",
            f"  - {about['libraries']}",
        )
    busy = [record.get("other_cpu_s", 0.0) for record in figures.records if "rate" in record]
    if busy:
        lines.append(
            f"- CPU that other processes used during a run: at most {max(busy):.1f} s, "
            f"in {sum(value > 0.3 for value in busy)} of {len(busy)} runs more than 0.3 s"
        )
    return "\n".join(lines)


def write_page(figures: Figures, notes: str = "") -> str:
    """The page; ``notes`` are what a person has to say, as Markdown."""
    pictures = "\n\n".join(f"![{PLOTS[name[:-4]][0]}]({name})" for name in plots(figures))
    jobs = [f"### {job.title}\n\n{_TABLES[job.kind](figures, job)}" for job in figures.jobs()]
    sections = (
        "# Benchmarks",
        _QUICK.strip() if any("--quick" in about["command"] for about in figures.about()) else "",
        _INTRO.strip(),
        "Measured with:\n\n" + _about(figures),
        "## Goals",
        goals_table(figures, GOALS, "the pure package"),
        "Those against libmilter once more, with the compiled engine:",
        goals_table(figures, COMPILED_GOALS, "the compiled one"),
        notes.strip(),
        f"## Beside libmilter\n\n{pictures}" if pictures else "",
        "## What reply=False brings",
        "The same filter, which answers only if the library requires it. CPU is the milter's.",
        unanswered_table(figures),
        "## What watching costs",
        _WATCHED.strip(),
        goals_table(figures, WATCHED_GOALS, "the pure package"),
        watched_table(figures),
        "## What merging costs",
        _MERGED.strip(),
        goals_table(figures, MERGED_GOALS, "the pure package"),
        merged_table(figures),
        "## What a filter written for pymilter costs",
        _LAYER.strip(),
        goals_table(figures, LAYER_GOALS, "the pure package"),
        "## All figures",
        *jobs,
    )
    return "\n\n".join(section for section in sections if section) + "\n"
