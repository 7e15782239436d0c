"""Neither fields nor edits cost more for each, the more there are."""

import json
import subprocess
import sys

import pytest

from demyjpy.actions import ChangeHeader, DeleteHeader
from demyjpy.engine.chain_edits import modifications_of
from demyjpy.message import Draft, apply_edits, difference
from tests.message.growth import CASES

_MOST = 1.1
"""How much of the growth may be by something else: tables double."""


@pytest.fixture(scope="module")
def counted():
    """Lines and bytes of each case, for N, 2 N and 4 N."""
    program = [sys.executable, "-m", "tests.message.growth"]
    return json.loads(subprocess.run(program, check=True, capture_output=True, timeout=300).stdout)


@pytest.mark.parametrize("case", CASES)
def test_twice_as_many_edits_cost_twice_as_much(counted, case):
    """Lines that run and bytes that are allocated are linear within 10 %, over N and 4 N."""
    (lines, size), _, (more_lines, more_size) = counted[case]
    assert more_lines <= 4 * _MOST * lines, counted[case]
    assert more_size <= 4 * _MOST * size, counted[case]


def test_ten_thousand_edits_of_ten_thousand_fields():
    """As large a plan as this is made, too, and is right."""
    count = 10_000
    first = Draft.of([("X-Many", f" {number}") for number in range(count)])
    edits = [DeleteHeader(number, "X-Many") for number in range(1, count, 2)]
    edits += [ChangeHeader(number, "X-Many", "new") for number in range(2, count + 1, 2)]
    plan = modifications_of(difference(first, apply_edits(first, edits)), first)
    assert plan == (*edits[count // 2 :], *edits[: count // 2][::-1])
