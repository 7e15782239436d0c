"""docs/production.md: its commands run as they are written, in a scratch root, and systemd takes it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import frozen

from demyjpy import define_event_handlers, running
from demyjpy.cli.observers import LIMITS
from demyjpy.cli.program import build_parser
from tests.test_docs import ROOT, blocks, read

PAGE = ROOT / "docs/production.md"
OUTSIDE = re.compile(r"/(?=(?:opt|etc|var|usr/src)/)")
"""Where a path of the page begins that is in the scratch root."""

FAKES = ["apt-get", "systemctl", "postconf", "adduser", "curl", "promtool", "journalctl"]
"""Programs of the machine, which are only noted."""

NOTE = '#!/bin/sh\necho "${0##*/} $*" >>"$NOTES"\n'
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 1
mkdir -p "$3/bin"
ln -s {python} "$3/bin/python"
printf '#!/bin/sh\\nexec "${{0%%/*}}/python" -m demyjpy "$@"\\n' >"$3/bin/demyjpy"
cp {note} "$3/bin/pip"
chmod +x "$3/bin/demyjpy"
"""
"""Makes an environment that has the packages of the tests, by PYTHONPATH, and a pip that is noted."""


@frozen
class Scratch:
    """A root in which the page was followed: what was noted, and what was printed."""

    root: Path
    noted: str
    printed: str


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """All shell blocks of the page, one after another; the first command that fails ends it."""
    root = tmp_path_factory.mktemp("scratch")
    for name in ("bin", "work", "etc/logrotate.d", "etc/prometheus", "etc/systemd/system", "opt"):
        (root / name).mkdir(parents=True)
    (root / "var/spool/postfix/demyjpy").mkdir(parents=True)
    (root / "usr/src").mkdir(parents=True)
    (root / "usr/src/demyjpy").symlink_to(ROOT)
    for name in FAKES:
        (root / "bin" / name).write_text(NOTE)
    note = root / "bin/systemctl"
    (root / "bin/python3").write_text(PYTHON.format(python=sys.executable, note=note))
    for program in (root / "bin").iterdir():
        program.chmod(0o755)
    (root / "work/rules.py").write_text(read(ROOT / "samples/bytecount.py"))
    (root / "work/mail.eml").write_text("Subject: a\n\nb\n")
    script = "".join(code for _, code in blocks(PAGE, "sh"))
    packages = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    with running(define_event_handlers(), address=f"unix:{root}/var/spool/postfix/demyjpy/rules.sock"):
        done = subprocess.run(
            ["sh", "-eu"],
            input=OUTSIDE.sub(f"{root}/", script),
            cwd=root / "work",
            env={
                "PATH": f"{root}/bin:{os.environ['PATH']}",
                "NOTES": str(root / "notes"),
                "PYTHONPATH": packages,
                "LANG": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return Scratch(root, (root / "notes").read_text().replace(f"{root}/", "/"), done.stdout)


def test_the_page_is_followed_to_its_end(scratch: Scratch) -> None:
    """What is asked of the machine, in order; the way back leads to the first environment."""
    assert (scratch.root / "opt/filter/current").readlink() == Path("venv-1")
    assert scratch.printed.count("Nothing wrong found") == 3
    assert "accepted" in scratch.printed
    assert scratch.noted.splitlines()[0].startswith("apt-get install -y python3-venv")
    assert re.findall(r"systemctl (\w+)(?: \S+)* (\S+)", scratch.noted) == [
        *(("enable", "rules.service"), ("reload", "postfix"), ("reload", "rules.service")),
        *(("restart", "rules.service"), ("restart", "rules.service")),
    ]
    assert "postconf -e smtpd_milters = unix:demyjpy/rules.sock\n" in scratch.noted
    before = scratch.root / "opt/filter/rules.py.before"
    assert before.read_text() == (scratch.root / "opt/filter/rules.py").read_text()


def test_the_unit_starts_what_current_names(scratch: Scratch) -> None:
    """Else the next version would not be started by a restart."""
    text = (scratch.root / "etc/systemd/system/rules.service").read_text()
    (command,) = re.findall(r"(?m)^ExecStart=(.*)", text)
    assert command.startswith(f"{scratch.root}/opt/filter/current/bin/demyjpy run ")


def test_systemd_takes_the_units_with_what_the_page_adds(scratch: Scratch) -> None:
    """Both files of the page are drop-ins, and their command is the unit's own with one option more."""
    units = scratch.root / "etc/systemd/system"
    (own,) = re.findall(r"(?m)^ExecStart=(.*)", (units / "rules.service").read_text())
    for _, code in blocks(PAGE, "ini"):
        where, _, text = code.partition("\n")
        path = scratch.root / where.removeprefix("# /")
        path.parent.mkdir(exist_ok=True)
        path.write_text(OUTSIDE.sub(f"{scratch.root}/", text))
    added = (units / "rules.service.d/override.conf").read_text()
    (longer,) = re.findall(r"(?m)^ExecStart=(.+)", added)
    plain = longer.replace(f"{scratch.root}/var/lib", "/var/lib")
    assert plain == f"{own} --capsules /var/lib/rules/capsules"
    build_parser().parse_args(shlex.split(longer)[1:])
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", units / "rules.socket", units / "rules.service"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not on this machine")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_has_the_defaults_that_there_are() -> None:
    """The table of files that grow says what the options say."""
    text = read(PAGE)
    for observer, name, default, words in (
        ("flight", "files", 1000, "1,000 files, 64 MiB, 7 days"),
        ("flight", "disk", 64 << 20, "1,000 files, 64 MiB, 7 days"),
        ("flight", "days", 7, "1,000 files, 64 MiB, 7 days"),
        ("capsules", "most", 100, "100 files, 256 MiB"),
        ("capsules", "disk", 256 << 20, "100 files, 256 MiB"),
        ("record", "files", 10_000, "10,000 files or 10 GiB"),
        ("record", "disk", 10 << 30, "10,000 files or 10 GiB"),
    ):
        assert f"(default: {default})" in str(LIMITS[observer][name])
        assert words in text
    assert build_parser().parse_args(["run", "rules.py"]).grace == 30
    assert "`--grace` says how long that may take, 30 s" in text
