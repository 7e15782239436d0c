"""The question what DMARC says of a domain: which record counts, and who may speak for it (RFC 9989)."""

from typing import Any

import pytest

from demyjpy.lookups.dmarc import DmarcPolicy, is_aligned, names_of_walk, policy_in
from demyjpy.lookups.dns import Resolver
from demyjpy.questions import Answered, Failed
from tests.lookups.servers import ask_once, need, unbound, with_client

RECORDS = {"example.org": "v=DMARC1; p=reject; sp=none; adkim=s", "a.b.example.org": "v=DMARC1; p=none"}
WALKS = [
    # domain, records, who is vouched for by SPF, result and policy
    ("example.org", RECORDS, "mail.example.org", ("pass", "reject")),
    ("b.example.org", RECORDS, "c.example.org", ("pass", "none")),
    ("a.b.example.org", RECORDS, "example.org", ("pass", "none")),
    ("example.org", RECORDS, "notexample.org", ("fail", "reject")),
    ("example.org", RECORDS, "org", ("fail", "reject")),
    (
        "example.org",
        {"example.org": "v=DMARC1; p=reject; aspf=s"},
        "mail.example.org",
        ("fail", "reject"),
    ),
    (
        "a.shop.example",
        {"shop.example": "v=DMARC1;psd=y;p=reject"},
        "b.shop.example",
        ("fail", "reject"),
    ),
    ("x.a.shop.example", {"shop.example": "v=DMARC1;psd=y"}, "y.a.shop.example", ("pass", "none")),
    ("x.a.org", {"a.org": "v=DMARC1;psd=n", "org": "v=DMARC1"}, "y.a.org", ("pass", "none")),
    ("x.b.org", {"b.org": "v=DMARC1;psd=n", "x.b.org": "v=DMARC1;psd=n"}, "y.b.org", ("fail", "none")),
    (
        "a.co.example",
        {"co.example": "v=DMARC1;psd=y;p=reject", "example": "v=DMARC1;p=none"},
        "b.co.example",
        ("fail", "reject"),
    ),
    ("a.org", {"org": "v=DMARC1;p=reject"}, "b.org", ("fail", "reject")),
    ("a.org", {"a.org": "v=DMARC10;p=reject"}, "a.org", ("none", None)),
]


@pytest.mark.parametrize(("domain", "records", "vouched", "told"), WALKS)
def test_which_record_counts(domain: str, records: dict[str, str], vouched: str, told: Any) -> None:
    """And who belongs to the organization (section 4.10)."""
    texts = {name: (records[name],) if name in records else () for name in names_of_walk(domain)}
    policy = policy_in(domain, texts)
    if policy is None:
        assert told == ("none", None)
    else:
        result = "pass" if is_aligned(policy, "spf", vouched) else "fail"
        assert (result, policy["policy"]) == told


def test_the_walk_is_short() -> None:
    """Eight names, the longest first; none for what can be no name."""
    assert names_of_walk("a.b.org") == ["a.b.org", "b.org", "org"]
    assert names_of_walk("1.2.3.4.5.6.7.8.org") == [
        "1.2.3.4.5.6.7.8.org",
        *("3.4.5.6.7.8.org", "4.5.6.7.8.org", "5.6.7.8.org", "6.7.8.org", "7.8.org", "8.org", "org"),
    ]
    assert names_of_walk("") == names_of_walk("a" * 254) == []


@pytest.mark.parametrize(
    ("texts", "policy"),
    [
        (("v=DMARC1; p=reject", "v=spf1 -all", "v=DMARC1x; p=none"), "reject"),
        (("V=DMARC1; p=reject",), None),
        (("v=DMARC1; p=reject", "v=DMARC1; p=none"), None),
        (("v = DMARC1 ; P = Quarantine",), "quarantine"),
        (("v=DMARC1; p=reject; t=y",), "quarantine"),
        (("v=DMARC1; p=quarantine; t=y",), "none"),
        (("v=DMARC1; p=none; t=y",), "none"),
        (("v=DMARC1; p=everything",), "none"),
        (("v=DMARC1",), "none"),
    ],
)
def test_what_a_record_says(texts: Any, policy: Any) -> None:
    """Several records are none (section 4.7); who tests gets one step less."""
    found = policy_in("example.org", {"example.org": texts})
    assert (found and found["policy"]) == policy


def test_alignment_may_be_strict_for_one_method() -> None:
    """DKIM in strict mode, SPF not."""
    policy = policy_in("example.org", {"example.org": (RECORDS["example.org"],)})
    assert policy is not None
    assert (policy["spf"], policy["dkim"]) == ("relaxed", "strict")
    assert is_aligned(policy, "spf", "Mail.Example.org")
    assert not is_aligned(policy, "dkim", "mail.example.org")
    assert is_aligned(policy, "dkim", "EXAMPLE.org")


DATA = """
_dmarc.example.org. TXT "v=DMARC1; p=reject; " "sp=none"
_dmarc.org. TXT "x"
"""


@need("unbound")
def test_it_asks_dns() -> None:
    """All names of the walk, with the declared resolver; one that does not answer is a failure."""
    with unbound(DATA) as dns:

        async def main(resolver: Resolver) -> Any:
            names = ("Mail.Example.org", "example.com", "")
            return [await ask_once(DmarcPolicy(name), {"dns": resolver}) for name in names]

        found, *others = with_client(lambda: Resolver("127.0.0.1", port=dns.address), main)
        away = with_client(lambda: Resolver("127.0.0.1", port=9, timeout=0.05), main)
    assert others == [Answered(None), Answered(None)]
    policy = dict(found.value)
    assert policy == {
        "domain": "mail.example.org",
        "organization": "example.org",
        "policy": "none",
        "spf": "relaxed",
        "dkim": "relaxed",
    }
    assert [type(one) for one in away] == [Failed, Failed, Answered]
