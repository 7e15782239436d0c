"""``demyjpy explain``: recorded messages in full sentences."""

import argparse
from itertools import chain
from typing import Final

from demyjpy.cli.arguments import MAX_SESSION, TRACES, Command, argument
from demyjpy.cli.output import complain, say
from demyjpy.cli.recordings import FirstThousand, readings, report_problems, session_problems
from demyjpy.trace.display.sentences import sentences

_EPILOG: Final = """\
examples:
  demyjpy explain traces/*.jsonl --queue-id 4F2A1B
  demyjpy explain trace.jsonl

Who said what, which handler decided, which changes were made, and which came to nothing because the
mail was refused. Without --queue-id: all messages.
Exit status: 0; 1 if there is no such message, or something could not be read, which is named on
standard error; 2 if the arguments are wrong.
"""


def explain(arguments: argparse.Namespace) -> int:
    """``demyjpy explain``: 0; 1 if there was no message to explain, or something could not be read."""
    found = readings(arguments, arguments.traces)
    told = FirstThousand()
    count = 0
    for trace in chain.from_iterable(found):
        told.extend(session_problems(trace))
        for message in trace.messages:
            if arguments.queue_id in (None, message.queue_id):
                say(*([""] if count else []), *sentences(trace, message), flush=True)
                count += 1
    bad = report_problems("explain", found, told)
    if not count:
        wanted = f" with queue id {arguments.queue_id}" if arguments.queue_id else ""
        complain("explain", f"expected a message{wanted}, got none")
        return 1
    return 1 if bad else 0


COMMAND: Final = Command(
    explain,
    "Say in full sentences what a filter did to a recorded mail, and why.",
    _EPILOG,
    (
        MAX_SESSION,
        TRACES,
        argument("--queue-id", metavar="ID", help="only messages with this queue id"),
    ),
)
