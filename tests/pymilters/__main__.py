"""Plays 20 sessions at public filters that use pymilter, on pymilter 1.0.5 and on this library.

    python -m tests.pymilters [FILTER ...]

For root on Debian; the first time it installs them, below the directory of the MTAs. Each session is
played over a socket as Postfix and as Sendmail would. What must be equal: verdicts, edits in order,
replies, and each mail. What differs is printed, and the exit status is 1. ``--script FILE`` plays at a
script of your own.
"""

# ruff: noqa: T201  (a program that prints)
import argparse
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.pymilters import place, play, resolver
from tests.pymilters.filters import FILTERS, Filter
from tests.pymilters.outcomes import differences
from tests.pymilters.sessions import SESSIONS


def try_filter(one: Filter, sessions: dict[str, object], *, is_real_only: bool, unix: bool) -> bool:
    """Play all sessions at it on both; print its row and what differs. Whether nothing does."""
    place.install(one.place, one.packages)
    with play.running(one, is_ours=False, unix=unix) as address:
        real = play.outcomes(address, sessions)
    busy = sum(outcome.says_something for outcome in real.values())
    failed = [outcome.failures for outcome in real.values() if outcome.failures]
    if is_real_only:
        print(f"| {one.name} | - | {len(real)} | {busy} | {len(failed)} failures {one.note} |", flush=True)
        return True
    with play.running(one, is_ours=True, unix=unix) as address:
        ours = play.outcomes(address, sessions)
    found = {key: differences(real[key], ours[key]) for key in real}
    unlike = {key: lines for key, lines in found.items() if lines}
    equal = len(real) - len(unlike)
    print(f"| {one.name} | {equal} of {len(real)} | {busy} | {one.note} |", flush=True)
    for (name, mta), lines in unlike.items():
        print(f"    {name} ({mta}):", *(f"        {line}" for line in lines), sep="\n", flush=True)
    return not unlike


@contextmanager
def log_socket(path: Path = Path("/dev/log")) -> Iterator[None]:
    """A place for syslog messages, where the machine has none: filters do not start without."""
    if path.exists():
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        try:
            yield
        finally:
            path.unlink()


def script_of(path: str, arguments: Sequence[str]) -> Filter:
    """A script of the user's, which gets its address from outside."""
    command = [str(Path(path).resolve()), *arguments]
    return Filter(path, (path,), lambda where, address: command, has_own_address=True)


def main(arguments: Sequence[str]) -> int:
    """0 if nothing differs."""
    parser = argparse.ArgumentParser("python -m tests.pymilters", description=__doc__)
    parser.add_argument("filters", nargs="*", metavar="FILTER", help=f"of: {'; '.join(FILTERS)}")
    parser.add_argument("--only", default="", help="sessions with this in their names")
    parser.add_argument("--real", action="store_true", help="only on pymilter")
    parser.add_argument("--unix", action="store_true", help="on Unix sockets")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.filters) - set(FILTERS))
    if unknown:
        parser.error(f"expected filters among {'; '.join(FILTERS)}, got {'; '.join(unknown)}")
    place.install_pymilter()
    sessions = {name: script for name, script in SESSIONS.items() if given.only in name}
    print("| filter | equal | with an answer | |\n| --- | --- | --- | --- |")
    with resolver.serving(play.RESOLVER), log_socket():
        chosen = [FILTERS[name] for name in given.filters or FILTERS]
        right = [try_filter(one, sessions, is_real_only=given.real, unix=given.unix) for one in chosen]
    print(f"{sum(right)} of {len(right)} filters are equal")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
