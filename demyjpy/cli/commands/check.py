"""``demyjpy check``: what a filter will ask of the MTA, and what is wrong with it."""

import argparse
import sys
from contextlib import redirect_stdout
from typing import Final

from attrs import evolve

from demyjpy.cli.arguments import JSON, LOADING, Command, flag
from demyjpy.cli.check_report import Report, as_text, examine
from demyjpy.cli.errors import check_extra
from demyjpy.cli.loading import Loaded, load_filters, within
from demyjpy.cli.loading_arguments import driver_of, wanted_of
from demyjpy.cli.output import say

_EPILOG: Final = """\
examples:
  demyjpy check samples/bytecount.py:handlers
  demyjpy check mycompany.filters --driver threads
  demyjpy check samples/bytecount.py --json | jq .problems
  demyjpy check samples/bytecount.py --play
  demyjpy check rules.py:make=strict --settings rules.toml

Exit status: 0 if nothing is wrong, 1 if something is, 2 if the filter cannot be loaded.
"""


def check(arguments: argparse.Namespace) -> int:
    """``demyjpy check``: 0, or 1 if something is wrong with the filter."""
    with redirect_stdout(sys.stderr):  # whatever a filter prints is not the report
        with within(arguments.load_timeout):
            loaded = load_filters(wanted_of(arguments))
        report = examine(loaded, driver_of(arguments))
        if arguments.play:
            report = _played(report, loaded, driver_of(arguments))
    say(*(report.as_json() if arguments.json else as_text(report)).split("\n"), flush=True)
    return 1 if report.problems else 0


def _played(report: Report, loaded: Loaded, driver: str) -> Report:
    check_extra("--play", "hypothesis")
    if report.problems:
        return evolve(
            report, notes=(*report.notes, "--play: no session was played, because of the problems above")
        )
    from demyjpy.cli.check_play import play  # noqa: PLC0415  # it needs Hypothesis

    return play(report, loaded, driver)


COMMAND: Final = Command(
    check,
    "Load a filter; show what it will ask of the MTA, and what is wrong with it.",
    _EPILOG,
    (
        *LOADING,
        JSON,
        flag(
            "--play",
            "run the handlers, too: play generated sessions at them (needs Hypothesis)",
        ),
    ),
)
