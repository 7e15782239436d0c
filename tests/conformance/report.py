"""Writes docs/conformance.md: which test checks which row.

``python -m tests.conformance.report > docs/conformance.md``. A test says by its name which rows it is
for: ``test_row_042_...``, or ``test_row_045_046_...`` for two.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conformance.rows import ROWS, Row

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "conformance.md"


HEAD = """\
# Conformance

You need this page if you compare milter libraries, or change the engine. It lists, row by row, what a
milter library must do, and the tests that check demyjpy for it. Side F is the filter's library, B the
bytes of both sides, C the MTA's side. The tests are in `tests/conformance`; the name of each says which
row it is for. `python -m tests.conformance.report` writes this page.

"""


def covering_tests() -> Mapping[int, list[str]]:
    """Row numbers to the names of their tests, with module."""
    found = defaultdict(list)
    for path in sorted(HERE.glob("test_*.py")):
        for name in _functions(path):
            rows = re.match(r"test_row((?:_\d{3})+)_", name)
            for number in re.findall(r"\d{3}", rows.group(1)) if rows else ():
                found[int(number)].append(f"{path.stem}.{name}")
    return found


def _functions(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name


def document() -> str:
    """The page."""
    covered = covering_tests()
    held = [row for row in ROWS if row.number in covered]
    summary = f"{len(held)} of {len(ROWS)} rows have a test.\n\n"
    table = "| # | side | topic | when | what | tests |\n| --: | - | - | - | - | - |\n"
    return HEAD + summary + table + "".join(_line(row, covered.get(row.number, [])) for row in ROWS)


def _line(row: Row, tests: list[str]) -> str:
    held = "<br>".join(f"`{test}`" for test in tests) or "**none**"
    cells = (row.number, row.side, row.topic, row.condition, row.result, held)
    return "| " + " | ".join(str(cell).replace("<>", r"\<\>") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.stdout.write(document())
