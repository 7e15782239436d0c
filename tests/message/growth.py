"""What a message of N fields and N edits costs, counted: lines of Python that run, and bytes.

    python -m tests.message.growth

prints both as JSON, for each case with N, 2 N and 4 N. See `tests.engine.growth`.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, Final

from demyjpy.actions import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    DeleteHeader,
    DeleteRecipient,
    InsertHeader,
    ReplaceBody,
)
from demyjpy.engine.chain_edits import modifications_of
from demyjpy.message import Draft, apply_edits, difference
from tests.engine.growth import Counter

SIZES: Final = (100, 200, 400)

KINDS: Final[dict[str, Callable[[int], Any]]] = {
    "changes": lambda number: ChangeHeader(number, "X-Many", "new"),
    "deletions": lambda number: DeleteHeader(number, "x-many"),
    "deletions, each of a name of its own": lambda number: DeleteHeader(1, f"X-{number}"),
    "additions of one name": lambda number: AddHeader("X-Many", "new"),
    "additions, each of a name of its own": lambda number: AddHeader(f"X-New-{number}", "new"),
    "insertions": lambda number: InsertHeader(number % 2, "X-New", "new"),
    "new recipients": lambda number: AddRecipient(f"n{number}@test"),
    "deleted recipients": lambda number: DeleteRecipient(f"B{number}@test"),
    "pieces of a body": lambda number: ReplaceBody(b"piece\r\n"),
}
CASES: Final = (*KINDS, "all")


def count(case: str, size: int) -> tuple[int, int]:
    """Lines and bytes of two filters that make so many edits each, and of their plan."""
    kinds = KINDS.values() if case == "all" else (KINDS[case],)
    edits = [kind(number) for number in range(1, size + 1) for kind in kinds]
    fields = [(name, " 1") for number in range(1, size + 1) for name in ("X-Many", f"X-{number}")]
    first = Draft.of(fields, [f"b{number}@test" for number in range(1, size + 1)])
    with Counter() as counter:
        last = apply_edits(apply_edits(first, edits), edits)
        modifications_of(difference(first, last), first)
    return counter.lines, counter.allocated


if __name__ == "__main__":
    for one in CASES:
        count(one, 2)  # what is remembered once
    json.dump({one: [count(one, size) for size in SIZES] for one in CASES}, sys.stdout)
