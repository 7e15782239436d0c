"""The snooper between a real server and a milter: the mail is the same, and the recording replays.

Behind it: our own filter, the same over pymilter, and OpenDKIM. And the migration that it is for: a
pymilter filter in production, its traffic recorded, its port proven equal on it.
"""

import os
import pwd
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from demyjpy import define_event_handlers, reject, running
from demyjpy.trace import Trace, load
from demyjpy.trace.replay.comparing import compare_bytes, compare_messages
from demyjpy.trace.replay.recorded_filter import recorded_filter
from demyjpy.trace.replay.replaying import Filter
from tests.cli.servers import program, read_until
from tests.integration import fetch_milters
from tests.integration.conftest import FindSite
from tests.integration.foreign import need_milters
from tests.integration.milters import our_filter
from tests.integration.ports import free_port, wait_until
from tests.integration.running import MTAS, Site
from tests.integration.scenario import GREETING, HEADERS, Mta, envelope, message
from tests.integration.smtp import converse

pytestmark = need_milters()

ASKS = ("", "edit", "reject", "tempfail", "discard", "reply", "quarantine")
Start = Callable[[str, Path], AbstractContextManager[object]]


def ours(address: str, directory: Path) -> AbstractContextManager[object]:
    """Our own filter."""
    return running(our_filter.handlers, address=address)


def over_pymilter(address: str, directory: Path) -> AbstractContextManager[object]:
    """The same over pymilter."""
    script = Path(__file__).parent / "milters/pymilter_filter.py"
    return listening([fetch_milters.pymilter_python(), script, address], address)


def opendkim(address: str, directory: Path) -> AbstractContextManager[object]:
    """OpenDKIM, which verifies: its header says the same each time."""
    conf = directory / f"{address.partition('@')[0].replace(':', '-')}.conf"
    lines = {
        "Socket": address,
        "Mode": "v",
        "UserID": pwd.getpwuid(os.geteuid()).pw_name,
        "Syslog": "no",
        "AlwaysAddARHeader": "yes",
        "AuthservID": "me.example",
        "PidFile": f"{conf}.pid",
    }
    conf.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    return listening([fetch_milters.opendkim(), "-f", "-x", conf], address)


@contextmanager
def listening(command: list[Any], address: str) -> Iterator[None]:
    """A program that listens on a TCP port once the block runs."""
    port = int(address.removeprefix("inet:").partition("@")[0])

    def answers() -> bool:
        with socket.socket() as probe:
            return not probe.connect_ex(("127.0.0.1", port))

    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as started:
        try:
            wait_until(answers, f"{command[0]} on port {port}")
            yield
        finally:
            started.send_signal(signal.SIGKILL)


def play(site: Site) -> tuple[Any, ...]:
    """Send all mails, one a session; what the client is told, what arrives, what is held."""
    site.clear()
    replies = []
    for ask in ASKS:
        headers = [*HEADERS, *([f"X-Ask: {ask}"] if ask else [])]
        steps = (GREETING, *envelope("a@test", "b@test", "bad@test"), message(headers), "QUIT")
        replies.append(
            tuple(
                re.sub(r"queued as \S+|\S+ Message accepted", "", one)
                for one in converse(site.server.port, steps)[1:]
            )
        )
    return (
        replies,
        [re.sub(r"'X-Added: [^']+'", "", repr(mail)) for mail in site.delivered()],
        site.held(),
    )


@contextmanager
def snooped(site: Site, start: Start, directory: Path) -> Iterator[None]:
    """The milter elsewhere, and the snooper where the server seeks it."""
    behind = f"inet:{free_port()}@127.0.0.1"
    options = ("--listen", site.milter, "--to", behind, "--record", str(directory / "traces"))
    with start(behind, directory), program("snoop", *options, "--quiet") as started:
        read_until(started, ("snooping on ", "will listen on "))
        yield


def traces_in(directory: Path) -> list[Trace]:
    (path,) = (directory / "traces").iterdir()
    return load(path)


@pytest.mark.parametrize("mta", MTAS)
@pytest.mark.parametrize("start", [ours, over_pymilter, opendkim], ids=lambda start: start.__name__)
def test_the_mail_is_the_same_and_the_recording_replays(
    find_site: FindSite, mta: Mta, start: Start, tmp_path: Path
) -> None:
    """Replies, headers, bodies, envelopes, quarantine; and every session gives the same bytes again."""
    site = find_site(mta, "inet")
    with start(site.milter, tmp_path):
        without = play(site)
    with snooped(site, start, tmp_path):
        assert play(site) == without
    traces = [trace for trace in traces_in(tmp_path) if trace.exchanges]
    assert len(traces) == len(ASKS)
    for trace in traces:
        assert trace.how == "quit"
        assert not [record for record in trace.records if "odd" in record or "problem" in record]
        assert compare_bytes(trace, Filter(recorded_filter(trace))).is_same
        if start is ours:
            assert compare_bytes(trace, Filter(our_filter.handlers)).is_same


@pytest.mark.parametrize("mta", MTAS)
def test_a_filter_is_moved_from_pymilter(find_site: FindSite, mta: Mta, tmp_path: Path) -> None:
    """Its traffic is recorded; the port is equal on every mail; a planted difference is explained."""
    site = find_site(mta, "inet")
    with snooped(site, over_pymilter, tmp_path):
        play(site)
    traces = traces_in(tmp_path)
    port = Filter(our_filter.handlers)
    differences = [one for trace in traces for one in compare_messages(trace, port).differing]
    assert differences == []
    planted = define_event_handlers(
        {name: our_filter.handlers[name] for name in our_filter.handlers if name != "recipient"},
        actions=our_filter.handlers.actions,
        state=our_filter.handlers.state,
    )
    planted.recipient(lambda event, ctx: reject(ctx) if event.address == "b@test" else ctx)
    found = [one for trace in traces for one in compare_messages(trace, Filter(planted)).differing]
    assert {one.kinds for one in found} <= {("recipients",), ("verdict",)}
    assert next(one.why.event for one in found if one.why) == "recipient"


@pytest.mark.parametrize("mta", MTAS)
def test_while_the_milter_is_away_the_server_sees_that(
    find_site: FindSite, mta: Mta, tmp_path: Path
) -> None:
    """The client is told what it would be told without the snooper."""
    site = find_site(mta, "inet")
    steps = (GREETING, *envelope(), "QUIT")
    without = converse(site.server.port, steps)[1:]
    with snooped(site, lambda address, directory: nullcontext(), tmp_path):
        assert converse(site.server.port, steps)[1:] == without
