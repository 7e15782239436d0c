"""``demyjpy unit``: the units with which systemd starts a filter."""

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from demyjpy.cli.arguments import COUNT, FILTER_NAME, SETTINGS, Command, argument, checked
from demyjpy.cli.errors import InputError, failing_to
from demyjpy.cli.mta_configuration import POSTFIX_QUEUE, mta_lines
from demyjpy.cli.output import complain, say
from demyjpy.cli.unit_files import Units, service_options
from demyjpy.drivers.address import http_address, parse_address

_EPILOG: Final = """\
examples:
  demyjpy unit /opt/filter/rules.py
  demyjpy unit /opt/filter/rules.py:make --settings /etc/filter.toml --workers 4
  demyjpy unit rules.py --name rules --http :9100 --to /etc/systemd/system

Nothing is loaded or started. Without --to the units are printed, with --to they are written; a file
that is there already is not overwritten. The last lines are what to put into the configuration of
Postfix or Sendmail.
The filter runs as a user of its own, who may write below /var/lib/NAME only. There the flight recorder
keeps each session in which a message was refused: demyjpy explain /var/lib/NAME/flight --to ADDRESS.
Exit status: 0; 1 if a file cannot be written; 2 if the arguments are wrong.
"""

_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108  # nosec B108  # not used, named
_HIDDEN: Final = ("/home", "/root", "/run/user", *_TEMPORARY)
"""What the service does not see: ProtectHome= and PrivateTmp=."""


def unit(arguments: argparse.Namespace) -> int:
    """``demyjpy unit``: 0."""
    filters = [_absolute(one) for one in arguments.filters]
    name = arguments.name or _name_of(filters[0])
    socket = arguments.socket or f"{POSTFIX_QUEUE}/demyjpy/{name}.sock"
    if not socket.startswith("/"):
        raise InputError(f"expected for --socket a path that begins with /, got {socket!r}")
    program = [*_this_program(), "run", *filters]
    if arguments.settings is not None:
        program += ["--settings", str(Path(arguments.settings).absolute())]
    if arguments.workers is not None:
        program += ["--workers", str(arguments.workers)]
    if arguments.http is not None:
        program += ["--http", arguments.http]
    try:
        units = Units(name, [*program, *service_options(name)], socket, arguments.group)
        files = units.files()
    except ValueError as error:
        raise InputError(str(error)) from None
    _warn([program[0], *filters, arguments.settings or ""])
    if arguments.to is None:
        for file, text in files.items():
            say(f"# /etc/systemd/system/{file}", *text.splitlines(), "")
    else:
        _write(Path(arguments.to), files)
    say(
        f"# systemctl daemon-reload && systemctl enable --now {name}.socket {name}.service",
        "",
        *mta_lines(parse_address(f"unix:{socket}"), is_inherited=True).splitlines(),
    )
    return 0


def _http(text: str) -> str:
    """The place as it was given, if `demyjpy run` takes it."""
    checked(http_address)(text)
    return text


def _this_program() -> list[str]:
    script = Path(sys.executable).with_name("demyjpy")
    return [str(script)] if script.exists() else [sys.executable, "-m", "demyjpy"]


def _absolute(name: str) -> str:
    path, colon, rest = name.partition(":")
    return f"{Path(path).absolute()}{colon}{rest}" if path.endswith(".py") else name


def _name_of(name: str) -> str:
    stem = Path(name.partition(":")[0]).name.removesuffix(".py").rpartition(".")[2].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "filter"


def _warn(paths: list[str]) -> None:
    for path in paths:
        if any(Path(path).is_relative_to(one) for one in _HIDDEN):
            complain("unit", f"the service will not see {path}: move it, to /opt for example")


def _write(directory: Path, files: dict[str, str]) -> None:
    there = [str(directory / name) for name in files if (directory / name).exists()]
    if there:
        raise InputError(f"expected new files, got {' and '.join(there)}: remove them, or give --name")
    for name, text in files.items():
        with failing_to(f"write {directory / name}", failures=(OSError,)):
            (directory / name).write_text(text)
        say(f"# wrote {directory / name}")


COMMAND: Final = Command(
    unit,
    "Print the systemd units that serve a filter, and the lines for the MTA.",
    _EPILOG,
    (
        argument("filters", metavar="FILTER", nargs="+", help=FILTER_NAME, is_file=True),
        SETTINGS,
        argument(
            "--name", metavar="NAME", help="name of the units (default: that of the filter's file)"
        ),
        argument(
            "--socket",
            metavar="PATH",
            help="where the MTA finds the filter "
            f"(default: {POSTFIX_QUEUE}/demyjpy/NAME.sock, which a chrooted Postfix sees, too)",
        ),
        argument(
            "--group",
            metavar="GROUP",
            default="postfix",
            help="the MTA's group, which may connect (default: postfix; Sendmail's is smmsp)",
        ),
        argument("--workers", metavar="N", type=COUNT, help="processes that serve (default: one)"),
        argument(
            "--http",
            metavar="[HOST]:PORT",
            type=_http,
            help="as of demyjpy run: figures for Prometheus and a status page (needs demyjpy[metrics])",
        ),
        argument("--to", metavar="DIRECTORY", help="write the two files there"),
    ),
)
