"""How this program was called, to be typed again."""

import shutil
import sys
from pathlib import Path


def program_name() -> str:
    """``demyjpy``, its path if the shell would not find this one, or ``python -m demyjpy``."""
    called = sys.argv[0]
    if Path(called).name != "demyjpy":
        return "python -m demyjpy"
    found = shutil.which("demyjpy")
    return "demyjpy" if found and Path(found).resolve() == Path(called).resolve() else called
