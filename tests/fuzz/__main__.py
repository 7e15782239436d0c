"""Fuzzing from the command line: ``python -m tests.fuzz --seconds 3600``; 1 if something was found.

Each target gets its share of the time: from atheris where it is installed, which looks for bytes that
reach new code; else from Hypothesis. What is found is kept in ``tests/fuzz/found``, and is a test from
then on (`tests.fuzz.test_fuzz`).
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.fuzz.byhypothesis import look
from tests.fuzz.targets import TARGETS, corpus

FOUND: Final = Path(__file__).parent / "found"
_QUIET: Final = ("-verbosity=0", "-print_final_stats=1")


def by_atheris(target: str, seconds: int, place: Path) -> bool:
    """Whether all went well; libFuzzer's figures go to standard error."""
    for number, data in enumerate(corpus(target)):
        (place / f"{number:04}").write_bytes(data)
    FOUND.mkdir(exist_ok=True)
    options = (f"-max_total_time={seconds}", f"-artifact_prefix={FOUND}/{target}-")
    done = subprocess.run(
        (sys.executable, "-m", "tests.fuzz.byatheris", target, str(place), *options, *_QUIET),
        check=False,
        timeout=2 * seconds + 900,  # atheris reads all modules first: slow on a busy machine
    )
    return done.returncode == 0


def by_hypothesis(target: str, seconds: int) -> bool:
    """The same."""
    found = look(target, time.monotonic() + seconds)
    if found is None:
        return True
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{target}-hypothesis"
    path.write_bytes(found)
    print(f"{target}: kept in {path}", flush=True)
    return False


def main() -> int:
    """Each target in turn."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    known = ", ".join(TARGETS)
    parser.add_argument("target", nargs="*", metavar="TARGET", help=f"among {known} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each (default: 60)")
    parser.add_argument("--with", choices=("atheris", "hypothesis"), dest="means")
    asked = parser.parse_args()
    if unknown := set(asked.target) - {*TARGETS}:
        parser.error(f"expected targets among {known}; got {', '.join(sorted(unknown))}")
    has_atheris = importlib.util.find_spec("atheris") is not None
    means = asked.means or ("atheris" if has_atheris else "hypothesis")
    status = 0
    for target in asked.target or TARGETS:
        print(f"{target}: {asked.seconds} s by {means}", flush=True)
        if means == "atheris":
            with tempfile.TemporaryDirectory(prefix="demyjpy-fuzz-") as place:
                is_well = by_atheris(target, asked.seconds, Path(place))
        else:
            is_well = by_hypothesis(target, asked.seconds)
        print(f"{target}: {'nothing found' if is_well else 'FOUND: see above'}", flush=True)
        status |= not is_well
    return status


if __name__ == "__main__":
    sys.exit(main())
