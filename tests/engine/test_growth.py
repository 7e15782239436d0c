"""Nothing on a packet's way costs more for each packet, the more there are."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.engine.growth import CASES

_MOST = 1.1
"""How much of a line's growth may be by something else: buffers double, reads are joined in steps."""


@pytest.fixture(scope="module")
def counted() -> dict[str, list[list[int]]]:
    """Lines and bytes of each case, for N, 2 N and 4 N packets."""
    program = [sys.executable, "-m", "tests.engine.growth"]
    return json.loads(subprocess.run(program, check=True, capture_output=True, timeout=900).stdout)


@pytest.mark.parametrize("case", CASES)
def test_twice_as_many_packets_cost_twice_as_much(counted, case):
    """Lines that run and bytes that are allocated are linear within 10 %, for N, 2 N and 4 N."""
    costs = counted[case]
    assert all(
        after <= 2 * _MOST * before
        for few, many in pairwise(costs)
        for before, after in zip(few, many, strict=True)
    ), costs
