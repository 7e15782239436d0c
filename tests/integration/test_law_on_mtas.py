"""Merged filters and the same filters in a row, behind the real servers: a dozen combinations."""

from collections.abc import Iterator

import pytest

from tests.integration.running import MTAS
from tests.law.combinations import FEW, Combination
from tests.law.on_mtas import Sites, running_sites


@pytest.fixture(scope="module", params=MTAS)
def sites(request: pytest.FixtureRequest) -> Iterator[Sites]:
    """A server with two milters, and one with one."""
    with running_sites(request.param) as both:
        yield both


@pytest.mark.parametrize("combination", FEW, ids=str)
def test_combination(sites: Sites, combination: Combination) -> None:
    """Replies, mail and what each filter sees are those of the row, or what the contract says."""
    assert sites.faults(combination.draw) == []
