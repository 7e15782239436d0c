"""Questions about signatures of DKIM, with a DNS of the test's own: what holds, what costs too much."""

import re
from itertools import product
from typing import Any

import pytest
from dkim.canonicalization import Relaxed, Simple

from demyjpy.errors import HandlerError
from demyjpy.lookups import dkim as dkim_questions
from demyjpy.lookups.dkim import CheckDkim, SignDkim
from demyjpy.lookups.guard import RefusedError
from demyjpy.message import Message
from tests.lookups.records import Records
from tests.samples.keys import PUBLIC, good_keys, is_good, sign
from tests.samples.pages import HELLO
from tests.samples.signed_kinds import ByDkimpy

MAIL = HELLO.replace("\n", "\r\n").encode()
KEY = {("s1._domainkey.example.org", "TXT"): (PUBLIC,)}


def checked(content: bytes, records: Any = KEY) -> Any:
    return CheckDkim(Message.parse(content)).perform({"dns": Records(records)})


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
    assert result(b"DKIM-Signature: v=1\r\n" + MAIL) == "permerror"
    assert result(b"DKIM-Signature: \xff=\xff; b\r\n" + MAIL) == "permerror"
    assert result(signed.replace(b"relaxed/relaxed", b"relaxed/none")) == "permerror"
    assert result(sign(MAIL, signature_algorithm=b"rsa-sha1")) == "policy"
    assert result(signed, {}) == "permerror"
    for record in ((PUBLIC, PUBLIC), (PUBLIC + "A" * 800,)):
        assert result(signed, {("s1._domainkey.example.org", "TXT"): record}) == "permerror"
    assert result(signed, {("s1._domainkey.example.org", "TXT"): ("v=DKIM1; p=",)}) == "permerror"
    assert result(signed, {("s1._domainkey.example.org", "TXT"): OSError("away")}) == "temperror"


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ("h=sha256", "pass"),
        ("h=sha1 : sha256; t=y", "pass"),
        ("h=sha1", "permerror"),
        ("t=y:s", "permerror"),
        ("h", "permerror"),
    ],
)
def test_what_a_key_is_for(tags: str, told: str) -> None:
    """Its hashes, and whether it is for users of subdomains, too."""
    signed = sign(MAIL, identity=b"ann@mail.example.org")
    record = PUBLIC.replace("k=rsa;", f"k=rsa; {tags};")
    assert result(signed, {("s1._domainkey.example.org", "TXT"): (record,)}) == told
    assert result(
        sign(MAIL), {("s1._domainkey.example.org", "TXT"): (record.replace("t=y:s", "t=s"),)}
    ) == ("pass" if "s" in tags.partition("t=")[2] else told)


def test_a_body_that_may_be_longer() -> None:
    """What ``l=`` covers must be there; that text was appended does not matter."""
    signed = sign(MAIL, length=True)
    assert result(signed) == result(signed + b"more\r\n") == "pass"
    longer = f"l={len('Hello Bob') + 2}".encode()
    assert signed.count(longer) == 1
    assert result(signed.replace(longer, b"l=999")) == "fail"
    by_hand = ByDkimpy((b"relaxed", b"relaxed"), {b"l": b"999", b"d": b"example.org"}).sign(MAIL)
    assert result(by_hand) == "fail"


def test_only_the_body_of_a_relaxed_form_is_relaxed() -> None:
    """Whatever else stands in the signature: here it is in a tag that nobody reads."""
    spaced = MAIL.replace(b"Hello Bob", b"Hello   Bob")
    signed = sign(spaced, canonicalize=(b"simple", b"simple"), identity=b"/relaxed@example.org")
    assert result(signed) == "pass"
    assert result(signed.replace(b"Hello   Bob", b"Hello Bob")) == "fail"


def test_a_signature_that_leaves_out_the_author() -> None:
    """Whoever changes From would keep it (RFC 6376, section 6.1.1)."""
    kind = ByDkimpy((b"relaxed", b"relaxed"), {b"d": b"example.org"}, headers="subject")
    assert result(kind.sign(MAIL)) == "permerror"


KEYS = ["p=", "p=abc", "p=MIA=", "p=MIGf", "k=x; p=MIA=", "v=DKIM2; p=MIA=", "k=ed25519; p=AA", "k=rsa"]


@pytest.mark.parametrize("record", KEYS)
def test_what_is_no_key(record: str) -> None:
    """Nobody can say whether the signature holds: it is not wrong, and asking again is of no use."""
    records = {("s1._domainkey.example.org", "TXT"): (record,)}
    assert result(sign(MAIL), records) == "permerror"


def test_tags_that_cannot_be_read() -> None:
    """Asking again is of no use: only DNS is the cause of a ``temperror``."""
    kind = ByDkimpy((b"relaxed", b"relaxed"), {b"d": b"example.org", b"l": b""})
    assert result(kind.sign(MAIL)) == "permerror"
    cut = re.sub(rb" b=.*?\r\n(?=From)", b" b=A===\r\n", sign(MAIL), flags=re.DOTALL)
    assert result(cut) == "permerror"


@pytest.mark.parametrize("form", [Simple, Relaxed])
def test_the_forms_of_a_body_are_those_of_dkimpy(form: Any) -> None:
    """Which needs many seconds for a body of spaces, or of empty lines."""
    make = {Simple: dkim_questions._simple, Relaxed: dkim_questions._relaxed}[form]
    for parts in product((b"\r\n", b"\n", b"\r", b" ", b"\t", b"x"), repeat=5):
        body = b"".join(parts)
        assert make(body) == form.canonicalize_body(body)
    for body in (b"", b"\r\n", b"x"):
        assert make(body) == form.canonicalize_body(body)


def test_dns_has_its_time_for_all_keys_together() -> None:
    """And the number of signatures that are checked may be another."""
    signed = sign(MAIL)
    message = Message.parse(signed[: signed.index(b"From: ")] * 3 + MAIL)
    resolver = Records(KEY)
    checks = CheckDkim(message, most=2, timeout=3).perform({"dns": resolver})
    assert [one[0] for one in checks] == ["pass", "pass"]
    assert all(0 < seconds <= 3 for seconds in resolver.seconds)
    with pytest.raises(HandlerError, match="timeout= in seconds, more than 0"):
        CheckDkim(message, timeout=0)


def test_a_resolver_has_to_be_declared() -> None:
    """It belongs to a loop, and a thread has none."""
    with pytest.raises(HandlerError, match=r"resource 'dns' .* a Resolver, got none: declare"):
        CheckDkim(Message.parse(sign(MAIL))).perform({})


HOSTILE = [
    sign(MAIL).replace(b"Hello", b" " * 3_000_000 + b"Hello"),
    b"DKIM-Signature: x= b" + b"\r\n " * 50_000 + b"z; " + sign(MAIL)[16:],
    b"DKIM-Signature: x= b" + b"\r\n " * 900 + b"z; " + sign(MAIL)[16:],
    sign(MAIL).replace(b"h=from", b"h=" + b":".join(b"%d" % at for at in range(2000)) + b":from"),
    sign(b"X: y\r\n" * 5_000 + MAIL),
    sign(b"X: " + b"a " * 500_000 + b"\r\n" + MAIL),
]


def test_spaces_in_a_signature() -> None:
    """Some are fine, also folded; dkimpy takes a fifth of a second for a signature full of them."""
    for count, told in ((90, "pass"), (101, "policy")):
        tags = {b"zz": b"x" + b" " * count + b"x", b"d": b"example.org"}
        assert result(ByDkimpy((b"simple", b"simple"), tags).sign(MAIL)) == told


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_no_mail_takes_square_time(content: bytes) -> None:
    """Each of these takes dkimpy minutes, or seconds many times over, if it gets it as it is."""
    assert result(content) in ("fail", "policy")


def test_signing_needs_no_square_time() -> None:
    """Spaces without a line end behind them: dkimpy alone would take minutes for them."""
    message = Message.parse(MAIL + b" " * 2_000_000 + b"x\r\n")
    found = SignDkim(message, "example.org", "s1").perform({"keys": good_keys("example.org")})
    same = bytes(message.with_body(b"Hello Bob\r\n x\r\n"))  # in the relaxed form
    assert is_good(b"DKIM-Signature: " + found.replace("\n", "\r\n").encode() + b"\r\n" + same)


def test_nobody_can_add_a_second_field() -> None:
    """Of those that people see; others may be added."""
    found = SignDkim(Message.parse(MAIL), "example.org", "s1").perform(
        {"keys": good_keys("example.org")}
    )
    signed = b"DKIM-Signature: " + found.replace("\n", "\r\n").encode() + b"\r\n" + MAIL
    assert is_good(b"X-Spam: no\r\n" + signed)
    for more in (b"From: eve@example.org", b"Subject: money", b"To: eve@example.org"):
        assert not is_good(more + b"\r\n" + signed)


def test_a_domain_without_a_key_is_a_failure() -> None:
    """It says how many there are; a domain has one in upper and lower case."""
    keys = good_keys("Example.org", "example.net")
    assert keys.key_of("EXAMPLE.org") == keys.key_of("example.net")
    with pytest.raises(RefusedError, match="a key of one of 2 domains"):
        SignDkim(Message.parse(MAIL), "example.com", "s1").perform({"keys": keys})
    keys.__exit__()  # as a driver does when nobody needs it any more
    with pytest.raises(RefusedError, match="a key of one of 0 domains"):
        keys.key_of("example.net")
    with pytest.raises(HandlerError, match=r"declare resources=\{'keys': lambda settings: DkimKeys"):
        SignDkim(Message.parse(MAIL), "example.com", "s1").perform({})
