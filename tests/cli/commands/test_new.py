"""`demyjpy new`: a project whose tests pass, made whole or not at all."""

import resource
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demyjpy.cli.project_files import REQUIREMENT, Project
from tests.test_docs import ROOT

Run = Callable[..., tuple[int, str, str]]


def made_in(directory: Path) -> list[str]:
    """All that lies there."""
    return sorted(str(one.relative_to(directory)) for one in directory.rglob("*"))


@pytest.fixture
def project(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project, as the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    status, output, errors = run("new", "no-programs")
    assert (status, errors) == (0, "")
    assert output.startswith("made no-programs, a filter that refuses attached programs:\n")
    directory = tmp_path / "no-programs"
    for path in (one for one in directory.rglob("*") if one.is_file()):
        assert f"\n  {path.relative_to(directory)}\n" in output
    monkeypatch.chdir(directory)
    return directory


def test_its_tests_pass_and_its_style_is_clean(project: Path) -> None:
    """By pytest, with the configuration of the project, and by ruff. Types: `tests.test_typing`."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    python = [sys.executable, "-W", "error", "-m", "pytest", *options]
    done = subprocess.run(python, cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1][:8]) == (0, "2 passed"), done.stdout
    chosen = ["--select", "A,ANN,B,C4,D,E,F,I,N,PL,PT,PTH,RUF,SIM,UP,W", "--ignore", "D203,D213,D401"]
    for options in (["check", *chosen], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *options, "--isolated", "--no-cache", "."]
        done = subprocess.run(ruff, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_filter_is_one_that_check_and_the_unit_know(run: Run, project: Path) -> None:
    """Nothing is wrong with it, by its file and by the module that the service names."""
    service = (project / "systemd/no-programs.service").read_text()
    (command,) = [line for line in service.splitlines() if line.startswith("ExecStart=")]
    assert command.startswith("ExecStart=/opt/no-programs/bin/demyjpy run no_programs --listen systemd ")
    for name in ("no_programs.py", "no_programs"):
        status, output, errors = run("check", name)
        assert (status, errors) == (0, "")
        assert output.endswith("Nothing wrong found.\n")


def test_its_files_are_consistent(project: Path) -> None:
    """The distribution has the module, wants this demyjpy, and the page names what is there."""
    about = tomllib.loads((project / "pyproject.toml").read_text())
    assert about["project"]["name"] == "no-programs"
    assert about["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["no_programs.py"]
    (wanted,) = about["project"]["dependencies"]
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    low, high = ([int(part) for part in one.split(".")] for one in ("0.1", "0.2"))
    assert wanted == REQUIREMENT == "demyjpy>=0.1,<0.2"
    assert low <= [int(part) for part in ours.split(".")] < high
    page = (project / "README.md").read_text()
    for part in ("no_programs.py", "smtpd_milters = unix:demyjpy/no-programs.sock", "$smtpd_milters"):
        assert part in page
    units = {one.name for one in (project / "systemd").iterdir()}
    assert units == {"no-programs.service", "no-programs.socket"}
    assert f"cp systemd/{' systemd/'.join(sorted(units, reverse=True))} /etc" in page
    assert "handlers" in runpy.run_path(str(project / "no_programs.py"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My", "expected as name at most 40 small letters, digits and single hyphens"),
        ("a--b", "single hyphens, a letter first, got 'a--b'"),
        ("a-", "got 'a-'"),
        ("../a", "got '../a'"),
        ("a" * 41, "at most 40"),
        (
            "class",
            "expected a name that neither Python nor demyjpy uses, got 'class': take class-filter",
        ),
        ("email", "got 'email': take email-filter for example"),
        ("demyjpy", "got 'demyjpy'"),
    ],
)
def test_a_bad_name_is_refused(run: Run, tmp_path: Path, name: str, expected: str) -> None:
    """With what was expected, and nothing is made."""
    status, output, errors = run("new", name, "--to", tmp_path / "new")
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert expected in errors
    assert made_in(tmp_path) == []


def test_the_longest_name_makes_files_that_are_formatted_well() -> None:
    """No line with the name in it becomes too long for ruff's 88."""
    project = Project("a" * 40)
    texts = [text for path, text in project.files().items() if path.endswith(".py")]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 88


@pytest.mark.parametrize(("to", "advice"), [([], "--to DIRECTORY"), (["--to", "."], "--to rules")])
def test_what_is_there_stays(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: list[str], advice: str
) -> None:
    """A directory, a file or a dangling link; the message says what to do."""
    monkeypatch.chdir(tmp_path)
    Path("rules").symlink_to("nowhere")
    status, output, errors = run("new", "rules", *to)
    where = to[1] if to else "rules"
    said = (
        f"expected a new directory, got {where}, which is there already: remove it, or give {advice}\n"
    )
    assert (status, output, errors) == (2, "", f"demyjpy new: {said}")
    assert made_in(tmp_path) == ["rules"]


def test_where_nothing_can_be_made_it_says_so(run: Run, tmp_path: Path) -> None:
    """Below a directory that is not there, and below a file."""
    (tmp_path / "file").write_text("")
    for parent, why in (("none", "No such file or directory"), ("file", "Not a directory")):
        where = tmp_path / parent / "rules"
        status, output, errors = run("new", "rules", "--to", where)
        assert (status, output) == (2, "")
        assert errors == f"demyjpy new: cannot make {where}: {why}\n"
    assert made_in(tmp_path) == ["file"]


def test_a_disk_that_is_full_leaves_nothing_half_made(run: Run, tmp_path: Path) -> None:
    """A limit on the size of files stands for it."""
    before: Any = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        status, output, errors = run("new", "rules", "--to", tmp_path / "rules")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (status, output) == (2, "")
    assert errors == f"demyjpy new: cannot make {tmp_path}/rules: File too large\n"
    assert made_in(tmp_path) == []
