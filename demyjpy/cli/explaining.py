"""``demyjpy explain``: recorded messages in full sentences."""

import argparse
import sys

from demyjpy.cli.tracing import readings, report_problems
from demyjpy.trace.explaining import sentences


def explain(arguments: argparse.Namespace) -> int:
    """``demyjpy explain``: 0 if there was a message to explain."""
    found = readings(arguments.traces)
    count = 0
    for reading in found:
        for trace in reading:
            for message in trace.messages:
                if arguments.queue_id in (None, message.queue_id):
                    if count:
                        print()
                    count += 1
                    print(*sentences(trace, message), sep="\n", flush=True)
    report_problems("explain", found)
    if not count:
        wanted = f" with queue id {arguments.queue_id}" if arguments.queue_id else ""
        print(f"demyjpy explain: expected a message{wanted}, got none", file=sys.stderr)
        return 1
    return 0
