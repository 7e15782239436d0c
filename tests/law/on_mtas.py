"""The same filters behind the real servers: each as a milter of its own, and merged into one."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from attrs import frozen

from demyjpy import merge_handlers, running, with_handlers
from tests.integration.running import Site, milter_address, running_site
from tests.integration.scenario import OWN as OWN_LINE
from tests.integration.scenario import Mail as DeliveredMail
from tests.integration.scenario import Mta, envelope
from tests.integration.smtp import Step, converse
from tests.law.draws import GREETING, Draw
from tests.law.filters import Seen, Watched, made_all
from tests.law.judging import Came, Mail, faults_of
from tests.law.oracle import OWN


@frozen
class Sites:
    """A server that asks two or more milters in a row, and one that asks one."""

    row: Site
    merged: Site

    def faults(self, draw: Draw) -> list[str]:
        """What is wrong, in words; nothing if the law holds."""
        row, merged = self._play_row(draw), self._play_merged(draw)
        return list(faults_of(draw, row, merged, self.row.mta))

    def _play_row(self, draw: Draw) -> Came:
        filters = [Watched(plan) for plan in draw.plans]
        return _came(self.row, draw, filters, lambda: [next(iter(one.seen), []) for one in filters])

    def _play_merged(self, draw: Draw) -> Came:
        connections: list[list[Seen]] = []

        def on_connect(ctx: Any) -> Any:
            filters, seen = made_all(draw.plans)
            connections.append(seen)
            return with_handlers(ctx, merge_handlers(*filters))

        return _came(self.merged, draw, [on_connect], lambda: connections[0])


@contextmanager
def running_sites(mta: Mta, filters: int = 2) -> Iterator[Sites]:
    """Both servers."""
    with ExitStack() as stack:
        addresses = [stack.enter_context(milter_address("inet")) for _ in range(filters + 1)]
        row = stack.enter_context(running_site(mta, tuple(addresses[1:])))
        yield Sites(row, stack.enter_context(running_site(mta, (addresses[0],))))


def _came(site: Site, draw: Draw, filters: Sequence[Any], seen: Any) -> Came:
    site.clear()
    with ExitStack() as stack:
        for one, address in zip(filters, site.milters, strict=True):
            stack.enter_context(running(one, address=address))
        replies = converse(site.server.port, steps_of(draw))
        delivered, held = site.delivered(), site.held()
    site.server.new_log_lines()
    mails = tuple(map(_mail_of, sorted(delivered, key=lambda mail: _turn(draw, mail.headers))))
    return Came(tuple(map(_plain, replies)), mails, held, tuple(map(tuple, seen())))


def steps_of(draw: Draw) -> tuple[Step, ...]:
    """The session as a client says it to a server: RSET stands between messages."""
    steps: list[Step] = [f"EHLO {GREETING}"]
    for letter in draw.letters:
        steps += [*envelope(letter.sender, *letter.recipients), letter.content, "RSET"]
    return (*steps[:-1], "QUIT")


def _turn(draw: Draw, headers: Sequence[str]) -> int:
    """The number of the message in the session, which its Message-ID tells."""
    fields = [dict(letter.fields)["Message-ID"] for letter in draw.letters]
    return next((at for at, text in enumerate(fields) if f"Message-ID:{text}" in headers), -1)


def _mail_of(mail: DeliveredMail) -> Mail:
    fields = ((OWN, "") if one == OWN_LINE else _split(one) for one in mail.headers)
    return mail.sender, mail.recipients, tuple(fields), mail.body


def _split(line: str) -> tuple[str, str]:
    name, _, raw = line.replace("\r\n", "\n").partition(":")
    return name, raw


def _plain(reply: str) -> str:
    """A reply without what differs from one time to the next: what is not refused is but a code."""
    return reply[:3] if reply[:1] in "23" else reply
