"""A filter that is restarted behind a socket that stays, as systemd keeps it: no mail is lost.

What docs/production.md says of mail meanwhile. The socket lies in Postfix's chroot.
"""

import grp
import os
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from attrs import frozen

from demyjpy import define_event_handlers, insert_header, running
from tests.integration.many_doors import Door, PostfixOfDoors
from tests.integration.ports import wait_until
from tests.integration.scenario import GREETING, Mail, envelope, message, ordered
from tests.integration.smtp import Sink, connected, converse, running_sink
from tests.integration.symptoms import goes_on


@frozen
class Site:
    """Postfix in a chroot, its next hop, and the socket that systemd holds."""

    postfix: PostfixOfDoors
    port: int
    sink: Sink
    listener: socket.socket

    def versions(self) -> list[str]:
        """By which version each mail at the next hop was filtered."""
        self.postfix.settle()
        mails = ordered(map(Mail.from_delivery, self.sink.take()))
        return [line.partition(": ")[2] for one in mails for line in one.headers if "X-Version" in line]

    @contextmanager
    def serving(self, version: str) -> Iterator[None]:
        """That version of the filter, which is given the socket."""
        given = os.dup(self.listener.fileno())

        def edits(event: Any, ctx: Any) -> Any:
            return insert_header(ctx, 1, "X-Version", version)

        # with --flight or --explain the filter is shown MAIL, so it knows of a message from there on
        handlers = define_event_handlers(
            {"mail": goes_on, "end_of_message": edits}, actions={"add_header"}
        )
        with running(handlers, address=f"fd:{given}", grace=60):
            yield


@pytest.fixture
def site() -> Iterator[Site]:
    """With nobody who serves yet."""
    door = Door("unix:demyjpy/rules.sock", is_chrooted=True)
    with (
        running_sink() as sink,
        PostfixOfDoors({"rules": door}, sink.port) as postfix,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        directory = postfix.base / "queue/demyjpy"
        directory.mkdir(mode=0o755)
        listener.bind(str(directory / "rules.sock"))
        os.chown(directory / "rules.sock", 0, grp.getgrnam("postfix").gr_gid)
        (directory / "rules.sock").chmod(0o660)
        listener.listen()
        yield Site(postfix, door.port, sink, listener)


def test_a_restart_loses_no_mail(site: Site) -> None:
    """In flight: the old version finishes it. New: it waits for the new one. Between two: 451."""
    one_mail = (GREETING, *envelope(), message(), "QUIT")
    first = ExitStack()
    first.enter_context(site.serving("1"))
    with (
        first,
        ThreadPoolExecutor(2) as pool,
        connected(site.port) as in_flight,
        connected(site.port) as between,
    ):
        for step in (GREETING, *envelope()):
            in_flight.say(step)
        taken = [between.say(step)[-1] for step in one_mail[:-1]]
        stopped = pool.submit(first.close)
        assert between.say("NOOP")[-1][:3] == "250"
        assert not stopped.done()
        assert in_flight.say(message())[-1][:3] == "250"
        stopped.result(10)
        waiting = pool.submit(converse, site.port, one_mail)
        wait_until(lambda: bool(select.select([site.listener], [], [], 0)[0]), "it waits to be served")
        with site.serving("2"):
            assert waiting.result(20)[-2][:3] == "250"
            refused = [between.say(step)[-1][:3] for step in envelope()]
            assert "451" in refused
            assert converse(site.port, one_mail)[-2][:3] == "250"
    assert taken[-1][:3] == "250"
    assert sorted(site.versions()) == ["1", "1", "2", "2"]
