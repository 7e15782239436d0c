"""All scenarios that were written for the real servers, in their models."""

import pytest

from tests.integration.scenario import Mta, Scenario, ordered
from tests.integration.scenarios import SCENARIOS
from tests.model.playing import play_scenario


@pytest.mark.parametrize("mta", ["postfix", "sendmail"])
@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in SCENARIOS])
def test_scenario(mta: Mta, scenario: Scenario) -> None:
    """Replies, delivered mail and quarantine are what the scenario says of the real server."""
    expected = scenario.expected(mta)
    outcome = play_scenario(scenario, mta)
    assert outcome.replies == expected.replies
    assert outcome.delivered == ordered(expected.delivered)
    assert outcome.held == expected.held
