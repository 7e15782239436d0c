"""``demyjpy replay``: recorded sessions through a filter, or two, and what it answers differently."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from demyjpy.cli.replay_jobs import Task, filter_of, processors, run_all
from demyjpy.cli.replay_words import Tally, session_lines
from demyjpy.cli.show import paint_for
from demyjpy.cli.stepping import show_steps
from demyjpy.cli.tracing import readings, report_problems
from demyjpy.cli.words import InputError
from demyjpy.trace.octets import TraceError
from demyjpy.trace.reading import Lines, Reading

_SUFFIXES: Final = frozenset({".jsonl", ".gz", ".zst", ".json", ".trace"})


def split_arguments(arguments: argparse.Namespace) -> tuple[list[str], str | None]:
    """The traces, and the filter, if the last one is a filter."""
    *traces, last = arguments.traces
    path = Path(last)
    is_filter = path.suffix == ".py" or not (path.exists() or path.suffix in _SUFFIXES)
    if arguments.diff is not None or not is_filter:
        return arguments.traces, None
    if not traces:
        raise InputError(f"expected a trace before the filter, got {last} only")
    return traces, last


def replay(arguments: argparse.Namespace) -> int:
    """``demyjpy replay``: see the exit statuses in its help."""
    traces, name = split_arguments(arguments)
    found = readings(traces)
    old, new = arguments.diff or (None, name)
    with redirect_stdout(sys.stderr):  # whatever a filter prints is not the report
        handlers = [
            filter_of(one, arguments.on_error).on_connect for one in (old, new) if one is not None
        ]
    if arguments.step:
        return _step(arguments, found, handlers[-1] if handlers else None)
    in_bytes = old is None and not arguments.meaning
    task = Task(
        new,
        old,
        arguments.meaning,
        not arguments.once,
        arguments.on_error,
        arguments.queue_id,
    )
    tally = Tally()
    told = 0
    for one in run_all(task, _sessions(found), arguments.jobs or processors()):
        tally.add(one)
        for problem in one["problems"]:
            _complain(f"{one['source']}: session {one['session']}: {problem}")
        if one["same"] and not one["impure"] and not one["failure"]:
            continue
        told += 1
        if arguments.json:
            print(json.dumps(one))
        elif told <= arguments.show:
            print(*session_lines(one), sep="\n")
    report_problems("replay", found)
    if not tally.sessions:
        raise InputError(_nothing(arguments))
    if arguments.json:
        print(json.dumps({"summary": tally.as_json()}), flush=True)
    else:
        if told > arguments.show:
            print(f"and {told - arguments.show} more")
        print(*tally.lines(in_bytes=in_bytes), sep="\n", flush=True)
    return tally.status


def _nothing(arguments: argparse.Namespace) -> str:
    if arguments.queue_id is not None:
        return f"expected a session with queue id {arguments.queue_id}, got none"
    return "expected recorded sessions, got none"


def _sessions(found: Iterable[Reading]) -> Iterator[Lines]:
    for reading in found:
        try:
            yield from reading.lines()
        except TraceError as error:
            _complain(f"{reading.path}: {error}")


def _complain(what: str) -> None:
    print(f"demyjpy replay: {what}", file=sys.stderr)


def _step(arguments: argparse.Namespace, found: list[Reading], handlers: object) -> int:
    count = 0
    for lines in _sessions(found):
        trace = lines.parse()
        if arguments.queue_id is None or any(
            one.queue_id == arguments.queue_id for one in trace.messages
        ):
            count += 1
            show_steps(trace, handlers, paint_for("auto"))
    report_problems("replay", found)
    if not count:
        raise InputError(_nothing(arguments))
    return 0
