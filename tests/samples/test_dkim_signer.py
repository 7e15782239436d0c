"""`samples/filters/dkim_signer.py`: what it signs holds, also behind a filter that edits."""

from typing import Any

import pytest

from demyjpy import Failed, HandlerError, Late, become, define_event_handlers, merge_handlers
from demyjpy.lookups.dkim import SignDkim
from demyjpy.testing import Postfix, Sendmail, run, session
from demyjpy.testing.server import serving
from tests.samples.keys import PRIVATE, good_keys, is_good
from tests.samples.pages import CLIENT, HELLO, USER, sample, sent, settings_of

filters = sample("dkim_signer")


@pytest.fixture
def settings(tmp_path: Any) -> dict[str, Any]:
    """Those of the page, with a key that is there."""
    path = tmp_path / "key"
    path.write_text(PRIVATE)
    return settings_of(
        "filter-dkim-signer", selector="s1", keys={"Example.org": str(path), "example.net": str(path)}
    )


def signing(question: Any) -> Any:
    """What its performer answers, with the key of the tests."""
    return question.perform({"keys": good_keys("example.org", "example.net")})


def played(settings: dict[str, Any], script: Any, answers: Any = signing) -> Any:
    """A session; as one MTA would, for the signature holds the time."""
    return run(filters.make, script, mta=Postfix(), settings=settings, answers={SignDkim: answers})


BODIES = ["Hello Bob\n", "", "\n\n", "a \t b  \nx" + " " * 30 + "\n\n\n", "no end", "=E4 \xe4\n"]


@pytest.mark.parametrize("body", BODIES)
def test_what_it_signs_holds(settings: dict[str, Any], body: str) -> None:
    """The mail as it is delivered: any body, folded fields, spaces after the colon or none."""
    head = "From: Ann <ann@example.org>\nTo:bob@example.net,\n\tcarol@example.net\n"
    head += "Subject:  =?utf-8?q?x?= \n y"
    result = played(settings, sent(USER, f"{head}\nDate: now\n\n{body}".encode("latin-1")))
    assert is_good(result.delivered)
    assert not is_good(result.delivered.replace(b"Subject:", b"Subject: Money"))
    assert not is_good(b"From: eve@example.org\r\n" + result.delivered)
    (signature,) = result.message.get_all("DKIM-Signature")
    assert b"\r\nFrom:" in result.delivered.partition(b"DKIM-Signature:")[2]  # it stands on top
    assert " d=example.org;" in signature


@pytest.mark.parametrize("mta", [Postfix(), Sendmail()], ids=["postfix", "sendmail"])
def test_it_signs_what_a_filter_before_it_has_made(settings: dict[str, Any], mta: Any) -> None:
    """Header and body, whichever MTA sends the mail."""
    tag = define_event_handlers(name="tag", edits="headers", actions={"change_body"})

    @tag.message
    def change(event: Any, ctx: Any) -> Any:
        return become(ctx, event.set("Subject", "[x] hello").with_body(b"other\r\n").without("X-*"))

    chain = merge_handlers(tag, filters.make(**settings))
    content = HELLO.replace("\n\n", "\nX-Y: z\n\n")
    result = run(chain, sent(USER, content), mta=mta, answers={SignDkim: signing})
    assert b"Subject: [x] hello" in result.delivered
    assert is_good(result.delivered)


@pytest.mark.parametrize(
    ("author", "domain"),
    [
        ("ann@EXAMPLE.org", "example.org"),
        ("ann@a.b.example.org", "example.org"),
        ("ann@example.org, ben@example.org", "example.org"),
        ("ann@example.com", None),
        ("ann@notexample.org", None),
        ("ann@example.org, eve@example.net", None),
        ("ann@example.org\nFrom: eve@example.net", None),
        ('"ann@example.org" <eve@example.com>', None),
        ("ann", None),
        ("", None),
    ],
)
def test_the_author_says_which_key_signs(
    settings: dict[str, Any], author: str, domain: str | None
) -> None:
    """A user cannot have a mail signed for a domain that is not the only one of his From."""
    result = played(settings, sent(USER, f"From: {author}\nSubject: x\n\nx\n"))
    assert [one.question.domain for one in result.asked] == ([domain] if domain else [])
    assert result.message.is_signed is (domain is not None)


@pytest.mark.parametrize(
    ("script", "is_ours"), [(USER, True), (session(client="127.0.0.1"), True), (CLIENT, False)]
)
def test_it_signs_for_those_who_may_send(settings: dict[str, Any], script: Any, is_ours: bool) -> None:
    """Who has logged in, and this machine. A mail from outside, and a bounce of it, stay as they are."""
    assert bool(played(settings, sent(script)).asked) is is_ours
    assert played(settings, sent(CLIENT, sender="")).asked == ()


@pytest.mark.parametrize("outcome", [Failed("no key"), Late()])
def test_what_cannot_be_signed_does_not_leave(settings: dict[str, Any], outcome: Any) -> None:
    """The client tries again."""
    result = played(settings, sent(USER), outcome)
    assert str(result.reply).startswith("451 4.7.0 The message could not be signed")


def test_what_is_too_large_does_not_leave(settings: dict[str, Any]) -> None:
    """A mail of strangers passes, for it is not to be signed."""
    small = {**settings, "limit": 50}
    assert str(played(small, sent(USER)).reply) == "552 5.3.4 The message is too large to be signed"
    assert played(small, sent(CLIENT)).is_delivered


def test_a_key_that_cannot_be_used_is_found_when_it_is_loaded(
    settings: dict[str, Any], tmp_path: Any
) -> None:
    """Before the first mail."""
    (tmp_path / "key").write_text("no key")
    expected = "expected the resource 'keys' of dkim_signer to open, got Unparsable"
    with pytest.raises(HandlerError, match=expected), serving(filters.make, settings=settings):
        pass


@pytest.mark.parametrize("driver", ["asyncio", "threads"])
def test_it_serves(settings: dict[str, Any], driver: Any) -> None:
    """With the key from its file; a body in a file of its own is signed, too."""
    content = HELLO + "more\n" * 1000
    options = {"driver": driver, "mta": Postfix(), "settings": settings, "spool": 1000}
    with serving(filters.make, **options) as server:
        assert is_good(server.run(sent(USER, content)).delivered)
