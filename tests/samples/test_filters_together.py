"""The filters of `samples/filters/` in one chain, as a postmaster runs them."""

from typing import Any

import pytest

from demyjpy import Late, merge_handlers
from demyjpy.lookups.dkim import CheckDkim, SignDkim
from demyjpy.lookups.dmarc import DmarcPolicy, policy_in
from demyjpy.lookups.spf import CheckSpf
from demyjpy.lookups.streams import ClamScan
from demyjpy.testing import Postfix, check_filter, run
from tests.samples.keys import good_keys, is_good
from tests.samples.pages import CLIENT, USER, sample, sent, settings_of
from tests.test_docs import ROOT

NAMES = ("authentication_results", "attachments", "clamd_scanner", "disclaimer", "dkim_signer")
MODULES = {name: sample(name) for name in NAMES}
PAGES = {name: "filter-" + name.replace("_", "-") for name in NAMES}


def chain() -> Any:
    """All of them, with the settings of their pages: what signs stands last."""
    return merge_handlers(
        **{name: one.make(**settings_of(PAGES[name])) for name, one in MODULES.items()}
    )


def test_each_does_its_part() -> None:
    """Mail of a user is signed with the disclaimer in it, that from outside is checked."""
    keys = {"keys": good_keys("example.org")}
    answers = {
        SignDkim: lambda question: question.perform(keys),
        CheckSpf: "pass",
        CheckDkim: Late(),
        DmarcPolicy: policy_in("example.org", {"example.org": ("v=DMARC1; p=none",)}),
        ClamScan: None,
    }
    own = run(chain(), sent(USER), mta=Postfix(), answers=answers)
    assert b"registered in Exampletown" in own.delivered
    assert is_good(own.delivered, "s2026._domainkey.example.org.")
    other = run(chain(), sent(CLIENT), mta=Postfix(), answers=answers)
    told = other.message.authentication_results()[0]
    assert [told.get(one) for one in ("spf", "dkim", "dmarc")] == ["pass", "temperror", "pass"]
    assert not other.message.is_signed


@pytest.mark.parametrize("name", ["attachments", "disclaimer"])
def test_they_keep_the_promises_of_a_filter(name: str) -> None:
    """Those that ask nothing: the others take a minute each, with all orders of answers."""
    settings, slow = settings_of(PAGES[name]), ("chunks", "leaks", "order")
    check_filter(MODULES[name].make, settings=settings, mta=Postfix(), max_examples=1, skip=slow)


def test_the_nine_are_short() -> None:
    """What every author of such filters would need is the library's."""
    lines = {
        one.name: one.read_text("utf-8").count("\n") for one in (ROOT / "samples/filters").glob("*.py")
    }
    assert len(lines) == 9
    assert sum(lines.values()) <= 700, lines
