"""The checks of `samples/filters/authentication_results.py`, with a DNS of the test's own."""

from typing import Any

import pytest
from attrs import frozen

from demyjpy import Message
from tests.samples.keys import PUBLIC, sign
from tests.samples.pages import HELLO, sample

filters = sample("authentication_results")
MAIL = HELLO.replace("\n", "\r\n").encode()
KEY = {("s1._domainkey.example.org", "TXT"): (PUBLIC,)}


@frozen
class Records:
    """A resolver that knows these."""

    records: dict[tuple[str, str], Any]

    def find_in_thread(self, name: str, kind: str) -> Any:
        found = self.records.get((name, kind), ())
        if isinstance(found, Exception):
            raise found
        return found


def checked(content: bytes, records: Any = KEY) -> Any:
    return filters.CheckDkim(Message.parse(content)).perform({"dns": Records(records)})


def result(content: bytes, records: Any = KEY) -> str:
    """That of the first signature."""
    return str(checked(content, records)[0][0])


@pytest.mark.parametrize(
    "way", [(a, b) for a in (b"relaxed", b"simple") for b in (b"relaxed", b"simple")]
)
@pytest.mark.parametrize("body", [b"Hi\r\n", b"", b"a  \t b \r\n\r\n x \r\n\r\n\r\n"])
def test_signatures_of_each_kind_hold(way: Any, body: bytes) -> None:
    """In both forms, of header and body; not if a word has changed."""
    signed = sign(MAIL + body, canonicalize=way)
    assert checked(signed) == (("pass", "example.org", "s1"),)
    assert result(signed.replace(b"Bob", b"Eve")) == "fail"
    assert result(signed.replace(b"hello", b"money")) == "fail"
    is_strict = way[1] == b"simple"
    assert result(signed.replace(b"Hello Bob", b"Hello  Bob")) == ("fail" if is_strict else "pass")


def test_what_is_no_good_signature() -> None:
    """Each has a result, and the first five are looked at."""
    signed = sign(MAIL)
    assert checked(MAIL) == ()
    assert len(checked(signed[: signed.index(b"From: ")] * 9 + MAIL)) == 5
    assert result(b"DKIM-Signature: v=1\r\n" + MAIL) == "fail"
    assert result(b"DKIM-Signature: \xff=\xff; b\r\n" + MAIL) == "permerror"
    assert result(signed.replace(b"relaxed/relaxed", b"relaxed/none")) == "permerror"
    assert result(sign(MAIL, signature_algorithm=b"rsa-sha1")) == "policy"
    assert result(signed, {}) == "permerror"
    for record in ((PUBLIC, PUBLIC), (PUBLIC + "A" * 800,)):
        assert result(signed, {("s1._domainkey.example.org", "TXT"): record}) == "permerror"
    assert result(signed, {("s1._domainkey.example.org", "TXT"): ("v=DKIM1; p=",)}) == "fail"
    assert result(signed, {("s1._domainkey.example.org", "TXT"): OSError("away")}) == "temperror"


HOSTILE = [
    sign(MAIL).replace(b"Hello", b" " * 3_000_000 + b"Hello"),
    b"DKIM-Signature: x= b" + b"\r\n " * 50_000 + b"z; " + sign(MAIL)[16:],
    b"DKIM-Signature: x= b" + b"\r\n " * 900 + b"z; " + sign(MAIL)[16:],
    sign(MAIL).replace(b"h=from", b"h=" + b":".join(b"%d" % at for at in range(2000)) + b":from"),
    sign(b"X: y\r\n" * 5_000 + MAIL),
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_no_mail_takes_square_time(content: bytes) -> None:
    """Each of these takes dkimpy minutes, or seconds many times over, if it gets it as it is."""
    assert result(content) in ("fail", "policy")


def spf(records: Any, client: str = "192.0.2.7", sender: str = "ann@example.org") -> str:
    question = filters.CheckSpf(client, "mx.example.org", sender)
    return str(question.perform({"dns": Records(records)}))


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


def test_spf_ends_when_dns_takes_too_long() -> None:
    """It does not ask for more names then."""
    query = filters.SpfQuery(Records(text("v=spf1 -all")), "192.0.2.7", "ann@example.org", "x")
    query._until = 0.0
    assert query.check()[0] == "temperror"
