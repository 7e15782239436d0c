"""Plays merged filters and the same filters in a row behind the real Postfix and Sendmail, and compares.

    python -m tests.law [--every N] [--draws N] [--write]

For root, after `python -m tests.integration.fetch_mtas`. All pairs of {verdict x event} x {11 edits} x
{what the second filter does} (``--every``: each N-th of them), then N sessions as Hypothesis draws them.
"""

# ruff: noqa: T201  (a program that prints)
import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings

from tests.integration.running import MTAS
from tests.law import TABLE
from tests.law.combinations import pairwise
from tests.law.draws import Draw, draws
from tests.law.on_mtas import Sites, running_sites

_MOST: Final = 20


def drawn(number: int) -> list[Draw]:
    """So many draws of two filters."""
    found: list[Draw] = []

    @settings(
        max_examples=number, phases=[Phase.generate], suppress_health_check=[*HealthCheck], database=None
    )
    @given(draws())
    def collect(draw: Draw) -> None:
        if len(draw.plans) == 2:
            found.append(draw)

    collect()
    return found


def _judge(sites: Sites, what: Iterator[tuple[Any, Draw]]) -> tuple[int, list[str]]:
    tried, wrong = 0, []
    for name, draw in what:
        tried += 1
        faults = sites.faults(draw)
        if faults:
            wrong.append(f"{sites.row.mta}: {name}\n  " + "\n  ".join(faults))
    return tried, wrong


def main() -> int:
    """The number of the MTAs for which something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.law")
    parser.add_argument("--every", type=int, default=1, help="each N-th combination only")
    parser.add_argument("--draws", type=int, default=200, help="sessions drawn by Hypothesis")
    parser.add_argument("--write", action="store_true", help=f"write the table to {TABLE.name}")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # filters fail as planned
    some = drawn(arguments.draws) if arguments.draws else []
    bad = 0
    table = ["| server | combinations | drawn |", "| --- | --- | --- |"]
    print(*table, sep="\n")
    for mta in MTAS:
        with ExitStack() as stack:
            sites = stack.enter_context(running_sites(mta))
            chosen = [*pairwise()][:: arguments.every]
            tried, wrong = _judge(sites, ((one, one.draw) for one in chosen))
            more, other = _judge(sites, ((one, one) for one in some))
        table.append(
            f"| {mta.capitalize()} | {tried - len(wrong)} of {tried} | {more - len(other)} of {more} |"
        )
        print(table[-1], flush=True)
        for fault in (*wrong, *other)[:_MOST]:
            print(fault, file=sys.stderr)
        bad += bool(wrong or other)
    if arguments.write:
        TABLE.write_text("\n".join(table) + "\n")
    return bad


if __name__ == "__main__":
    sys.exit(main())
