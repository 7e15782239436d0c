"""What is measured, and with what: installed below ``BENCH_HOME``, built, named with versions.

Each library has a virtual environment of its own with pinned versions, all on one interpreter: Debian's
is built with profile-guided optimisation and 30 % faster than most that one builds oneself.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
HOME: Final = Path(os.environ.get("BENCH_HOME") or Path.home() / ".cache/demyjpy-benchmarks")
PYTHON: Final = os.environ.get("BENCH_PYTHON", "/usr/bin/python3")

LIBMILTER_PEER: Final = HOME / "bin/libmilter_peer"
LOAD: Final = HOME / "bin/load"

PINS: Final = {
    "demyjpy": ("attrs==26.1.0", "pyrsistent==0.20.0", "uvloop==0.23.0", "prometheus-client==0.26.0"),
    "compiled": (
        *("attrs==26.1.0", "pyrsistent==0.20.0", "uvloop==0.23.0"),
        *("cython==3.3.1", "hatchling==1.33.0", "setuptools==80.9.0"),
    ),
    "pymilter": ("pymilter==1.0.5",),
    "kilter": ("kilter.service==0.3.1", "kilter.protocol==0.6.0", "anyio==4.16.0"),
    "ppm": ("purepythonmilter==0.0.1", "attrs==26.1.0"),
    "plm": ("python-libmilter==2.0.0",),
    "instructions": ("attrs==26.1.0", "pyrsistent==0.20.0"),
    "mta": ("attrs==26.1.0", "aiosmtpd==1.4.6", "pyrsistent==0.20.0"),
}
"""What each virtual environment holds. ``demyjpy`` itself is run from the checkout; it is built into
``compiled``."""

_HAS_HEADERS: Final = (
    "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('include'), 'Python.h').stat()"
)


def say(text: str) -> None:
    """Progress, to standard error."""
    print(text, file=sys.stderr, flush=True)


def venv_python(name: str) -> Path:
    """The interpreter of a virtual environment."""
    return HOME / "venv" / name / "bin/python"


def _python_can(statement: str) -> bool:
    return subprocess.run([PYTHON, "-c", statement], capture_output=True, check=False).returncode == 0


def install(*names: str) -> None:
    """Those of these packages of Debian that are not there; `SystemExit` for anyone but root."""
    is_there: dict[str, Callable[[], bool]] = {
        "gcc": lambda: shutil.which("cc") is not None,
        "libc6-dev": Path("/usr/include/stdio.h").exists,
        "libmilter-dev": Path("/usr/include/libmilter/mfapi.h").exists,
        "python3-dev": lambda: _python_can(_HAS_HEADERS),
        "python3-venv": lambda: _python_can("import ensurepip, venv"),
        "valgrind": lambda: shutil.which("valgrind") is not None,
    }
    wanted = [name for name in names if not is_there[name]()]
    if not wanted:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"expected {', '.join(wanted)} to be installed; as root: {' '.join(command)}")
    say(f"+ {' '.join(command)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "-q"], command):
        done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{' '.join(command)} failed")


def _digest() -> str:
    """Of all that a wheel is built from."""
    paths = [ROOT / "pyproject.toml", ROOT / ".ci/hatch_build.py", *ROOT.glob("demyjpy/**/*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()


def ensure_venv(name: str) -> None:
    """Make a virtual environment, unless it is there with just these versions."""
    directory = HOME / "venv" / name
    stamp = directory / "pins"
    pins = "\n".join((PYTHON, *PINS[name], *([_digest()] if name == "compiled" else [])))
    if stamp.exists() and stamp.read_text() == pins:
        return
    say(f"+ {directory}: {' '.join(PINS[name])}")
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([PYTHON, "-m", "venv", directory], check=True, stdout=subprocess.DEVNULL)
    pip = [str(venv_python(name)), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _install_into(directory, [*pip, *PINS[name]], {})
    if name == "compiled":
        build = [*pip, "--no-build-isolation", "--no-deps", str(ROOT)]
        _install_into(directory, build, {"HATCH_BUILD_HOOKS_ENABLE": "1"})
    stamp.write_text(pins)


def _install_into(directory: Path, command: list[str], environment: dict[str, str]) -> None:
    environment = {**os.environ, **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{' '.join(command)} failed for {directory}")


def _build(program: Path, sources: Iterable[Path], *libraries: str) -> None:
    paths = sorted(sources)
    newest = max(path.stat().st_mtime for path in paths)
    if program.exists() and program.stat().st_mtime >= newest:
        return
    program.parent.mkdir(parents=True, exist_ok=True)
    units = [path for path in paths if path.suffix == ".c"]
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, *units, *libraries], check=True)


def set_up(venvs: Iterable[str], *, libmilter: bool) -> None:
    """All that a run needs: the load generator always, the rest as it is asked for."""
    wanted = set(venvs)
    install("gcc", "libc6-dev", *(["python3-venv"] if wanted else []))
    if libmilter or "pymilter" in wanted:
        install("libmilter-dev")
    if wanted & {"pymilter", "compiled"}:  # there are no wheels of these
        install("python3-dev")
    _build(LOAD, (HERE / "load").glob("*.[ch]"))
    if libmilter:
        _build(LIBMILTER_PEER, [HERE / "peers/libmilter_peer.c"], "-lmilter", "-lpthread")
    for name in sorted(wanted):
        ensure_venv(name)
    if "mta" in wanted:  # where that fails, so do the jobs that need them, and say why
        fetch = [sys.executable, str(ROOT / "tests/integration/fetch_mtas.py")]
        subprocess.run(fetch, stdout=subprocess.DEVNULL, check=False)


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return ""
    return done.stdout.split("\n")[0].strip()


def describe() -> dict[str, str]:
    """The machine and the versions, for the head of the page."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    commit = _first_line("git", "describe", "--always", "--dirty", "--abbrev=10")
    return {
        "machine": f"{os.cpu_count()} × {models[0] if models else platform.machine()}, {memory:.0f} GB, "
        f"Linux {platform.release().partition('-')[0]}, {system}",
        "python": _first_line(PYTHON, "-c", "import sys; print(sys.version.split()[0], sys.executable)"),
        "demyjpy": f"commit {commit or 'unknown'}",
        "libmilter": _first_line("dpkg-query", "-W", "-f=${Version}", "libmilter-dev") or "unknown",
        "libraries": ", ".join(
            sorted(
                {
                    pin.replace("==", " ")
                    for name in PINS
                    if name not in ("mta", "instructions")
                    for pin in PINS[name]
                }
            )
        ),
    }
