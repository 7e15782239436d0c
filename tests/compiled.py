"""The compiled engine: builds it into a virtual environment of its own, and runs the engine's tests.

    python3 -m tests.compiled                    # those of CHOSEN
    python3 -m tests.compiled tests/drivers      # what pytest is told

The tests run in a copy of this tree that has no demyjpy, so that they find the one that was built.
It needs a C compiler and Python's headers.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
_APART = (
    *("benchmark_mails", "benchmarks", "build", "cli", "docs", "floors", "house", "plain_english"),
    *("readme", "samples", "tracing_in_turn", "tutorial", "typing"),
)
OTHERS = {f"test_{name}.py" for name in _APART}
"""What is not about the engine, among the tests that are in no folder."""
CHOSEN = (
    *sorted(f"tests/{path.name}" for path in ROOT.glob("tests/test_*.py") if path.name not in OTHERS),
    *(f"tests/{folder}" for folder in ("codec", "conformance", "engine", "wire")),
    "tests/drivers/test_deadlines.py",
)


def run(*command, **options):
    """Run it; if it fails, so does this program."""
    done = subprocess.run([str(part) for part in command], check=False, **options)
    if done.returncode:
        sys.exit(done.returncode)
    return done


def main(arguments):
    with TemporaryDirectory(prefix="demyjpy-compiled-") as name:
        work = Path(name)
        python, tree = work / "venv/bin/python", work / "tree"
        run(sys.executable, "-m", "venv", work / "venv")
        pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        run(*pip, f"{ROOT}[test]", env={**os.environ, "HATCH_BUILD_HOOKS_ENABLE": "1"})
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("demyjpy", ".*", "__pycache__"))
        version = run(python, "-m", "demyjpy", "--version", cwd=tree, stdout=subprocess.PIPE, text=True)
        print(version.stdout, end="", flush=True)
        if not version.stdout.endswith("(compiled engine)\n"):
            sys.exit("expected the engine to be compiled")
        run(python, "-m", "pytest", "-q", "-n", "2", *(arguments or CHOSEN), cwd=tree)


if __name__ == "__main__":
    main(sys.argv[1:])
