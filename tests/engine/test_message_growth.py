"""Messages as values: no field, recipient, chunk, part or filter costs more, the more there are."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.engine.message_growth import CASES

_MOST = 1.1
"""How much of the growth may be by something else: tables double."""


@pytest.fixture(scope="module")
def counted() -> dict[str, list[list[int]]]:
    """Lines and bytes of each case, for N, 2 N and 4 N."""
    program = [sys.executable, "-m", "tests.engine.message_growth"]
    return json.loads(subprocess.run(program, check=True, capture_output=True, timeout=900).stdout)


@pytest.mark.parametrize("case", CASES)
def test_twice_as_much_of_a_message_costs_twice_as_much(counted, case):
    """Lines that run and bytes that are allocated are linear within 10 %, for N, 2 N and 4 N."""
    costs = counted[case]
    assert all(
        after <= 2 * _MOST * before
        for few, many in pairwise(costs)
        for before, after in zip(few, many, strict=True)
    ), costs
