"""A DKIM signer behind a disclaimer, both by `become`: every signature verifies at the next hop.

`python -m tests.integration.signer 200` plays more mails.
"""

from collections.abc import Iterator

import pytest

pytest.importorskip("dkim", reason="the tests that sign need dkimpy")

from tests.integration.running import MTAS, Site
from tests.integration.signer import (
    CONVERTED,
    deliver,
    is_right,
    is_verified,
    mail,
    signer,
    site_of,
)

MAILS = 20


@pytest.fixture(scope="module", params=MTAS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A server with one milter."""
    with site_of(request.param) as found:
        yield found


@pytest.mark.parametrize("number", range(MAILS))
def test_a_signature_behind_a_disclaimer_verifies(site: Site, number: int) -> None:
    """Whatever the shape of the mail; header and body are canonical as they are ("simple")."""
    assert is_right(deliver(site, mail(number)))


@pytest.mark.parametrize("what", CONVERTED)
def test_what_sendmail_converts_breaks_a_signature(site: Site, what: str) -> None:
    """Postfix leaves these mails alone."""
    data = deliver(site, CONVERTED[what], signer())
    assert b"DKIM-Signature: v=1" in data
    assert is_verified(data) == (site.mta == "postfix")
