"""Gets the servers that `demyjpy.lookups` is tested against: unpacked, never installed.

Run it as root on Debian: ``python -m tests.integration.fetch_servers``. They are unpacked below
``DEMYJPY_MTA_PREFIX`` like the servers of `tests.integration.fetch_mtas`; only the shared libraries that
they are linked with are installed. What is there already is not fetched again.
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

from tests.integration.fetch_mtas import PREFIX, run_loudly

PROGRAMS: Final = {
    "redis": ("redis-tools", "usr/bin/redis-check-rdb"),  # redis-server is a link to it
    "unbound": ("unbound", "usr/sbin/unbound"),
    "clamav": ("clamav-daemon", "usr/sbin/clamd"),
    "postgresql": ("postgresql-15", "usr/lib/postgresql/15/bin/postgres"),
    "openldap": ("slapd", "usr/sbin/slapd"),
    "prometheus": ("prometheus", "usr/bin/promtool"),
    "logrotate": ("logrotate", "usr/sbin/logrotate"),
}
"""By directory: the package, and the program in it. The last two check `samples/monitoring`."""


def program(name: str, prefix: Path = PREFIX) -> Path:
    """The program of a server."""
    return prefix / name / PROGRAMS[name][1]


def environment(name: str, prefix: Path = PREFIX) -> dict[str, str]:
    """What a server is started with: it finds the libraries that came with it."""
    own = (prefix / name / "usr/lib").glob("*-linux-gnu")
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, own))}


def database_template(prefix: Path = PREFIX) -> Path:
    """An empty data directory of PostgreSQL, to be copied: to make one takes seconds."""
    return prefix / "postgresql/template"


def _make_template(prefix: Path) -> None:
    """PostgreSQL refuses to run as root: it is all nobody's, in a directory that was nobody's before."""
    template = database_template(prefix)
    template.mkdir()
    shutil.chown(template, "nobody", "nogroup")
    initdb = program("postgresql", prefix).with_name("initdb")
    command = [initdb, "-D", template, "-A", "trust", "-U", "filter", "-N"]
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, cwd="/", user="nobody", group="nogroup"
    )


def what_is_missing(name: str, prefix: Path = PREFIX) -> str | None:
    """Why a server cannot run from ``prefix``, or None if it can."""
    if not (prefix / name / ".complete").exists():
        return f"no {name} below {prefix}"
    done = subprocess.run(
        ["ldd", program(name, prefix)],
        env=environment(name, prefix),
        capture_output=True,
        text=True,
        check=False,
    )
    absent = re.findall(r"(\S+) => not found", done.stdout)
    return f"{name} lacks the libraries {', '.join(absent)}" if absent else None


def _unpack(name: str, prefix: Path) -> set[str]:
    """Download and unpack a server; returns the libraries that it depends on."""
    root = prefix / name
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as downloads:
        Path(downloads).chmod(0o777)  # apt downloads as its own user
        run_loudly("apt-get", "download", "-q", PROGRAMS[name][0], cwd=downloads)
        (package,) = Path(downloads).glob("*.deb")
        run_loudly("dpkg", "-x", package, root)
        depends = run_loudly("dpkg-deb", "-f", package, "Depends")
    for directory in (prefix, root):
        directory.chmod(0o755)  # PostgreSQL runs as another user
    names = set(re.findall(r"(?:^|, )(lib[a-z0-9.+-]+)", depends))
    return {name for name in names if not name.startswith("libjs-")}  # pages for browsers


def fetch(prefix: Path = PREFIX) -> None:
    """Unpack the servers and install their libraries, unless all of it is there."""
    reasons = {name: what_is_missing(name, prefix) for name in PROGRAMS}
    wanted = [name for name, reason in reasons.items() if reason]
    if not wanted:
        print(f"{', '.join(PROGRAMS)} are in {prefix}")
        return
    why = "; ".join(str(reasons[name]) for name in wanted)
    if os.geteuid() != 0:
        sys.exit(f"{why}; only root can fetch it")
    print(f"{why}: fetching", flush=True)
    run_loudly("apt-get", "update", "-q")
    libraries = set().union(*(_unpack(name, prefix) for name in wanted))
    options = ("-y", "-q", "--no-install-recommends", "--no-upgrade")
    run_loudly("apt-get", "install", *options, *sorted(libraries))
    if "postgresql" in wanted:
        _make_template(prefix)
    for name in wanted:
        (prefix / name / ".complete").touch()
        still_missing = what_is_missing(name, prefix)
        if still_missing:
            sys.exit(still_missing)


if __name__ == "__main__":
    fetch()
