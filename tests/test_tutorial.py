"""docs/tutorial.md, followed word for word: the file grows, and runs at each step.

What lives here: what a reader does up to step 10, and that each command prints what the page shows.
What must not: Postfix. The lines of its log in step 11 are copies of real ones.
"""

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demyjpy.cli.program import main
from demyjpy.drivers import running

PAGE = Path(__file__).parents[1] / "docs/tutorial.md"
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
MAIL = "From: ann@example.org\nTo: bob@example.net\n\nAt one?\n"
LISTEN = "inet:20025@127.0.0.1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory, and Python without the reader's module before and after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("subject", None)
    yield tmp_path
    sys.modules.pop("subject", None)


def steady(text: str) -> list[str]:
    """The lines without what differs from run to run: queue ids and seconds."""
    return re.sub(r"(?<=queued as )\w+|[\d.]+(?= s:)", "...", text).splitlines()


def command_of(code: str) -> list[str]:
    """The arguments of the one ``demyjpy`` in a shell block; of none if there is none."""
    found = re.search(r"^\.venv/bin/demyjpy (.+)$", code, re.MULTILINE)
    return shlex.split(found[1]) if found else []


def play(command: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints: against the reader's filter if it needs one that serves."""
    if command[0] != "send":
        sys.modules.pop("subject", None)
        assert main(command) == 0
        return capsys.readouterr().out
    Path("mail.eml").write_text(MAIL, encoding="ascii")
    with running(runpy.run_path(str(file))["everything"]) as address:
        assert main([address if part == LISTEN else part for part in command]) == 1
    return capsys.readouterr().out


def test_the_tutorial_can_be_followed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After each block the file runs and its tests pass; each command prints what is below it."""
    file = place / "subject.py"
    printed, compared, passed = "", 0, set[str]()
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        command = command_of(block["code"]) if block["language"] == "sh" else []
        if block["language"] == "python":
            with file.open("a", encoding="utf-8") as text:
                text.write(block["code"] + "\n")
            for name, value in runpy.run_path(str(file)).items():
                if name.startswith("test_"):
                    value()
                    passed.add(name)
        elif command and command[0] == "run":
            assert command == ["run", "subject.py:everything", "--listen", LISTEN]
        elif command:
            printed = play(command, file, capsys)
        elif block["language"] == "text" and printed:
            shown = [line for line in steady(block["code"]) if line != "[...]"]
            assert [line for line in shown if line not in steady(printed)] == []
            printed, compared = "", compared + 1
    assert (len(passed), compared) == (7, 3)
