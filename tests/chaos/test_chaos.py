"""A short run of chaos; `python -m tests.chaos` is the long one."""

import asyncio

import pytest

from tests.chaos.run import Plan, run


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_good_clients_are_served_whatever_happens(driver):
    """Each is answered rightly and once, while others misbehave and workers die."""
    plan = Plan(driver, 600, 20, 6, 3, 20_061, 0.3, most_faults=4)
    outcome = asyncio.run(run(plan))
    assert outcome.problems == (), f"{plan}\n{outcome.as_text()}"
    assert outcome.answered >= 600
