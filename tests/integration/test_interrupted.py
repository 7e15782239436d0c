"""A milter that goes away in the middle of a message: no mail is lost, none is half edited."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from demyjpy import running
from tests.integration.conftest import FindSite
from tests.integration.doomed_milter import editing
from tests.integration.ports import wait_until
from tests.integration.running import COMBINATIONS, MTAS, Site, Socket, is_listening
from tests.integration.scenario import GREETING, Driver, Mail, Mta, envelope, message, with_headers
from tests.integration.smtp import connected, converse

EDITED = with_headers("X-Edited: yes", body=b"edited\r\n" * 50_000)

everywhere = pytest.mark.parametrize(
    ("mta", "driver", "kind"),
    [
        pytest.param(mta, driver, kind, id=f"{mta}-{driver}-{kind}")
        for mta in MTAS
        for driver, kind in COMBINATIONS
    ],
)


def _sent_again(site: Site, driver: Driver) -> tuple[Mail, ...]:
    """What is delivered when the client tries again, with a milter that is well."""
    with running(editing(), address=site.milter, driver=driver):
        replies = converse(site.server.port, [GREETING, *envelope(), message(), "QUIT"])
    assert replies[-2].startswith("250")
    return site.delivered()


@everywhere
def test_stopped_without_grace(find_site: FindSite, mta: Mta, driver: Driver, kind: Socket) -> None:
    """The server tempfails the open message and what follows; the next connection is as usual."""
    site = find_site(mta, kind)
    site.clear()
    milter = ExitStack()
    milter.enter_context(running(editing(), address=site.milter, driver=driver, grace=0))
    with milter, connected(site.server.port) as client:
        opening = [client.say(step)[0][:3] for step in (GREETING, *envelope())]
        milter.close()
        replies = [client.say(step)[-1][:3] for step in (message(), "RSET", *envelope())]
    assert opening == ["250", "250", "250"]
    assert replies[:2] == ["451", "250"]
    assert replies[-1] in ("451", "503")  # Sendmail refuses MAIL, Postfix only RCPT
    assert site.delivered() == ()
    assert _sent_again(site, driver) == (EDITED,)


@everywhere
def test_stopped_with_grace(find_site: FindSite, mta: Mta, driver: Driver, kind: Socket) -> None:
    """A message in flight is finished, with all its edits; then the milter is gone at once."""
    site = find_site(mta, kind)
    site.clear()
    milter = ExitStack()
    milter.enter_context(running(editing(), address=site.milter, driver=driver, grace=60))
    with milter, ThreadPoolExecutor(1) as pool, connected(site.server.port) as client:
        for step in (GREETING, *envelope()):
            client.say(step)
        stopped = pool.submit(milter.close)
        wait_until(lambda: not is_listening(site.milter), "the milter stops listening")
        assert not stopped.done()
        assert client.say(message())[-1].startswith("250")
        stopped.result(timeout=10)
        replies = [client.say(step)[0][:3] for step in envelope()]
    assert replies[-1] in ("451", "503")
    assert site.delivered() == (EDITED,)


@contextmanager
def _doomed_milter(
    site: Site, driver: Driver, event_name: str, signal_name: str
) -> Iterator["subprocess.Popen[str]"]:
    """The program `doomed_milter`, listening."""
    program = [sys.executable, "-m", "tests.integration.doomed_milter"]
    with subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *(*program, site.milter, driver, event_name, signal_name),
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("the milter does not start")
            yield process
        finally:
            process.kill()


@everywhere
@pytest.mark.parametrize("event_name", ["recipient", "body", "end_of_message"])
def test_killed(find_site: FindSite, mta: Mta, driver: Driver, kind: Socket, event_name: str) -> None:
    """A milter that dies without a word costs a tempfail; the mail passes when it is sent again."""
    site = find_site(mta, kind)
    site.clear()
    with _doomed_milter(site, driver, event_name, "SIGKILL") as milter:
        replies = converse(site.server.port, [GREETING, *envelope(), message(), "QUIT"])
        assert milter.wait(10) == -9
    refused = 3 if event_name == "recipient" else 5
    assert replies[refused][:3] == "451"
    assert site.delivered() == ()
    assert _sent_again(site, driver) == (EDITED,)


@everywhere
@pytest.mark.parametrize("event_name", ["recipient", "end_of_message"])
def test_terminated(
    find_site: FindSite, mta: Mta, driver: Driver, kind: Socket, event_name: str
) -> None:
    """At SIGTERM the message in flight is finished with all its edits, and the program ends well."""
    site = find_site(mta, kind)
    site.clear()
    with _doomed_milter(site, driver, event_name, "SIGTERM") as milter:
        replies = converse(site.server.port, [GREETING, *envelope(), message()])
        assert [reply[:3] for reply in replies] == ["220", "250", "250", "250", "354", "250"]
        assert milter.wait(10) == 0
    assert site.delivered() == (EDITED,)
