"""`samples/filters/clamd_scanner.py`: what becomes of mail with a virus, or not scanned."""

from typing import Any

import pytest

from demyjpy import Failed, Late
from demyjpy.lookups.streams import ClamScan
from demyjpy.testing import Postfix, run
from demyjpy.testing.server import serving
from tests.lookups.servers import clamd, need
from tests.samples.pages import CLIENT, HELLO, sample, sent, settings_of

make = sample("clamd_scanner").make
SETTINGS = settings_of("filter-clamd-scanner")


def played(outcome: Any, **others: Any) -> Any:
    """A mail, of which clamd says this."""
    settings = {**SETTINGS, **others}
    return run(make, sent(CLIENT), mta=Postfix(), settings=settings, answers={ClamScan: outcome})


def test_a_mail_with_a_virus_does_not_come_in() -> None:
    """It is refused or held back, written down and counted; one without comes in."""
    refused = played("Eicar")
    assert str(refused.reply) == "550 5.7.1 Virus found: Eicar"
    assert [one.text for one in refused.notes] == ["virus found"]
    assert [one.name for one in refused.counts] == ["infected"]
    assert played("Eicar", infected="quarantine").only.quarantine == "virus Eicar"
    clean = played(None)
    assert clean.is_delivered
    assert (clean.only.quarantine, clean.notes, clean.counts) == (None, (), ())


@pytest.mark.parametrize("outcome", [Failed("no clamd"), Late()])
def test_what_was_not_scanned(outcome: Any) -> None:
    """The settings say whether it comes in."""
    assert played(outcome).reply.code == 451
    assert played(outcome, unscanned="accept").is_delivered
    assert [one.name for one in played(outcome, unscanned="accept").counts] == ["unscanned"]


def test_what_is_too_large() -> None:
    """It is not sent to clamd. Trying again would not help, so it is refused for good."""
    large = played("x", limit=50)
    assert (large.reply.code, large.asked) == (552, ())
    assert played("x", limit=50, unscanned="accept").is_delivered


@need("clamav")
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_it_asks_clamd(driver: Any) -> None:
    """The real one; also about a body that is in a file; if it is gone, mail is put off."""
    with clamd("Bad:0:*:" + b"bad program".hex()) as server:
        settings = {**SETTINGS, "server": f"unix:{server.address}"}
        options = {"driver": driver, "mta": Postfix(), "settings": settings, "spool": 1000}
        with serving(make, **options) as milter:
            assert milter.run(sent(CLIENT)).is_delivered
            found = milter.run(sent(CLIENT, HELLO + "more\n" * 1000 + "bad program\n"))
            assert str(found.reply).startswith("550 5.7.1 Virus found: Bad")
            server.stop()
            assert milter.run(sent(CLIENT)).reply.code == 451
