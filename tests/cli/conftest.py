"""What the tests of the commands share: the command line in this process, and as a program."""

from collections.abc import Callable
from pathlib import Path

import pytest

from demyjpy.cli import main

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
