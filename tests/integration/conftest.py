"""The servers of the integration tests: each is started once, and asks a milter at one fixed address.

A test runs its own milter there for as long as it needs one. Where the servers are not unpacked, or for
anyone but root, all tests in this directory are skipped; with ``DEMYJPY_NO_SKIPS`` set, it is an error.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.integration.fetch_mtas import what_is_missing
from tests.integration.running import Site, Socket, milter_address, running_site
from tests.integration.scenario import Mta

HERE = Path(__file__).parent

FindSite: TypeAlias = Callable[[Mta, Socket], Site]


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "real mail servers are run by root only"
    reason = what_is_missing()
    return f"{reason}: run `python -m tests.integration.fetch_mtas`" if reason else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all tests below this directory where there is nothing to run them with."""
    mine = [item for item in items if HERE in item.path.parents]
    reason = _why_not() if mine else None
    if reason and os.environ.get("DEMYJPY_NO_SKIPS"):
        raise pytest.UsageError(reason)
    if reason:
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def find_site() -> Iterator[FindSite]:
    """The server of a kind that reaches its milter over a kind of socket, started when asked for."""
    sites: dict[tuple[Mta, Socket], Site] = {}
    with ExitStack() as stack:

        def find(mta: Mta, kind: Socket) -> Site:
            if (mta, kind) not in sites:
                address = stack.enter_context(milter_address(kind))
                sites[mta, kind] = stack.enter_context(running_site(mta, (address,)))
            return sites[mta, kind]

        yield find
