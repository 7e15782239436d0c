"""A script of pymilter's says how it logs, although the command line has a log."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from demyjpy.cli.logs import logging_to
from demyjpy.cli.script_logging import as_scripts_log

ROOT = logging.getLogger()
OURS = logging.getLogger("demyjpy")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The log of the command line. There is no other, and none of pytest's, until the test ends."""
    before = ROOT.handlers[:]
    ROOT.handlers.clear()
    with logging_to(str(tmp_path / "log"), "info", as_json=False):
        yield tmp_path / "log"
    for handler in ROOT.handlers:
        handler.close()
    ROOT.handlers[:] = before
    assert (OURS.handlers, OURS.level, OURS.propagate) == ([], logging.NOTSET, True)


def say(word: str) -> None:
    """As the script, and as the library."""
    ROOT.info(f"script {word}")
    OURS.info(f"library {word}")


def said_in(path: Path) -> list[str]:
    """The last two words of each line."""
    return [" ".join(line.split()[-2:]) for line in path.read_text().splitlines()]


def test_what_a_script_says_of_its_log_holds(log: Path, tmp_path: Path) -> None:
    """Its file has its records, the command line's log those of the library; so it is after a reload."""
    for turn in ("one", "two"):
        with as_scripts_log():
            OURS.info(f"library load-{turn}")
            logging.basicConfig(filename=tmp_path / turn, level="DEBUG", format="- %(message)s")
            logging.info("session meanwhile")  # noqa: LOG015  # as scripts do
        say(turn)
    assert said_in(tmp_path / "one") == ["session meanwhile", "script one"]
    assert said_in(tmp_path / "two") == ["session meanwhile", "script two"]
    words = ("load-one", "one", "load-two", "two")
    assert said_in(log) == [f"library {word}" for word in words]


def test_a_script_that_says_nothing_of_its_log_logs_into_ours(log: Path, tmp_path: Path) -> None:
    """Also one that said something before it was edited, and if a session logs meanwhile."""
    with as_scripts_log():
        logging.info("lost")  # noqa: LOG015  # as scripts do
    say("one")
    with as_scripts_log():
        logging.basicConfig(filename=tmp_path / "own", level="INFO")
    with as_scripts_log():
        pass
    say("two")
    assert said_in(log) == ["script one", "library one", "script two", "library two"]
    assert said_in(tmp_path / "own") == []


@pytest.mark.parametrize("is_set", [False, True])
def test_a_script_that_fails_leaves_all_as_it_was(log: Path, tmp_path: Path, is_set: bool) -> None:
    """Whatever the one before had said."""
    if is_set:
        with as_scripts_log():
            logging.basicConfig(filename=tmp_path / "before", level="INFO", format="- %(message)s")
    with suppress(ZeroDivisionError), as_scripts_log():
        logging.basicConfig(filename=tmp_path / "failed", level="DEBUG")
        raise ZeroDivisionError
    say("after")
    assert said_in(log) == (["library after"] if is_set else ["script after", "library after"])
    assert not is_set or said_in(tmp_path / "before") == ["script after"]
    assert said_in(tmp_path / "failed") == []
