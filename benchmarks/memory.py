"""What a session in flight costs in memory if a flight recorder watches it.

    python3 -m benchmarks.memory          # exit status 1 if it is more than it was

Sessions of ``noop`` and ``bytecount`` are played in the pure engine up to the end of a message with a
body of 1.7 kB, all of them at once: none of the messages has ended. `tracemalloc` tells what is held
with a flight recorder in envelope mode over what is held without. The bytes of each read are its own, as
those from a socket are. What a session costs the recorder after its message is printed, too.
"""

import gc
import sys
import tracemalloc
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Final

from benchmarks.filters import bytecount, noop
from benchmarks.sessions import WATCHERS, as_served, reads_of
from demyjpy.engine.hot_path import Line
from demyjpy.engine.pipeline import open_connection
from demyjpy.registry import Registry

SESSIONS: Final = 200
BODY: Final = 1700
GOAL: Final = 3000
"""Bytes of a session in flight that were wanted."""
MOST: Final = 4350
"""Bytes that it was, with 3 % to spare: what takes more has grown."""

FILTERS: Final = {"noop": (noop, "CHMRTLNB"), "bytecount": (bytecount, "MB")}
"""By name: the filter, and the letters of what the MTA is asked for."""


def _held(handlers: Registry, reads: Sequence[bytes], *, is_watched: bool) -> float:
    """Bytes that each of the sessions holds when all of them have had these reads."""
    with WATCHERS["flight"]() if is_watched else nullcontext() as watcher:
        setup, tapes = as_served(handlers, watcher)

        def begin(number: int) -> Line:
            line = Line(open_connection(setup, f"s-{number}"), tapes.new())
            for read in reads:
                line.receive_data(bytes(bytearray(read)))
                line.leave()
            return line

        kept = [begin(0)]  # what the first one makes for all is not counted
        gc.collect()
        tracemalloc.start()
        try:
            kept += [begin(number) for number in range(1, SESSIONS + 1)]
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / SESSIONS
        finally:
            tracemalloc.stop()


def cost(name: str) -> tuple[float, float]:
    """Bytes that a flight recorder adds to a session: before the end of its message, and after it."""
    handlers, letters = FILTERS[name]
    *before, end, _ = reads_of(letters, BODY)
    in_flight, ended = (
        _held(handlers, reads, is_watched=True) - _held(handlers, reads, is_watched=False)
        for reads in (before, [*before, end])
    )
    return in_flight, ended


def tell(name: str, in_flight: float, ended: float) -> str:
    """A line for a filter."""
    relation = "at most" if in_flight <= GOAL else "missed the goal of"
    return (
        f"{name}: {in_flight:,.0f} bytes a session in flight, {relation} {GOAL:,}; "
        f"{ended:,.0f} after its message"
    )


def main() -> int:
    """Measure and print; the exit status."""
    costs = {name: cost(name) for name in FILTERS}
    for name, (in_flight, ended) in costs.items():
        print(tell(name, in_flight, ended))
    return int(any(in_flight > MOST for in_flight, _ in costs.values()))


if __name__ == "__main__":
    sys.exit(main())
