"""``demyjpy replay``: recorded sessions through a filter, or two, and what it answers differently."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from demyjpy.cli.arguments import (
    COUNT,
    FILTER_NAME,
    MAX_SESSION,
    ON_ERROR,
    SETTINGS,
    TRACES,
    TRUSTED_RELAYS,
    Command,
    argument,
    flag,
)
from demyjpy.cli.errors import InputError
from demyjpy.cli.loading import Wanted
from demyjpy.cli.output import complain, complain_of_all, paint_for, say
from demyjpy.cli.recordings import FirstThousand, readings, report_problems
from demyjpy.cli.replay_jobs import Task, filter_of, processors, run_all
from demyjpy.cli.replay_page import ReportPage
from demyjpy.cli.replay_report import Tally, session_lines
from demyjpy.cli.replay_steps import show_steps
from demyjpy.cli.session_page import played_views, recorded_views, session_page
from demyjpy.cli.written_files import numbered, try_page, write_page
from demyjpy.errors import TraceError
from demyjpy.trace.display.wording import plural
from demyjpy.trace.format.reading import Lines, Reading
from demyjpy.trace.format.trace import Trace

_EPILOG: Final = """\
examples:
  demyjpy replay traces/*.jsonl myfilter.py:handlers
  demyjpy replay november.jsonl.gz mycompany.filters:handlers --meaning
  demyjpy replay traces/*.jsonl --diff old.py:handlers new.py:handlers
  demyjpy replay traces/*.jsonl --diff old.py new.py --json | jq .summary
  demyjpy replay traces/*.jsonl --diff old.py new.py --html report.html
  demyjpy replay trace.jsonl myfilter.py:handlers --step --queue-id 4F2A1B
  demyjpy replay trace.jsonl myfilter.py:handlers --step --queue-id 4F2A1B --html session.html
  demyjpy replay traces/*.jsonl --diff rules.py:make=old rules.py:make=new --settings rules.toml
  demyjpy replay trace.jsonl

No socket is opened. The new answers are compared with the recorded ones. Other bytes are a difference
only if an MTA would do something else. With --meaning, verdicts and changes of each message are
compared: use that for a filter that was ported from another library.
Questions of a filter get the recorded answers: nobody is asked, and no effect is done. A question that
was not asked at the recording is named, and fails. With --live, questions are asked now.
Without a filter the recorded answers are played, which shows whether a recording is complete.
Exit status: 0 if nothing differs, 1 if something does, or (without a filter) if something could not be
read, or if no session has the --queue-id; 2 if the arguments are wrong, 3 if nothing differs but a
handler is not pure (it answers something else if it runs again, or reaches outside of the session).
"""

SHOWN: Final = 20
"""Differences that are shown in full."""

_SUFFIXES: Final = frozenset({".jsonl", ".gz", ".zst", ".json", ".trace"})
_MOST_PAGES: Final = 20


def split_arguments(arguments: argparse.Namespace) -> tuple[list[str], Wanted | None]:
    """The traces, and what is named after them, if that is filters."""
    traces = list(arguments.traces)
    filters: list[str] = []
    while traces and _is_filter(traces[-1]):
        filters.insert(0, traces.pop())
    if not filters:
        return traces, None
    if arguments.diff is not None:
        raise InputError(
            f"expected two filters, after --diff, got {filters[-1]} before them, which is no trace: "
            "name it after --diff only, or leave --diff out"
        )
    if not traces:
        raise InputError(f"expected a trace before the filter, got {' '.join(filters)} only")
    return traces, Wanted(filters, arguments.settings)


def _is_filter(name: str) -> bool:
    path = Path(name)
    return path.suffix == ".py" or not (path.exists() or path.suffix in _SUFFIXES)


def wanted_filters(arguments: argparse.Namespace) -> tuple[list[str], Wanted | None, Wanted | None]:
    """The traces, and the filters that are compared, or the one that there is: old and new."""
    traces, new = split_arguments(arguments)
    if arguments.diff is None:
        if new is None and arguments.settings is not None:
            raise InputError("--settings needs a FILTER")
        return traces, None, new
    one, other = arguments.diff
    settings = arguments.settings
    return traces, Wanted((one,), settings, (other,)), Wanted((other,), settings, (one,))


def _check_step(arguments: argparse.Namespace) -> None:
    """`InputError` for what ``--step`` has no use for."""
    if arguments.step and arguments.diff is not None:
        raise InputError("--step shows one filter, not --diff: give the filter after the traces")
    if arguments.step and arguments.json:
        raise InputError("--step prints no JSON: leave out --json, or --step")
    for name in ("meaning", "once", "jobs", "show", "live"):
        if arguments.step and getattr(arguments, name):
            raise InputError(f"--step compares nothing: leave out --{name}, or --step")


def replay(arguments: argparse.Namespace) -> int:
    """``demyjpy replay``: see the exit statuses in its help."""
    _check_step(arguments)
    named, old, new = wanted_filters(arguments)
    found = readings(arguments, named)
    traces = [one.path for one in found]
    if arguments.html is not None:
        try_page(arguments.html, traces)
    with redirect_stdout(sys.stderr):  # whatever a filter prints is not the report
        handlers = [
            filter_of(one, arguments.on_error).on_connect for one in (old, new) if one is not None
        ]
    if arguments.step:
        step = _step if arguments.html is None else _step_pages
        return step(arguments, found, handlers[-1] if handlers else None)
    in_bytes = old is None and not arguments.meaning
    task = Task(
        new,
        old,
        arguments.meaning,
        not arguments.once,
        arguments.on_error,
        arguments.queue_id,
        arguments.live,
        arguments.trusted_relays,
    )
    tally = Tally(is_whole_wanted=new is None)
    page = ReportPage(_compared(arguments, old, new), tuple(traces))
    told_of = FirstThousand()
    told, shown = 0, arguments.show or SHOWN
    for one in run_all(task, _sessions(found), arguments.jobs or processors()):
        tally.add(one)
        told_of.extend(f"{one.source}: session {one.session}: {what}" for what in one.problems)
        if not one.is_worth_telling:
            continue
        told += 1
        if arguments.html is not None:
            page.add(one)
        if arguments.json:
            say(json.dumps(one.as_json()))
        elif told <= shown:
            say(*session_lines(one))
    complain_of_all("replay", told_of)
    tally.problems += report_problems("replay", found)
    if not tally.sessions:
        return _nothing(arguments)
    if arguments.html is not None:
        write_page(arguments.html, page.as_text(tally))
    if arguments.json:
        say(json.dumps({"summary": tally.as_json()}), flush=True)
    else:
        _summarize(tally, told - shown, in_bytes=in_bytes)
    return tally.status


def _summarize(tally: Tally, untold: int, *, in_bytes: bool) -> None:
    if untold > 0:
        say(f"and {untold} more")
    say(*tally.lines(in_bytes=in_bytes), flush=True)


def _compared(arguments: argparse.Namespace, old: Wanted | None, new: Wanted | None) -> str:
    """What is compared with what, in words."""
    first, second = (None if one is None else one.name for one in (new, old))
    how = "by meaning" if arguments.meaning or old is not None else "byte for byte"
    return f"{first or 'the recorded answers'}, compared with {second or 'the recording'}, {how}"


def _nothing(arguments: argparse.Namespace) -> int:
    """Say that there was no session: the status where the queue id has none, else `InputError`."""
    if arguments.queue_id is None:
        raise InputError("expected recorded sessions, got none")
    complain("replay", f"expected a session with queue id {arguments.queue_id}, got none")
    return 1


def _sessions(found: Iterable[Reading]) -> Iterator[Lines]:
    for reading in found:
        try:
            yield from reading.lines()
        except TraceError as error:
            reading.problems[str(error)] = (1, 1)


def _step(arguments: argparse.Namespace, found: list[Reading], handlers: object) -> int:
    count = 0
    for trace in _chosen(arguments, found):
        count += 1
        show_steps(trace, handlers, paint_for("auto"))
    report_problems("replay", found)
    return 0 if count else _nothing(arguments)


def _step_pages(arguments: argparse.Namespace, found: list[Reading], handlers: object) -> int:
    """A page a session; nothing is written before there is a place for each."""
    traces: list[Trace] = []
    untold = 0
    for trace in _chosen(arguments, found):
        if len(traces) < _MOST_PAGES:
            traces.append(trace)
        else:
            untold += 1
    paths = [numbered(arguments.html, number) for number in range(1, len(traces) + 1)]
    for path in paths:
        try_page(path, (one.path for one in found))
    for trace, path in zip(traces, paths, strict=True):
        _write_session(trace, handlers, path)
    if untold:
        say(f"and {plural(untold, 'session')} more without a page: choose with --queue-id")
    report_problems("replay", found)
    return 0 if traces else _nothing(arguments)


def _chosen(arguments: argparse.Namespace, found: list[Reading]) -> Iterator[Trace]:
    for lines in _sessions(found):
        trace = lines.parse()
        if arguments.queue_id is None or any(
            one.queue_id == arguments.queue_id for one in trace.messages
        ):
            yield trace


def _write_session(trace: Trace, handlers: object, path: str) -> None:
    if handlers is None:
        text = session_page(trace, recorded_views(trace.moments), "as recorded")
    else:
        with redirect_stdout(sys.stderr):  # whatever a filter prints is not the report
            steps = trace.step(handlers, clock=time.perf_counter)
        now = Trace.of_steps(steps, source=trace.source)
        text = session_page(now, played_views(steps), "as the filter answers now")
    write_page(path, text)
    say(f"wrote {path}", flush=True)


COMMAND: Final = Command(
    replay,
    "Run recorded sessions through a filter, or two; show which answers differ.",
    _EPILOG,
    (
        MAX_SESSION,
        TRACES,
        argument(
            "traces",  # in the same list: the last of them may be the filter, see `split_arguments`
            metavar="FILTER",
            nargs="?",
            action="append",
            default=argparse.SUPPRESS,
            help=f"{FILTER_NAME}, or several; the recorded answers are played if not given",
            is_file=True,
        ),
        SETTINGS,
        argument(
            "--diff",
            nargs=2,
            metavar=("OLD", "NEW"),
            help="compare two filters with one another, not one with the recording",
        ),
        flag("--meaning", "compare verdicts and changes of each message, not bytes"),
        flag(
            "--live",
            "ask the questions of the filter now; else the recording answers, and nobody is asked",
        ),
        flag("--once", "run each session once only; handlers that are not pure are not found then"),
        ON_ERROR,
        TRUSTED_RELAYS,
        argument("--jobs", metavar="N", type=COUNT, help="processes (default: as many as processors)"),
        argument(
            "--show",
            metavar="N",
            type=COUNT,
            help=f"differences that are shown in full (default: {SHOWN}); all are counted",
        ),
        flag("--json", "print JSON: a line a session that differs"),
        flag("--step", "show each step instead; with Enter to the next"),
        argument(
            "--html",
            metavar="FILE",
            help="write a page with all that differs, too; with --step: a page a session, instead",
        ),
        argument("--queue-id", metavar="ID", help="only the session with this queue id"),
    ),
)
