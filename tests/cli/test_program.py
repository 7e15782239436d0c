"""The command line as a whole: wrong arguments, help, version, completion."""

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

import pytest

from demyjpy.cli.program import build_parser
from demyjpy.cli.version import version
from demyjpy.engine import hot_path
from tests.cli.filters import BYTECOUNT, ROOT
from tests.cli.milters import start


def test_output_that_nobody_reads_is_no_traceback() -> None:
    """``demyjpy check FILTER | head -1`` ends quietly."""
    read, written = os.pipe()
    os.close(read)
    with start("check", BYTECOUNT, stdout=written) as program:
        os.close(written)
        assert (program.communicate(timeout=30)[1], program.returncode) == ("", 1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "demyjpy: the following arguments are required: COMMAND; see demyjpy --help"),
        (["run"], "demyjpy run: expected a FILTER, or --pymilter FILE; see demyjpy run --help"),
        (["run", "x.py", "--workers", "0"], "expected a whole number from 1, got '0'"),
        (["run", "x.py", "--workers", "two"], "expected a whole number from 1, got 'two'"),
        (
            ["run", "x.py", "--grace", "nan"],
            "expected a number of seconds from 0, at most a year's, got 'nan'",
        ),
        (["run", "x.py", "--idle-timeout", "0"], "expected a number of seconds above 0"),
        (["run", "x.py", "--listen", "foo"], "expected an address such as inet:20025@localhost"),
        (["run", "x.py", "--driver", "gevent"], "invalid choice: 'gevent'"),
        (
            ["run", "x.py", "--work", "2"],
            "demyjpy run: unrecognized arguments: --work 2; did you mean --workers?; see demyjpy run",
        ),
        (["run", "x.py", "--http", "9100x"], "argument --http: expected a port from 0 to 65535"),
        (["run", "x.py", "--listen", "localhost:1"], "did you mean inet:1@localhost?"),
        (["run", "x.py", "--load-timeout", "0"], "expected a number of seconds above 0"),
        (["run", "x.py", "--spool", "-1"], "argument --spool: expected a whole number from 0, got '-1'"),
        (["--work", "run", "x.py"], "demyjpy: unrecognized arguments: --work; see demyjpy --help"),
    ],
)
def test_wrong_arguments_are_told_in_one_line_with_status_2(
    run: Any, arguments: list[str], error: str
) -> None:
    """What was expected and what came, and where to read more."""
    status, output, errors = run(*arguments)
    assert (status, output) == (2, "")
    assert error in errors
    assert errors.count("\n") == 1
    assert errors.endswith("--help\n")


@pytest.mark.parametrize("command", [[], ["run"], ["check"]])
def test_help_has_examples_that_parse(run: Any, command: list[str]) -> None:
    """Each example of a command is one that the parser takes."""
    status, output, _ = run(*command, "--help")
    examples = [line.split()[1:] for line in output.splitlines() if line.startswith("  demyjpy ")]
    assert status == 0
    assert len(examples) >= 3
    for words in examples:
        if words[0] != "--print-completion":
            plain = (
                [word.strip("'") for word in words[: words.index("|")] if word]
                if "|" in words
                else words
            )
            build_parser().parse_args([word.strip("'") for word in plain])


def test_version_is_that_of_the_distribution(run: Any) -> None:
    """Or a word that it is not installed."""
    assert run("--version")[1].startswith(f"demyjpy {version('demyjpy')}")
    assert version("attrs")[0].isdigit()
    assert version("no-such-distribution") == "(not installed)"


@pytest.mark.parametrize(
    ("file", "told"),
    [("hot_path.py", ""), (f"hot_path{EXTENSION_SUFFIXES[0]}", " (compiled engine)")],
)
def test_version_tells_whether_the_engine_is_compiled(
    run: Any, monkeypatch: pytest.MonkeyPatch, file: str, told: str
) -> None:
    """Seen by the file that the engine came from."""
    monkeypatch.setattr(hot_path, "__file__", file)
    assert run("--version") == (0, f"demyjpy {version('demyjpy')}{told}\n", "")


def test_what_a_command_does_not_need_is_not_loaded():
    """A filter starts fast: the trace tools and what extras bring are for others."""
    script = "import sys, demyjpy.cli.commands.run, demyjpy.cli.program; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rare = ("demyjpy.trace", "demyjpy.metrics", "demyjpy.testing", "hypothesis", "prometheus_client")
    assert [name for name in done.stdout.split() if name.startswith(rare)] == []
