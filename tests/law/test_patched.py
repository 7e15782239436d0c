"""The law test is red if merging is wrong: each planted fault is found."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.law.combinations import FEW, pairwise
from tests.law.draws import Draw, draws
from tests.law.judging import MTAS, came_of_merged, came_of_row, faults_of
from tests.law.patched import PLANTED


@cache
def _drawn() -> tuple[Draw, ...]:
    """Draws that are the same in each run."""
    found: list[Draw] = []

    @settings(max_examples=400, phases=[Phase.generate], derandomize=True, database=None,
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(draws())
    def collect(draw: Draw) -> None:
        found.append(draw)

    collect()
    return tuple(found)


def _tried() -> Iterator[Draw]:
    yield from (one.draw for one in FEW)
    yield from (one.draw for one in [*pairwise()][::40])
    yield from _drawn()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A combination, or one of a few hundred draws, shows it."""
    PLANTED[name](monkeypatch)
    for draw in _tried():
        for mta in MTAS:
            row, merged = came_of_row(draw, mta), came_of_merged(draw, mta)
            if [*faults_of(draw, row, merged, mta.name)]:
                return
    pytest.fail(f"nothing shows that {name}")
