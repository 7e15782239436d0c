"""The commands themselves, and how each ends: 0, or a line on standard error and 1 or 2."""

import argparse
import importlib.util
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout, suppress
from typing import Any, Final

from attrs import evolve

from demyjpy.cli.arguments import build_parser, check_needs, options_of
from demyjpy.cli.check_report import Report, as_text, examine, refuse_problems
from demyjpy.cli.configuration import mta_lines
from demyjpy.cli.errors import InputError, MissingExtraError
from demyjpy.cli.loading import Loaded, LoadError, load_filter, within
from demyjpy.cli.logs import logging_to
from demyjpy.cli.observing import observers_of
from demyjpy.cli.output import complain, say
from demyjpy.cli.probing import probe_command
from demyjpy.cli.reloading import Reloadable
from demyjpy.drivers.address import parse_address
from demyjpy.drivers.dumping import obeying
from demyjpy.drivers.loading import Reload
from demyjpy.drivers.privileges import acting_as, is_root
from demyjpy.drivers.workers import most_at_once
from demyjpy.errors import AddressError, HandlerError, TraceError
from demyjpy.starting import start_milter

EX_SOFTWARE: Final = 70  # sysexits.h
_LOOPBACK: Final = ("127.0.0.0/8", "::1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. ``arguments`` are the program's own if not given.

    `SystemExit` is raised for help, version and completion, and for arguments that are wrong.
    """
    parsed = build_parser().parse_args(arguments)
    try:
        check_needs(parsed)
        return COMMANDS[parsed.command](parsed)
    except (LoadError, HandlerError, InputError, MissingExtraError) as error:
        return _complain(parsed, error, 2)
    except BrokenPipeError:
        # whoever read our output has gone; Python must not try again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _failed(parsed)
    except (AddressError, TraceError, OSError) as error:
        return _complain(parsed, error, _failed(parsed))
    except MemoryError:
        return _complain(parsed, MemoryError("there is not enough memory for that"), _failed(parsed))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        if parsed.command != "send":
            raise
        say(*traceback.format_exc().split("\n"), to=sys.stderr)
        return _failed(parsed)


def _failed(parsed: argparse.Namespace) -> int:
    """The status of a command that could not do its work; of ``send`` 1 would be a verdict."""
    return EX_SOFTWARE if parsed.command == "send" else 1


def _complain(parsed: argparse.Namespace, error: Exception, status: int) -> int:
    complain(parsed.command, str(error))
    return status


def check(arguments: argparse.Namespace) -> int:
    """``demyjpy check``: 0, or 1 if something is wrong with the filter."""
    with redirect_stdout(sys.stderr):  # whatever a filter prints is not the report
        with within(arguments.load_timeout):
            loaded = load_filter(arguments.filter)
        report = examine(loaded, arguments.driver)
        if arguments.play:
            report = _played(report, loaded, arguments.driver)
    say(*(report.as_json() if arguments.json else as_text(report)).split("\n"), flush=True)
    return 1 if report.problems else 0


def _played(report: Report, loaded: Loaded, driver: str) -> Report:
    if importlib.util.find_spec("hypothesis") is None:
        raise MissingExtraError("--play needs Hypothesis: pip install 'demyjpy[hypothesis]'")
    if report.problems:
        return evolve(report, notes=(*report.notes, "--play: not played, for it is wrong already"))
    from demyjpy.cli.check_play import play  # noqa: PLC0415  # it needs Hypothesis

    return play(report, loaded, driver)


def run(arguments: argparse.Namespace) -> int:
    """``demyjpy run``: 0 when a signal has ended it."""
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
        _load_and_serve(arguments)
    return 0


def _load_and_serve(arguments: argparse.Namespace) -> None:
    source = Reloadable(arguments.filter)
    with within(arguments.load_timeout):
        loaded = source.load()
    if is_root() and not (arguments.user or arguments.allow_root):
        raise HandlerError(
            "expected not to run handlers as root: give --user NAME, which is taken on once it listens, "
            "start as another user, or say --allow-root"
        )
    with acting_as(arguments.user, arguments.group):  # for on_connect is called
        refuse_problems(loaded, arguments.driver)
    with _status(arguments) as (observed, started):
        _serve(arguments, source, loaded, observed, started)


@contextmanager
def _status(
    arguments: argparse.Namespace,
) -> Iterator[tuple[dict[str, Any], Callable[[str], None]]]:
    """The options for what ``--http`` shows, and what is to be called when the milter listens."""
    if arguments.http is None:
        yield {}, lambda address: None
        return
    if importlib.util.find_spec("prometheus_client") is None:
        raise MissingExtraError("--http needs prometheus-client: pip install 'demyjpy[metrics]'")
    from demyjpy.metrics.serving import StatusServer  # noqa: PLC0415  # so that others start fast

    about = {"filter": arguments.filter, "driver": arguments.driver, "workers": str(arguments.workers)}
    with closing(
        StatusServer(arguments.http, about, most_at_once(arguments.workers), arguments.http_name)
    ) as server:
        observed: dict[str, Any] = {"observer": server.observe, "on_lag": server.lag}
        if arguments.allow:
            observed["allow"] = (*arguments.allow, *_LOOPBACK)  # from where /readyz asks
        yield observed, server.start


def _serve(
    arguments: argparse.Namespace,
    source: Reloadable,
    loaded: Loaded,
    observed: dict[str, Any],
    started: Callable[[str], None],
) -> None:
    def on_ready(address: str) -> None:
        started(address)
        _show_lines(arguments.listen, address)

    start_milter(
        arguments.listen,
        loaded.on_connect,
        driver=arguments.driver,
        workers=arguments.workers,
        user=arguments.user,
        group=arguments.group,
        reload=_reload(arguments, source),
        load_timeout=arguments.load_timeout,
        on_ready=on_ready,
        **{**options_of(arguments), **observers_of(arguments), **observed},
    )


def _reload(arguments: argparse.Namespace, source: Reloadable) -> Reload:
    """How the filter is loaded as it is on the disk then, if nothing is wrong with it."""
    driver = arguments.driver
    return Reload(
        lambda: source.load(lambda loaded: refuse_problems(loaded, driver)).on_connect,
        probe_command(arguments.filter, driver, arguments.load_timeout),
        source.give_up,
    )


def _show_lines(listen: str, address: str) -> None:
    """Print what to paste: ``address`` has the port that was chosen, ``listen`` mode and group."""
    asked, actual = parse_address(listen), parse_address(address)
    where = asked if asked.kind == "unix" else actual
    say(*mta_lines(where, is_inherited=asked.kind in ("fd", "systemd")).split("\n"), flush=True)


def send(arguments: argparse.Namespace) -> int:
    """``demyjpy send``: the verdict."""
    _print_anything()
    from demyjpy.cli import sending  # noqa: PLC0415  # so that the other commands start fast

    return sending.send(arguments)


def mta(arguments: argparse.Namespace) -> int:
    """``demyjpy mta``: 0 when a signal has ended it."""
    _prepare_box()
    from demyjpy.cli import boxing  # noqa: PLC0415  # alike, and it needs an extra

    return boxing.mta(arguments)


def demo(arguments: argparse.Namespace) -> int:
    """``demyjpy demo``: 0 when all mails have been played."""
    _prepare_box()
    from demyjpy.cli import demonstrating  # noqa: PLC0415  # as above

    return demonstrating.demo(arguments)


def trace(arguments: argparse.Namespace) -> int:
    """``demyjpy trace``: 0, or 1 if something in the files could not be read."""
    _print_anything()
    from demyjpy.cli import recordings  # noqa: PLC0415  # as above

    return recordings.trace(arguments)


def replay(arguments: argparse.Namespace) -> int:
    """``demyjpy replay``: 0 if nothing differs."""
    _print_anything()
    from demyjpy.cli.commands import replay as replaying  # noqa: PLC0415  # as above

    return replaying.replay(arguments)


def snoop(arguments: argparse.Namespace) -> int:
    """``demyjpy snoop``: 0 when a signal has ended it."""
    _print_anything()
    from demyjpy.cli import snooping  # noqa: PLC0415  # as above

    return snooping.snoop(arguments)


def explain(arguments: argparse.Namespace) -> int:
    """``demyjpy explain``: 0 if there was a message to explain."""
    _print_anything()
    from demyjpy.cli import explaining  # noqa: PLC0415  # as above

    return explaining.explain(arguments)


def capsule(arguments: argparse.Namespace) -> int:
    """``demyjpy capsule``: 0 if the failure could be shown, or the test made."""
    _print_anything()
    from demyjpy.cli import capsules  # noqa: PLC0415  # as above

    return capsules.capsule(arguments)


def _print_anything() -> None:
    """What the terminal's character set lacks is escaped, not an error."""
    output: Any = sys.stdout
    with suppress(AttributeError):
        output.reconfigure(errors="backslashreplace")


def _prepare_box() -> None:
    _print_anything()
    if importlib.util.find_spec("aiosmtpd") is None:
        raise MissingExtraError("it needs aiosmtpd: pip install 'demyjpy[box]'")


COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "run": run,
    "check": check,
    "send": send,
    "mta": mta,
    "demo": demo,
    "trace": trace,
    "replay": replay,
    "snoop": snoop,
    "explain": explain,
    "capsule": capsule,
}
"""The commands by name."""
