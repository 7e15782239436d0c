"""``demyjpy new``: a directory with a filter, its tests, and all that they need to be served."""

import argparse
import os
import secrets
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from demyjpy.cli.arguments import Command, argument
from demyjpy.cli.errors import InputError, failing_to
from demyjpy.cli.output import say
from demyjpy.cli.program_name import program_name
from demyjpy.cli.project_files import Project

_EPILOG: Final = """\
examples:
  demyjpy new no-programs
  demyjpy new my-rules --to ~/filters/my-rules
  demyjpy demo no-programs/no_programs.py

The filter refuses mail with attached programs: a rule to keep, or to replace with yours. Its tests pass
(python -m pytest in the new directory, with pytest installed).
The directory is made whole or not at all. One that is there already is left alone.
Exit status: 0; 2 if the name is wrong or the directory cannot be made.
"""


def new(arguments: argparse.Namespace) -> int:
    """``demyjpy new``: 0."""
    try:
        project = Project(arguments.name)
    except ValueError as error:
        raise InputError(str(error)) from None
    directory = Path(arguments.to or project.name).expanduser()
    if os.path.lexists(directory):
        raise InputError(
            f"expected a new directory, got {directory}, which is there already: "
            f"remove it, or give --to {directory / project.name if arguments.to else 'DIRECTORY'}"
        )
    files = project.files()
    _write(directory, files)
    say(f"made {directory}, a filter that refuses attached programs:", *(f"  {one}" for one in files))
    called, module = program_name(), f"{project.module}.py"
    rows = {
        f"cd {shlex.quote(str(directory))}": "",
        "python -m pytest": "runs its tests (needs pytest)",
        f"{called} check {module}": "says what it asks of the MTA",
        f"{called} demo {module}": "sends mails through it (needs demyjpy[box])",
    }
    longest = max(len(command) for command in rows)
    say("", "next:", *(f"  {command:{longest}}  {text}".rstrip() for command, text in rows.items()))
    say("", "README.md says how to install it and how to connect Postfix.")
    return 0


def _write(directory: Path, files: Mapping[str, str]) -> None:
    """Make the directory with all files in it, or nothing."""
    making = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    with failing_to(f"make {directory}"):
        making.mkdir()
        try:
            for name, text in files.items():
                path = making / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
            making.rename(directory)
        except BaseException:  # also Ctrl-C
            shutil.rmtree(making, ignore_errors=True)
            raise


COMMAND: Final = Command(
    new,
    "Make a project: a filter with its tests, pyproject.toml, systemd units and README.",
    _EPILOG,
    (
        argument(
            "name", metavar="NAME", help="small letters, digits and hyphens; the module has _ for -"
        ),
        argument(
            "--to", metavar="DIRECTORY", help="the directory to make (default: NAME in this directory)"
        ),
    ),
)
