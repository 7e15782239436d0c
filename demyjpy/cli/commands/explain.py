"""``demyjpy explain``: recorded messages in full sentences."""

import argparse
from itertools import chain
from typing import Final

from demyjpy.cli.arguments import MAX_SESSION, TRACES, Command
from demyjpy.cli.chosen_messages import CHOICE, choice_of
from demyjpy.cli.output import complain, say
from demyjpy.cli.recordings import FirstThousand, readings, report_problems, session_problems
from demyjpy.trace.display.sentences import sentences
from demyjpy.trace.display.wording import plural

_EPILOG: Final = """\
examples:
  demyjpy explain traces/*.jsonl --queue-id 4F2A1B
  demyjpy explain /var/lib/demyjpy/flight --to bob@example.net --since 2h
  demyjpy explain trace.jsonl --from @example.org --outcome rejected

It says who said what, which handler decided, which changes were made, and which were dropped because
the mail was refused. A directory stands for all traces in it.
Exit status: 0; 1 if there is no such message, or something could not be read, which is named on
standard error; 2 if the arguments are wrong.
"""


def explain(arguments: argparse.Namespace) -> int:
    """``demyjpy explain``: 0; 1 if there was no message to explain, or something could not be read."""
    found = readings(arguments, arguments.traces)
    told = FirstThousand()
    choice = choice_of(arguments)
    count = messages = 0
    for trace in chain.from_iterable(found):
        told.extend(session_problems(trace))
        for message in trace.messages:
            messages += 1
            if choice.has(message):
                say(*([""] if count else []), *sentences(trace, message), flush=True)
                count += 1
    bad = report_problems("explain", found, told)
    if not count:
        among = f" among {plural(messages, 'recorded message')}" if messages else ""
        complain("explain", f"expected a message{choice.words}, got none{among}")
        return 1
    return 1 if bad else 0


COMMAND: Final = Command(
    explain,
    "Say in full sentences what a filter did to a recorded mail, and why.",
    _EPILOG,
    (
        MAX_SESSION,
        TRACES,
        *CHOICE,
    ),
)
