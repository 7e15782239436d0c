"""``demyjpy run``: a filter, served until a signal."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from ipaddress import ip_network
from typing import Any, Final

from attrs import fields_dict

from demyjpy.cli.arguments import (
    ADDRESS,
    COUNT,
    COUNT_OR_0,
    LOADING,
    ON_ERROR,
    RECORDING,
    SECONDS,
    SECONDS_OR_0,
    TRUSTED_RELAYS,
    Command,
    argument,
    checked,
    choice,
    flag,
    grouped,
    limit,
)
from demyjpy.cli.check_report import refuse_problems
from demyjpy.cli.errors import check_extra
from demyjpy.cli.loading import Loaded, ScriptExitError, within
from demyjpy.cli.loading_arguments import driver_of, wanted_of
from demyjpy.cli.logs import logging_to
from demyjpy.cli.mta_configuration import mta_lines
from demyjpy.cli.observers import OBSERVERS, observers_of
from demyjpy.cli.output import complain, say
from demyjpy.cli.reloading import Reloadable, probe_command
from demyjpy.drivers.address import http_address, parse_address
from demyjpy.drivers.dumping import obeying
from demyjpy.drivers.loading import Reload
from demyjpy.drivers.options import LOOPS, ServerOptions
from demyjpy.drivers.privileges import acting_as, is_root
from demyjpy.drivers.report import log
from demyjpy.drivers.workers import most_at_once
from demyjpy.engine.limits import Limits
from demyjpy.errors import HandlerError
from demyjpy.starting import start_milter

DEFAULT_ADDRESS: Final = "inet:20025@localhost"
_EPILOG: Final = """\
examples:
  demyjpy run samples/bytecount.py:handlers --listen inet:20025@localhost
  demyjpy run samples/bytecount.py --listen 'unix:/run/demyjpy/count.sock?mode=660&group=postfix'
  demyjpy run mycompany.filters:handlers --workers 4 --on-error accept --log-level warning
  demyjpy run rules.py:make=greylist rules.py:make=strict --settings rules.toml

The lines for Postfix's main.cf and Sendmail's .mc go to standard output, the log to standard error.
SIGHUP loads the filters and their settings again for the sessions to come, all of them or none; what
does not load changes nothing.
SIGTERM and SIGINT end it once the messages in flight are through (see --grace), a second one at once.
Exit status: 0 after a signal, 1 if it cannot listen, 2 if the arguments or the filter are wrong; with
--pymilter what the script gives to sys.exit.
"""

_LOOPBACK: Final = ("127.0.0.0/8", "::1")


def run(arguments: argparse.Namespace) -> int:
    """``demyjpy run``: 0 when a signal has ended it, else the exit status of a script of pymilter's."""
    with (
        logging_to(
            arguments.log_to,
            arguments.log_level,
            as_json=arguments.log_format == "json",
            size=arguments.log_size,
            kept=arguments.log_kept,
            owner=(arguments.user, arguments.group),
        ),
        obeying(),  # already while the filter is loaded, and until all is written
    ):
        acting = partial(acting_as, arguments.user, arguments.group)
        source = Reloadable(wanted_of(arguments))
        try:
            with within(arguments.load_timeout):
                loaded = source.load(acting=acting)
        except ScriptExitError as ended:  # as with --help behind --
            if ended.status:
                complain(arguments.command, str(ended))
            return ended.status
        if is_root() and not (arguments.user or arguments.allow_root):
            raise HandlerError(
                "it does not run handlers as root: give --user NAME (it listens as root, then becomes "
                "that user), start it as another user, or give --allow-root"
            )
        driver, listen = driver_of(arguments), _listen(arguments, loaded)
        with acting():  # for on_connect is called
            refuse_problems(loaded, driver)
        with _status(arguments) as (observed, started):
            start_milter(
                listen,
                loaded.on_connect,
                driver=driver,
                workers=arguments.workers,
                user=arguments.user,
                group=arguments.group,
                reload=_reload(arguments, source),
                on_ready=partial(_say_ready, listen, started),
                **{**options_of(arguments), **observers_of(arguments), **observed},
            )
        return source.finish()


def _listen(arguments: argparse.Namespace, loaded: Loaded) -> str:
    """Where to listen: as the arguments say, else as a script of pymilter's says."""
    if arguments.listen is not None:
        return str(arguments.listen)
    addresses = [one.address for one in loaded.scripts] or [DEFAULT_ADDRESS]
    if len(addresses) > 1:
        log.warning("it listens at the first script's address, not at %s", ", ".join(addresses[1:]))
    return addresses[0]


@contextmanager
def _status(
    arguments: argparse.Namespace,
) -> Iterator[tuple[dict[str, Any], Callable[[str], None]]]:
    """The options for what ``--http`` shows, and what is to be called when the milter listens."""
    if arguments.http is None:
        yield {}, lambda address: None
        return
    check_extra("--http", "metrics")
    from demyjpy.metrics.serving import StatusServer  # noqa: PLC0415  # so that others start fast

    about = {
        "filter": wanted_of(arguments).name,
        "driver": driver_of(arguments),
        "workers": str(arguments.workers),
    }
    with closing(
        StatusServer(arguments.http, about, most_at_once(arguments.workers), arguments.http_name)
    ) as server:
        observed: dict[str, Any] = {"watchers": (server,), "on_lag": server.lag}
        if arguments.allow:
            observed["allow"] = (*arguments.allow, *_LOOPBACK)  # from where /readyz asks
        yield observed, server.start


def _reload(arguments: argparse.Namespace, source: Reloadable) -> Reload:
    """How the filter is loaded as it is on the disk then, if nothing is wrong with it."""
    driver = driver_of(arguments)
    return Reload(
        lambda: source.load(lambda loaded: refuse_problems(loaded, driver)).on_connect,
        probe_command(wanted_of(arguments), driver, arguments.load_timeout),
        source.give_up,
    )


def _say_ready(listen: str, started: Callable[[str], None], address: str) -> None:
    """Print what to paste: ``address`` has the port that was chosen, ``listen`` mode and group."""
    started(address)
    asked, actual = parse_address(listen), parse_address(address)
    where = asked if asked.kind == "unix" else actual
    say(*mta_lines(where, is_inherited=asked.kind in ("fd", "systemd")).split("\n"), flush=True)


# ------------------------------------------------------------------------------------- arguments
_TIMES: Final = (
    ("idle_timeout", SECONDS, "close a connection if the MTA sends nothing for this time"),
    ("write_timeout", SECONDS, "close a connection if the MTA reads nothing for this time"),
    ("negotiate_timeout", SECONDS, "close a connection that has not negotiated within this time"),
    ("handler_timeout", SECONDS, "time for one call of a handler in a thread, or of an async one"),
    ("warn_blocked", SECONDS, "log a handler that blocks the event loop for longer than this"),
    ("grace", SECONDS_OR_0, "at SIGTERM: how long open messages may take to finish"),
)
_COUNTS: Final = (
    ("max_connections", "connections at once, in each worker; see --when-full"),
    ("blocking_threads", "threads for blocking=True handlers (asyncio)"),
)
_LIMITS: Final = (
    ("headers", "N", "headers of a message; one with more is refused (552)"),
    ("header_size", "BYTES", "size of a header; a message with a larger one is refused (552)"),
    ("recipients", "N", "recipients of a message; further ones are refused (452)"),
    ("message", "BYTES", "size of a message; a larger one is refused (552)"),
    ("command_size", "BYTES", "size of a command such as RCPT; a longer one closes the connection"),
    ("macro_size", "BYTES", "macros in force; a connection with more is closed"),
)
"""Fields of `ServerOptions`, and of its `Limits`, which have their defaults."""


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options for `start_milter` that were given, or their defaults."""
    limits = Limits(**{name: getattr(arguments, f"max_{name}") for name, _, _ in _LIMITS})
    given = {name: value for name, value in vars(arguments).items() if name != "settings"}  # it has them
    return {
        "limits": limits,
        **{name: given[name] for name in fields_dict(ServerOptions) if name in given},
    }


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _default(owner: type[Any], name: str) -> Any:
    return fields_dict(owner)[name].default


COMMAND: Final = Command(
    run,
    "Serve a filter, and print the lines for the configuration of Postfix and Sendmail.",
    _EPILOG,
    (
        *LOADING,
        argument(
            "--listen",
            metavar="ADDRESS",
            type=ADDRESS,
            help="inet:PORT@HOST, inet6:PORT@HOST, unix:PATH[?mode=660&user=NAME&group=NAME], "
            f"fd:NUMBER, systemd[:NAME] (default: {DEFAULT_ADDRESS}, with --pymilter what the script "
            "says)",
        ),
        limit("--workers", "N", COUNT, 1, "processes that share the socket"),
        choice(
            "--loop",
            LOOPS,
            _default(ServerOptions, "loop"),
            "event loop of the asyncio driver; uvloop has to be installed",
        ),
        argument(
            "--user",
            metavar="NAME",
            help="the user to run as once it listens (needs root to begin with)",
        ),
        argument(
            "--group",
            metavar="NAME",
            help="the group to run in once it listens (default: the user's own)",
        ),
        flag("--allow-root", "run handlers as root, which is refused otherwise"),
        choice(
            "--log-level",
            ("debug", "info", "warning", "error"),
            "info",
            "least level that is logged",
        ),
        choice("--log-format", ("text", "json"), "text", "how records look: lines, or lines of JSON"),
        argument(
            "--log-to",
            metavar="PLACE",
            default="stderr",
            help="stderr, syslog (facility mail) or a file, which may be rotated (default: %(default)s)",
        ),
        argument(
            "--log-size",
            metavar="BYTES",
            type=COUNT,
            default=0,
            help="begin a new file when the log's is so large (default: never)",
        ),
        limit("--log-kept", "N", COUNT, 5, "old files that are kept, as FILE.1 and so on"),
        argument(
            "--http",
            metavar="[HOST]:PORT",
            type=checked(http_address),
            help="serve /metrics for Prometheus, /healthz, /readyz and a status page there, on "
            "127.0.0.1 without a host (needs prometheus-client: demyjpy[metrics])",
        ),
        argument(
            "--http-name",
            metavar="NAME",
            action="append",
            default=[],
            help="a host name that --http accepts, besides localhost and IP addresses; may be repeated",
            needs="--http",
        ),
        ON_ERROR,
        TRUSTED_RELAYS,
        *RECORDING,
        *OBSERVERS,
        *grouped(
            "limits and times",
            (
                *(
                    limit(_option(name), "SECONDS", read, _default(ServerOptions, name), text)
                    for name, read, text in _TIMES
                ),
                *(
                    limit(_option(name), "N", COUNT, _default(ServerOptions, name), text)
                    for name, text in _COUNTS
                ),
                *(
                    limit(_option(f"max_{name}"), metavar, COUNT, _default(Limits, name), text)
                    for name, metavar, text in _LIMITS
                ),
                limit(
                    "--spool",
                    "BYTES",
                    COUNT_OR_0,
                    _default(ServerOptions, "spool"),
                    "body of a message that is kept in memory; a larger one lies in a file without a "
                    "name in TMPDIR, which should be on a disk",
                ),
                argument(
                    "--effects",
                    metavar="DIRECTORY",
                    help="where effects of filters are kept until they are done, so that they survive "
                    "the process (default: in memory)",
                ),
                argument(
                    "--max-connections-per-peer",
                    metavar="N",
                    type=COUNT,
                    help="connections at once from one IP address; more are refused (451; default: "
                    "no limit)",
                ),
                choice(
                    "--when-full",
                    ("wait", "tempfail"),
                    _default(ServerOptions, "when_full"),
                    "what becomes of connections beyond --max-connections",
                ),
                argument(
                    "--allow",
                    metavar="NETWORK",
                    type=checked(ip_network, "expected a network such as 192.0.2.0/24: "),
                    action="append",
                    default=[],
                    help="where TCP peers may come from, such as 192.0.2.0/24; may be repeated "
                    "(default: anywhere)",
                ),
            ),
        ),
    ),
)
