"""What a run left in its recordings: how many messages, and how many sessions that were cut."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """``messages``: those whose end was answered; ``cut``: sessions that the recorder gave up."""

    messages: int
    cut: int


def read_recordings(directory: Path) -> Recorded:
    """What is in the traces of a directory.

    Most of their lines tell of other things, and are not parsed: a run records millions of them.
    """
    messages = cut = 0
    for path in sorted(directory.rglob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                if b'"end_of_message"' in line:
                    messages += _is_answer(json.loads(line))
                elif b'"cut"' in line:
                    cut += json.loads(line).get("how") == "cut"
    return Recorded(messages, cut)


def _is_answer(record: dict[str, Any]) -> bool:
    """Whether the filter answers an end of message; PROGRESS is no answer of its own."""
    return record.get("direction") == "filter" and record.get("event") == "end_of_message"
