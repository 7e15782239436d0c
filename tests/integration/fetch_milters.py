"""Gets what is not ours for the integration tests: OpenDKIM, pymilter, a filter in C, and miltertest.

Run it as root on Debian: ``python -m tests.integration.fetch_milters``. OpenDKIM and miltertest are
unpacked below ``DEMYJPY_MTA_PREFIX`` like the servers of `tests.integration.fetch_mtas`, pymilter is
built in a virtual environment there, and the filter in C is compiled there. Only libraries and a
compiler are installed. What is there already is not fetched again.
"""

# ruff: noqa: T201  (a program that says what it does)
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Final

from tests.integration.fetch_mtas import PREFIX, run_loudly

PYMILTER: Final = "pymilter==1.0.5"
SOURCE: Final = Path(__file__).with_name("milters") / "c_filter.c"

UNPACKED: Final = ("opendkim", "opendkim-tools", "miltertest")
BUILD: Final = ("libmilter-dev", "gcc", "libc6-dev")


def opendkim(prefix: Path = PREFIX) -> Path:
    """OpenDKIM's filter."""
    return prefix / "opendkim/usr/sbin/opendkim"


def opendkim_genkey(prefix: Path = PREFIX) -> Path:
    """The program that makes a key for it."""
    return prefix / "opendkim/usr/sbin/opendkim-genkey"


def miltertest(prefix: Path = PREFIX) -> Path:
    """OpenDKIM's MTA for tests, driven by Lua scripts."""
    return prefix / "opendkim/usr/bin/miltertest"


def pymilter_python(prefix: Path = PREFIX) -> Path:
    """A Python that has pymilter."""
    return prefix / "pymilter/bin/python"


def c_filter(prefix: Path = PREFIX) -> Path:
    """The filter in C, over libmilter; one of another source has another name."""
    return prefix / f"c_filter-{zlib.crc32(SOURCE.read_bytes()):08x}"


def what_is_missing(prefix: Path = PREFIX) -> str | None:
    """Why the foreign milters cannot run from ``prefix``, or None if they can."""
    for program in (opendkim(prefix), miltertest(prefix), c_filter(prefix)):
        reason = _lacks(program)
        if reason:
            return reason
    return None if _has_pymilter(prefix) else f"{pymilter_python(prefix)} cannot import Milter"


def _lacks(program: Path) -> str | None:
    """Why a program cannot run, or None if it can."""
    if not program.exists():
        return f"no {program.name} below {program.parent}"
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    absent = re.findall(r"(\S+) => not found", done.stdout)
    return f"{program.name} lacks the libraries {', '.join(absent)}" if absent else None


def _has_pymilter(prefix: Path) -> bool:
    python = pymilter_python(prefix)
    command = [python, "-c", "import Milter"]
    return python.exists() and not subprocess.run(command, capture_output=True, check=False).returncode


def _can_build() -> bool:
    """Whether there is a compiler, and the header of libmilter."""
    return shutil.which("cc") is not None and Path("/usr/include/libmilter/mfapi.h").exists()


def _unpack(prefix: Path) -> set[str]:
    """Download and unpack OpenDKIM and its tools; returns the libraries that they depend on."""
    root = prefix / "opendkim"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    libraries: set[str] = set()
    with tempfile.TemporaryDirectory() as downloads:
        Path(downloads).chmod(0o777)  # apt downloads as its own user
        run_loudly("apt-get", "download", "-q", *UNPACKED, cwd=downloads)
        for package in sorted(Path(downloads).glob("*.deb")):
            run_loudly("dpkg", "-x", package, root)
            depends = run_loudly("dpkg-deb", "-f", package, "Depends")
            libraries |= set(re.findall(r"(?:^|, )(lib[a-z0-9.+-]+)", depends))
    return libraries


def _build_pymilter(prefix: Path) -> None:
    """Build pymilter where it can be imported."""
    environment = prefix / "pymilter"
    shutil.rmtree(environment, ignore_errors=True)
    run_loudly(sys.executable, "-m", "venv", environment)
    pip = (environment / "bin/pip", "install", "-q", "--disable-pip-version-check")
    run_loudly(*pip, PYMILTER)


def _compile(prefix: Path) -> None:
    """Compile the filter in C."""
    run_loudly("cc", "-Wall", "-O1", "-o", c_filter(prefix), SOURCE, "-lmilter", "-lpthread")


def fetch(prefix: Path = PREFIX) -> None:
    """Unpack and build all of it, unless it is there."""
    reason = what_is_missing(prefix)
    if reason is None:
        print(f"opendkim, miltertest, pymilter and the filter in C are in {prefix}")
        return
    if os.geteuid() != 0:
        sys.exit(f"{reason}; only root can fetch it")
    print(f"{reason}: fetching", flush=True)
    prefix.mkdir(parents=True, exist_ok=True)
    if any(_lacks(program) for program in (opendkim(prefix), miltertest(prefix))) or not _can_build():
        run_loudly("apt-get", "update", "-q")
        libraries = _unpack(prefix)
        options = ("-y", "-q", "--no-install-recommends", "--no-upgrade")
        run_loudly("apt-get", "install", *options, *BUILD, *sorted(libraries))
    if not _has_pymilter(prefix):
        _build_pymilter(prefix)
    if _lacks(c_filter(prefix)):
        _compile(prefix)
    still_missing = what_is_missing(prefix)
    if still_missing:
        sys.exit(still_missing)


if __name__ == "__main__":
    fetch()
