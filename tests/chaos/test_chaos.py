"""Short runs of the programs `tests.chaos`, `tests.chaos.fairness` and `tests.chaos.soak`."""

import asyncio
from xml.etree import ElementTree as ET

import pytest

from tests.chaos.effects import run as run_effects
from tests.chaos.fairness import ATTACKERS, MOST, Case, measure
from tests.chaos.run import Plan, run
from tests.chaos.soak import plot, soak


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_good_clients_are_served_whatever_happens(driver):
    """Each is answered rightly and once, while others misbehave and workers die."""
    plan = Plan(driver, 600, 20, 6, 3, 20_061, 0.3, most_faults=4)
    outcome = asyncio.run(run(plan))
    assert outcome.problems == (), f"{plan}\n{outcome.as_text()}"
    assert outcome.answered >= 600


@pytest.mark.parametrize(
    ("driver", "count", "kills"), [("asyncio", 1, 2), ("threads", 1, 1), ("threads", 2, 1)]
)
def test_effects_survive_whatever_happens(driver, count, kills):
    """Each of an accepted message is done, also if a worker dies; none of a refused one."""
    found = run_effects(driver, 60, kills, 20_061, count=count)
    assert found.problems == (), found.as_text()
    assert (found.accepted, found.refused) == (40, 20)


def test_what_is_noted_of_a_long_run():
    """Messages are answered, nothing is left open, and it can be drawn."""
    found = asyncio.run(soak("asyncio", 2.0, 3, 20_061))
    assert (found.left, found.wrong) == (0, ())
    assert found.samples[-1].messages > found.samples[0].messages
    assert "messages in" in found.as_text()
    drawn = ET.fromstring(plot([found]))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) == 1


@pytest.mark.parametrize("is_observed", [False, True])
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_a_good_client_is_served_beside_attackers(driver, is_observed):
    """In each phase both get something done; without observers memory is bounded."""
    rows = asyncio.run(measure(Case(driver, 1, is_observed, "replace"), 0.2, 1))
    assert [row.attackers for row in rows] == [count for count in ATTACKERS if count]
    for row in rows:
        assert row.alone.count >= 1
        assert row.beside.count >= 1
        assert row.beside.attacked > 0
        assert is_observed or row.kilobytes < MOST
