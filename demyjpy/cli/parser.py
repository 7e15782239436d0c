"""A command as a value, with its arguments, and the parser that takes them on. No command's own.

Commands are in `demyjpy.cli.commands`, what they share of arguments in `demyjpy.cli.arguments`.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from attrs import frozen

from demyjpy.cli.errors import InputError


@frozen
class Argument:
    """An argument of a command: its name or names, and the rest as `argparse` takes it.

    ``group`` is the title that it stands under in the help. ``needs`` is the option without which it
    would do nothing. ``is_file``: a shell may complete it with names of files.
    """

    names: tuple[str, ...]
    settings: Mapping[str, Any]
    group: str = ""
    needs: str = ""
    is_file: bool = False


@frozen
class Command:
    """A command: its help, its arguments in order, and what it does.

    ``run`` gives the exit status; ``failed`` is that of a command that could not do its work.
    ``extra`` is what has to be installed, see `demyjpy.cli.errors.EXTRAS`.
    """

    run: Callable[[argparse.Namespace], int]
    description: str
    epilog: str
    arguments: Sequence[Argument]
    failed: int = 1
    extra: str = ""


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that says what is wrong in one line.

    ``load`` gives the command that it is for. It is called when its arguments are needed.
    """

    def __init__(self, load: Callable[[], Command] | None = None, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )
        self._load = load

    def fill(self, file: object = None) -> None:
        """Take on the command's help and arguments; ``file`` is what shtab wants at those for files."""
        if self._load is None:
            return
        command, self._load = self._load(), None
        self.description, self.epilog = command.description, command.epilog
        groups: dict[str, Any] = {"": self}
        for one in command.arguments:
            if one.group not in groups:
                groups[one.group] = self.add_argument_group(one.group)
            action = groups[one.group].add_argument(*one.names, **one.settings)
            if one.is_file:
                action.complete = file  # read by shtab

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What a command does not know is its own error, so that it names the command's help."""
        self.fill()
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [one for one in self._option_string_actions if one.startswith("--")]
            given = [one.partition("=")[0] for one in unknown if one.startswith("--")]
            near = [two for one in given for two in get_close_matches(one, options, 1)]
            meant = f"; did you mean {' '.join(near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def check_needs(command: Command, given: argparse.Namespace) -> None:
    """`InputError` for an option that would do nothing, because the one that it needs is not given."""
    for one in command.arguments:
        option, needed = one.names[0], one.needs
        if needed and value_of(given, option) and not value_of(given, needed):
            raise InputError(f"{option} needs {needed}")


def value_of(given: argparse.Namespace, option: str) -> Any:
    """What was given for an option, or what it is if it was not."""
    return getattr(given, option.removeprefix("--").replace("-", "_"))
