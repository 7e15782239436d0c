"""Mail that a local user hands in, as Postfix's cleanup(8) and Sendmail on standard input tell of it."""

import pytest

from demyjpy import AddHeader, ReplaceBody, merge_handlers
from demyjpy.engine.connection import Setup
from demyjpy.engine.pipeline import as_on_connect
from demyjpy.mta import client_steps
from demyjpy.mta.smtp import play, take_step
from demyjpy.mta.smtp_session import new_session
from demyjpy.testing.memory_filter import MemoryFilter
from tests.integration.filters import witness
from tests.integration.scenario import Mta, at_end, message, with_headers
from tests.integration.test_submission import SEEN
from tests.model.playing import PROFILES, ScriptedFilter, _delivered

SUBMISSION = (
    client_steps.Connect(""),
    client_steps.Mail("a@test", {"SIZE": "100"}),
    client_steps.Rcpt("b@test", {"NOTIFY": "NEVER"}),
    client_steps.Data(message()),
    client_steps.Quit(),
)


@pytest.mark.parametrize("mta", ["postfix", "sendmail"])
def test_submission(mta: Mta) -> None:
    """Mail from a local user is filtered, and delivered, as by the real server."""
    edits = at_end(AddHeader("X-Edited", "yes"), ReplaceBody(b"edited\r\n"))
    handlers = merge_handlers(witness(), edits)
    greeted = (
        SUBMISSION[0],
        client_steps.Ehlo("localhost"),
        client_steps.Mail("a@test"),
        client_steps.Rcpt("b@test"),
    )
    mails = []
    with MemoryFilter(Setup(as_on_connect(handlers))) as milter:
        session = new_session(PROFILES[mta])
        for step in (*greeted, *SUBMISSION[3:]):
            session, outcome = play(take_step(session, step), [milter])
            mails += [outcome.mail] if outcome.mail else []
    seen = f"X-Seen: {SEEN[mta]}, data, Subject, eoh, body 43"
    count = "X-Count: 0 before, 0 given up"
    expected = with_headers(seen, count, "X-Edited: yes", body=b"edited\r\n")
    assert [*map(_delivered, mails)] == [expected]


def test_acted_session() -> None:
    """Postfix acts a session: HELO of its own, bare addresses without parameters, no ABORT."""
    milter = ScriptedFilter({})
    session = new_session(PROFILES["postfix"])
    for step in SUBMISSION:
        session, _ = play(take_step(session, step), [milter])
    letters = "".join(chr(packet[0]) for packet in milter.heard if packet[:1] not in (b"D", b"L"))
    assert letters == "OCHMRTNBEQ"
    assert b"Clocalhost\x004\0\x00127.0.0.1\0" in milter.heard
    assert b"Hlocalhost\0" in milter.heard
    assert b"Ma@test\0" in milter.heard
    assert b"Rb@test\0" in milter.heard
    (macros,) = (packet for packet in milter.heard if packet[:2] == b"DM")
    assert macros.startswith(b"DMi\0")
    assert b"mail_host" not in macros
