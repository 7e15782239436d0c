"""What watches a running filter, from the command line: options, and what they make."""

import argparse
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from demyjpy.cli.arguments import (
    COUNT,
    OUTCOMES,
    SECONDS,
    Argument,
    argument,
    checked,
    flag,
    grouped,
    outcomes,
    value_of,
)
from demyjpy.drivers.privileges import acting_as
from demyjpy.verdicts import ENDINGS


def _limit(
    option: str, default: int, metavar: str, text: str, read: Callable[[str], float] = COUNT
) -> Argument:
    """A limit of the observer that the option begins with; the observer itself knows the default."""
    text = f"{text} (default: {default})"
    observer = option.partition("-")[0]
    return argument(f"--{option}", metavar=metavar, type=read, help=text, needs=f"--{observer}")


LIMITS: Final = {
    "record": {
        "memory": _limit(
            "record-memory", 16 << 20, "BYTES", "memory for records that wait to be written"
        ),
        "files": _limit(
            "record-files", 10_000, "N", "files in the directory; when it is full, recording stops"
        ),
        "disk": _limit(
            "record-disk", 10 << 30, "BYTES", "size of the directory; when it is full, recording stops"
        ),
    },
    "flight": {
        "sessions": _limit("flight-sessions", 100, "N", "ended sessions that are kept in memory"),
        "memory": _limit(
            "flight-memory", 8 << 20, "BYTES", "memory for all sessions; one may use an eighth"
        ),
        "files": _limit("flight-files", 1000, "N", "files that are kept"),
        "disk": _limit("flight-disk", 64 << 20, "BYTES", "size of all files that are kept"),
        "days": _limit("flight-days", 7, "DAYS", "age of files that are kept", SECONDS),
        "rate": _limit("flight-rate", 60, "N", "files a minute"),
    },
    "capsules": {
        "memory": _limit(
            "capsules-memory", 16 << 20, "BYTES", "memory for all sessions; one may use half"
        ),
        "most": _limit("capsules-files", 100, "N", "files that are kept"),
        "disk": _limit("capsules-disk", 256 << 20, "BYTES", "size of all files that are kept"),
        "rate": _limit("capsules-rate", 30, "N", "files a minute"),
        "same": _limit("capsules-same", 5, "N", "files an hour of the same failure"),
    },
    "explain": {
        "length": _limit("explain-length", 320, "BYTES", "bytes of an address that are kept and shown"),
    },
}
"""By observer and by its own parameter. Each is in each worker, except those of directories."""

OBSERVERS: Final = (
    *grouped(
        "flight recorder: the last sessions in memory (docs/flight.md)",
        (
            argument(
                "--flight",
                metavar="DIRECTORY",
                help="write a session there when a handler fails or takes over 10 s; "
                "all of them at SIGUSR1",
            ),
            argument(
                "--flight-when",
                metavar=OUTCOMES,
                type=checked(outcomes),
                help=f"write a session there also if a message was {', '.join(ENDINGS)}",
                needs="--flight",
            ),
            argument(
                "--flight-keep",
                choices=("envelope", "headers", "all"),
                help="what is kept of a mail (default: envelope)",
                needs="--flight",
            ),
            flag("--flight-hash", "keep hashes of the envelope's addresses only", needs="--flight"),
        ),
    ),
    argument("--capsules", metavar="DIRECTORY", help="write a file there for each failure of a handler"),
    flag("--explain", "log a line for each message: what happened to it, and why"),
    argument(
        "--see-envelope",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --explain, --record and --flight: ask the MTA for sender and recipients even if no "
        "handler needs them (the MTA does not wait for an answer)",
    ),
    *grouped(
        "limits of recordings, flights, capsules and --explain",
        (one for limits in LIMITS.values() for one in limits.values()),
    ),
)
"""All the options but that for recordings, which other commands have, too."""


def observers_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `start_milter` for what watches; `TraceError` if it cannot write."""
    found: dict[str, Any] = {"see_envelope": arguments.see_envelope}
    if all(value_of(arguments, f"--{name}") in (None, False) for name in LIMITS):
        return found
    # so that others start fast
    from demyjpy.trace import (  # noqa: PLC0415
        CapsuleMaker,
        FlightRecorder,
        Privacy,
        Recorder,
        Triggers,
    )
    from demyjpy.trace.live.explain_line import Explainer  # noqa: PLC0415

    limits = partial(_limits, arguments)
    with acting_as(arguments.user, arguments.group):
        if arguments.record is not None:
            found["record"] = Recorder(arguments.record, raw=arguments.record_raw, **limits("record"))
        if arguments.flight is not None:
            keep: Any = arguments.flight_keep or "envelope"
            privacy = Privacy(
                keep=keep, hash_addresses=arguments.flight_hash, salt=secrets.token_bytes(16)
            )
            wanted = outcomes(arguments.flight_when) if arguments.flight_when else frozenset[str]()
            found["flight"] = FlightRecorder(
                arguments.flight,
                triggers=Triggers(outcomes=wanted),
                privacy=privacy,
                **limits("flight"),
            )
        if arguments.capsules is not None:
            found["capsules"] = CapsuleMaker(arguments.capsules, **limits("capsules"))
    if arguments.explain:
        found["explain"] = Explainer(**limits("explain"))
    return found


def _limits(arguments: argparse.Namespace, observer: str) -> dict[str, Any]:
    given = {name: value_of(arguments, one.names[0]) for name, one in LIMITS[observer].items()}
    return {name: value for name, value in given.items() if value is not None}
