"""``demyjpy trace``: what is in traces, and traces made of them."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demyjpy.cli.words import InputError
from demyjpy.errors import TraceError
from demyjpy.trace.files import is_any_of
from demyjpy.trace.messages import Message
from demyjpy.trace.octets import dump_text
from demyjpy.trace.reading import Reading
from demyjpy.trace.session import Trace
from demyjpy.trace.words import (
    change_words,
    ending,
    envelope,
    plural,
    safe,
    shorten,
    verdict_words,
)
from demyjpy.trace.writing import write


def readings(paths: Iterable[str]) -> list[Reading]:
    """The files, each to be read once; `InputError` for one that cannot be opened."""
    found = list(paths)
    for path in found:
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
    return [Reading(path) for path in found]


def report_problems(command: str, found: Iterable[Reading], sessions: Iterable[str] = ()) -> int:
    """Say on standard error what could not be read; how many lines that took."""
    lines = [line for reading in found for line in reading.report()]
    for line in (*lines, *sessions):
        print(f"demyjpy {command}: {safe(line)}", file=sys.stderr)
    return len(lines)


def trace(arguments: argparse.Namespace) -> int:
    """``demyjpy trace``: 0, or 1 if something could not be read."""
    found = readings(arguments.traces)
    told: list[str] = []
    cut: list[str] = []
    counts = {"sessions": 0, "messages": 0}

    def sessions() -> Iterator[Trace]:
        for reading in found:
            for one in reading:
                counts["sessions"] += 1
                told.extend(f"{reading.path}: session {one.name}: {what}" for what in one.problems)
                if one.how == "cut":
                    why = one.reason or "it was still open, or the rest is lost"
                    cut.append(f"{reading.path}: session {one.name} has no end here: {why}")
                for message in one.messages:
                    counts["messages"] += 1
                    _show(message, arguments.json)
                yield one

    if arguments.to is None:
        for _ in sessions():
            pass
    else:
        try:
            if is_any_of(Path(arguments.to), arguments.traces):
                raise InputError(f"expected a new file for --to, got the trace {arguments.to} itself")
            write(arguments.to, sessions(), "demyjpy trace")
        except (OSError, TraceError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"cannot write {arguments.to}: {why}") from error
    bad = report_problems("trace", found, [*told, *cut])
    if not arguments.json:
        words = (plural(counts["sessions"], "session"), plural(counts["messages"], "message"))
        print(", ".join(words), flush=True)
    return 1 if bad or told else 0


def _show(message: Message, as_json: bool) -> None:
    print(json.dumps(message_json(message)) if as_json else message_line(message))


def message_line(message: Message) -> str:
    """A message on a line: when, queue id, envelope, what became of it."""
    when = datetime.fromtimestamp(message.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = f"{message.name} [{message.milter}]" if message.milter else message.name
    words = [when, safe(name), envelope(message), ending(message)]
    return shorten("  ".join(words))


def message_json(message: Message) -> dict[str, Any]:
    """A message for programs."""
    return {
        "session": message.session,
        "number": message.number,
        "milter": dump_text(message.milter) or None,
        "queue_id": dump_text(message.queue_id or "") or None,
        "time": message.time,
        "client": dump_text(message.client),
        "helo": dump_text(message.helo),
        "sender": None if message.sender is None else dump_text(message.sender),
        "recipients": [dump_text(one) for one in message.recipients],
        "outcome": message.outcome,
        "at": message.at,
        "verdict": None if message.verdict is None else verdict_words(message.verdict),
        "refused": [
            {"recipient": dump_text(address), "verdict": verdict_words(verdict)}
            for address, verdict in message.refused
        ],
        "changes": [change_words(edit) for edit in message.edits],
    }
