"""The sample `access`: who is refused, with its own tables and with answers by hand."""

from typing import Any

import pytest

from demyjpy import Failed, Late
from demyjpy.lookups.tables import Lookup
from demyjpy.testing import Postfix, Sendmail, run, session
from demyjpy.testing.server import serving
from tests.test_samples import load

__all__ = ["load"]

MAILS = [
    # client, sender, what the client is told at MAIL
    ("192.0.2.7", "ann@example.org", None),
    ("198.51.100.7", "ann@example.org", None),
    ("198.51.100.8", "ann@example.org", "550 5.7.1 Mail from this network is not wanted"),
    ("2001:db8:bad::1", "ann@example.org", "550 5.7.1 Mail from this network is not wanted"),
    ("192.0.2.7", "Joe@mx.Spam.example", "550 5.7.1 No mail from this domain"),
    ("192.0.2.7", '"friend"@spam.example', None),
    ("192.0.2.7", "newsletter@example.org", "550 5.7.1 No newsletters, please"),
    ("192.0.2.7", "", None),
]


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_access_refuses_what_stands_in_its_tables(load: Any, driver: Any) -> None:
    """Over a socket, with the tables of the sample."""
    found = []
    with serving(load("access").handlers, driver=driver, mta=Postfix()) as server:
        for client, sender, _ in MAILS:
            reply = server.run(session(client=client).mail(sender)).steps[2].outcome.reply
            found.append(None if reply.code == 250 else str(reply))
    assert found == [told for _, _, told in MAILS]


@pytest.mark.parametrize("outcome", [Failed("no table"), Late()])
def test_access_puts_off_what_it_cannot_check(load: Any, outcome: Any) -> None:
    """Nobody is refused for good because a table fails."""
    letter = session(client="192.0.2.7").mail("ann@example.org")
    result = run(load("access").handlers, letter, answers={Lookup: outcome})
    assert str(result.steps[2].outcome.reply) == "451 4.3.0 Access cannot be checked now"


def test_access_knows_no_client_without_an_address(load: Any) -> None:
    """Sendmail tells none for a program on its machine; the sender is looked up all the same."""
    letter = session(client="").mail("ann@spam.example")
    result = run(
        load("access").handlers, letter, answers={Lookup: lambda one: one.key or None}, mta=Sendmail()
    )
    assert str(result.steps[2].outcome.reply) == "550 5.7.1 <ann@spam.example>... ann@spam.example"
