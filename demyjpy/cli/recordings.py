"""Recorded sessions as commands read them, what cannot be read, and a message in words or JSON."""

import argparse
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from demyjpy.cli.errors import InputError, failing_to
from demyjpy.cli.output import complain_of_all
from demyjpy.trace.display.wording import (
    change_words,
    ending,
    envelope,
    safe,
    shorten,
    verdict_words,
)
from demyjpy.trace.format.json_lines import MOST_BYTES
from demyjpy.trace.format.message_stories import MessageStory
from demyjpy.trace.format.reading import Lines, Reading
from demyjpy.trace.format.trace import Trace
from demyjpy.wire.json_bytes import dump_text

_MOST_KEPT: Final = 1000
_TRACE_FILES: Final = ("*.jsonl", "*.jsonl.gz", "*.jsonl.zst")


def readings(arguments: argparse.Namespace, paths: Iterable[str]) -> list[Reading]:
    """The files, each to be read once; `InputError` for one that cannot be opened.

    A directory stands for the traces in it, in the order of their names.
    """
    longest = arguments.max_session or MOST_BYTES
    found = [one for path in paths for one in _readings_of(path, longest)]
    for one in found:
        missing = suppress(FileNotFoundError) if isinstance(one, _Listed) else nullcontext()
        with failing_to(f"read {one.path}"), missing:
            if not Path(one.path).is_fifo():  # who writes into a pipe would see it closed
                Path(one.path).open("rb").close()
    return found


@define
class _Listed(Reading):
    """A file of a directory. Who records there may delete it to make room: then it has no sessions."""

    def lines(self) -> Iterator[Lines]:
        with suppress(FileNotFoundError):
            yield from Reading.lines(self)


def _readings_of(path: str, longest: int) -> list[Reading]:
    if not Path(path).is_dir():
        return [Reading(path, longest)]
    with failing_to(f"read {path}"):
        files = sorted(str(file) for pattern in _TRACE_FILES for file in Path(path).glob(pattern))
    if not files:
        raise InputError(
            f"expected traces ({', '.join(_TRACE_FILES)}) in {path}, found none: demyjpy run "
            "--record DIRECTORY writes all sessions there, and --flight DIRECTORY those before a failure"
        )
    return [_Listed(file, longest) for file in files]


def report_problems(command: str, found: Iterable[Reading], sessions: Iterable[str] = ()) -> int:
    """Say on standard error what could not be read, also of ``sessions``; how much that was."""
    return complain_of_all(command, chain((line for one in found for line in one.report()), sessions))


@define
class FirstThousand:
    """Lines to print at the end: the first thousand, and how many there were."""

    lines: list[str] = field(factory=list)
    count: int = 0

    def extend(self, lines: Iterable[str]) -> None:
        """Lines more."""
        for line in lines:
            self.count += 1
            if self.count <= _MOST_KEPT:
                self.lines.append(line)

    def __iter__(self) -> Iterator[str]:
        """Those that are kept, then one about the others."""
        yield from self.lines
        if self.count > _MOST_KEPT:
            yield f"{self.count - _MOST_KEPT} problems more"


def session_problems(one: Trace) -> Iterator[str]:
    """What is wrong with the recording of a session, each with where it is."""
    return (f"{one.source}: session {one.name}: {what}" for what in one.problems)


def message_line(message: MessageStory) -> str:
    """A message on a line: when, queue id, envelope, what became of it."""
    when = datetime.fromtimestamp(message.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = f"{message.name} [{message.milter}]" if message.milter else message.name
    words = [when, safe(name), envelope(message), ending(message)]
    return shorten("  ".join(words))


def message_json(message: MessageStory) -> dict[str, Any]:
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
