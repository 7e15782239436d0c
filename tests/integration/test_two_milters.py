"""Two milters in a row, one with each driver, on a socket of each kind."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from demyjpy import (
    Accept,
    AddHeader,
    ChangeHeader,
    Discard,
    Reject,
    ReplaceBody,
    add_header,
    define_event_handlers,
    reject,
    running,
)
from tests.integration.filters import body_counter, witness
from tests.integration.postfix import Postfix
from tests.integration.running import MTAS, Site, milter_address, running_site
from tests.integration.scenario import (
    GREETING,
    HEADERS,
    OWN,
    Mail,
    at_end,
    envelope,
    message,
    with_headers,
)
from tests.integration.smtp import converse, running_sink
from tests.law.filters import Plan, Watched

ONE_MAIL = (GREETING, *envelope(), message(), "QUIT")


@pytest.fixture(scope="module", params=MTAS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A server with two milters."""
    with (
        milter_address("inet") as first,
        milter_address("unix") as second,
        running_site(request.param, (first, second)) as both,
    ):
        yield both


@contextmanager
def _running(site: Site, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[None]:
    """Both milters: the first with asyncio, the second in threads."""
    with (
        running(first, address=site.milters[0], driver="asyncio"),
        running(second, address=site.milters[1], driver="threads"),
    ):
        yield


def _subject_reader() -> Any:
    """A filter that adds the subject that it saw, and how many headers."""
    handlers = define_event_handlers(actions={"add_header"}, state={"subject": "", "count": 0})

    @handlers.header
    def header(event: Any, ctx: Any) -> Any:
        ctx = ctx.set("count", ctx["count"] + 1)
        return ctx.set("subject", event.value) if event.name == "Subject" else ctx

    @handlers.end_of_message
    def end_of_message(event: Any, ctx: Any) -> Any:
        return add_header(ctx, "X-Second", f"{ctx['subject']}, {ctx['count']} headers")

    return handlers


def _refusing(address: str) -> Any:
    """A filter that refuses a sender, and a recipient, of that address."""
    handlers = define_event_handlers()

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.sender == address else ctx

    @handlers.recipient
    def recipient(event: Any, ctx: Any) -> Any:
        return reject(ctx) if event.address == address else ctx

    return handlers


def test_second_sees_edits(site: Site) -> None:
    """The second sees the message as the first left it, and what both did is delivered."""
    first = at_end(ChangeHeader(1, "Subject", "changed"), AddHeader("X-First", "yes"))
    with _running(site, first, _subject_reader()):
        converse(site.server.port, ONE_MAIL)
    headers = (*HEADERS[:2], "Subject: changed", *HEADERS[3:])
    added = ("X-First: yes", f"X-Second: changed, {len(HEADERS) + 1} headers")
    assert site.delivered() == (Mail(headers=(OWN, *headers, *added)),)


def test_second_sees_replaced_body(site: Site) -> None:
    """The second sees the body with which the first has replaced it."""
    with _running(site, at_end(ReplaceBody(b"x" * 98 + b"\r\n")), body_counter()):
        converse(site.server.port, ONE_MAIL)
    body = b"x" * 98 + b"\r\n"
    assert site.delivered() == (with_headers("X-Body: 100 bytes in 1 chunks", body=body),)


def test_accept_is_for_one(site: Site) -> None:
    """What the first accepts is still the second's to judge."""
    with _running(site, at_end(Accept()), at_end(Reject())):
        replies = converse(site.server.port, ONE_MAIL)
    assert replies[5][:3] in ("550", "554")
    assert site.delivered() == ()


def test_discard_is_for_all(site: Site) -> None:
    """What the first discards is gone, whatever the second adds."""
    with _running(site, at_end(Discard()), at_end(AddHeader("X-Second", "yes"))):
        replies = converse(site.server.port, ONE_MAIL)
    assert replies[5][:3] == "250"
    assert site.delivered() == ()


def test_refused_recipient(site: Site) -> None:
    """A recipient that the first refuses is not in what the second sees of the message."""
    with _running(site, _refusing("c@test"), witness()):
        converse(
            site.server.port, (GREETING, *envelope("a@test", "b@test", "c@test"), message(), "QUIT")
        )
    (mail,) = site.delivered()
    (seen,) = (line for line in mail.headers if line.startswith("X-Seen: "))
    assert mail.recipients == ("b@test",)
    assert "<b@test>" in seen
    assert "<c@test>" not in seen


def test_refused_by_second(site: Site) -> None:
    """A sender that the second refuses is, to the first, a message that was given up."""
    with _running(site, witness(), _refusing("first@test")):
        converse(
            site.server.port,
            (GREETING, "MAIL FROM:<first@test>", *envelope("second@test"), message(), "QUIT"),
        )
    (mail,) = site.delivered()
    assert "<second@test>" in " ".join(mail.headers)
    assert "<first@test>" not in " ".join(mail.headers)
    assert "X-Count: 0 before, 1 given up" in mail.headers


def test_first_is_down_and_mail_is_held() -> None:
    """With milter_default_action=quarantine, the second is not asked about what the first missed."""
    with (
        milter_address("inet") as first,
        milter_address("inet") as second,
        running_sink() as sink,
        Postfix([first, second], sink.port, "quarantine") as server,
    ):
        watched = Watched(Plan())
        with running(watched, address=second):
            replies = converse(server.port, ONE_MAIL)
        site = Site("postfix", server, sink, (first, second))
        assert [reply[:3] for reply in replies] == ["220", "250", "250", "250", "354", "250", "221"]
        assert (watched.seen, site.delivered(), site.held()) == ([], (), ("a@test: None",))


def test_second_is_down(site: Site) -> None:
    """While the second is not there, nothing is delivered with the edits of the first alone."""
    with running(at_end(AddHeader("X-First", "yes")), address=site.milters[0]):
        replies = converse(site.server.port, ONE_MAIL)
    assert "451" in [reply[:3] for reply in replies]
    assert site.delivered() == ()
