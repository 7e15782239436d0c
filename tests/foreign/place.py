"""A Debian of its own in a directory, in which the packaged milters are installed and run.

Nothing of it is installed on this machine, and none of its services is started but by us.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.integration.fetch_mtas import PREFIX, run_loudly

ROOT: Final = PREFIX / "foreign"
SUITE: Final = "bookworm"
PACKAGES: Final = (
    "opendkim",
    "opendkim-tools",
    "opendmarc",
    "rspamd",
    "clamav-milter",
    "clamav-daemon",
    "spamass-milter",
    "spamassassin",
    "spamd",
    "dkimpy-milter",
    "pyspf-milter",
    "mailfromd",
    "mimedefang",
    "amavisd-milter",
)
PYTHON_PACKAGES: Final = (
    "python-libmilter==2.0.0",
    "kilter.service==0.3.1",
    "kilter.protocol==0.6.0",
    "anyio==4.16.0",
)


def mirror() -> str:
    """Where this machine gets its packages from."""
    lists = Path("/etc/apt")
    for path in (lists / "sources.list", *sorted((lists / "sources.list.d").glob("debian*"))):
        found = (
            re.search(r"^(?:URIs:|deb(?: \[.*?\])?) (\S+)", path.read_text(), re.MULTILINE)
            if path.exists()
            else None
        )
        if found:
            return found[1]
    sys.exit("expected a Debian machine, with the mirror in /etc/apt")


def install() -> None:
    """Make it, unless it is there."""
    if (ROOT / ".complete").exists():
        return
    if os.geteuid() != 0:
        sys.exit("only root can make a Debian of its own")
    if shutil.which("debootstrap") is None:
        run_loudly("apt-get", "install", "-y", "-q", "debootstrap")
    if not (ROOT / "usr/bin/apt-get").exists():
        run_loudly("debootstrap", "--variant=minbase", SUITE, ROOT, mirror())
    refuse = ROOT / "usr/sbin/policy-rc.d"  # no package starts its service
    refuse.write_text("#!/bin/sh\nexit 101\n")
    refuse.chmod(0o755)
    shutil.copy("/etc/hosts", ROOT / "etc/hosts")
    shutil.copy("/etc/resolv.conf", ROOT / "etc/resolv.conf")
    for sources in Path("/etc/apt/sources.list.d").glob("debian*"):
        shutil.copy(sources, ROOT / "etc/apt/sources.list.d")
    run_loudly("chroot", ROOT, "apt-get", "update", "-q")
    run_loudly("chroot", ROOT, "apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES)
    # nobody answers there: a name cannot be looked up, at once
    (ROOT / "etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (ROOT / ".complete").touch()


def python() -> Path:
    """An interpreter with the milter libraries of PyPI."""
    environment = PREFIX / "foreign-python"
    if not (environment / ".complete").exists():
        shutil.rmtree(environment, ignore_errors=True)
        run_loudly(sys.executable, "-m", "venv", environment)
        run_loudly(environment / "bin/pip", "install", "-q", *PYTHON_PACKAGES)
        (environment / ".complete").touch()
    return environment / "bin/python"


def new_directory() -> Path:
    """One in it for a milter's files, open to the users that milters become."""
    path = Path(tempfile.mkdtemp(prefix="milter-", dir=ROOT / "run"))
    path.chmod(0o755)
    return path


def inside(path: Path) -> str:
    """A path as the milters see it."""
    return f"/{path.relative_to(ROOT)}"
