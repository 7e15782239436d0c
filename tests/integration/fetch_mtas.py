"""Gets a real Postfix and a real Sendmail for the integration tests: unpacked, never installed.

Run it as root on Debian: ``python -m tests.integration.fetch_mtas``. Only the shared libraries that
the servers are linked with, m4 and netbase are installed; the servers themselves are unpacked below
``DEMYJPY_MTA_PREFIX`` (by default ``/var/tmp/demyjpy-mta``), so that their packages cannot conflict and
none of their maintainer scripts runs. What is there already is not fetched again.
"""

# ruff: noqa: T201  (a program that says what it does)
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

PREFIX: Final = Path(os.environ.get("DEMYJPY_MTA_PREFIX", "/var/tmp/demyjpy-mta"))
"""Where the servers are unpacked: one directory each."""

PACKAGES: Final = {
    "postfix": ("postfix",),
    "sendmail": ("sendmail-bin", "sendmail-base", "sendmail-cf"),
}

PROGRAMS: Final = {
    "postfix": "usr/lib/postfix/sbin/smtpd",
    "sendmail": "usr/libexec/sendmail/sendmail",
}

TOOLS: Final = ("m4", "netbase")
"""m4 makes sendmail.cf; netbase names the ports and protocols."""


def library_path(prefix: Path = PREFIX) -> str:
    """Where Postfix's own shared libraries lie."""
    return str(prefix / "postfix/usr/lib/postfix")


def what_is_missing(prefix: Path = PREFIX) -> str | None:
    """Why the servers cannot run from ``prefix``, or None if they can."""
    for name, program in PROGRAMS.items():
        if not (prefix / name / ".complete").exists():
            return f"no {name} below {prefix}"
        libraries = subprocess.run(
            ["ldd", prefix / name / program],
            env={**os.environ, "LD_LIBRARY_PATH": library_path(prefix)},
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        absent = re.findall(r"(\S+) => not found", libraries)
        if absent:
            return f"{name} lacks the libraries {', '.join(absent)}"
    return None if shutil.which("m4") else "m4 is not installed"


def run_loudly(*command: str | Path, cwd: str | None = None) -> str:
    """Run a command as shown on stdout; its own output only matters if it fails."""
    print("+", *command, flush=True)
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{command[0]} failed with exit status {done.returncode}")
    return done.stdout


def _unpack(name: str, prefix: Path) -> set[str]:
    """Download and unpack the packages of one server; returns the libraries that they depend on."""
    root = prefix / name
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    libraries: set[str] = set()
    with tempfile.TemporaryDirectory() as downloads:
        Path(downloads).chmod(0o777)  # apt downloads as its own user
        run_loudly("apt-get", "download", "-q", *PACKAGES[name], cwd=downloads)
        for package in sorted(Path(downloads).glob("*.deb")):
            run_loudly("dpkg", "-x", package, root)
            depends = run_loudly("dpkg-deb", "-f", package, "Depends")
            libraries |= set(re.findall(r"(?:^|, )(lib[a-z0-9.+-]+)", depends))
    for directory in (prefix, root):
        directory.chmod(0o755)  # Postfix's user walks in here
    (root / PROGRAMS[name]).chmod(0o755)  # Sendmail without its setgid bit: root runs it
    return libraries


def fetch(prefix: Path = PREFIX) -> None:
    """Unpack the servers and install their libraries, unless all of it is there."""
    reason = what_is_missing(prefix)
    if reason is None:
        print(f"{' and '.join(PACKAGES)} are in {prefix}")
        return
    if os.geteuid() != 0:
        sys.exit(f"{reason}; only root can fetch it")
    print(f"{reason}: fetching", flush=True)
    run_loudly("apt-get", "update", "-q")
    libraries = set().union(*(_unpack(name, prefix) for name in PACKAGES))
    options = ("-y", "-q", "--no-install-recommends", "--no-upgrade")
    run_loudly("apt-get", "install", *options, *TOOLS, *sorted(libraries))
    for name in PACKAGES:
        (prefix / name / ".complete").touch()
    still_missing = what_is_missing(prefix)
    if still_missing:
        sys.exit(still_missing)


if __name__ == "__main__":
    fetch()
