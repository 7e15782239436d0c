"""What filters know of clients, envelopes and origins under the real servers."""

from ipaddress import ip_address
from typing import Any

import pytest

from demyjpy import Client, define_event_handlers, facts, recipients, running
from demyjpy.known_facts import SOURCES
from tests.integration.conftest import FindSite
from tests.integration.running import MTAS, Site
from tests.integration.scenario import Mta, message
from tests.integration.smtp import converse

RELAYED = b"Received: from x (mx.example [203.0.113.9]) by relay.test (Postfix)\r\n" + message()
ENVELOPE = ("MAIL FROM:<a@test>", "RCPT TO:<no@refused.test>", "RCPT TO:<b@test>", "RCPT TO:<c@test>")


def noting() -> tuple[Any, list[dict[str, Any]]]:
    """A filter that writes down all that it knows at the end of a message."""
    noted: list[dict[str, Any]] = []
    handlers = define_event_handlers(facts=SOURCES)

    @handlers.end_of_message
    def note(event: Any, ctx: Any) -> Any:
        known = facts(ctx)
        noted.append(
            {name: getattr(known, name) for name in (*(set(SOURCES) - {"recipients"}), "queue_id")}
            | {"recipients": [one.address for one in recipients(ctx)]}
        )
        return ctx

    return handlers, noted


def known(site: Site, act: Any) -> dict[str, Any]:
    """What a filter knows of the one mail that this sends."""
    site.clear()
    handlers, noted = noting()
    with running(handlers, address=site.milter, trusted_relays="127.0.0.0/8"):
        act()
        site.clear()
    (one,) = noted
    assert one.pop("queue_id")
    return one


@pytest.mark.parametrize("mta", MTAS)
def test_a_mail_over_smtp(find_site: FindSite, mta: Mta) -> None:
    """From a relay on loopback; the recipient that the server refuses does not stand."""
    site = find_site(mta, "inet")
    steps = ("EHLO client.test", *ENVELOPE, RELAYED, "QUIT")
    found = known(site, lambda: converse(site.server.port, steps))
    client = found.pop("client")
    assert (client.address, client.is_verified) == (ip_address("127.0.0.1"), client.name is not None)
    assert found == {
        "helo": "client.test",
        "sender": "a@test",
        "recipients": ["b@test", "c@test"],
        "user": None,
        "tls": None,
        "origin": "local",
        "origin_client": Client(ip_address("203.0.113.9"), "mx.example", True),
    }


@pytest.mark.parametrize("mta", MTAS)
def test_a_bounce(find_site: FindSite, mta: Mta) -> None:
    """From the null sender."""
    site = find_site(mta, "inet")
    steps = ("HELO client.test", "MAIL FROM:<>", "RCPT TO:<b@test>", message(), "QUIT")
    found = known(site, lambda: converse(site.server.port, steps))
    assert (found["sender"], found["origin"]) == ("", "bounce")
    assert found["origin_client"] == found["client"]


@pytest.mark.parametrize("mta", MTAS)
def test_a_mail_that_a_program_hands_in(find_site: FindSite, mta: Mta) -> None:
    """With sendmail(1)."""
    site = find_site(mta, "inet")
    found = known(site, lambda: site.server.submit("a@test", "b@test", message()))
    assert (found["origin"], found["sender"], found["recipients"]) == ("local", "a@test", ["b@test"])
    address = ip_address("127.0.0.1") if mta == "postfix" else None
    assert found["client"].address == found["origin_client"].address == address


def test_a_client_that_a_relay_names_to_postfix(find_site: FindSite) -> None:
    """With XCLIENT, which also says who has logged in."""
    site = find_site("postfix", "inet")
    told = "XCLIENT NAME=mx.example ADDR=203.0.113.9 LOGIN=ann"
    steps = ("EHLO relay.test", told, "EHLO client.test", *ENVELOPE, message(), "QUIT")
    found = known(site, lambda: converse(site.server.port, steps))
    assert found["client"] == found["origin_client"]
    assert found["client"] == Client(ip_address("203.0.113.9"), "mx.example", True)
    assert (found["user"], found["origin"], found["helo"]) == ("ann", "submission", "client.test")
