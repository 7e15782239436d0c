"""What the tests of the commands share: the command line in this process, and as a program."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from demyjpy.cli import check_play, main
from tests.cli.filters import HEAD

MAIL = (
    b"From: Ann <ann@example.org>\nTo: bob@example.net\nSubject: hi\n"
    b"Date: Fri, 2 Jan 2026 09:30:00 +0100\nMessage-ID: <1@example.org>\n\nhello\n"
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: exit status, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(one) for one in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """A mail in a file."""
    path = tmp_path / "mail.eml"
    path.write_bytes(MAIL)
    return path


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Where a box stores mail."""
    return tmp_path / "mail"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes files into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name: str, text: str) -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))

    return write


@pytest.fixture
def check(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, list[str], list[str]]]:
    """Checks a filter of that text: exit status, problems, notes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(check_play, "_GENERATED", 3)

    def check(text: str, *options: str) -> tuple[int, list[str], list[str]]:
        (tmp_path / "played_filter.py").write_text(HEAD + dedent(text))
        status, output, _ = run("check", "played_filter.py", "--play", "--json", *options)
        found = json.loads(output)
        return status, found["problems"], found["notes"]

    return check
