"""``demyjpy trace``: what is in traces, and traces made of them."""

import argparse
import json
from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from demyjpy.cli.arguments import MAX_SESSION, TRACES, Command, argument, flag
from demyjpy.cli.errors import InputError, failing_to
from demyjpy.cli.output import say
from demyjpy.cli.recordings import (
    FirstThousand,
    message_json,
    message_line,
    readings,
    report_problems,
    session_problems,
)
from demyjpy.errors import TraceError
from demyjpy.trace.display.wording import plural
from demyjpy.trace.format.files import is_any_of
from demyjpy.trace.format.trace import Trace
from demyjpy.trace.format.writing import write

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
    told, cut = FirstThousand(), FirstThousand()
    counts = Counter[str]()

    def sessions() -> Iterator[Trace]:
        for one in chain.from_iterable(found):
            counts["session"] += 1
            told.extend(session_problems(one))
            if one.how == "cut":
                why = one.reason or "it was still open, or the rest is lost"
                cut.extend([f"{one.source}: session {one.name} has no end here: {why}"])
            for message in one.messages:
                counts["message"] += 1
                shown = json.dumps(message_json(message)) if arguments.json else message_line(message)
                say(shown, whole=arguments.json)
            yield one

    if arguments.to is None:
        deque(sessions(), maxlen=0)
    else:
        with failing_to(f"write {arguments.to}", failures=(OSError, TraceError)):
            if is_any_of(Path(arguments.to), (one.path for one in found)):
                raise InputError(f"expected a new file for --to, got the trace {arguments.to} itself")
            write(arguments.to, sessions(), "demyjpy trace")
    report_problems("trace", found, [*told, *cut])
    if not arguments.json:
        say(", ".join(plural(counts[noun], noun) for noun in ("session", "message")), flush=True)
    return 1 if told.count or any(reading.problems for reading in found) else 0


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
