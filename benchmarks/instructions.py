"""What a session costs the pure engine in instructions, and whether that has grown.

    python3 -m benchmarks.instructions                    # exit status 1 if one is dearer
    python3 -m benchmarks.instructions --renew            # write the baseline anew
    python3 -m benchmarks.instructions --profile noop     # which functions take its time

Valgrind's callgrind counts the instructions of a session played N times and 2 N times
(`benchmarks.sessions`); the difference is N sessions without the start of the interpreter. It is the
same within half a per cent, whatever else the machine does. With another Python, C library or release
of our dependencies the figures are others: then nothing is compared.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.home import HERE, PYTHON, ROOT, ensure_venv, install, venv_python

BASELINE: Final = HERE / "instructions.json"
TOLERANCE: Final = 0.10
"""By how much a session may cost more than the baseline says."""
RENEW: Final = "python3 -m benchmarks.instructions --renew"

TIMES: Final = {"noop": 16, "bytecount": 20, "body-10mb": 1, "merged": 8, "refused-recipient": 20}
"""Each session, and how often it is played: N."""

_VENV: Final = "instructions"
_LIMIT: Final = 240
"""Seconds that one count may take."""


@dataclass(frozen=True)
class Verdict:
    """A session beside its baseline: what to print, and whether it costs too much."""

    text: str
    is_dearer: bool = False


def compare(counts: Mapping[str, int], baseline: Mapping[str, int]) -> list[Verdict]:
    """Each session that was counted, beside what the baseline says of it."""
    verdicts = []
    for name, count in counts.items():
        before = baseline.get(name)
        if before is None:
            verdicts.append(Verdict(f"{name}: {count:,}, not in the baseline; renew it: {RENEW}", True))
            continue
        change = count / before - 1
        is_dearer = count > before * (1 + TOLERANCE)
        text = f"{name}: {count:,} instructions, {change:+.1%}"
        if is_dearer:
            text += f": expected at most {TOLERANCE:.0%} over {before:,}; profile it, or renew: {RENEW}"
        elif change < -TOLERANCE:
            text += f": cheaper than the baseline; make that the mark: {RENEW}"
        verdicts.append(Verdict(text, is_dearer))
    return verdicts


def _command(name: str, times: int, *tool: str) -> list[str]:
    return [*tool, str(venv_python(_VENV)), "-s", "-m", "benchmarks.sessions", name, str(times)]


def _run(command: Sequence[str]) -> str:
    """What it writes to standard error; with an environment that is the same everywhere."""
    environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": ".", "LC_ALL": "C", "PATH": os.defpath}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"expected an end within {_LIMIT} s of: {' '.join(command)}")
    if done.returncode:
        sys.exit(f"{done.stderr}\n{' '.join(command)} ended with status {done.returncode}")
    return done.stderr


def _count(name: str, times: int) -> int:
    valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    output = _run(_command(name, times, *valgrind))
    found = re.search(r"Collected : (\d+)", output)
    if found is None:
        sys.exit(f"expected callgrind to tell what it collected, got: {output}")
    return int(found[1])


def count(names: Iterable[str]) -> dict[str, int]:
    """Instructions of one session each."""
    wanted = list(names)
    for name in wanted:  # are the answers right? It compiles the modules, too
        _run(_command(name, 1))
    tasks = [(name, TIMES[name] * factor) for name in wanted for factor in (2, 1)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        totals = dict(zip(tasks, pool.map(lambda task: _count(*task), tasks), strict=True))
    return {
        name: (totals[name, 2 * TIMES[name]] - totals[name, TIMES[name]]) // TIMES[name]
        for name in wanted
    }


def versions() -> dict[str, str]:
    """What the figures depend on besides our code."""
    script = (
        "import sys, importlib.metadata as m;"
        "print(sys.version.split('[')[0].strip(), m.version('attrs'), m.version('pyrsistent'), sep='|')"
    )
    output = subprocess.run(
        [venv_python(_VENV), "-c", script], capture_output=True, text=True, check=True
    ).stdout
    python, attrs, pyrsistent = output.strip().split("|")
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    return {
        "machine": platform.machine(),
        "python": f"{PYTHON} {python}",
        "libc": os.confstr("CS_GNU_LIBC_VERSION") or "unknown",
        "valgrind": valgrind.stdout.strip(),
        "attrs": attrs,
        "pyrsistent": pyrsistent,
    }


def differences(now: Mapping[str, str], then: Mapping[str, str]) -> list[str]:
    """What is not as it was when the baseline was written."""
    return [
        f"{name}: expected {then.get(name, 'nothing')}, got {now.get(name, 'nothing')}"
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
    ]


def profile(name: str) -> None:
    """Where the time of a session goes, function by function of Python's."""
    python = [str(venv_python(_VENV)), "-m", "cProfile", "-s", "tottime", "-m", "benchmarks.sessions"]
    subprocess.run([*python, name, str(20 * TIMES[name])], cwd=ROOT, check=True)


def build_parser() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("sessions", nargs="*", metavar="SESSION", help=f"of: {', '.join(TIMES)}")
    parser.add_argument("--renew", action="store_true", help="write the baseline")
    parser.add_argument(
        "--profile", metavar="SESSION", choices=TIMES, help="print which functions take its time"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    unknown = [name for name in options.sessions if name not in TIMES]
    if unknown:
        parser.error(f"expected sessions among {', '.join(TIMES)}, got {', '.join(unknown)}")
    if not Path(PYTHON).exists():
        print(f"skipped: expected an interpreter at {PYTHON}, got none")
        return 0
    install("python3-venv")
    ensure_venv(_VENV)
    if options.profile:
        profile(options.profile)
        return 0
    install("valgrind")
    now = versions()
    kept = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"versions": {}, "sessions": {}}
    changed = differences(now, kept["versions"])
    if changed and not options.renew:
        print("skipped: the baseline was counted with others; on such a machine renew it:", RENEW)
        print("\n".join(changed))
        return 0
    counts = count(options.sessions or TIMES)
    if options.renew:
        sessions = {**({} if changed else kept["sessions"]), **counts}
        BASELINE.write_text(json.dumps({"versions": now, "sessions": sessions}, indent=2) + "\n")
        print(f"{BASELINE} is written")
        return 0
    verdicts = compare(counts, kept["sessions"])
    print("\n".join(verdict.text for verdict in verdicts))
    return int(any(verdict.is_dearer for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
