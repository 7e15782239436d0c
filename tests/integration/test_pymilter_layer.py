"""One filter unchanged on real pymilter and through ``demyjpy run --pymilter``: the same comes of it.

That is: what each callback got, what the SMTP client heard, and what was delivered and held.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.filters import wait_until
from tests.integration import fetch_milters
from tests.integration.conftest import FindSite
from tests.integration.foreign import need_milters
from tests.integration.running import Site, is_listening
from tests.integration.scenario import GREETING, HEADERS, Mta, envelope, message
from tests.integration.smtp import Step, converse

pytestmark = need_milters()

ROOT = Path(__file__).parents[2]
FILTER = Path(__file__).parent / "milters/whole_pymilter.py"
REAL = (fetch_milters.pymilter_python(), FILTER)
OURS = (sys.executable, "-m", "demyjpy", "run", "--allow-root", "--pymilter", FILTER, "--")

ALL_EDITS = (
    "addheader folded insert change first none delete addrcpt notify delrcpt chgfrom text bytes progress"
)
_BY_CHANCE = re.compile(r"(?<=2\.0\.0 )\w+ (?=Message)|: queued as .*|; .* GMT")


def asking(what: str, *headers: str) -> bytes:
    """A message with an X-Ask field."""
    return message((*HEADERS, f"X-Ask: {what}", *headers))


SESSIONS: dict[str, tuple[Step, ...]] = {
    "all edits": (GREETING, *envelope("a@test BODY=8BITMIME"), asking(ALL_EDITS), "QUIT"),
    "bytes": (GREETING, *envelope(), asking("", "X-8: caf\udce9", "X-Empty:", "X-Tab:\tx"), "QUIT"),
    "recipients": (GREETING, *envelope("a@test", "no@test", "never@test", "b@test"), message(), "QUIT"),
    "hello": ("EHLO bad.test", "QUIT"),
    "kept": (GREETING, *envelope("keep@test"), asking("reject"), *envelope(), asking("reject"), "QUIT"),
    "at mail": (GREETING, *envelope("accept@test"), message(), "MAIL FROM:<tempfail@test>", "QUIT"),
    "mismatch": (GREETING, *envelope(), asking("mismatch"), "QUIT"),
    "discard": (GREETING, *envelope(), asking("discard"), "QUIT"),
    "quarantine": (GREETING, *envelope(), asking("quarantine addheader"), "QUIT"),
    "exceptions": (
        GREETING,
        *envelope(),
        asking("raise"),
        *envelope(),
        asking("addheader late"),
        "QUIT",
    ),
    "skip": (GREETING, *envelope(), message((*HEADERS, "X-Ask: skip"), b"x" * 90000 + b"\r\n"), "QUIT"),
    "given up": (GREETING, *envelope(), "RSET", "VERB", *envelope(), message(), *envelope("z@test")),
}


@contextmanager
def started(command: tuple[Any, ...], site: Site, log: Path) -> Iterator[None]:
    """A program that serves at the site's milter address."""
    address = site.milter.partition("?")[0]
    with subprocess.Popen([*command, address, log], cwd=ROOT, stdout=subprocess.DEVNULL) as program:
        try:
            wait_until(lambda: program.poll() is not None or is_listening(address))
            if address.startswith("unix:"):
                Path(address.removeprefix("unix:")).chmod(0o666)  # Postfix is not root
            yield
        finally:
            program.send_signal(signal.SIGKILL)


def outcomes(
    command: tuple[Any, ...], site: Site, log: Path, names: Collection[str] = SESSIONS
) -> dict[str, Any]:
    """What comes of sessions: by name what the filter saw, replies, mail, and what is held."""
    found: dict[str, Any] = {}
    site.clear()
    with started(command, site, log):
        for name in names:
            steps = SESSIONS[name]
            log.write_text("")
            replies = [_BY_CHANCE.sub("", reply) for reply in converse(site.server.port, steps)]
            delivered, held = site.delivered(), site.held()
            wait_until(lambda: log.read_text(errors="surrogateescape").endswith("'close'\n"))
            found[name] = log.read_text(errors="surrogateescape").splitlines(), replies, delivered, held
    return found


FEW = ("all edits", "recipients", "exceptions")


@pytest.mark.parametrize(
    ("mta", "kind", "names"),
    [
        ("postfix", "unix", SESSIONS),
        ("sendmail", "inet", SESSIONS),
        ("postfix", "inet", FEW),
        ("sendmail", "unix", FEW),
    ],
)
def test_a_filter_of_pymilters_does_the_same_without_pymilter(
    find_site: FindSite, mta: Mta, kind: Any, names: Collection[str], tmp_path: Path
) -> None:
    """Behind both servers, over both kinds of socket."""
    site = find_site(mta, kind)
    real = outcomes(REAL, site, tmp_path / "log", names)
    assert outcomes(OURS, site, tmp_path / "log", names) == real
    assert real["all edits"][2][0].sender.startswith("new@test")  # so it did something
