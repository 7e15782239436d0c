"""`demyjpy unit`: the units are printed or written, systemd takes them, and what they start serves."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demyjpy.cli.unit_files import Units, quoted
from demyjpy.testing import Postfix, session
from demyjpy.testing.server import Server
from tests.drivers.filters import wait_until
from tests.test_docs import ROOT, blocks

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def _in_opt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python is where the service sees it, wherever the tests run."""
    monkeypatch.setattr(sys, "executable", "/opt/venv/bin/python")


@pytest.mark.usefixtures("_in_opt")
def test_the_units_are_printed_with_what_to_do_next(run: Run) -> None:
    """Both files by name, the command that starts them, and the lines for the MTA."""
    status, output, errors = run("unit", "/opt/filter/my_rules.py:make", "--settings", "/etc/rules.toml")
    assert (status, errors) == (0, "")
    assert "# /etc/systemd/system/my-rules.socket\n[Unit]\n" in output
    assert "ListenStream=/var/spool/postfix/demyjpy/my-rules.sock\n" in output
    assert " run /opt/filter/my_rules.py:make --settings /etc/rules.toml --listen systemd " in output
    assert "systemctl enable --now my-rules.socket my-rules.service\n" in output
    assert "smtpd_milters = unix:demyjpy/my-rules.sock\n" in output


def test_a_module_has_the_name_of_its_last_part(run: Run) -> None:
    """And stays a module."""
    output = run("unit", "company.filters:handlers", "--workers", "2", "--http", ":9100")[1]
    assert "run company.filters:handlers --workers 2 --http :9100 --listen systemd" in output
    assert "/system/filters.service" in output
    assert "/system/filter.service" in run("unit", "/opt/___.py")[1]


@pytest.mark.usefixtures("_in_opt")
def test_what_the_service_would_not_see_is_said(run: Run) -> None:
    """Files in home directories."""
    errors = run("unit", "/home/ann/f.py")[2]
    assert (
        errors == "demyjpy unit: the service will not see /home/ann/f.py: move it, to /opt for example\n"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--name", "My"), "expected as name small letters, digits and hyphens"),
        (("--group", "a b"), "expected as group the name of a group, got 'a b'"),
        (("--socket", "here.sock"), "expected for --socket a path that begins with /"),
        (("--http", "9100x"), "expected a port"),
        (("--socket", "/a\nb"), "expected a word without line ends"),
        (("--to", "/nowhere"), "cannot write /nowhere/f.socket: No such file or directory"),
    ],
)
def test_bad_options_are_refused(run: Run, options: tuple[str, ...], expected: str) -> None:
    """With what was expected."""
    status, output, errors = run("unit", "/opt/f.py", *options)
    assert (status, output, expected in errors) == (2, "", True)


def test_files_that_are_there_stay(run: Run, tmp_path: Path) -> None:
    """Nothing is overwritten."""
    assert run("unit", "/opt/f.py", "--to", tmp_path)[0] == 0
    (tmp_path / "f.socket").write_text("mine")
    status, _, errors = run("unit", "/opt/f.py", "--to", tmp_path)
    assert (status, "expected new files" in errors) == (2, True)
    assert (tmp_path / "f.socket").read_text() == "mine"


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/opt/f.py", "/opt/f.py"),
        ("", '""'),
        ("a b", '"a b"'),
        ('50% $x "q" \\', '"50%% $$x \\"q\\" \\\\"'),
    ],
)
def test_a_word_is_one_word_for_systemd(word: str, written: str) -> None:
    """No specifier, variable or quote in it means anything."""
    assert quoted(word) == written


def test_without_a_script_python_runs_the_module(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where demyjpy is not in the environment of the interpreter itself."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python3"))
    assert f"ExecStart={tmp_path}/python3 -m demyjpy run" in run("unit", "/opt/f.py")[1]


def test_the_units_in_the_docs_are_those_that_are_printed() -> None:
    """To the letter, but for where the program is."""
    printed = [code for _, code in blocks(ROOT / "docs/running.md", "ini")]
    command = next(line for line in printed[1].splitlines() if line.startswith("ExecStart="))
    words = shlex.split(command.removeprefix("ExecStart="))
    files = Units("filter", words, "/run/demyjpy/filter.sock", "postfix").files()
    assert printed == [f"# /etc/systemd/system/{name}\n{text}" for name, text in files.items()]


def test_systemd_finds_nothing_wrong(run: Run, tmp_path: Path) -> None:
    """It says so of each unknown key, bad value, and program that is not there."""
    assert run("unit", ROOT / 'samples/a $b %c "d".py', "--name", "odd", "--to", tmp_path)[0] == 0
    units = [tmp_path / "odd.socket", tmp_path / "odd.service"]
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not on this machine")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_unit_starts_serves_on_the_socket_that_it_is_given(run: Run, tmp_path: Path) -> None:
    """As systemd starts it: when the first connection comes."""
    output = run("unit", ROOT / "samples/bytecount.py", "--socket", tmp_path / "s")[1]
    (command,) = [line for line in output.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(command.removeprefix("ExecStart=").replace("/var/lib/bytecount", str(tmp_path)))
    activate = ["systemd-socket-activate", "-l", str(tmp_path / "s"), *words, "--allow-root"]
    try:
        service = subprocess.Popen(activate, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("systemd-socket-activate is not on this machine")
    try:
        wait_until((tmp_path / "s").exists)
        script = session().mail("ann@example.org").rcpt("bob@example.net").message("Subject: a\n\nb\n")
        result = Server(f"unix:{tmp_path}/s").run(script, mta=Postfix())
        assert result.message.get("X-Message-Size") is not None
    finally:
        service.terminate()
        service.wait()
