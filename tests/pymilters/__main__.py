"""Plays 20 sessions at public filters that use pymilter, on pymilter 1.0.5 and on this library.

    python -m tests.pymilters [FILTER ...]

For root on Debian; the first time it installs them, below the directory of the MTAs. Each session is
played over a socket as Postfix and as Sendmail would. What must be equal: verdicts, edits in order,
replies, and each mail. What differs is printed, and the exit status is 1. In our favour is a message
that this library refuses for the moment, and about which the MTA waits in vain with pymilter.
``--script "FILE ARGUMENT ..."`` plays at a script of your own.
"""

# ruff: noqa: T201  (a program that prints)
import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from demyjpy.testing import Script
from tests.pymilters import place, play, surroundings
from tests.pymilters.filters import FILTERS, Filter, script_of
from tests.pymilters.outcomes import differences, is_in_our_favour
from tests.pymilters.sessions import SESSIONS

MOST: Final = 8
"""Lines about one session that are printed."""


def try_filter(one: Filter, sessions: Mapping[str, Script], *, is_real_only: bool, unix: bool) -> bool:
    """Play all sessions at it on both; print its row and what differs. Whether nothing is worse."""
    place.install(one.place, one.packages)
    try:
        real = _on(one, sessions, is_ours=False, unix=unix)
        ours = real if is_real_only else _on(one, sessions, is_ours=True, unix=unix)
    except RuntimeError as error:
        print("|", one.name, "| does not run | | | |", f"    {error}", sep="\n", flush=True)
        return False
    found = {key: differences(real[key], ours[key]) for key in real}
    unlike = {key: lines for key, lines in found.items() if lines}
    better = [key for key in unlike if is_in_our_favour(real[key], ours[key])]
    figures = (
        "-" if is_real_only else f"{len(real) - len(unlike)} of {len(real)}",
        str(len(better)),
        str(sum(outcome.says_something for outcome in ours.values())),
        one.note,
    )
    print("|", one.name, "|", " | ".join(figures), "|", flush=True)
    for key, lines in unlike.items():
        if key not in better:
            shown = (f"        {line:.300}" for line in lines[:MOST])
            print(f"    {key[0]} ({key[1]}):", *shown, sep="\n", flush=True)
    return len(better) == len(unlike)


def _on(one: Filter, sessions: Mapping[str, Script], *, is_ours: bool, unix: bool) -> play.Outcomes:
    with play.running(one, is_ours=is_ours, unix=unix) as address:
        return play.outcomes(address, sessions)


def main(arguments: Sequence[str]) -> int:
    """0 if nothing differs."""
    parser = argparse.ArgumentParser("python -m tests.pymilters", description=__doc__)
    parser.add_argument("filters", nargs="*", metavar="FILTER", help=f"of: {'; '.join(FILTERS)}")
    parser.add_argument("--script", metavar="FILE ...", help="a script of yours, with its arguments")
    parser.add_argument("--only", default="", help="sessions with this in their names")
    parser.add_argument("--real", action="store_true", help="only on pymilter")
    parser.add_argument("--unix", action="store_true", help="on Unix sockets")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.filters) - set(FILTERS))
    if unknown:
        parser.error(f"expected filters among {'; '.join(FILTERS)}, got {'; '.join(unknown)}")
    place.install_pymilter()
    sessions = {name: script for name, script in SESSIONS.items() if given.only in name}
    print("| filter | equal | in our favour | with an answer | |", "| --- " * 5 + "|", sep="\n")
    with surroundings.serving(play.RESOLVER), surroundings.log_socket():
        chosen = [FILTERS[name] for name in given.filters or FILTERS]
        if given.script:
            chosen = [script_of(given.script)]
        right = [try_filter(one, sessions, is_real_only=given.real, unix=given.unix) for one in chosen]
    print(f"{sum(right)} of {len(right)} filters are equal, or differ in our favour")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
