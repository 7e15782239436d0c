"""The words of the commands about recorded sessions: ``trace``, ``replay``, ``explain``, ``snoop``."""

import argparse
from typing import Final

from demyjpy.cli.mail_arguments import add_recording
from demyjpy.cli.words import COUNT, SECONDS_OR_0, Parser, address, reachable

_TRACE_EPILOG: Final = """\
examples:
  demyjpy trace traces/*.jsonl
  demyjpy trace traces/*.jsonl --to all.jsonl.gz
  demyjpy trace capture.jsonl --to capture-as-trace.jsonl

A file may be a trace (.jsonl, compressed as .gz or .zst too) or a capture of packets as the tests have
them. Whatever cannot be read is counted and named on standard error.
Exit status: 0 if all could be read, 1 if something could not, 2 if the arguments are wrong.
"""
_REPLAY_EPILOG: Final = """\
examples:
  demyjpy replay traces/*.jsonl myfilter.py:handlers
  demyjpy replay november.jsonl.gz mycompany.filters:handlers --meaning
  demyjpy replay traces/*.jsonl --diff old.py:handlers new.py:handlers
  demyjpy replay traces/*.jsonl --diff old.py new.py --json | jq .summary
  demyjpy replay traces/*.jsonl --diff old.py new.py --html report.html
  demyjpy replay trace.jsonl myfilter.py:handlers --step --queue-id 4F2A1B
  demyjpy replay trace.jsonl myfilter.py:handlers --step --queue-id 4F2A1B --html session.html
  demyjpy replay trace.jsonl

Offline: no socket is opened. Answers are compared with the recorded ones; other bytes are a difference
if they are one for an MTA. With --meaning verdicts and changes of each message are compared, which is
right for a filter that was ported from another library.
Without a filter the recorded answers are played themselves, which shows whether a recording is whole.
Exit status: 0 if nothing differs, 1 if something does, or (without a filter) if something could not be
read, or if no session has the --queue-id; 2 if the arguments are wrong, 3 if nothing differs but a
handler is not pure (it answers something else when it is run again, or reaches outside of the session).
"""
_EXPLAIN_EPILOG: Final = """\
examples:
  demyjpy explain traces/*.jsonl --queue-id 4F2A1B
  demyjpy explain trace.jsonl

Who said what, which handler decided, which changes were made, and which came to nothing because the
mail was refused. Without --queue-id: all messages.
Exit status: 0; 1 if there is no such message, or something could not be read, which is named on
standard error; 2 if the arguments are wrong.
"""
_CAPSULE_EPILOG: Final = """\
examples:
  demyjpy capsule capsules/20261121T120000Z-5a6aa0f5-1-1.capsule.jsonl
  demyjpy capsule FILE --test tests/test_failure.py --filter myfilter.py:handlers

Capsules are written by demyjpy run --capsules DIRECTORY. The test plays the session at the filter, and
fails as the handler does; where a session of an SMTP client would not make it fail, the test plays the
recorded session itself.
Only a test that was made like this is written over, and not by one that does not fail.
Exit status: 0, 1 if the handler does not fail when it is played again, 2 if the arguments are wrong.
"""
_SNOOP_EPILOG: Final = """\
examples:
  demyjpy snoop --listen inet:20026@localhost --to inet:20025@localhost
  demyjpy snoop --listen unix:/run/demyjpy/snoop.sock?group=postfix --to unix:/run/opendkim.sock
  demyjpy snoop --listen 20026 --to 20025 --record traces --quiet

Put it in front of any milter, in any language, and tell the MTA its address instead. Bytes go through
untouched and at once; while the milter is away, nobody listens here either. What is odd is marked with
!!: an answer that is not due, a change that was not negotiated, 8 seconds without an answer.
SIGTERM and SIGINT end it when the sessions are over (see --grace), a second one at once.
Exit status: 0 after a signal, 1 if it cannot listen or record, 2 if the arguments are wrong.
"""

SHOWN: Final = 20
"""Differences that ``demyjpy replay`` tells in full."""


def add_trace_commands(commands: "argparse._SubParsersAction[Parser]", file: object) -> None:
    """Add the commands; ``file`` is what shtab wants at arguments that are files."""
    trace = commands.add_parser(
        "trace",
        help="list recorded sessions, join and convert traces",
        description="List the messages in recorded sessions; write them to one file.",
        epilog=_TRACE_EPILOG,
    )
    _add_traces(trace, file)
    trace.add_argument(
        "--to",
        metavar="FILE",
        help="write all sessions there, compressed if it ends in .gz or .zst",
    )
    trace.add_argument("--json", action="store_true", help="print JSON, a line a message")
    replay = commands.add_parser(
        "replay",
        help="run recorded sessions through a filter, and compare",
        description="Run recorded sessions through a filter, or two; say what it answers differently.",
        epilog=_REPLAY_EPILOG,
    )
    _add_replaying(replay, file)
    explain = commands.add_parser(
        "explain",
        help="say in full sentences what was done to a mail, and why",
        description="Say in full sentences what a filter did to a recorded mail, and why.",
        epilog=_EXPLAIN_EPILOG,
    )
    _add_traces(explain, file)
    explain.add_argument("--queue-id", metavar="ID", help="only messages with this queue id")
    capsule = commands.add_parser(
        "capsule",
        help="show a recorded failure of a handler, and make a test of it",
        description="Show a recorded failure of a handler; make a pytest that fails the same way.",
        epilog=_CAPSULE_EPILOG,
    )
    _add_capsule(capsule, file)
    snoop = commands.add_parser(
        "snoop",
        help="see, and record, what an MTA and any milter say to each other",
        description="Stand between an MTA and a milter; show and record what they say to each other.",
        epilog=_SNOOP_EPILOG,
    )
    _add_snooping(snoop)


def _add_bound(command: Parser) -> None:
    command.add_argument(
        "--max-session",
        metavar="BYTES",
        type=COUNT,
        help="what is kept of one session; the rest of a longer one is left out, and told "
        "(default: 67108864; each list and object in it counts as 64 bytes more)",
    )


def _add_traces(command: Parser, file: object) -> None:
    _add_bound(command)
    traces = command.add_argument("traces", metavar="TRACE", nargs="+", help="a file with sessions")
    traces.complete = file  # type: ignore[attr-defined]  # read by shtab


def _add_replaying(replay: Parser, file: object) -> None:
    _add_bound(replay)
    traces = replay.add_argument(
        "traces",
        metavar="TRACE ... [FILTER]",
        nargs="+",
        help="files with sessions; then FILE.py[:NAME] or package.module[:NAME]",
    )
    traces.complete = file  # type: ignore[attr-defined]  # read by shtab
    replay.add_argument(
        "--diff",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="compare two filters with one another, not one with the recording",
    )
    replay.add_argument(
        "--meaning",
        action="store_true",
        help="compare verdicts and changes of each message, not bytes",
    )
    replay.add_argument(
        "--once",
        action="store_true",
        help="run each session once only; handlers that are not pure are not found then",
    )
    replay.add_argument(
        "--on-error",
        choices=("tempfail", "accept", "reject"),
        default="tempfail",
        help="the answer where a handler fails (default: %(default)s)",
    )
    replay.add_argument(
        "--jobs", metavar="N", type=COUNT, help="processes (default: as many as processors)"
    )
    replay.add_argument(
        "--show",
        metavar="N",
        type=COUNT,
        help=f"differences that are told in full (default: {SHOWN}); all are counted",
    )
    replay.add_argument("--json", action="store_true", help="print JSON: a line a session that differs")
    replay.add_argument(
        "--step", action="store_true", help="show each step instead; with Enter to the next"
    )
    replay.add_argument(
        "--html",
        metavar="FILE",
        help="write a page with all that differs, too; with --step: a page a session, instead",
    )
    _add_choice(replay)


def _add_choice(command: Parser) -> None:
    command.add_argument("--queue-id", metavar="ID", help="only the session with this queue id")


def _add_snooping(snoop: Parser) -> None:
    snoop.add_argument(
        "--listen",
        metavar="ADDRESS",
        type=address,
        required=True,
        help="where the MTA finds it: inet:PORT@HOST, inet6:PORT@HOST, "
        "unix:PATH[?mode=660&user=NAME&group=NAME], fd:NUMBER",
    )
    snoop.add_argument(
        "--to",
        metavar="ADDRESS",
        type=reachable,
        required=True,
        help="the milter: inet:PORT@HOST, inet6:PORT@HOST, unix:PATH",
    )
    add_recording(snoop)
    snoop.add_argument("--quiet", action="store_true", help="show nothing; for recording only")
    snoop.add_argument(
        "--grace",
        metavar="SECONDS",
        type=SECONDS_OR_0,
        default=30.0,
        help="time for open sessions when it is told to stop (default: 30)",
    )
    snoop.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours: auto is on a terminal only (default: %(default)s)",
    )


def _add_capsule(capsule: Parser, file: object) -> None:
    chosen = capsule.add_argument("capsule", metavar="FILE", help="the capsule")
    chosen.complete = file  # type: ignore[attr-defined]  # read by shtab
    capsule.add_argument("--test", metavar="FILE.py", help="write a test there, instead of showing it")
    capsule.add_argument(
        "--filter",
        metavar="FILTER",
        help="FILE.py[:NAME] or package.module[:NAME]; needed for --test, which runs it: nothing is run "
        "because the capsule names it",
    )
