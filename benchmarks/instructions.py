"""What a session costs the pure engine in instructions, and whether that has grown.

    python3 -m benchmarks.instructions                    # exit status 1 if one is dearer
    python3 -m benchmarks.instructions --renew            # write this machine's baseline anew
    python3 -m benchmarks.instructions --profile noop     # which functions take its time

Valgrind's callgrind counts the instructions of a session played N times and 2 N times
(`benchmarks.sessions`); the difference is N sessions without the start of the interpreter. It is the
same within half a per cent, whatever else the machine does.

With another build of Python, C library or release of our dependencies the counts are others. The
baseline file holds the counts of several such sets of versions. If one of them is this machine's,
counts are compared. If not, ratios are: a watched session to the same one that nobody watches, another
session to ``noop`` or, of merged filters, to the first of them alone, with those of the nearest set
that has both.

Found with Debian's 3.11.2 and pyenv's 3.11.7 and 3.12.1: ``noop`` takes 14 % more with 3.11.7 and 28 %
more with 3.12.1. Watched ÷ plain differs by less than 2 % (``noop`` with metrics: 1.457, 1.437, 1.434;
with explain: 1.759, 1.741, 1.740). ``bytecount`` ÷ ``noop`` differs by less than 3 %,
``merged`` by up to 9 %. With 3.11.2 and 3.11.7 only, ``refused-recipient`` differs by 4 %,
``body-10mb`` by 11 %.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.home import HERE, PYTHON, ROOT, ensure_venv, install, venv_python

BASELINE: Final = HERE / "instructions.json"
TOLERANCE: Final = 0.03
"""By how much a session may cost more than the baseline says."""
WATCHED_TOLERANCE: Final = 0.03
"""By how much watched ÷ plain may be larger than with another build or version of Python."""
PLAIN_TOLERANCE: Final = 0.12
"""The same for a plain session ÷ ``noop``."""
RENEW: Final = "python3 -m benchmarks.instructions --renew"

WATCHERS: Final = ("metrics", "flight", "explain")
"""Who watches: a session that is watched has the name of one of them behind its own."""

TIMES: Final = {
    "body-10mb": 1,
    "noop": 16,
    "bytecount": 20,
    "merged": 8,
    "merged-noop": 12,
    "merged-waiting": 8,
    "merged-bytecount": 16,
    "refused-recipient": 20,
    "message": 12,
    "by-hand": 16,
    **{f"noop+{watcher}": 16 for watcher in WATCHERS},
    **{f"bytecount+{watcher}": 20 for watcher in WATCHERS},
}
"""Each session, and how often it is played: N. What takes longest comes first."""

ALONE: Final = {"merged-noop": "noop", "merged-bytecount": "bytecount"}
"""Sessions of two merged filters that wait for nothing, and that of the first of the two alone."""

GOALS: Final = {
    "noop+metrics": 1.15,
    "noop+flight": 1.25,
    **dict.fromkeys(ALONE, 1.5),
}
"""How many times the instructions of the plain session a watched one may take: that with 17 answers.

And how many times those of one filter two merged ones may take.
"""

_VENV: Final = "instructions"
_LIMIT: Final = 1200
"""Seconds that one count may take: on a busy machine a minute becomes ten."""
_AT_ONCE: Final = 2
"""Counts at the same time."""


@dataclass(frozen=True)
class Baseline:
    """Counts of sessions, and the versions that they hold for."""

    versions: Mapping[str, str]
    sessions: Mapping[str, int]


@dataclass(frozen=True)
class Verdict:
    """A session beside its baseline: what to print, and whether it costs too much."""

    text: str
    is_dearer: bool = False


def read_baselines() -> list[Baseline]:
    """Those of the file; none if it is not there."""
    kept = json.loads(BASELINE.read_text()) if BASELINE.exists() else []
    return [Baseline(one["versions"], one["sessions"]) for one in kept]


def renewed(baselines: Sequence[Baseline], new: Baseline) -> list[Baseline]:
    """With these counts: in the baseline of the same versions, or in one more."""
    if all(one.versions != new.versions for one in baselines):
        return [*baselines, new]
    return [
        Baseline(one.versions, {**one.sessions, **new.sessions}) if one.versions == new.versions else one
        for one in baselines
    ]


def _version(versions: Mapping[str, str], parts: int) -> list[str]:
    """The first parts of Python's version: two of 3.11.2 are 3.11."""
    found = re.search(r"\b\d+\.\d+\.\d+", versions.get("python", ""))
    return found[0].split(".")[:parts] if found else []


def nearest_first(now: Mapping[str, str], baselines: Iterable[Baseline]) -> list[Baseline]:
    """The baselines of the same Python before others, then those with fewer differences."""

    def distance(one: Baseline) -> tuple[int, ...]:
        then = one.versions
        others = (_version(then, parts) != _version(now, parts) for parts in (2, 3))
        return (*others, len(differences(now, then)))

    return sorted(baselines, key=distance)


def compare(
    counts: Mapping[str, int], now: Mapping[str, str], baselines: Iterable[Baseline]
) -> list[Verdict]:
    """Each session that was counted, beside what the baselines say of it, by count or by ratio."""
    nearest = nearest_first(now, baselines)
    same = next((one.sessions for one in nearest if one.versions == now), {})
    verdicts = []
    for name, count in counts.items():
        if name in same:
            verdicts.append(_judge_count(name, count, same[name]))
        elif (base := base_of(name)) in counts:
            verdicts.append(_judge_ratio(name, base, counts, nearest))
        else:
            verdicts.append(Verdict(f"{name}: {count:,}, not compared, for {base} was not counted"))
    return verdicts


def base_of(name: str) -> str:
    """What a session is compared with if only ratios can be."""
    return name.partition("+")[0] if "+" in name else ALONE.get(name, "noop")


def with_bases(names: Iterable[str], *, is_known: bool) -> list[str]:
    """These sessions and those that they are compared with; ``is_known``: there are counts of them."""
    wanted = set(names)
    bases = {base_of(name) for name in wanted if "+" in name or name in ALONE}
    return [name for name in TIMES if name in wanted | bases | (set() if is_known else {"noop"})]


def how(now: Mapping[str, str], baselines: Iterable[Baseline]) -> str:
    """Whether counts are compared, or ratios, and with what."""
    nearest = nearest_first(now, baselines)
    if not nearest:
        return f"Nothing is compared: there is no baseline; write one: {RENEW}"
    if nearest[0].versions == now:
        return (
            "Counts are compared: there is a baseline of just these versions. Ratios are compared for "
            "what it does not hold."
        )
    return "\n".join(
        (
            "Ratios are compared, not counts: no baseline is of just these versions.",
            f"What makes all sessions dearer is not seen. On such a machine renew it: {RENEW}",
            "The nearest baseline differs in:",
            *(f"- {difference}" for difference in differences(now, nearest[0].versions)),
        )
    )


def _judge_count(name: str, count: int, before: int) -> Verdict:
    change = count / before - 1
    is_dearer = count > before * (1 + TOLERANCE)
    text = f"{name}: {count:,} instructions, {change:+.1%}"
    if is_dearer:
        text += f": expected at most {TOLERANCE:.0%} over {before:,}; profile it, or renew: {RENEW}"
    elif change < -TOLERANCE:
        text += f": cheaper than the baseline; make that the mark: {RENEW}"
    return Verdict(text, is_dearer)


def _judge_ratio(
    name: str,
    base: str,
    counts: Mapping[str, int],
    nearest: Iterable[Baseline],
) -> Verdict:
    if name == base:
        return Verdict(f"{name}: {counts[name]:,} instructions; the others are compared with it")
    ratio = counts[name] / counts[base]
    text = f"{name}: {ratio:.3f} of {base}"
    known = next((one for one in nearest if {name, base} <= one.sessions.keys()), None)
    if known is None:
        return Verdict(f"{text}, not in the baseline; renew it: {RENEW}", True)
    before = known.sessions[name] / known.sessions[base]
    tolerance = WATCHED_TOLERANCE if "+" in name else PLAIN_TOLERANCE
    is_dearer = ratio > before * (1 + tolerance)
    text += f", {ratio / before - 1:+.1%}"
    if is_dearer:
        text += (
            f": expected at most {tolerance:.0%} over {before:.3f} "
            f"({known.versions.get('python', 'unknown')}); profile it, or renew: {RENEW}"
        )
    return Verdict(text, is_dearer)


def judge_goals(counts: Mapping[str, int]) -> list[Verdict]:
    """What watching and merging cost: the ratio to the plain session, or to one filter; the goals.

    A missed goal is printed and does not fail; a count that grows does.
    """
    verdicts = []
    for name, count in counts.items():
        base = base_of(name)
        if not ("+" in name or name in ALONE) or base not in counts:
            continue
        ratio, goal = count / counts[base], GOALS.get(name)
        text = f"{name}: {ratio:.2f} of {base}"
        if goal is not None:
            text += f", at most {goal:.2f}" if ratio <= goal else f": missed the goal of {goal:.2f}"
        verdicts.append(Verdict(text))
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
    with ThreadPoolExecutor(_AT_ONCE) as pool:
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
    baselines = read_baselines()
    wanted = [name for name in TIMES if name in options.sessions] or list(TIMES)
    if not options.renew:  # which leaves what is not named as it was
        wanted = with_bases(wanted, is_known=any(one.versions == now for one in baselines))
    counts = count(wanted)
    if options.renew:
        kept = [asdict(one) for one in renewed(baselines, Baseline(now, counts))]
        BASELINE.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"{BASELINE} is written")
        return 0
    print(how(now, baselines))
    verdicts = [*compare(counts, now, baselines), *judge_goals(counts)]
    print("\n".join(verdict.text for verdict in verdicts))
    return int(any(verdict.is_dearer for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
