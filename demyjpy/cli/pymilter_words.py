"""Advice for users of pymilter's scripts who wrote something else than they meant. Words only."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

OF_PYMILTER: Final = "pymilter:"
"""What the name of a filter begins with that is a script of pymilter's; its file follows."""

_OPTION: Final = "--pymilter"
_MODULES: Final = ("Milter", "milter")


def is_missing(error: BaseException) -> bool:
    """Whether a file failed because it is a script for pymilter, loaded as something else."""
    return isinstance(error, ModuleNotFoundError) and error.name in _MODULES


def imports_pymilter(names: Mapping[str, Any]) -> bool:
    """Whether one of these names of a module is pymilter."""
    found = (getattr(value, "__name__", "") for value in names.values() if isinstance(value, ModuleType))
    return any(name in _MODULES or name.startswith("demyjpy.pymilter") for name in found)


def is_script_advice(source: str) -> str:
    """How a script is named."""
    return (
        f"is it a script for pymilter? Write run {_OPTION} {source}, or {OF_PYMILTER}{source} with any "
        "command"
    )


def script_file_advice(source: str) -> str:
    """For a script that is not there."""
    file, colon, name = source.rpartition(":")
    if colon and Path(file).is_file():
        return f"a script is named without :{name}: did you mean {file}?"
    return f"a script is given as a file, {_OPTION} FILE or {OF_PYMILTER}FILE"


def merging_advice(program: str, script: str, filters: Sequence[str]) -> str:
    """For filters that stand where the arguments of a script may stand."""
    words = [f"{OF_PYMILTER}{shlex.quote(script)}", *filters]
    return f"arguments of the script stand behind --; to merge filters: {program} {shlex.join(words)}"


def same_word_advice(script: str, arguments: Sequence[str]) -> str:
    """For arguments of a script that is one of several filters."""
    return f'write the arguments of the script into its word: "{script} {shlex.join(arguments)}"'


def unknown_advice(program: str, found: argparse.Namespace, unknown: Sequence[str]) -> str:
    """For arguments that a command does not know, but a script may; "" if there is no script."""
    script = getattr(found, "pymilter", None)
    if script is not None and "--" in unknown:  # argparse takes no words before and behind an option
        return merging_advice(program, script, found.filters)
    if script is not None:
        return f"arguments of the script stand behind --, as in {_OPTION} {script} -- {unknown[0]} ..."
    of_script = [one for one in getattr(found, "filters", ()) if one.startswith(OF_PYMILTER)]
    if of_script:
        return same_word_advice(of_script[0], unknown)
    if any(one.partition("=")[0] == _OPTION for one in unknown):
        return f"name the script as a filter, {OF_PYMILTER}FILE"
    return ""
