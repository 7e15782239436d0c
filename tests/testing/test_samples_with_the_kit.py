"""Every sample, tested with the kit: copy these tests to begin your own."""

import importlib
import logging
import sys
from pathlib import Path

import pytest

from demyjpy import Accept, Body, ReplyCode
from demyjpy.testing import Postfix, context, run, session
from demyjpy.testing.strategies import check_filter

SAMPLES = Path(__file__).parents[2] / "samples"
LETTER = session(client="203.0.113.9").mail("ann@example.net").rcpt("bob@example.org")


@pytest.fixture
def sample(monkeypatch):
    """A sample's module by its name."""
    monkeypatch.syspath_prepend(str(SAMPLES))
    yield importlib.import_module
    for path in SAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_bytecount(sample):
    """The size of each message is told in a header."""
    handlers = sample("bytecount").handlers
    content = "Subject: hello\n\n" + "x" * 70_000 + "\n"
    result = run(handlers, LETTER.message(content))
    assert result.message.get("X-Message-Size") == str(len(content) + 3)  # CRLF line ends
    assert handlers["body"](Body(b"xy"), context(handlers, size=3))["size"] == 5


@pytest.mark.parametrize("name", ["threaded", "forked"])
def test_bytecount_under_other_drivers(sample, name):
    """They run the same filter."""
    assert sample(name).handlers is sample("bytecount").handlers


def test_gnutp(sample):
    """The name is kept alive where it is not there yet."""
    script = LETTER.message("Subject: one\n\n").mail("").rcpt("c@example.org")
    result = run(sample("gnutp").handlers, script.message("x-clacks-overhead: yes\n\n"))
    first, second = (message.message for message in result.messages)
    assert first.get("X-Clacks-Overhead") == "GNU Terry Pratchett"
    assert bytes(second) == b"x-clacks-overhead: yes\r\n\r\n"


def test_macros(sample, caplog):
    """The way of each recipient is logged, also of those that the MTA refuses."""
    script = LETTER.rcpt("no@example.org", refused="5.1.1 User unknown").message()
    with caplog.at_level(logging.INFO, "macros"):
        result = run(sample("macros").handlers, script, mta=Postfix())
    assert result.verdict == Accept()
    assert len(caplog.messages) == 2
    assert "<no@example.org> by error to 5.1.1" in caplog.messages[1]


def test_pipeline_refuses_blocked_senders(sample):
    """At MAIL, whatever the other filters think."""
    script = session().mail("joe@spam.example").rcpt("bob@example.org").message()
    verdict = run(sample("pipeline").handlers, script).verdict
    assert verdict == ReplyCode(550, "5.7.1", "<joe@spam.example> may not send mail here")


def test_pipeline_marks_outside_mail(sample):
    """But not that of users who have logged in."""
    handlers = sample("pipeline").handlers
    message = run(handlers, LETTER.message("Subject: Lunch\n\n")).message
    assert message.get("Subject") == "[external] Lunch"
    inside = session().auth("ann").mail("ann@example.net").rcpt("bob@example.org")
    assert run(handlers, inside.message("Subject: Lunch\n\n")).message.get("Subject") == "Lunch"


PROGRAM = """\
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="{}"

MZ
"""


def test_quarantine(sample):
    """Mail with an attached program is held, other mail is not."""
    handlers = sample("quarantine").handlers
    held = run(handlers, LETTER.message(PROGRAM.format("party.EXE")))
    assert held.quarantine == "attached program party.EXE"
    assert run(handlers, LETTER.message(PROGRAM.format("party.txt"))).is_delivered


def test_replace_body(sample):
    """Plain text gets a disclaimer, signed mail stays as it is."""
    module = sample("replace_body")
    result = run(module.handlers, LETTER.message("Subject: hello\n\nHello\n"))
    assert result.message.body.startswith(b"Hello\r\n\r\n____")
    signed = "DKIM-Signature: x\n\nHello\n"
    assert run(module.handlers, LETTER.message(signed)).message.body == b"Hello\r\n"


@pytest.mark.parametrize(
    "name",
    [
        *("bytecount", "gnutp", "macros", "pipeline", "quarantine", "replace_body"),
        *("greylist", "recipients", "quota", "sender_networks", "scanner"),
    ],
)
def test_what_holds_for_every_filter(sample, name):
    """No leak, no error, no byte touched that was not meant, whatever the session."""
    check_filter(sample(name).handlers, max_examples=3)
