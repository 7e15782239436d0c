"""Two filters in a row behind the real servers: what each sees, replies, what is delivered."""

from collections.abc import Iterator

import pytest

from demyjpy import running
from tests.integration.row import Row
from tests.integration.rows import ROWS
from tests.integration.running import MTAS, Site, milter_address, running_site
from tests.integration.smtp import converse
from tests.law.filters import Watched


@pytest.fixture(scope="module", params=MTAS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A server with two milters."""
    with (
        milter_address("inet") as first,
        milter_address("inet") as second,
        running_site(request.param, (first, second)) as both,
    ):
        yield both


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(site: Site, row: Row) -> None:
    """The server does what the row says."""
    site.clear()
    first, second = Watched(row.plans[0]), Watched(row.plans[1])
    with running(first, address=site.milters[0]), running(second, address=site.milters[1]):
        replies = converse(site.server.port, row.steps)
        delivered, held = site.delivered(), site.held()
    is_postfix = site.mta == "postfix"
    print(site.server.new_log_lines())  # noqa: T201  # pytest shows it where the test fails
    seen = [first.seen[0], second.seen[0]]
    assert [tuple(one) for one in second.seen[1:]] == [row.acted] * bool(row.acted and is_postfix)
    outcome = row.outcome(site.mta, seen, replies, delivered, held)
    assert outcome == row.expected(site.mta, seen, replies)
