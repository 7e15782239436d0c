"""The law test is red if merging is wrong: each planted fault is found."""

from functools import cache
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.law.combinations import FEW, pairwise
from tests.law.draws import SENT, Draw, draws
from tests.law.filters import Plan
from tests.law.judging import MTAS, Came, came_of_merged, came_of_row, faults_of
from tests.law.oracle import Letter
from tests.law.patched import PLANTED

REFUSED_LATER: Final = Draw(
    (Plan(), Plan({"body": "tempfail"}, silent=frozenset({"mail", "data"}))),
    tuple(Letter(sender, ("b@test",), SENT, b"hello\r\n") for sender in ("a@test", "second@test")),
)
"""A filter refuses while an earlier one still listens. Few draws have that."""


@cache
def _drawn() -> tuple[Draw, ...]:
    """Draws that are the same in each run."""
    found: list[Draw] = []

    @settings(max_examples=120, phases=[Phase.generate], derandomize=True, database=None,
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(draws())
    def collect(draw: Draw) -> None:
        found.append(draw)

    collect()
    return tuple(found)


@cache
def _tried() -> tuple[Draw, ...]:
    return (
        REFUSED_LATER,
        *(one.draw for one in FEW),
        *(one.draw for one in [*pairwise()][::40]),
        *_drawn(),
    )


@cache
def _came_of_row(number: int, which: int) -> Came:
    """Without the planted fault, which is one of merging."""
    return came_of_row(_tried()[number], MTAS[which])


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A combination, or one of a few hundred draws, shows it."""
    PLANTED[name](monkeypatch)
    for number, draw in enumerate(_tried()):
        for which, mta in enumerate(MTAS):
            merged = came_of_merged(draw, mta)
            if [*faults_of(draw, _came_of_row(number, which), merged, mta.name)]:
                return
    pytest.fail(f"nothing shows that {name}")
