"""`demyjpy --print-completion`: each shell takes it, and it knows all commands and options."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demyjpy.cli.program import COMMANDS, SHELLS, find_command

shtab = pytest.importorskip("shtab")

Run = Callable[..., tuple[int, str, str]]

OPTIONS = {
    command: [
        name
        for argument in find_command(command).arguments
        for name in argument.names
        if name.startswith("--")
    ]
    for command in COMMANDS
}


@pytest.fixture
def script(run: Run, tmp_path: Path) -> Callable[[str], Path]:
    """The completion for a shell, in a file."""

    def script(shell: str) -> Path:
        status, output, errors = run("--print-completion", shell)
        assert (status, errors) == (0, "")
        path = tmp_path / f"completion.{shell}"
        path.write_text(output)
        return path

    return script


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_it_and_it_knows_commands_and_options(
    shell: str, script: Callable[[str], Path]
) -> None:
    """The shell finds no error in it; each command and option is in it, and files are completed."""
    path = script(shell)
    text = path.read_text()
    words = text.replace("-l ", "--") if shell == "fish" else text
    for command, options in OPTIONS.items():
        assert command in words
        assert [one for one in options if one not in words] == []
    files = {"bash": "_shtab_compgen_files", "zsh": ":_files", "fish": "__fish_complete_path"}
    assert files[shell] in text
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not on this machine")
    done = subprocess.run([program, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completes_each_command_and_its_options(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    """As it would for somebody who types: commands, the options of each, words, files."""
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not on this machine")
    (tmp_path / "my_filter.py").write_text("")
    lines = ["", *(f"{command} --" for command in COMMANDS), "run --driver ", "run my_f"]
    asking = [f"echo '== {line}'; complete -C 'demyjpy {line}'" for line in lines]
    code = "\n".join([f"source {script('fish')}", *asking])
    done = subprocess.run(
        [fish, "--no-config", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    blocks = [block.splitlines() for block in done.stdout.split("== ")[1:]]
    told = {block[0]: {line.partition("\t")[0] for line in block[1:]} for block in blocks}
    assert told[""] == set(COMMANDS)
    for command, options in OPTIONS.items():
        assert set(options) <= told[f"{command} --"], command
    assert told["run --driver "] == {"asyncio", "threads"}
    assert told["run my_f"] == {"my_filter.py"}


def test_without_shtab_it_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    error = "demyjpy: completion needs shtab: pip install 'demyjpy[completion]'\n"
    assert run("--print-completion", "zsh") == (1, "", error)


def test_an_old_shtab_does_not_know_fish(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says which does."""
    monkeypatch.setattr(shtab, "SUPPORTED_SHELLS", ["bash", "zsh"])
    status, output, errors = run("--print-completion", "fish")
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("demyjpy: completion for fish needs shtab 1.13 or later, got ")
