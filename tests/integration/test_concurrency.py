"""Several sessions at once: slow ones are kept alive, hold up no other, and share nothing."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest

from demyjpy import add_header, define_event_handlers, running
from tests.integration.conftest import FindSite
from tests.integration.filters import witness
from tests.integration.mta import ANSWER_SECONDS
from tests.integration.running import COMBINATIONS, MTAS, Site, Socket
from tests.integration.scenario import GREETING, Driver, Mta, envelope, message, with_headers
from tests.integration.smtp import converse

SLOW_SECONDS = ANSWER_SECONDS + 2


def _slow(driver: Driver, blocking: bool) -> Any:
    """A filter that needs longer for a message from slow@test than a server waits."""
    handlers = define_event_handlers(actions={"add_header"}, state={"seconds": 0.0})

    @handlers.mail
    def mail(event: Any, ctx: Any) -> Any:
        return ctx.set("seconds", SLOW_SECONDS if event.sender == "slow@test" else 0.0)

    if driver == "asyncio" and not blocking:

        @handlers.end_of_message
        async def wait(event: Any, ctx: Any) -> Any:
            await asyncio.sleep(ctx["seconds"])
            return add_header(ctx, "X-Waited", str(ctx["seconds"]))

    else:

        @handlers.end_of_message(blocking=blocking)
        def block(event: Any, ctx: Any) -> Any:
            Event().wait(ctx["seconds"])
            return add_header(ctx, "X-Waited", str(ctx["seconds"]))

    return handlers


def _send(site: Site, sender: str) -> tuple[str, float]:
    """Send a message: the reply to it, and when it came."""
    steps = (GREETING, *envelope(sender), message(), "QUIT")
    return converse(site.server.port, steps)[-2][:3], time.monotonic()


def test_slow_end_of_message(find_site: FindSite) -> None:
    """An end of message of 12 s, at a server that waits 10 s, passes and holds up no other."""
    filters: dict[tuple[Mta, Socket], tuple[Driver, bool]] = {
        ("postfix", "inet"): ("asyncio", False),
        ("postfix", "unix"): ("threads", False),
        ("sendmail", "inet"): ("asyncio", True),
        ("sendmail", "unix"): ("threads", True),
    }
    sites = [find_site(mta, kind) for mta, kind in filters]
    with ExitStack() as milters, ThreadPoolExecutor(2 * len(sites)) as pool:
        for site, (driver, blocking) in zip(sites, filters.values(), strict=True):
            site.clear()
            slow = _slow(driver, blocking)
            milters.enter_context(running(slow, address=site.milter, driver=driver))
        slow_ones = [pool.submit(_send, site, "slow@test") for site in sites]
        fast_ones = [pool.submit(_send, site, "fast@test") for site in sites]
        replies = [sent.result() for sent in (*fast_ones, *slow_ones)]
    assert [code for code, _ in replies] == ["250"] * len(replies)
    last_fast = max(at for _, at in replies[: len(sites)])
    first_slow = min(at for _, at in replies[len(sites) :])
    assert last_fast < first_slow
    for site in sites:
        assert site.delivered() == (
            with_headers("X-Waited: 0.0", sender="fast@test"),
            with_headers(f"X-Waited: {SLOW_SECONDS}", sender="slow@test"),
        )


@pytest.mark.parametrize(("driver", "kind"), COMBINATIONS)
@pytest.mark.parametrize("mta", MTAS)
def test_many_sessions(find_site: FindSite, mta: Mta, driver: Driver, kind: Socket) -> None:
    """Of ten sessions at once, of three messages each, none sees anything of another."""
    site = find_site(mta, kind)
    site.clear()
    names = [f"s{session}m{number}@test" for session in range(10) for number in range(3)]
    with running(witness(), address=site.milter, driver=driver), ThreadPoolExecutor(10) as pool:
        for first in range(0, len(names), 3):
            mails = [(*envelope(name), message()) for name in names[first : first + 3]]
            steps = (GREETING, *(step for mail in mails for step in mail), "QUIT")
            pool.submit(converse, site.server.port, steps)
    assert site.delivered() == tuple(
        with_headers(
            f"X-Seen: connect 4 127.0.0.1, hello client.test, mail <{name}>, rcpt <b@test>, "
            "data, Subject, eoh, body 43",
            f"X-Count: {number % 3} before, 0 given up",
            sender=name,
        )
        for number, name in enumerate(names)
    )
