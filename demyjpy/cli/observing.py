"""What watches a running filter, from the command line: options, and what they make."""

import argparse
import secrets
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from demyjpy.cli.errors import InputError
from demyjpy.cli.words import COUNT, SECONDS, Parser
from demyjpy.drivers.privileges import acting_as


@frozen
class _Limit:
    """A limit of an observer: the option's and the parameter's name, its default, what it says."""

    option: str
    parameter: str
    default: int
    metavar: str
    text: str
    read: Callable[[str], float] = COUNT


LIMITS: Final = {
    "record": (
        _Limit("memory", "memory", 16 << 20, "BYTES", "memory for what waits to be written"),
        _Limit("files", "files", 10_000, "N", "files in the directory; nothing is recorded beyond"),
        _Limit("disk", "disk", 10 << 30, "BYTES", "size of the directory; nothing is recorded beyond"),
    ),
    "flight": (
        _Limit("sessions", "sessions", 100, "N", "sessions in memory that have ended"),
        _Limit("memory", "memory", 8 << 20, "BYTES", "memory for all sessions; one gets an eighth"),
        _Limit("files", "files", 1000, "N", "files that are kept"),
        _Limit("disk", "disk", 64 << 20, "BYTES", "size of all files that are kept"),
        _Limit("days", "days", 7, "DAYS", "age of files that are kept", SECONDS),
        _Limit("rate", "rate", 60, "N", "files a minute"),
    ),
    "capsules": (
        _Limit("memory", "memory", 16 << 20, "BYTES", "memory for all sessions; one gets half"),
        _Limit("files", "most", 100, "N", "files that are kept"),
        _Limit("disk", "disk", 256 << 20, "BYTES", "size of all files that are kept"),
        _Limit("rate", "rate", 30, "N", "files a minute"),
        _Limit("same", "same", 5, "N", "files an hour of the same failure"),
    ),
    "explain": (_Limit("length", "length", 320, "BYTES", "what is kept, and told, of one address"),),
}
"""By the option that they belong to. Each is in each worker, but for those of directories."""


def add_observers(run: Parser) -> None:
    """Add the options; that for recordings is there."""
    group = run.add_argument_group("flight recorder: the last sessions in memory (docs/flight.md)")
    group.add_argument(
        "--flight",
        metavar="DIRECTORY",
        help="write a session there when a handler fails or takes over 10 s; all of them at SIGUSR1",
    )
    group.add_argument(
        "--flight-keep",
        choices=("envelope", "headers", "all"),
        help="what is kept of a mail (default: envelope)",
    )
    group.add_argument(
        "--flight-hash", action="store_true", help="keep hashes of the envelope's addresses only"
    )
    run.add_argument(
        "--capsules", metavar="DIRECTORY", help="write a file there for each failure of a handler"
    )
    run.add_argument(
        "--explain", action="store_true", help="log a line for each message: what became of it, and why"
    )
    run.add_argument(
        "--see-envelope",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="for --explain, --record and --flight: have the MTA send sender and recipients also if no "
        "handler wants them (it does not wait for an answer)",
    )
    limits = run.add_argument_group("limits of recordings, flights, capsules and --explain")
    for name, found in LIMITS.items():
        for one in found:
            limits.add_argument(
                f"--{name}-{one.option}",
                metavar=one.metavar,
                type=one.read,
                help=f"{one.text} (default: {one.default})",
            )


def check_observers(arguments: argparse.Namespace) -> None:
    """`InputError` for a limit of a recorder that the command line does not turn on."""
    for name, found in LIMITS.items():
        for one in found:
            given = getattr(arguments, f"{name}_{one.option}", None) is not None
            if given and not getattr(arguments, name):
                raise InputError(f"--{name}-{one.option} needs --{name}")


def observers_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `start_milter` for what watches; `TraceError` where it cannot write."""
    found: dict[str, Any] = {"see_envelope": arguments.see_envelope}
    with acting_as(arguments.user, arguments.group):
        if arguments.record is not None:
            from demyjpy.trace import Recorder  # noqa: PLC0415  # so that others start fast

            chosen = _limits(arguments, "record")
            found["record"] = Recorder(arguments.record, raw=arguments.record_raw, **chosen)
        if arguments.flight is not None:
            from demyjpy.trace import FlightRecorder, Privacy  # noqa: PLC0415  # as above

            keep: Any = arguments.flight_keep or "envelope"
            salt = secrets.token_bytes(16)
            privacy = Privacy(keep=keep, hash_addresses=arguments.flight_hash, salt=salt)
            chosen = _limits(arguments, "flight")
            found["flight"] = FlightRecorder(arguments.flight, privacy=privacy, **chosen)
        if arguments.capsules is not None:
            from demyjpy.trace import CapsuleMaker  # noqa: PLC0415  # as above

            found["capsules"] = CapsuleMaker(arguments.capsules, **_limits(arguments, "capsules"))
    if arguments.explain:
        from demyjpy.trace.live.explain_line import Explainer  # noqa: PLC0415  # as above

        found["explain"] = Explainer(**_limits(arguments, "explain"))
    return found


def _limits(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    given = {one.parameter: getattr(arguments, f"{name}_{one.option}") for one in LIMITS[name]}
    return {key: value for key, value in given.items() if value is not None}
