"""The words of the commands about recorded sessions: ``trace``."""

import argparse
from typing import Final

from demyjpy.cli.words import Parser

_TRACE_EPILOG: Final = """\
examples:
  demyjpy trace traces/*.jsonl
  demyjpy trace traces/*.jsonl --to all.jsonl.gz
  demyjpy trace capture.jsonl --to capture-as-trace.jsonl

A file may be a trace (.jsonl, compressed as .gz or .zst too) or a capture of packets as the tests have
them. Whatever cannot be read is counted and named on standard error.
Exit status: 0 if all could be read, 1 if something could not, 2 if the arguments are wrong.
"""


def add_trace_commands(commands: "argparse._SubParsersAction[Parser]", file: object) -> None:
    """Add the commands; ``file`` is what shtab wants at arguments that are files."""
    trace = commands.add_parser(
        "trace",
        help="list recorded sessions, join and convert traces",
        description="List the messages in recorded sessions; write them to one file.",
        epilog=_TRACE_EPILOG,
    )
    _add_traces(trace, file)
    trace.add_argument(
        "--to",
        metavar="FILE",
        help="write all sessions there, compressed if it ends in .gz or .zst",
    )
    trace.add_argument("--json", action="store_true", help="print JSON, a line a message")


def _add_traces(command: Parser, file: object) -> None:
    traces = command.add_argument("traces", metavar="TRACE", nargs="+", help="a file with sessions")
    traces.complete = file  # type: ignore[attr-defined]  # read by shtab
