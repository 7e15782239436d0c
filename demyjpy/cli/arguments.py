"""The command line's words: commands, options, their help and what each accepts."""

import argparse
from collections.abc import Callable
from typing import Any, Final, NoReturn

from attrs import fields_dict

from demyjpy.cli.mail_arguments import add_mail_commands, add_recording
from demyjpy.cli.observing import add_observers, check_observers
from demyjpy.cli.trace_arguments import add_trace_commands
from demyjpy.cli.words import COUNT, SECONDS, SECONDS_OR_0, InputError, Parser, address, http, network
from demyjpy.drivers.options import LOOPS, Options
from demyjpy.engine.limits import Limits

DEFAULT_ADDRESS: Final = "inet:20025@localhost"
SHELLS: Final = ("bash", "zsh")

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
"""
_RUN_EPILOG: Final = """\
examples:
  demyjpy run samples/bytecount.py:handlers --listen inet:20025@localhost
  demyjpy run samples/bytecount.py --listen 'unix:/run/demyjpy/count.sock?mode=660&group=postfix'
  demyjpy run mycompany.filters:handlers --workers 4 --on-error accept --log-level warning

The lines for Postfix's main.cf and Sendmail's .mc go to standard output, the log to standard error.
SIGHUP loads the filter again for the sessions to come; what does not load changes nothing.
SIGTERM and SIGINT end it once the messages in flight are through (see --grace), a second one at once.
Exit status: 0 after a signal, 1 if it cannot listen, 2 if the arguments or the filter are wrong.
"""
_CHECK_EPILOG: Final = """\
examples:
  demyjpy check samples/bytecount.py:handlers
  demyjpy check mycompany.filters --driver threads
  demyjpy check samples/bytecount.py --json | jq .problems
  demyjpy check samples/bytecount.py --play

Exit status: 0 if nothing is wrong, 1 if something is, 2 if the filter cannot be loaded.
"""


class _Version(argparse.Action):
    """``--version``, which is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(parser.prog, version(parser.prog) + (" (compiled engine)" if is_compiled() else ""))
        parser.exit()


def version(distribution: str) -> str:
    """The installed version of a distribution; what to say where it is run without being installed."""
    from importlib import metadata  # noqa: PLC0415  # costs time that only --version needs

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def is_compiled() -> bool:
    """Whether the engine is the one that was built with ``HATCH_BUILD_HOOKS_ENABLE=1``."""
    from importlib.machinery import EXTENSION_SUFFIXES  # noqa: PLC0415  # only --version needs it

    from demyjpy.engine import hot_path  # noqa: PLC0415

    return str(hot_path.__file__).endswith(tuple(EXTENSION_SUFFIXES))


class _Completion(argparse.Action):
    """``--print-completion``, by way of shtab."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, shell: Any, option: object = None
    ) -> NoReturn:
        try:
            import shtab  # noqa: PLC0415  # an extra, and only this needs it
        except ImportError:
            parser.exit(1, f"{parser.prog}: completion needs shtab: pip install 'demyjpy[completion]'\n")
        print(shtab.complete(build_parser(file=shtab.FILE), shell))
        parser.exit()


def build_parser(file: object = None) -> Parser:
    """The parser; ``file`` is what shtab wants at arguments that are files.

    What it parses has ``command``, the name of one of the commands.
    """
    parser = Parser(prog="demyjpy", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    parser.add_argument(
        "--print-completion",
        action=_Completion,
        choices=SHELLS,
        help="print completion for a shell and end (needs shtab: demyjpy[completion])",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="serve a filter",
        description="Serve a filter, and print the lines that tell Postfix and Sendmail of it.",
        epilog=_RUN_EPILOG,
    )
    check = commands.add_parser(
        "check",
        help="say what a filter will ask of the MTA, and what is wrong with it",
        description="Load a filter; say what it will ask of the MTA, and what is wrong with it.",
        epilog=_CHECK_EPILOG,
    )
    for command in (run, check):
        _add_common(command, file)
    _add_running(run)
    add_recording(run)
    add_observers(run)
    _add_limits(run)
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--play",
        action="store_true",
        help="run the handlers, too: play generated sessions at them (needs Hypothesis)",
    )
    add_mail_commands(commands, file)
    add_trace_commands(commands, file)
    return parser


def _add_common(parser: Parser, file: object) -> None:
    chosen = parser.add_argument(
        "filter",
        metavar="FILTER",
        help="FILE.py[:NAME] or package.module[:NAME]; NAME is handlers if not given: a registry, a "
        "map of event names to handlers, or a function ctx -> ctx",
    )
    chosen.complete = file  # type: ignore[attr-defined]  # read by shtab
    parser.add_argument(
        "--driver",
        choices=("asyncio", "threads"),
        default="asyncio",
        help="how connections are served (default: %(default)s)",
    )
    parser.add_argument(
        "--load-timeout",
        metavar="SECONDS",
        type=SECONDS,
        default=30.0,
        help="time for loading the filter, each time (default: 30)",
    )


def _add_running(parser: Parser) -> None:
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        type=address,
        default=DEFAULT_ADDRESS,
        help="inet:PORT@HOST, inet6:PORT@HOST, unix:PATH[?mode=660&user=NAME&group=NAME], fd:NUMBER, "
        "systemd[:NAME] "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=COUNT,
        default=1,
        help="processes that share the socket (default: %(default)s)",
    )
    parser.add_argument(
        "--loop",
        choices=LOOPS,
        default=_default(Options, "loop"),
        help="event loop of the asyncio driver; uvloop has to be installed (default: %(default)s)",
    )
    parser.add_argument(
        "--user", metavar="NAME", help="the user to run as once it listens (needs root to begin with)"
    )
    parser.add_argument(
        "--group", metavar="NAME", help="the group to run in once it listens (default: the user's own)"
    )
    parser.add_argument(
        "--allow-root", action="store_true", help="run handlers as root, which is refused otherwise"
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="least level that is logged (default: %(default)s)",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how records look: lines, or lines of JSON (default: %(default)s)",
    )
    parser.add_argument(
        "--log-to",
        metavar="PLACE",
        default="stderr",
        help="stderr, syslog (facility mail) or a file, which may be rotated (default: %(default)s)",
    )
    parser.add_argument(
        "--log-size",
        metavar="BYTES",
        type=COUNT,
        default=0,
        help="begin a new file when the log's is so large (default: never)",
    )
    parser.add_argument(
        "--log-kept",
        metavar="N",
        type=COUNT,
        default=5,
        help="old files that are kept, as FILE.1 and so on (default: %(default)s)",
    )
    parser.add_argument(
        "--http",
        metavar="[HOST]:PORT",
        type=http,
        help="serve /metrics for Prometheus, /healthz, /readyz and a status page there, on 127.0.0.1 "
        "without a host (needs prometheus-client: demyjpy[metrics])",
    )
    parser.add_argument(
        "--http-name",
        metavar="NAME",
        action="append",
        default=[],
        help="a name by which --http may be asked, besides localhost and IP addresses; may be repeated",
    )
    parser.add_argument(
        "--on-error",
        choices=("tempfail", "accept", "reject"),
        default=_default(Options, "on_error"),
        help="the answer where a handler fails (default: %(default)s)",
    )


def _add_limits(parser: Parser) -> None:
    group = parser.add_argument_group("limits and times")

    def add(option: str, metavar: str, read: Callable[[str], float], default: float, text: str) -> None:
        group.add_argument(
            option, metavar=metavar, type=read, default=default, help=f"{text} (default: {default:.15g})"
        )

    for name, read, text in (
        ("idle_timeout", SECONDS, "close a connection on which the MTA says nothing for so long"),
        ("write_timeout", SECONDS, "close a connection on which the MTA reads nothing for so long"),
        ("negotiate_timeout", SECONDS, "close a connection that has not negotiated within"),
        ("handler_timeout", SECONDS, "time for one call of a handler that runs apart"),
        ("warn_blocked", SECONDS, "name a handler that has blocked the event loop for so long"),
        ("grace", SECONDS_OR_0, "time for messages in flight when it is told to stop"),
    ):
        add(_option(name), "SECONDS", read, _default(Options, name), text)
    for name, text in (
        ("max_connections", "connections at once, in each worker; see --when-full"),
        ("blocking_threads", "threads for blocking=True handlers (asyncio)"),
    ):
        add(_option(name), "N", COUNT, _default(Options, name), text)
    for name, metavar, text in (
        ("headers", "N", "headers of a message; one with more is refused (552)"),
        ("header-size", "BYTES", "size of a header; a message with a larger one is refused (552)"),
        ("recipients", "N", "recipients of a message; further ones are refused (452)"),
        ("message", "BYTES", "size of a message; a larger one is refused (552)"),
        ("command-size", "BYTES", "size of a command such as RCPT; a longer one closes the connection"),
        ("macro-size", "BYTES", "macros in force; a connection with more is closed"),
    ):
        add(f"--max-{name}", metavar, COUNT, _default(Limits, name.replace("-", "_")), text)
    group.add_argument(
        "--max-connections-per-peer",
        metavar="N",
        type=COUNT,
        help="connections at once from one IP address; more are refused (451; default: no limit)",
    )
    group.add_argument(
        "--when-full",
        choices=("wait", "tempfail"),
        default=_default(Options, "when_full"),
        help="what becomes of connections beyond --max-connections (default: %(default)s)",
    )
    group.add_argument(
        "--allow",
        metavar="NETWORK",
        type=network,
        action="append",
        default=[],
        help="where TCP peers may come from, such as 192.0.2.0/24; may be repeated (default: anywhere)",
    )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _default(owner: type[Any], name: str) -> Any:
    return fields_dict(owner)[name].default


def check_needs(arguments: argparse.Namespace) -> None:
    """`InputError` for an option that would do nothing, for one that it belongs to is not given."""
    for name, needed in (
        ("record_raw", "record"),
        ("flight_keep", "flight"),
        ("flight_hash", "flight"),
        ("http_name", "http"),
    ):
        if getattr(arguments, name, None) and getattr(arguments, needed) is None:
            raise InputError(f"{_option(name)} needs {_option(needed)}")
    check_observers(arguments)


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options for `start_milter` that were given, or their defaults."""
    names = (
        "on_error",
        "idle_timeout",
        "write_timeout",
        "grace",
        "negotiate_timeout",
        "handler_timeout",
        "warn_blocked",
        "max_connections",
        "max_connections_per_peer",
        "when_full",
        "allow",
        "blocking_threads",
        "loop",
    )
    limits = Limits(
        headers=arguments.max_headers,
        header_size=arguments.max_header_size,
        recipients=arguments.max_recipients,
        message=arguments.max_message,
        command_size=arguments.max_command_size,
        macro_size=arguments.max_macro_size,
    )
    return {"limits": limits, **{name: getattr(arguments, name) for name in names}}
