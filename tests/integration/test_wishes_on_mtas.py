"""``bytes(message)`` is what the real servers queue: random chains of filters that wish.

The mails are such as no server converts: 7-bit, in short lines, with Date, From and Message-ID that stay
as they are, and neither Bcc nor Return-Path. Their MIME is whole: Sendmail ends a multipart that has no
last boundary, and knows no boundary in the parts of RFC 2231.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from itertools import count, pairwise
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from demyjpy import merge_handlers, running, with_handlers
from demyjpy.message import Message
from demyjpy.testing import Sendmail, run
from tests.integration.running import MTAS, Site, milter_address, running_site
from tests.integration.scenario import GREETING, OWN, Mail, envelope
from tests.integration.smtp import converse
from tests.law.test_wishes import filters_of, script_of
from tests.law.wishes import SENDER, Noted, WishDraw, expected_envelope, wish_draws
from tests.message.drafts import RECIPIENTS

CHAINS: Final = 40
_OF_SERVERS: Final = ("From", "Date", "Message-Id")


@pytest.fixture(scope="module", params=MTAS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A server with one milter."""
    with ExitStack() as stack:
        address = stack.enter_context(milter_address("inet"))
        yield stack.enter_context(running_site(request.param, (address,)))


def is_left_alone(draw: WishDraw) -> bool:
    """Whether no server converts this mail, nor what the filters make of it; and they make something."""
    if not (draw.data.endswith(b"\r\n") and is_plain(draw.data)):
        return False
    filters, notes = filters_of(draw)
    run(merge_handlers(*filters), script_of(draw), mta=Sendmail())
    if any(one.wished is None for one in notes) or not expected_envelope(notes, "sendmail")[1]:
        return False
    first, last = notes[0].got, notes[-1].wished
    assert first is not None
    assert last is not None
    return (
        draw.data != notes[-1].data[1]
        and all(is_plain(data) for note in notes for data in note.data)
        and not any(part.defects for part in Message.parse(notes[-1].data[1]).parts())
        and b"boundary*" not in notes[-1].data[1]
        and all(last.get_all(name) == first.get_all(name) for name in _OF_SERVERS)
    )


def is_plain(data: bytes) -> bool:
    """7-bit text in short lines, with CRLF only."""
    lines = data.split(b"\r\n")
    return data.isascii() and all(len(line) < 900 and not {0, 10, 13} & set(line) for line in lines)


@cache
def chains() -> tuple[WishDraw, ...]:
    """The same in each run; one of every few draws of Hypothesis, the one that does most."""
    found: list[WishDraw] = []
    for number in count():
        some = [draw for draw in drawn(number) if draw not in found and is_left_alone(draw)]
        found += sorted(some, key=weight)[-1:]
        if len(found) == CHAINS:
            return tuple(found)
    raise AssertionError


def weight(draw: WishDraw) -> int:
    """How much there is to do: edits, and lines that some of them have to do with."""
    return 10 * sum(len(one.edits) for one in draw.wishers) + draw.data.count(b"\n")


def drawn(number: int) -> list[WishDraw]:
    """Some draws, by a number."""
    found: list[WishDraw] = []

    @seed(number)
    @settings(max_examples=40, phases=[Phase.generate], database=None,
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(wish_draws())
    def collect(draw: WishDraw) -> None:
        found.append(draw)

    collect()
    return found


def deliver(site: Site, draw: WishDraw) -> tuple[Mail, list[Noted]]:
    """What the next hop gets, and what the filters got and wished for."""
    filters, notes = filters_of(draw)
    site.clear()
    with running(lambda ctx: with_handlers(ctx, merge_handlers(*filters)), address=site.milter):
        converse(site.server.port, (GREETING, *envelope(SENDER, *RECIPIENTS), draw.data, "QUIT"))
    mails = site.delivered()
    print(site.server.new_log_lines())  # noqa: T201  # pytest shows it where the test fails
    (mail,) = mails
    return mail, notes


@pytest.mark.parametrize("number", range(CHAINS))
def test_the_last_wish_is_delivered(site: Site, number: int) -> None:
    """Header, body, sender and recipients; and each filter got what the one before it wished for."""
    draw = chains()[number]
    mail, notes = deliver(site, draw)
    for one, following in pairwise(notes):
        assert following.data[0] == one.data[1]
    lines = [line for line in mail.headers if line != OWN]
    head = "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")
    assert head + b"\r\n" + mail.body == notes[-1].data[1]
    sender, recipients = expected_envelope(notes, site.mta)
    assert mail.sender.split(" ")[0] == sender
    assert sorted(mail.recipients) == sorted(_with_words(*one) for one in recipients)


def _with_words(address: str, words: Any) -> str:
    return " ".join([address, *(f"{name}={value}" for name, value in words)])
