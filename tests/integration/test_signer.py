"""A signer behind a disclaimer, and before it, behind the real servers."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from demyjpy import merge_handlers, running
from tests.integration.running import MTAS, Site, milter_address, running_site
from tests.integration.scenario import GREETING, OWN, Mail, envelope
from tests.integration.smtp import converse
from tests.law.draws import SENT
from tests.law.test_signer import digest, disclaimer, signer

FIELDS = (*SENT, ("Subject", " s"), ("X-A", " 1"), ("X-A", " 2"), ("X-Folded", " one\r\n two"))
BODY = b"hello\r\n\r\n.\r\nlast\r\n"
MESSAGE = "".join(f"{name}:{raw}\r\n" for name, raw in FIELDS).encode() + b"\r\n" + BODY


@pytest.fixture(scope="module", params=MTAS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A server with one milter."""
    with ExitStack() as stack:
        address = stack.enter_context(milter_address("inet"))
        yield stack.enter_context(running_site(request.param, (address,)))


def deliver(site: Site, *filters: Any) -> Mail:
    """What the next hop gets of a message after these filters, merged."""
    site.clear()
    with running(merge_handlers(*filters), address=site.milter):
        converse(site.server.port, (GREETING, *envelope(), MESSAGE, "QUIT"))
    (mail,) = site.delivered()
    return mail


def parts(mail: Mail) -> dict[str, tuple[tuple[str, str], ...]]:
    """The header fields with their raw values, without the server's own, by whether we added them."""
    lines = [line.replace("\r\n", "\n").partition(":") for line in mail.headers if line != OWN]
    fields = [(name, raw) for name, _, raw in lines]
    ours = ("X-Signature", "X-Disclaimer")
    return {
        "sent": tuple(one for one in fields if one[0] not in ours),
        "ours": tuple(one for one in fields if one[0] in ours),
    }


def test_a_signer_behind_a_disclaimer_signs_what_is_delivered(site: Site) -> None:
    """With the field that the disclaimer added, and its line in the body with the end of it."""
    mail = deliver(site, disclaimer(), signer())
    found = parts(mail)
    ours = dict(found["ours"])
    assert mail.body == BODY + b"only for you\r\n"
    signed = (*found["sent"], ("X-Disclaimer", ours["X-Disclaimer"]))
    assert ours["X-Signature"] == f" {digest(signed, mail.body)}"


def test_a_signer_before_a_disclaimer_signs_what_came(site: Site) -> None:
    """What the disclaimer adds is not signed."""
    mail = deliver(site, signer(), disclaimer())
    found = parts(mail)
    ours = dict(found["ours"])
    assert (mail.body, ours["X-Disclaimer"]) == (BODY + b"only for you\r\n", " yes")
    assert ours["X-Signature"] == f" {digest(found['sent'], BODY)}"
