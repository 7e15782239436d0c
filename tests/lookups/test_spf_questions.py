"""What SPF says, with a DNS of the test's own; `tests.samples.spf_suite` plays all of RFC 7208."""

from typing import Any

import pytest

from demyjpy.errors import HandlerError
from demyjpy.lookups.spf import CheckSpf
from tests.lookups.records import Records


def spf(records: Any, client: str = "192.0.2.7", sender: str = "ann@example.org") -> str:
    return CheckSpf(client, "mx.example.org", sender).perform({"dns": Records(records)})


def text(*lines: str) -> dict[tuple[str, str], Any]:
    return {("example.org", "TXT"): lines}


LONG = "v=spf1 " + "ip4:192.0.2.7 " * 400
DEEP = {("example.org", "TXT"): ("v=spf1 " + "".join(f"include:{at}.org " for at in range(12)),)} | {
    (f"{at}.org", "TXT"): ("v=spf1 ?all",) for at in range(12)
}
MANY = {("example.org", "TXT"): ("v=spf1 mx -all",)} | {("example.org", "MX"): ((0, "mx.example.org"),)}
ADDRESS = {("mx.example.org", "A"): ("192.0.2.7",), ("mx.example.org", "AAAA"): ("2001:db8::7",)}
CHECKS = [
    (text(), "none"),
    (text("x", "v=spf1 ip4:192.0.2.0/24 -all"), "pass"),
    (text("v=spf1 ~all"), "softfail"),
    (text("v=spf1 -all", "v=spf1 +all"), "permerror"),
    (text("v=spf1 a:a.org a:b.org a:c.org ?all"), "permerror"),
    (text("v=spf1 a:a.org a:a.org a:a.org ?all"), "neutral"),
    (text("v=spf1 \udcff -all"), "permerror"),
    (text(LONG), "none"),
    (DEEP, "permerror"),
    (MANY | ADDRESS, "pass"),
    (MANY | {("mx.example.org", "A"): OSError("away")}, "temperror"),
]


@pytest.mark.parametrize(("records", "told"), CHECKS)
def test_spf(records: Any, told: str) -> None:
    """pyspf, with this resolver in place of its own."""
    assert spf(records) == told


def test_spf_of_other_clients_and_senders() -> None:
    """IPv6; the null sender, of whom HELO speaks."""
    assert spf(MANY | ADDRESS, "2001:db8::7") == "pass"
    assert spf({("mx.example.org", "TXT"): ("v=spf1 -all",)}, sender="") == "fail"


def test_it_ends_when_dns_takes_too_long() -> None:
    """It does not ask for more names then. What is left of its time is given to DNS."""
    records = Records(MANY | ADDRESS)
    assert CheckSpf("192.0.2.7", "x", "ann@example.org", timeout=5).perform({"dns": records}) == "pass"
    assert all(0 < seconds <= 5 for seconds in records.seconds)
    late = Records(MANY | ADDRESS)
    question = CheckSpf("192.0.2.7", "x", "ann@example.org", timeout=1e-9)
    assert question.perform({"dns": late}) == "temperror"
    assert late.seconds == []
    with pytest.raises(HandlerError, match="timeout= in seconds, more than 0"):
        CheckSpf("192.0.2.7", "x", "ann@example.org", timeout=0)


def test_a_resolver_has_to_be_declared() -> None:
    """It belongs to a loop, and a thread has none."""
    with pytest.raises(HandlerError, match=r"resource 'dns' .* a Resolver, got none: declare"):
        CheckSpf("192.0.2.7", "x", "ann@example.org").perform({})
