"""Chaos from the command line: ``python -m tests.chaos --messages 20000 --connections 300``."""

import argparse
import asyncio
import secrets

from tests.chaos.run import Plan, run


def main() -> int:
    """Run it against each driver; 1 if something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--driver", choices=("asyncio", "threads"), action="append")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=300)
    parser.add_argument("--bad-connections", type=int, default=60)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    found = parser.parse_args()
    status = 0
    for driver in found.driver or ("asyncio", "threads"):
        plan = Plan(
            driver,
            found.messages,
            found.connections,
            found.bad_connections,
            found.workers,
            found.seed,
            found.pause,
        )
        print(plan, flush=True)
        outcome = asyncio.run(run(plan))
        print(outcome.as_text(), flush=True)
        status |= bool(outcome.problems)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
