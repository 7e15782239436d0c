"""The command: measure, keep the records, write ``docs/benchmarks.md`` and its plots.

    python3 -m benchmarks.run                     # all, two hours with nothing else on the machine
    python3 -m benchmarks.run --quick             # a few minutes, to see that all of it works
    python3 -m benchmarks.run --jobs 'noop-*' --subjects libmilter,demyjpy
    python3 -m benchmarks.run --write-only        # the page anew from the records that there are

A job that is measured again takes the place of its old records, so the table can be made in parts.
"""

import argparse
import datetime as dt
import fnmatch
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from benchmarks.figures import Figures, Record
from benchmarks.home import HERE, HOME, ROOT, describe, say, set_up, venv_python
from benchmarks.jobs import JOBS, QUICK, SUBJECTS, Job, Subject
from benchmarks.measure import Timing, measure
from benchmarks.report import plots, write_page


def _choose(patterns: str, names: Iterable[str], what: str) -> list[str]:
    """Those that match one of the patterns, in their own order."""
    known, chosen = list(names), set()
    for pattern in patterns.split(","):
        found = fnmatch.filter(known, pattern.strip())
        if not found:
            raise argparse.ArgumentTypeError(
                f"expected {what} among {', '.join(known)}, got {pattern!r}"
            )
        chosen.update(found)
    return [name for name in known if name in chosen]


def build_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--jobs",
        metavar="PATTERNS",
        type=lambda text: _choose(text, JOBS, "a job"),
        default=list(JOBS),
        help="only these, such as 'noop-*,startup'",
    )
    parser.add_argument(
        "--subjects",
        metavar="PATTERNS",
        type=lambda text: _choose(text, SUBJECTS, "a subject"),
        help="only these, such as 'libmilter,demyjpy*'",
    )
    parser.add_argument("--rounds", type=int, help="of each job (default: 5; --quick: 1)")
    parser.add_argument("--seconds", type=float, help="of each run (default: 2.5; --quick: 0.4)")
    parser.add_argument("--mails", type=int, help="through an MTA in a run (default: 200; --quick: 16)")
    parser.add_argument("--quick", action="store_true", help="one short round, without the slow peers")
    parser.add_argument("--list", action="store_true", help="print jobs and subjects, and end")
    parser.add_argument("--records", type=Path, default=HOME / "records.jsonl", help="(%(default)s)")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/benchmarks.md", help="(%(default)s)")
    parser.add_argument("--no-page", action="store_true", help="measure, but write no page")
    parser.add_argument("--write-only", action="store_true", help="measure nothing, write the page")
    return parser


@cache
def _run_help() -> str:
    """What ``demyjpy run`` can do here."""
    done = subprocess.run(
        [venv_python("demyjpy"), "-m", "demyjpy", "run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stderr}\nexpected `demyjpy run --help` to work, got status {done.returncode}")
    return done.stdout


def _absence(subject: Subject) -> str:
    """Why a subject cannot be measured, or nothing."""
    if subject.needs and subject.needs not in _run_help():
        return f"this `demyjpy run` has no {subject.needs}"
    return ""


def _tell(record: Record) -> str:
    names = ("rate", "mb_s", "cpu_us", "p99_ms", "kb_each", "cpu_s", "ms_a_mail", "mails_s", "errors")
    figures = " ".join(f"{name}={record[name]:,.4g}" for name in names if record.get(name))
    return figures or record.get("failed") or record.get("absent", "")


def measure_job(job: Job, subjects: Sequence[Subject], rounds: int, timing: Timing) -> list[Record]:
    """All rounds of a job, its subjects in turn. One that fails twice is not tried again."""
    records: list[Record] = []
    absent = {subject.name: reason for subject in subjects if (reason := _absence(subject))}
    records += ({"job": job.name, "subject": name, "absent": absent[name]} for name in absent)
    for number in range(rounds):
        for subject in subjects:
            own = [record for record in records if record["subject"] == subject.name]
            if subject.name in absent or sum("failed" in record for record in own) >= 2:
                continue
            figures = measure(subject, job, timing)
            record = {"job": job.name, "subject": subject.name, "round": number, **figures}
            records.append(record)
            say(f"{job.name} {number} {subject.name}: {_tell(record)}")
    return records


def _write(figures: Figures, page: Path) -> None:
    notes = (HERE / "notes.md").read_text(encoding="utf-8")
    page.write_text(write_page(figures, notes), encoding="utf-8")
    for name, picture in plots(figures).items():
        (page.parent / name).write_text(picture, encoding="utf-8")
    say(f"{page} is written")


def _list() -> None:
    print("jobs:")
    for job in JOBS.values():
        print(f"  {job.name:24} {job.title}")
    print("subjects:")
    for subject in SUBJECTS.values():
        print(f"  {subject.name:24} {subject.label}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = build_parser().parse_args(arguments)
    if options.list:
        _list()
        return
    figures = Figures.read(options.records)
    if not options.write_only:
        figures = _measure_all(options, figures)
    if not options.no_page:
        _write(figures, options.page)


def _measure_all(options: argparse.Namespace, figures: Figures) -> Figures:
    names = options.subjects or (QUICK if options.quick else tuple(SUBJECTS))
    rounds = options.rounds or (1 if options.quick else 5)
    timing = Timing(
        options.seconds or (0.4 if options.quick else 2.5),
        0.1 if options.quick else 0.5,
        options.mails or (16 if options.quick else 200),
    )
    plan = [
        (JOBS[name], [SUBJECTS[subject] for subject in names if JOBS[name].has(SUBJECTS[subject])])
        for name in options.jobs
    ]
    venvs = {subject.venv for _, subjects in plan for subject in subjects if subject.venv}
    if any(job.kind == "mta" for job, _ in plan):
        venvs.add("mta")
    set_up(venvs, libmilter="libmilter" in names)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # thousands of connections
    about = {
        "date": dt.datetime.now(tz=dt.UTC).strftime("%Y-%m-%d"),
        "command": shlex.join(["python3", "-m", "benchmarks.run", *sys.argv[1:]]),
        "rounds": rounds,
        "seconds": timing.seconds,
        **describe(),
    }
    for job, subjects in plan:
        if subjects:
            records = measure_job(job, subjects, rounds, timing)
            figures = figures.with_job(job, [{"job": job.name, "about": about}, *records])
            figures.write(options.records)
    return figures


if __name__ == "__main__":
    main()
