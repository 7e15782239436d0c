"""Scenarios against real servers: a `Site` is a server, its next hop, and where it seeks its milter."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

from attrs import frozen

from demyjpy import running
from tests.integration.mta import Server
from tests.integration.ports import free_port
from tests.integration.postfix import Postfix
from tests.integration.scenario import (
    Driver,
    Expected,
    Mail,
    Mta,
    Scenario,
    as_expected,
    ordered,
)
from tests.integration.sendmail import Sendmail
from tests.integration.smtp import Sink, converse, running_sink

Socket: TypeAlias = Literal["inet", "unix"]

MTAS: Final[tuple[Mta, ...]] = ("postfix", "sendmail")
SERVERS: Final[dict[Mta, type[Server]]] = {"postfix": Postfix, "sendmail": Sendmail}

COMBINATIONS: Final[tuple[tuple[Driver, Socket], ...]] = (("asyncio", "inet"), ("threads", "unix"))
"""Driver and socket with which everything is run."""

OTHER_COMBINATIONS: Final[tuple[tuple[Driver, Socket], ...]] = (
    ("asyncio", "unix"),
    ("threads", "inet"),
)
"""Those with which only some scenarios are run."""


@frozen
class Site:
    """A server, the sink behind it, and the addresses of its milters as the library takes them."""

    mta: Mta
    server: Server
    sink: Sink
    milters: tuple[str, ...]

    @property
    def milter(self) -> str:
        """The address of its only, or its first milter."""
        return self.milters[0]

    def delivered(self) -> tuple[Mail, ...]:
        """All mail that reached the next hop since the last call, once nothing is on its way."""
        self.server.settle()
        return ordered(map(Mail.from_delivery, self.sink.take()))

    def held(self) -> tuple[str, ...]:
        """Quarantined mail since the last call, as ``SENDER: REASON``."""
        held = self.server.held()
        if held:
            self.server.purge()
        return tuple(sorted(f"{mail.sender}: {mail.reason}" for mail in held))

    def clear(self) -> None:
        """Forget what another test may have left."""
        self.delivered()
        self.held()


@contextmanager
def milter_address(kind: Socket) -> Iterator[str]:
    """An address where both servers can reach a milter: under /run, open to Postfix's user."""
    if kind == "inet":
        yield f"inet:{free_port()}@127.0.0.1"
        return
    with tempfile.TemporaryDirectory(prefix="demyjpy-", dir="/run") as directory:
        Path(directory).chmod(0o755)
        yield f"unix:{Path(directory) / 'milter.sock'}?mode=666"


@contextmanager
def running_site(mta: Mta, milters: tuple[str, ...]) -> Iterator[Site]:
    """A server with these milters, delivering to a sink of its own."""
    plain = [address.partition("?")[0] for address in milters]
    with running_sink() as sink, SERVERS[mta](plain, sink.port) as server:
        yield Site(mta, server, sink, milters)


def is_listening(address: str) -> bool:
    """Whether a milter takes connections at an address."""
    kind, _, rest = address.partition("?")[0].partition(":")
    port, _, host = rest.partition("@")
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family) as probe:
        return not probe.connect_ex(rest if kind == "unix" else (host, int(port)))


def play(scenario: Scenario, site: Site, driver: Driver) -> Expected:
    """What comes of a scenario; replies as far as they agree with it are cut to what it says."""
    site.clear()
    with running(scenario.handlers, address=site.milter, driver=driver, on_error=scenario.on_error):
        replies = converse(site.server.port, scenario.steps, scenario.client)
    delivered, held = site.delivered(), site.held()
    print(site.server.new_log_lines())  # noqa: T201  # pytest shows it where the test fails
    return Expected(as_expected(replies, scenario.expected(site.mta).replies), delivered, held)
