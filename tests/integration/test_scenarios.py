"""Every scenario against the real servers, with both drivers, over both kinds of sockets."""

from collections.abc import Iterator

import pytest

from tests.integration.conftest import FindSite
from tests.integration.running import (
    COMBINATIONS,
    MTAS,
    OTHER_COMBINATIONS,
    Socket,
    play,
)
from tests.integration.scenario import Driver, Mta, Scenario, ordered
from tests.integration.scenarios import SCENARIOS


def _runs() -> Iterator[object]:
    for mta in MTAS:
        for driver, kind in (*COMBINATIONS, *OTHER_COMBINATIONS):
            for scenario in SCENARIOS:
                is_wanted = scenario.everywhere or (driver, kind) in COMBINATIONS
                if is_wanted and driver in scenario.drivers:
                    name = f"{mta}-{driver}-{kind}-{scenario.name}"
                    yield pytest.param(mta, driver, kind, scenario, id=name)


@pytest.mark.parametrize(("mta", "driver", "kind", "scenario"), [*_runs()])
def test_scenario(
    find_site: FindSite, mta: Mta, driver: Driver, kind: Socket, scenario: Scenario
) -> None:
    """Replies, delivered mail and quarantine are what the scenario says of this server."""
    expected = scenario.expected(mta)
    outcome = play(scenario, find_site(mta, kind), driver)
    assert outcome.replies == expected.replies
    assert outcome.delivered == ordered(expected.delivered)
    assert outcome.held == expected.held


def test_names() -> None:
    """No two scenarios have one name."""
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)
