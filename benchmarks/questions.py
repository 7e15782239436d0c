"""What questions cost: beside handlers that wait themselves, and beside the same filter without them.

    python3 -m benchmarks.questions                    # three rounds, some minutes
    python3 -m benchmarks.questions --rounds 1 --seconds 1

Prints three tables, as Markdown. First 100 connections with a question of 200 ms for each message, which
allows 500 messages a second. Then the CPU time of a question whose answer is remembered. Then what is
left in a server after 1,000 sessions that end at random points. Everything shares the machine.
"""

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

from benchmarks.home import HERE, ROOT, say, set_up, venv_python
from benchmarks.jobs import JOBS, SUBJECTS, Job, Subject
from benchmarks.measure import Record, Timing, measure

_FILTERS: Final = str(HERE / "asking_filters.py")
_DRIVERS: Final = {"asyncio": "demyjpy", "threads": "demyjpy-threads"}
_LIMIT: Final = 240

ALLOWED: Final = 500.0
"""Messages a second of 100 connections if each takes 200 ms."""

SLEEPING: Final[Mapping[str, tuple[str, str]]] = {
    "asyncio: question, `async def` performer": ("asyncio", "sleeping_async_question"),
    "asyncio: `async def` handler": ("asyncio", "sleeping_async_handler"),
    "asyncio: question, plain performer": ("asyncio", "sleeping_plain_question"),
    "asyncio: `blocking=True` handler": ("asyncio", "sleeping_plain_handler"),
    "threads: question, `async def` performer": ("threads", "sleeping_async_question"),
    "threads: question, plain performer": ("threads", "sleeping_plain_question"),
    "threads: handler that blocks": ("threads", "sleeping_plain_handler"),
}
PAIRS: Final = {
    "`asking=` at MAIL": "mail",
    "`asking=` at RCPT, two recipients": "recipient",
    "`ask` at MAIL, `needs=` at the end": "early",
}


def subject_of(driver: str) -> Subject:
    """Ours, with the filters that ask, and a thread for each question that blocks."""
    subject = SUBJECTS[_DRIVERS[driver]]
    command = [part.replace("{filters}", _FILTERS) for part in subject.command]
    return replace(subject, command=(*command, "--blocking-threads", "128"))


def load(driver: str, job: Job, timing: Timing) -> Record:
    """One run; `SystemExit` if it fails, or if a session has an error."""
    record = measure(subject_of(driver), job, timing)
    if "failed" in record or record["errors"]:
        raise SystemExit(f"{driver}, {job.filter}: {record}")
    say(f"{driver} {job.filter}: {record['rate']:,.0f} messages/s, {record['cpu_us']:,.1f} µs")
    return record


def inside(*arguments: str) -> Any:
    """What `benchmarks.asking_inside` prints."""
    command = [str(venv_python("demyjpy")), "-m", "benchmarks.asking_inside", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=_LIMIT
    )
    say(f"{' '.join(arguments)}: {done.stdout.strip()}")
    return json.loads(done.stdout)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [list(titles), ["---"] * len(titles), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def waiting(rounds: int, timing: Timing) -> str:
    """100 connections that wait 200 ms for each message."""
    # all connections may go in step: then a run counts whole waves of 100 messages
    job = replace(JOBS["noop-tcp-100"], messages=20, stretch=2.0)
    found: dict[str, list[Record]] = {name: [] for name in SLEEPING}
    for _ in range(rounds):
        for name, (driver, filter_name) in SLEEPING.items():
            found[name].append(load(driver, replace(job, filter=filter_name), timing))
    rows = []
    for name, records in found.items():
        rate = median(one["rate"] for one in records)
        cpu = median(one["cpu_us"] for one in records)
        rows.append([name, f"{rate:,.0f}", f"{rate / ALLOWED:.2f}", f"{cpu:,.0f}"])
    return table(["", "messages/s", "of the 500 that 200 ms allow", "CPU µs a message"], rows)


def remembered(rounds: int, timing: Timing) -> str:
    """CPU of a message with questions whose answers are remembered, and without."""
    job = JOBS["noop-tcp-10"]
    differences: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for driver in _DRIVERS:
            for pair in PAIRS.values():
                alone, asks = (
                    load(driver, replace(job, filter=f"{pair}_{kind}"), timing)["cpu_us"]
                    for kind in ("alone", "asks")
                )
                differences.setdefault((driver, pair), []).append((alone, asks))
        costs = inside("engine")
        for pair in PAIRS.values():
            both = costs[f"{pair}_alone"], costs[f"{pair}_asks"]
            differences.setdefault(("engine", pair), []).append(both)
    rows = []
    for name, pair in PAIRS.items():
        for where in ("engine", *_DRIVERS):
            pairs = differences[where, pair]
            alone, asks = (median(one[number] for one in pairs) for number in (0, 1))
            added = median(one[1] - one[0] for one in pairs)
            rows.append([name, where, f"{alone:,.1f}", f"{asks:,.1f}", f"{added:,.1f}"])
    return table(["", "where", "without, CPU µs", "with, CPU µs", "added, µs a message"], rows)


def left() -> str:
    """What is in a process before and after sessions that are cut."""
    rows = []
    for driver in _DRIVERS:
        found = inside("cut", driver)
        rows += [
            [driver, kind, f"{before:,}", f"{found['after'][kind]:,}"]
            for kind, before in found["before"].items()
        ]
        rows.append([driver, "questions performed", "", f"{found['performed']:,}"])
    return table(["driver", "what", "before", "after"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.questions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    options = parser.parse_args(arguments)
    set_up({"demyjpy"}, libmilter=False)
    timing = Timing(options.seconds, 0.6)
    for part in (waiting(options.rounds, timing), remembered(options.rounds, timing), left()):
        print(f"{part}\n", flush=True)


if __name__ == "__main__":
    main()
