"""The models of the MTAs with two filters in a row: what each sees, replies, what is delivered."""

from typing import Any

import pytest

from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.testing.memory_filter import MemoryFilter
from tests.integration.row import Row
from tests.integration.rows import ROWS
from tests.integration.running import MTAS
from tests.integration.scenario import Mta
from tests.law.filters import made_all
from tests.model.playing import PROFILES, play_steps


def played(row: Row, mta: Mta) -> tuple[Any, Any]:
    """What came of a row in the model, and what should have."""
    filters, seen = made_all(row.plans)
    milters = [MemoryFilter(Setup(as_on_connect(one))) for one in filters]
    result = play_steps(PROFILES[mta], row.steps, milters)
    for milter in milters:
        milter.end()
    outcome = row.outcome(mta, seen, result.replies, result.delivered, result.held)
    return outcome, row.expected(mta, seen, result.replies)


@pytest.mark.parametrize("mta", MTAS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row: Row, mta: Mta) -> None:
    """The model does what the real server does with two filters in a row."""
    outcome, expected = played(row, mta)
    assert outcome == expected
