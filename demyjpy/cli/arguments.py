"""What commands and their arguments are made of, and the arguments that several commands share.

A command is a value, and so is an argument; the parser takes them on when the command is chosen. What
is no number, no address, no macro is said in one line.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Final, NoReturn, TypeVar, get_args

from attrs import evolve, frozen

from demyjpy.cli.errors import InputError
from demyjpy.cli.line_breaks import filled
from demyjpy.cli.pymilter_words import unknown_advice
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.start import Driver
from demyjpy.errors import AddressError
from demyjpy.hints import did_you_mean
from demyjpy.known_facts import as_networks
from demyjpy.mta.milter_link import MAX_ANSWER, MAX_PACKETS
from demyjpy.verdicts import ENDINGS

T = TypeVar("T")

_YEAR: Final = 366 * 86400.0


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


class _Help(argparse.RawDescriptionHelpFormatter):
    """Texts as wide as the terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(f"{indent}{line}" for line in filled(text, width))


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that says what is wrong in one line.

    ``load`` gives the command that it is for. It is called when its arguments are needed.
    """

    def __init__(self, load: Callable[[], Command] | None = None, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **options)
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
        """What a command does not know is its own error, so that it names the command's help.

        ``behind`` is what stands behind ``--``.
        """
        self.fill()
        found, unknown = super().parse_known_args(args, namespace)
        if not hasattr(found, "behind"):  # a command's parser has set it already
            words = list(args or ())
            found.behind = words[words.index("--") + 1 :] if "--" in words else []
        if unknown:
            options = [one for one in self._option_string_actions if one.startswith("--")]
            given = [one.partition("=")[0] for one in unknown if one.startswith("--")]
            near = [two for one in given for two in get_close_matches(one, options, 1)]
            advice = unknown_advice(self.prog, found, unknown) or (
                near and f"did you mean {' '.join(near)}?"
            )
            meant = f"; {advice}" if advice else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As of `argparse`, which from Python 3.14 on suggests what is near, too."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(str(value), map(str, action.choices or ()))
            raise

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class Once(argparse.Action):
    """An option that stands for one thing: a second one is an error, not its successor."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(
                f"expected one {option_string}, got two; to merge scripts: pymilter:FILE pymilter:FILE"
            )
        setattr(namespace, self.dest, values)


def check_needs(command: Command, given: argparse.Namespace) -> None:
    """`InputError` for an option that would do nothing, because the one that it needs is not given."""
    for one in command.arguments:
        option, needed = one.names[0], one.needs
        if needed and value_of(given, option) and not value_of(given, needed):
            raise InputError(f"{option} needs {needed}")


def value_of(given: argparse.Namespace, option: str) -> Any:
    """What was given for an option, or what it is if it was not."""
    return getattr(given, option.removeprefix("--").replace("-", "_"))


# ------------------------------------------------------------------------------- how one is read
def number(read: Callable[[str], T], expected: str, is_good: Callable[[T], bool]) -> Callable[[str], T]:
    """Reads an argument, or says what was expected."""

    def parse(text: str) -> T:
        with suppress(ValueError):
            value = read(text)
            if is_good(value):
                return value
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return parse


COUNT: Final = number(int, "a whole number from 1", lambda count: count >= 1)
COUNT_OR_0: Final = number(int, "a whole number from 0", lambda count: count >= 0)
SECONDS: Final = number(
    float, "a number of seconds above 0, at most a year's", lambda time: 0 < time <= _YEAR
)
SECONDS_OR_0: Final = number(
    float, "a number of seconds from 0, at most a year's", lambda time: 0 <= time <= _YEAR
)


def checked(check: Callable[[str], object], expected: str = "") -> Callable[[str], str]:
    """Reads an argument that stays the text it is, or says what ``check`` found wrong with it."""

    def parse(text: str) -> str:
        try:
            check(text)
        except (AddressError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{expected}{error}") from None
        return text

    return parse


def outcomes(text: str) -> frozenset[str]:
    """Fates of messages from a list with commas. `ValueError` if one of them is none."""
    found = frozenset(one.strip() for one in text.split(",") if one.strip())
    if not found or not found <= set(ENDINGS):
        raise ValueError(f"expected some of {', '.join(ENDINGS)}, got {text!r}")
    return found


ADDRESS: Final = checked(parse_address)
"""Where a milter or server listens."""


def reachable(text: str) -> str:
    """Where something else listens."""
    if parse_address(ADDRESS(text)).kind in ("fd", "systemd"):
        raise argparse.ArgumentTypeError(f"expected an address to connect to, got {text!r}")
    return text


# ----------------------------------------------------------------------------- how one is declared
def argument(*names: str, needs: str = "", is_file: bool = False, **settings: Any) -> Argument:
    """Any argument; ``settings`` as `argparse` takes them."""
    return Argument(names, settings, needs=needs, is_file=is_file)


def flag(name: str, text: str, needs: str = "") -> Argument:
    """An option that is given or not."""
    return argument(name, action="store_true", help=text, needs=needs)


def choice(name: str, choices: Iterable[str], default: str, text: str) -> Argument:
    """An option that is one of a few words; its help says which if it is not given."""
    return argument(name, choices=choices, default=default, help=f"{text} (default: {default})")


def limit(name: str, metavar: str, read: Callable[[str], float], default: float, text: str) -> Argument:
    """A number or a time; its help says how much it is if it is not given."""
    text = f"{text} (default: {default:.15g})"
    return argument(name, metavar=metavar, type=read, default=default, help=text)


def grouped(title: str, arguments: Iterable[Argument]) -> tuple[Argument, ...]:
    """The same under a title."""
    return tuple(evolve(one, group=title) for one in arguments)


# -------------------------------------------------------------------------------- which are shared
DRIVERS: Final = get_args(Driver)
FAILURES: Final = ("tempfail", "accept", "reject")

FILTER_NAME: Final = "FILE.py[:NAME[=TABLE]] or package.module[:NAME[=TABLE]]"
SETTINGS: Final = argument(
    "--settings",
    metavar="FILE",
    help="a TOML file with a table for each filter that takes settings: [NAME], or [TABLE]",
    is_file=True,
)
LOADING: Final = (
    argument(
        "filters",
        metavar="FILTER",
        nargs="*",
        help=f"{FILTER_NAME}. NAME (default: handlers) is a registry, a map of event names to handlers, "
        "a function of settings (-> Registry), or a function ctx -> ctx. =TABLE names the filter and "
        "its settings. Several filters are merged in this order. pymilter:FILE is a script for "
        "pymilter. With --pymilter these are the arguments of the script: --pymilter FILE -- "
        "ARGUMENT ...",
        is_file=True,
    ),
    argument(
        "--pymilter",
        action=Once,
        metavar="FILE",
        help="a script for pymilter: run it up to Milter.runmilter, and serve its filter",
        is_file=True,
    ),
    SETTINGS,
    argument(
        "--driver",
        choices=DRIVERS,
        help="how connections are served (default: asyncio, with a filter of pymilter's threads)",
    ),
    limit("--load-timeout", "SECONDS", SECONDS, 30.0, "time for loading the filter, each time"),
)
"""Which filter, and how it is loaded."""

ON_ERROR: Final = choice("--on-error", FAILURES, "tempfail", "the answer if a handler fails")
TRUSTED_RELAYS: Final = argument(
    "--trusted-relays",
    metavar="NETWORK[,NETWORK...]",
    type=checked(as_networks, "expected networks such as 192.0.2.0/24,2001:db8::/32: "),
    default=(),
    help="relays whose Received fields are believed if a filter reads facts(ctx).origin_client "
    "(default: none)",
)
OUTCOMES: Final = "OUTCOME[,OUTCOME...]"
COLOR: Final = choice(
    "--color", ("auto", "always", "never"), "auto", "colours: auto is on a terminal only"
)
JSON: Final = flag("--json", "print JSON")
TO_MILTER: Final = argument(
    "--to",
    metavar="ADDRESS",
    type=reachable,
    required=True,
    help="the milter: inet:PORT@HOST, inet6:PORT@HOST, unix:PATH",
)
RECORDING: Final = (
    argument(
        "--record",
        metavar="DIRECTORY",
        help="record the sessions there, one file a process (see docs/trace.md)",
    ),
    flag("--record-raw", "record all packets as bytes, too", needs="--record"),
)
"""By which sessions are recorded."""

_PATIENCE: Final = "how long the milter may take, in seconds (as Postfix has it)"
PATIENCE: Final = (
    *grouped(
        _PATIENCE,
        (
            limit("--connect-timeout", "SECONDS", SECONDS, 30.0, "to take the connection"),
            limit(
                "--command-timeout",
                "SECONDS",
                SECONDS,
                30.0,
                "to answer at the negotiation and at a command",
            ),
            limit(
                "--content-timeout",
                "SECONDS",
                SECONDS,
                300.0,
                "to answer at the message; each PROGRESS packet starts it again",
            ),
        ),
    ),
    argument(
        "--max-answer",
        metavar="BYTES",
        type=COUNT,
        default=MAX_ANSWER,
        help=f"largest answer of a milter to one event (default: {MAX_ANSWER}); if it sends more, or "
        f"more than {MAX_PACKETS} packets, the milter has failed",
    ),
)
"""What a milter may take: time, and room for an answer."""
DEADLINE: Final = grouped(
    _PATIENCE,
    [
        limit(
            "--deadline",
            "SECONDS",
            SECONDS,
            900.0,
            "for the whole session, however busy the milter seems",
        )
    ],
)

MAX_SESSION: Final = argument(
    "--max-session",
    metavar="BYTES",
    type=COUNT,
    help="read this much of one session; the rest of a longer one is left out, with a warning "
    "(default: 67108864; each list and object in it counts as 64 bytes more)",
)
TRACES: Final = argument(
    "traces",
    metavar="TRACE",
    nargs="+",
    help="a file with sessions, or a directory of such files",
    is_file=True,
)
