"""`filter_of`: which callbacks are called, with what, and what comes of what they return."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from demyjpy import (
    Accept,
    Connect,
    Discard,
    Reject,
    ReplyCode,
    TemporaryFailure,
    new_context,
    with_handlers,
)
from demyjpy import pymilter as Milter  # noqa: N812  # as filters spell it
from demyjpy.pymilter import filter_of
from demyjpy.testing import Postfix, run, session
from tests.pymilter.classes import LETTER, ONE, Logging, seen_in, verdict_of


def test_all_callbacks_are_called_with_what_pymilter_gives() -> None:
    """Addresses as they were sent, parameters as words, header values without the one space."""
    assert seen_in(ONE.message(LETTER).command("FOO bar").mail("x@y.example").rset()) == [
        ("envfrom", "<ann@example.org>", "SIZE=10", "SMTPUTF8"),
        ("envrcpt", "<bob@example.net>", "NOTIFY=NEVER"),
        ("data",),
        ("header", "Subject", "hi"),
        ("header", "X-Two", " two"),
        ("eoh",),
        ("body", b"hello\r\n"),
        ("eom",),
        ("unknown", "FOO"),
        ("envfrom", "<x@y.example>"),
        ("abort",),
        ("close",),
    ]


@pytest.mark.parametrize(
    ("event", "given"),
    [
        (Connect("c", "4", ip_address("192.0.2.1"), 25), (2, ("192.0.2.1", 25))),
        (Connect("c", "L", "/tmp/x", 0), (1, "/tmp/x")),
        (Connect("c"), (0, None)),
    ],
)  # fmt: skip
def test_the_client_is_given_as_the_socket_module_has_it(event: Connect, given: Any) -> None:
    """The family is the number of a constant."""
    ours = type("Ours", (Logging,), {"seen": []})
    registry = filter_of(ours)
    registry["connect"](event, with_handlers(new_context(), registry))
    assert ours.seen == [("connect", "c", *given)]
    assert given[0] in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNSPEC)


def test_an_address_of_ipv6_has_four_parts() -> None:
    """Flow and scope are zero."""
    ours = type("Ours", (Logging,), {"seen": []})
    run(filter_of(ours), session(client="2001:db8::1"), mta=Postfix())
    assert ours.seen[0][2:] == (socket.AF_INET6, ("2001:db8::1", 40000, 0, 0))


def test_only_what_is_overridden_is_asked_for() -> None:
    """The MTA need not say more."""

    class OnlyEom(Milter.Base):
        def eom(self):
            return Milter.CONTINUE

        @Milter.nocallback
        def hello(self, hostname):
            return Milter.CONTINUE

    assert set(filter_of(OnlyEom)) == {"end_of_message"}
    assert set(filter_of(Milter.Base)) == set()
    registry = filter_of(Milter.Milter)
    assert "body" not in registry
    assert not registry["header"].reply
    assert registry["end_of_message"].reply
    assert registry["end_of_message"].name == "Milter: demyjpy.pymilter.base.Milter.eom"


def test_a_connection_has_one_instance_of_its_own() -> None:
    """It lasts from message to message, and no other connection sees it."""

    class Counting(Milter.Base):
        def __init__(self):
            self.count = 0

        def eom(self):
            self.count += 1
            self.addheader("X-Count", str(self.count))
            return Milter.CONTINUE

    script = ONE.message(LETTER).mail("a@b.example").rcpt("c@d.example").message(LETTER)
    registry = filter_of(Counting)
    for _ in range(2):
        found = run(registry, script)
        assert [one.message.get("X-Count") for one in found.messages] == ["1", "2"]


@pytest.mark.parametrize(
    ("callback", "said", "verdict"),
    [
        ("envfrom", Milter.REJECT, Reject()),
        ("envfrom", True, Reject()),
        ("header", Milter.TEMPFAIL, TemporaryFailure()),
        ("eoh", Milter.DISCARD, Discard()),
        ("data", Milter.ACCEPT, Accept()),
        ("eom", Milter.NOREPLY, Accept()),
        ("body", Milter.SKIP, Accept()),
        ("header", Milter.SKIP, Accept()),
        ("eom", False, Accept()),
        ("eom", lambda self: self.setreply("554", "5.7.2", "100%% no", "really") or Milter.REJECT,
         ReplyCode(554, "5.7.2", "100% no\nreally")),
        ("eom", lambda self: self.setmlreply("450", None, "a", "b") or Milter.TEMPFAIL,
         ReplyCode(450, "4.0.0", "a\nb")),
        ("eom", lambda self: self.setreply("450", None, "a") or Milter.REJECT, Reject()),
        ("eom", lambda self: self.setreply("550", "4.7.1", "a") or Milter.REJECT,
         ReplyCode(550, "5.7.1", "a")),
        ("eom", lambda self: self.setreply("550") or Milter.REJECT, ReplyCode(550)),
    ],
)  # fmt: skip
def test_what_a_callback_returns_is_the_answer(callback: str, said: Any, verdict: Any) -> None:
    """A reply counts if it is of the class of the refusal."""
    assert verdict_of(callback, said) == verdict


@pytest.mark.parametrize("said", [None, "x", 99, 1.0])
def test_what_is_no_answer_is_an_exception(said: Any) -> None:
    """As under pymilter; there a number that is none is an answer that never comes."""
    assert verdict_of("eom", said) == ReplyCode(451, "4.3.0", "pymilter: untrapped exception in Saying")


def test_a_reply_is_kept_until_a_refusal_uses_it() -> None:
    """Also past the end of a message."""

    class Keeping(Milter.Base):
        def envfrom(self, sender, *parameters):
            if sender == "<ann@example.org>":
                self.setreply("554", "5.7.2", "kept")
            return Milter.CONTINUE

        def header(self, name, value):
            return Milter.REJECT if name == "X-Reject" else Milter.CONTINUE

    refused = "X-Reject: 1\n\n"
    script = ONE.message(LETTER).mail("a@b.example").rcpt("c@d.example").message(refused)
    script = script.mail("a@b.example").rcpt("c@d.example").message(refused)
    found = run(filter_of(Keeping), script)
    assert [one.verdict for one in found.messages] == [
        Accept(),
        ReplyCode(554, "5.7.2", "kept"),
        Reject(),
    ]


def test_a_recipient_that_the_mta_refused_is_seen_and_not_answered() -> None:
    """If the class asks for these."""

    @Milter.rejected_recipients
    class Seeing(Logging):
        def envrcpt(self, *given):
            self.note(*given, self.getsymval("{rcpt_mailer}"))
            return Milter.REJECT

    assert Seeing.protocol_mask() & Milter.P_RCPT_REJ == 0
    script = session().mail("a@b.example").rcpt("no@b.example", refused="5.1.1 no").rcpt("c@d.example")
    assert [one for one in seen_in(script, Seeing) if len(one) == 2] == [
        ("envfrom", "<a@b.example>"),
        ("<no@b.example>", "error"),
        ("<c@d.example>", "smtp"),
    ]
