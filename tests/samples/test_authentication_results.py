"""`samples/filters/authentication_results.py`: the field that it writes, and what it refuses."""

from typing import Any

import pytest

from demyjpy import Failed, Late
from demyjpy.lookups.dkim import CheckDkim
from demyjpy.lookups.dmarc import DmarcPolicy, policy_in
from demyjpy.lookups.dns import Resolver
from demyjpy.lookups.spf import CheckSpf
from demyjpy.testing import Postfix, run, session
from demyjpy.testing.server import serving
from tests.lookups.servers import need, unbound
from tests.samples.keys import PUBLIC, sign
from tests.samples.pages import CLIENT, HELLO, USER, sample, sent, settings_of

filters = sample("authentication_results")
SETTINGS = settings_of("filter-authentication-results")
GOOD = (("pass", "example.org", "s1"),)
REJECT = ("v=DMARC1; p=reject",)


def played(
    content: Any = HELLO, script: Any = CLIENT, sender: str = "ann@example.org", **more: Any
) -> Any:
    """A mail, with these answers of SPF (``fail``), DKIM (one good signature) and DMARC (a record)."""
    record = more.pop("record", REJECT)

    def policy(question: Any) -> Any:
        texts = record if question.domain == "example.org" else ()
        return policy_in(question.domain, {question.domain: texts}) if type(texts) is tuple else texts

    answers = {
        CheckSpf: more.pop("spf", "fail"),
        CheckDkim: lambda question: more.get("dkim", GOOD),
        DmarcPolicy: policy,
    }
    settings = {**SETTINGS, **more.pop("settings", {})}
    return run(filters.make, sent(script, content, sender), settings=settings, answers=answers)


def field(*arguments: Any, **more: Any) -> str:
    """The first field of the mail."""
    return str(played(*arguments, **more).message.get("Authentication-Results"))


def test_it_writes_one_field_with_all_results() -> None:
    """What each method has found, about whom; later filters have it, too."""
    assert field() == (
        "mx.example.net;\n\tspf=fail smtp.mailfrom=example.org;"
        "\n\tdkim=pass header.d=example.org header.s=s1;"
        "\n\tdmarc=pass (p=reject) header.from=example.org"
    )
    result = played(dkim=())
    assert "\n\tdkim=none;\n\tdmarc=fail (p=reject)" in result.message.get("Authentication-Results")
    assert field(sender="").split("\n\t")[1] == "spf=fail smtp.helo=mx.example.org;"


@pytest.mark.parametrize("outcome", [Failed("SERVFAIL"), Late()])
def test_what_nobody_knows_refuses_nobody(outcome: Any) -> None:
    """It is temperror."""
    told = field(spf=outcome, dkim=outcome, record=outcome, settings={"refuse": True})
    assert told.split("\n\t")[1:] == [
        "spf=temperror smtp.mailfrom=example.org;",
        "dkim=temperror;",
        "dmarc=temperror header.from=example.org",
    ]


def test_only_mail_from_outside_is_checked() -> None:
    """Of all mail go fields in our name, and in that of our servers, however they are written."""
    forged = (
        "Authentication-Results: mx.example.net; dmarc=pass\n"
        "Authentication-Results: (x) in.MX.example.net. 1;\n dmarc=pass\n"
        'authentication-results: "mx.example.net"; dmarc=pass\n'
        "Authentication-Results: mx.example.com; dmarc=pass\n"
    )
    for script in (USER, session(client="127.0.0.1")):
        result = run(filters.make, sent(script, forged + HELLO), mta=Postfix(), settings=SETTINGS)
        assert result.message.get_all("Authentication-Results") == ("mx.example.com; dmarc=pass",)
        assert result.asked == ()
    assert len(played(forged + HELLO).message.get_all("Authentication-Results")) == 2


def test_it_may_refuse() -> None:
    """What the author's domain says is to be rejected; not what it only tests, or quarantines."""
    refusing = {"settings": {"refuse": True}, "dkim": ()}
    assert str(played(**refusing).reply) == "550 5.7.1 Rejected by the DMARC policy of example.org"
    assert played(**refusing, spf="pass").is_delivered
    assert played(dkim=()).is_delivered
    for record in ("v=DMARC1;p=reject;t=y", "v=DMARC1;p=quarantine", "v=DMARC1;p=none", "v=spf1 -all"):
        assert played(**refusing, record=(record,)).is_delivered


AUTHORS = [
    ("", "dmarc=permerror", 0),
    ("ann@example.org, eve@example.net", "dmarc=permerror", 0),
    (f"ann@{'a.' * 200}org", "dmarc=permerror", 0),
    (f"ann@{'a.' * 60}org", "dmarc=none", 1),
    ('"ann@example.org" <eve@x_;(y>', "dmarc=none", 1),
    ("ann@example.org\nFrom: ann@Example.org", "dmarc=pass", 1),
]


@pytest.mark.parametrize(("author", "result", "asked"), AUTHORS)
def test_the_author_may_be_anybody(author: str, result: str, asked: int) -> None:
    """No name of a mail makes it ask for much, or breaks the field."""
    found = played(f"From: {author}\n\nx\n")
    told = found.message.authentication_results()[0]
    assert f"dmarc={told.get('dmarc')}" == result
    assert sum(isinstance(one.question, DmarcPolicy) for one in found.asked) == asked


def test_hostile_names_stay_names() -> None:
    """A sender, a HELO and a signature cannot write results."""
    result = played(sender='"x;dkim=pass"@a;dmarc=pass', dkim=(("fail", "a; spf=pass", "s\n"),))
    told = result.message.get("Authentication-Results")
    assert "smtp.mailfrom=a_dmarc_pass;\n\tdkim=fail header.d=a__spf_pass header.s=s_;" in told
    large = played(settings={"limit": 60})
    assert "\n\tdkim=policy;" in large.message.get("Authentication-Results")


def test_a_server_has_a_name() -> None:
    """It goes into the field as it is."""
    with pytest.raises(ValueError, match="the name of a host"):
        filters.make(server="mx; dkim=pass")


@need("unbound")
@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_it_asks_dns(driver: Any) -> None:
    """A real resolver; SPF with an include, a key, a policy."""
    cut = PUBLIC.partition("p=")
    records = f"""
example.org. TXT "v=spf1 include:all.example.org -all"
all.example.org. TXT "v=spf1 mx -all"
all.example.org. MX 10 mx.example.org.
mx.example.org. A 192.0.2.7
s1._domainkey.example.org. TXT "{cut[0]}" "{cut[1]}{cut[2]}"
_dmarc.example.org. TXT "v=DMARC1; p=reject"
"""
    with unbound(records) as dns, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            filters, "Resolver", lambda *servers, **more: Resolver(*servers, port=dns.address, **more)
        )
        with serving(filters.make, mta=Postfix(), driver=driver, settings=SETTINGS) as server:
            mail = sign(HELLO.replace("\n", "\r\n").encode())
            told = server.run(sent(CLIENT, mail)).message.authentication_results()[0]
            assert [told.get(one) for one in ("spf", "dkim", "dmarc")] == ["pass", "pass", "pass"]
            stranger = sent(session(client="192.0.2.8"), HELLO)
            told = server.run(stranger).message.authentication_results()[0]
            assert [told.get(one) for one in ("spf", "dkim", "dmarc")] == ["fail", "none", "fail"]
