"""``demyjpy explain``: recorded messages in full sentences."""

import argparse

from demyjpy.cli.output import complain, say
from demyjpy.cli.recordings import Few, readings, report_problems, session_problems
from demyjpy.trace.live.explain_line import sentences


def explain(arguments: argparse.Namespace) -> int:
    """``demyjpy explain``: 0; 1 if there was no message to explain, or something could not be read."""
    found = readings(arguments, arguments.traces)
    told = Few()
    count = 0
    for reading in found:
        for trace in reading:
            told.extend(session_problems(trace))
            for message in trace.messages:
                if arguments.queue_id in (None, message.queue_id):
                    if count:
                        say("")
                    count += 1
                    say(*sentences(trace, message), flush=True)
    bad = report_problems("explain", found, told)
    if not count:
        wanted = f" with queue id {arguments.queue_id}" if arguments.queue_id else ""
        complain("explain", f"expected a message{wanted}, got none")
        return 1
    return 1 if bad else 0
