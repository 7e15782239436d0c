"""Two milters in a row behind the real Postfix, beside the same two filters merged, and the first alone.

    python3 -m benchmarks.in_a_row                # five rounds, some minutes; as root
    python3 -m benchmarks.in_a_row --rounds 1 --mails 16

In each round every arrangement has its turn. Prints a table of medians, as Markdown: mails a second,
the time of a mail that comes alone, and the CPU time of all milters for a mail. Postfix and the
programs that send and take mail share the machine with the milters.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any, Final

from benchmarks.home import ROOT, say, set_up, venv_python
from benchmarks.jobs import JOBS, SUBJECTS
from benchmarks.processes import exact_cpu_seconds
from benchmarks.servers import Server

ARRANGEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "noop alone": ("noop",),
    "noop, noop in a row": ("noop", "noop"),
    "noop and noop merged": ("noop_merged",),
    "bytecount alone": ("bytecount",),
    "bytecount, largest in a row": ("bytecount", "largest"),
    "bytecount and largest merged": ("bytecount_merged",),
}
"""The filters of each milter that Postfix asks, in order."""

Figures = dict[str, float]

_SESSIONS: Final = 4
_LIMIT: Final = 240
"""Seconds that one arrangement may take in a round."""


def mails_sent(mails: int) -> int:
    """How many `benchmarks.mtas` sends in all: some before, some one by one, and some at once."""
    return _SESSIONS * 2 + mails // 2 + mails


def measure(filters: Sequence[str], mails: int) -> Figures:
    """One arrangement once."""
    job = JOBS["postfix-noop-unix"]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(SUBJECTS["demyjpy"], replace(job, filter=name)))
            for name in filters
        ]
        command = [str(venv_python("mta")), "-m", "benchmarks.mtas", "--mta", "postfix"]
        command += ["--mails", str(mails), "--sessions", str(_SESSIONS)]
        for server in servers:
            command += ["--milter", server.address]
        before = _cpu(servers)
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LIMIT
        )
        cpu = _cpu(servers) - before
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-800:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    if figures["errors"]:
        sys.exit(f"expected no errors in Postfix's log, got {figures['errors']} with {filters}")
    return {**figures, "cpu_us": cpu * 1e6 / mails_sent(mails)}


def _cpu(servers: Iterable[Server]) -> float:
    return sum(exact_cpu_seconds(server.pids) for server in servers)


def table(rounds: Sequence[Mapping[str, Figures]]) -> str:
    """Medians, and each beside that of the same filters in a row."""
    titles = ("mails/s, 4 sessions", "ms a mail, one by one", "CPU µs a mail")
    lines = [f"|  | {' | '.join(f'{title} | ÷ in a row' for title in titles)} |", f"|{' --- |' * 7}"]
    for name in ARRANGEMENTS:
        first = name.split(" ")[0].rstrip(",")
        row = next(one for one in ARRANGEMENTS if one.startswith(first) and one.endswith("in a row"))
        cells: list[Any] = [name]
        for figure, digits in (("mails_s", 0), ("ms_a_mail", 2), ("cpu_us", 0)):
            own, other = (median(one[which][figure] for one in rounds) for which in (name, row))
            cells += [f"{own:,.{digits}f}", f"{own / other:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.in_a_row",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--mails", type=int, default=200, help="at once in a run; half as many one by one"
    )
    options = parser.parse_args(arguments)
    set_up({"demyjpy", "mta"}, libmilter=False)
    rounds: list[dict[str, Figures]] = []
    for number in range(options.rounds):
        rounds.append({})
        for name, filters in ARRANGEMENTS.items():
            rounds[-1][name] = measure(filters, options.mails)
            say(f"{number} {name}: {json.dumps(rounds[-1][name])}")
    print(table(rounds))


if __name__ == "__main__":
    main()
