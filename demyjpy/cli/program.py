"""Which commands there are, how they are found, and how each ends: 0, or a line on stderr and 1 or 2."""

import argparse
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn

from demyjpy.cli.arguments import Command, Parser, check_needs
from demyjpy.cli.errors import InputError, MissingExtraError, check_extra
from demyjpy.cli.loading import LoadError
from demyjpy.cli.output import complain, say
from demyjpy.cli.version import Version
from demyjpy.errors import AddressError, HandlerError, TraceError

COMMANDS: Final[Mapping[str, str]] = {
    "new": "make a project: a filter, its tests, its systemd units",
    "run": "serve a filter",
    "check": "say what a filter will ask of the MTA, and what is wrong with it",
    "send": "play one mail at a running milter, and show what it did",
    "mta": "a mail server in a box: SMTP in, milters asked, Maildir out",
    "demo": "see a filter at work: a mail server, a filter and a handful of mails",
    "trace": "list recorded sessions, join and convert traces",
    "replay": "run recorded sessions through a filter, and compare",
    "explain": "say in full sentences what was done to a mail, and why",
    "unit": "print the systemd units that serve a filter",
    "capsule": "show a recorded failure of a handler, and make a test of it",
    "snoop": "see, and record, what an MTA and any milter say to each other",
}
"""The commands by name, which is that of their module, too, and a line about each."""

SHELLS: Final = ("bash", "zsh", "fish")

_DESCRIPTION: Final = "Serve, check and try mail filters (milters) for Postfix and Sendmail."
_EPILOG: Final = """\
examples:
  demyjpy run samples/bytecount.py:handlers
  demyjpy run samples/bytecount.py --listen 'unix:/run/demyjpy/count.sock?group=postfix'
  demyjpy run mycompany.filters:handlers --driver threads --workers 4
  demyjpy check samples/bytecount.py
  demyjpy send --to inet:20025@localhost mail.eml
  demyjpy mta --listen 2525 --milter inet:20025@localhost --maildir mail
  demyjpy demo
  demyjpy --print-completion bash > /etc/bash_completion.d/demyjpy
  demyjpy --print-completion fish > ~/.config/fish/completions/demyjpy.fish
"""


def find_command(name: str) -> Command:
    """A command. Its module is imported only now, so that the other commands start fast."""
    command: Command = importlib.import_module(f"demyjpy.cli.commands.{name}").COMMAND
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. ``arguments`` are the program's own if not given.

    `SystemExit` is raised for help, version and completion, and for arguments that are wrong.
    """
    given = build_parser().parse_args(arguments)
    command = find_command(given.command)
    try:
        return _run(command, given)
    except (LoadError, HandlerError, InputError, MissingExtraError) as error:
        return _complain(given, error, 2)
    except BrokenPipeError:
        # whoever read our output has gone; Python must not try again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return command.failed
    except (AddressError, TraceError, OSError) as error:
        return _complain(given, error, command.failed)
    except MemoryError:
        return _complain(given, MemoryError("there is not enough memory for that"), command.failed)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        if command.failed == 1:  # Python ends with 1 itself
            raise
        say(*traceback.format_exc().split("\n"), to=sys.stderr)
        return command.failed


def _run(command: Command, given: argparse.Namespace) -> int:
    check_needs(command, given)
    output: Any = sys.stdout
    with suppress(AttributeError):  # what the terminal's character set lacks is escaped, no error
        output.reconfigure(errors="backslashreplace")
    if command.extra:
        check_extra("it", command.extra)
    return command.run(given)


def _complain(given: argparse.Namespace, error: Exception, status: int) -> int:
    complain(given.command, str(error))
    return status


# ---------------------------------------------------------------------------------- the parser
def build_parser(file: object = None) -> Parser:
    """The parser: what it parses has ``command``, the name of one of the commands.

    ``file`` is what shtab wants at arguments that are files; then each command has all of its own.
    """
    parser = Parser(prog="demyjpy", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and end")
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=SHELLS,
        help="print completion for a shell and end (needs shtab: demyjpy[completion])",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, load=partial(find_command, name))
        if file is not None:
            command.fill(file)
    return parser


class _Completion(argparse.Action):
    """``--print-completion``, by way of shtab."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, shell: Any, option: object = None
    ) -> NoReturn:
        try:
            import shtab  # noqa: PLC0415  # an extra, and only this needs it
        except ImportError:
            parser.exit(1, f"{parser.prog}: completion needs shtab: pip install 'demyjpy[completion]'\n")
        if shell not in shtab.SUPPORTED_SHELLS:
            parser.exit(
                1,
                f"{parser.prog}: completion for {shell} needs shtab 1.13 or later, got "
                f"{shtab.__version__}: pip install -U 'demyjpy[completion]'\n",
            )
        print(shtab.complete(build_parser(file=shtab.FILE), shell))
        parser.exit()
