"""Under coverage no thread ends before it has begun."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MANY_THREADS = """
import sys, threading
sys.addaudithook(lambda event, args: [None for _ in range(20)] and None)
sys.setswitchinterval(1e-6)
died, ran = [], []
threading.excepthook = lambda one: died.append(one.exc_value)
sys.unraisablehook = lambda one: died.append(one.exc_value)
for _ in range(200):
    threads = [threading.Thread(target=ran.append, args=(1,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(sys.gettrace() is not None, len(ran), died)
"""


def test_threads_under_coverage_install_their_tracing_in_turn(tmp_path: Path) -> None:
    """Without the plugin some of so many die."""
    settings = {
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
        "COVERAGE_FILE": str(tmp_path / "data"),
    }
    found = subprocess.run(
        [sys.executable, "-c", MANY_THREADS],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (found.stdout, found.stderr) == ("True 1600 []\n", "")
