"""``demyjpy trace``: what is in traces, and traces made of them."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from demyjpy.cli.arguments import MAX_SESSION, TRACES, Command, argument, flag
from demyjpy.cli.errors import InputError, failing_to
from demyjpy.cli.output import say
from demyjpy.cli.recordings import (
    Few,
    message_json,
    message_line,
    readings,
    report_problems,
    session_problems,
)
from demyjpy.errors import TraceError
from demyjpy.trace.files import is_any_of
from demyjpy.trace.messages import Message
from demyjpy.trace.session import Trace
from demyjpy.trace.words import plural
from demyjpy.trace.writing import write

_EPILOG: Final = """\
examples:
  demyjpy trace traces/*.jsonl
  demyjpy trace traces/*.jsonl --to all.jsonl.gz
  demyjpy trace capture.jsonl --to capture-as-trace.jsonl

A file may be a trace (.jsonl, compressed as .gz or .zst too) or a capture of packets as the tests have
them. Whatever cannot be read is counted and named on standard error.
Exit status: 0 if all could be read, 1 if something could not, 2 if the arguments are wrong.
"""


def trace(arguments: argparse.Namespace) -> int:
    """``demyjpy trace``: 0, or 1 if something could not be read."""
    found = readings(arguments, arguments.traces)
    told, cut = Few(), Few()
    counts = {"sessions": 0, "messages": 0}

    def sessions() -> Iterator[Trace]:
        for reading in found:
            for one in reading:
                counts["sessions"] += 1
                told.extend(session_problems(one))
                if one.how == "cut":
                    why = one.reason or "it was still open, or the rest is lost"
                    cut.extend([f"{reading.path}: session {one.name} has no end here: {why}"])
                for message in one.messages:
                    counts["messages"] += 1
                    _show(message, arguments.json)
                yield one

    if arguments.to is None:
        for _ in sessions():
            pass
    else:
        with failing_to(f"write {arguments.to}", failures=(OSError, TraceError)):
            if is_any_of(Path(arguments.to), arguments.traces):
                raise InputError(f"expected a new file for --to, got the trace {arguments.to} itself")
            write(arguments.to, sessions(), "demyjpy trace")
    report_problems("trace", found, [*told, *cut])
    bad = any(reading.problems for reading in found)
    if not arguments.json:
        words = (plural(counts["sessions"], "session"), plural(counts["messages"], "message"))
        say(", ".join(words), flush=True)
    return 1 if bad or told.count else 0


def _show(message: Message, as_json: bool) -> None:
    say(json.dumps(message_json(message)) if as_json else message_line(message))


COMMAND: Final = Command(
    trace,
    "List the messages in recorded sessions; write them to one file.",
    _EPILOG,
    (
        MAX_SESSION,
        TRACES,
        argument(
            "--to",
            metavar="FILE",
            help="write all sessions there, compressed if it ends in .gz or .zst",
        ),
        flag("--json", "print JSON, a line a message"),
    ),
)
