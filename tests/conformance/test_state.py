"""Rows 135-148: what ends a message, what ends a connection, and how often who is told."""

import pytest

from demyjpy import Accept, Reject, RemoteProtocolError, get_macro, remember
from tests.conformance.talk import (
    ABORT,
    ACCEPT,
    BODY,
    CONNECT,
    CONTINUE,
    DATA,
    EOH,
    EOM,
    EVENTS,
    HEADER,
    HELO,
    MAIL,
    MESSAGE,
    OFFER,
    QUIT,
    QUIT_NC,
    RCPT,
    SESSION,
    TEMPFAIL,
    Talk,
    macros,
    mail,
    packet,
)

OPEN = [name for name in SESSION if name not in ("connect", "hello", "mail")]
"""A message is open before each of these, and after MAIL."""


@pytest.mark.parametrize("event", OPEN)
def test_row_135_mail_within_a_message(event):
    """MAIL while a message is open aborts that one, once, and begins the next."""
    talk = Talk().go_to(event)
    assert talk.say(MAIL) == CONTINUE
    assert talk.heard == ["abort", "mail"]
    assert talk.say(*MESSAGE[1:]) == 6 * CONTINUE
    assert talk.count("abort") == 1


def test_row_135_each_message_is_told_its_own_end():
    """The abort handler sees what the message that ended had stored, the next message does not."""

    def store(event, ctx):
        return ctx.set("sender", event.sender)

    talk = Talk({"mail": store}, state={"sender": None}).greet(CONNECT)
    talk.say(mail(b"<1@b>"), mail(b"<2@b>"), ABORT)
    assert [ctx["sender"] for event, ctx in talk.given] == [None, "1@b", None, "2@b"]
    assert talk.heard == ["mail", "abort", "mail", "abort"]


@pytest.mark.parametrize("event", OPEN)
def test_row_136_hello_within_a_message(event):
    """HELO while a message is open aborts it, once; what Postfix says after that is ignored."""
    talk = Talk().go_to(event)
    assert talk.say(HELO) == CONTINUE
    assert talk.say(ABORT, ABORT) == b""
    assert talk.heard == ["abort", "hello"]
    assert talk.say(MAIL) == CONTINUE
    assert talk.troubles == []


@pytest.mark.parametrize("before", [(), (CONNECT,), (CONNECT, HELO)], ids=["O", "C", "H"])
def test_row_137_abort_without_message(before):
    """ABORT without a message is ignored: no reply, no callback."""
    talk = Talk().greet(*before)
    assert talk.say(ABORT, ABORT) == b""
    assert talk.heard == []
    assert talk.troubles == []
    assert talk.say(*[CONNECT][len(before) :], MAIL).endswith(CONTINUE)
    assert talk.heard[-1] == "mail"


def test_row_138_abort_after_the_end():
    """ABORT after the end of message was answered calls no handler."""
    talk = Talk().go_to("end_of_message")
    assert talk.say(EOM) == CONTINUE
    assert talk.say(ABORT) == b""
    assert talk.heard == ["end_of_message"]


def test_row_138_without_a_handler_at_the_end():
    """Nor does the end of message itself, if the filter has no handler for it."""
    talk = Talk(events=set(EVENTS) - {"end_of_message"}).go_to("end_of_message")
    assert talk.say(EOM) == CONTINUE
    assert talk.say(ABORT, MAIL) == CONTINUE
    assert talk.heard == ["mail"]


def test_row_139_a_session_of_postfix():
    """... E A A Q: one end of message, no abort, one end of the connection."""
    talk = Talk()
    talk.say(OFFER, *SESSION.values(), ABORT, ABORT, QUIT)
    assert talk.heard == [*SESSION, "quit", "disconnect"]
    assert talk.is_closed


def test_row_140_a_session_of_sendmail():
    """M R Q: one abort, one end of the connection."""
    talk = Talk().go_to("mail")
    assert talk.say(MAIL, RCPT, QUIT) == 2 * CONTINUE
    assert talk.heard == ["mail", "recipient", "abort", "quit", "disconnect"]
    assert talk.is_closed


@pytest.mark.parametrize("event", ["hello", "mail"])
def test_row_141_end_without_quit(event):
    """A connection that ends between messages: one end of the connection, nothing else."""
    talk = Talk().go_to(event)
    assert talk.hang_up() == b""
    assert talk.heard == ["disconnect"]
    assert talk.is_closed


@pytest.mark.parametrize("event", OPEN)
def test_row_141_end_without_quit_in_a_message(event):
    """A connection that ends within a message: one abort, then one end of the connection."""
    talk = Talk().go_to(event)
    assert talk.hang_up() == b""
    assert talk.heard == ["abort", "disconnect"]
    assert talk.is_closed


def test_row_141_end_while_a_handler_is_busy():
    """A connection that ends while a handler is busy: it may finish, then abort and end come."""
    talk = Talk(blocking={"recipient"}).go_to("recipient")
    assert talk.say(RCPT, DATA) == b""
    assert talk.hang_up() == b""
    assert (talk.heard, talk.is_closed) == ([], False)
    assert talk.say(EOH) == b""
    assert talk.finish() == b""
    assert talk.heard == ["recipient", "abort", "disconnect"]
    assert talk.is_closed


@pytest.mark.parametrize("said", [(), (QUIT,)])
def test_row_141_ends_once(said):
    """However often a connection is said to end, its handlers run once."""
    talk = Talk().go_to("data")
    talk.say(*said)
    assert [talk.hang_up(), talk.hang_up(), talk.say(QUIT, ABORT)] == [b"", b"", b""]
    assert (talk.count("abort"), talk.count("disconnect")) == (1, 1)


def test_row_142_nothing_but_the_negotiation():
    """A connection that ends after the negotiation: its end is told, and nothing else."""
    talk = Talk().greet()
    assert talk.hang_up() == b""
    assert talk.heard == ["disconnect"]
    talk = Talk().greet()
    assert talk.say(QUIT) == b""
    assert talk.heard == ["quit", "disconnect"]
    assert talk.is_closed


def test_row_142_not_even_that():
    """Nor is more told where nothing was said at all."""
    talk = Talk()
    assert talk.hang_up() == b""
    assert talk.heard == ["disconnect"]
    assert talk.is_closed


@pytest.mark.parametrize("said", [RCPT, DATA, HEADER, EOH, BODY, EOM], ids=list("RTLNBE"))
@pytest.mark.parametrize("before", [(), (CONNECT,), (CONNECT, HELO), tuple(SESSION.values())])
def test_row_143_without_mail(said, before):
    """What belongs to a message and comes without one closes the connection: it does not stall."""
    talk = Talk().greet(*before)
    assert talk.say(said) == b""
    assert talk.heard == ["disconnect"]
    assert talk.errors == [RemoteProtocolError]
    assert talk.is_closed


@pytest.mark.parametrize(
    ("event", "said"),
    [("end_of_headers", RCPT), ("body", HEADER), ("end_of_message", EOH), ("header", DATA)],
)
def test_row_143_backwards(event, said):
    """A message does not go back: what comes too late closes the connection."""
    talk = Talk().go_to(event)
    assert talk.say(said, *([said] if said == DATA else [])) == b""
    assert talk.heard == ["abort", "disconnect"]
    assert talk.is_closed


OFF = {"connect": 0x1, "hello": 0x2, "mail": 0x4, "recipient": 0x8, "body": 0x10, "header": 0x20}
OFF |= {"end_of_headers": 0x40, "data": 0x200}


@pytest.mark.parametrize("event", SESSION)
def test_row_143_switched_off_steps_are_transparent(event):
    """A filter with one handler only: whatever the library switched off need not come."""
    talk = Talk(events=[event])
    agreed = int.from_bytes(talk.say(OFFER)[13:17], "big")
    sent = [name for name in SESSION if not OFF.get(name, 0) & agreed]
    for _ in range(2):
        names = [name for name in sent if name not in ("connect", "hello") or not talk.heard]
        answered = b"".join(talk.say(macros(b"M", b"i", b"Q1"), SESSION[name]) for name in names)
        assert len(answered) == 5 * len(names)
    assert talk.count(event) == (1 if event in ("connect", "hello") else 2)
    assert talk.troubles == []
    talk.say(QUIT)
    assert talk.is_closed


def test_row_144_mail_without_hello():
    """MAIL may follow CONNECT: a client need not say HELO."""
    talk = Talk().greet(CONNECT)
    assert talk.say(*MESSAGE) == 7 * CONTINUE
    assert talk.count("end_of_message") == 1
    assert talk.troubles == []


def keep(event, ctx):
    """Store something for the connection, for the message, and beyond the message."""
    name = type(event).__name__
    return remember(ctx.set(name, "here"), **{f"remembered_{name}": "here"})


@pytest.mark.parametrize("between", [(), (ABORT,)], ids=["sendmail", "postfix"])
def test_row_145_two_messages(between):
    """A second message starts with what CONNECT and HELO stored, and with what was to be remembered."""
    talk = Talk(dict.fromkeys(SESSION, keep), state={"start": 1}).greet(*SESSION.values())
    talk.say(*between, MAIL)
    ctx = talk.context("mail")
    stored = ("start", "Connect", "Hello", "Mail", "Recipient", "Header", "Body", "EndOfMessage")
    assert [name for name in stored if name in ctx] == ["start", "Connect", "Hello"]
    assert [f"remembered_{name}" in ctx["connection"] for name in stored] == [False] + 7 * [True]


def test_row_146_messages_of_sendmail():
    """M R T L ... E M ... without ABORT in between: each message is whole."""
    talk = Talk().go_to("mail")
    assert talk.say(*MESSAGE, *MESSAGE, *MESSAGE, QUIT) == 21 * CONTINUE
    names = list(SESSION)[2:]
    assert talk.heard == [*names, *names, *names, "quit", "disconnect"]


@pytest.mark.parametrize("event", [*list(SESSION)[:3], None])
def test_row_147_new_connection(event):
    """QUIT_NC ends a session; the next one needs no negotiation and knows nothing of it."""
    talk = Talk({"connect": keep, "hello": keep}, quiet={"header"}, state={"start": 1})
    talk.say(OFFER)
    names = list(SESSION)[: list(SESSION).index(event)] if event else list(SESSION)
    talk.say(macros(b"C", b"j", b"old"), *(SESSION[name] for name in names))
    told = len(talk.heard)
    assert talk.say(QUIT_NC) == b""
    assert talk.heard[told:] == ["quit", "disconnect"]
    assert not talk.is_closed
    assert talk.say(CONNECT) == CONTINUE
    ctx = talk.context("connect")
    assert "Connect" not in ctx
    assert "Hello" not in ctx
    assert not ctx["connection"]
    assert (ctx["start"], get_macro(ctx, "j")) == (1, None)
    assert talk.say(HELO, *MESSAGE[:3], HEADER, EOH) == 5 * CONTINUE
    assert talk.troubles == []


def test_row_147_connect_must_follow():
    """After QUIT_NC a CONNECT is due: a second negotiation or a message closes the connection."""
    for said in (OFFER, MAIL, HELO):
        talk = Talk().go_to("mail")
        assert talk.say(QUIT_NC, said) == b""
        assert talk.heard == ["quit", "disconnect", "disconnect"]
        assert talk.is_closed


@pytest.mark.parametrize("event", ["connect", "hello"])
def test_row_147_verdicts_on_the_connection_end(event):
    """A verdict on the connection does not concern the next one."""
    talk = Talk({event: Accept()}).go_to(event)
    assert talk.say(SESSION[event], QUIT_NC) == ACCEPT
    assert talk.say(CONNECT) == (ACCEPT if event == "connect" else CONTINUE)
    assert talk.heard == [event, "quit", "disconnect", "connect"]
    talk = Talk({event: Reject()}, quiet={"connect", "hello"}).go_to(event)
    assert talk.say(SESSION[event], QUIT_NC, CONNECT, MAIL) == (
        TEMPFAIL if event == "connect" else CONTINUE
    )


def test_row_147_agreement_stays():
    """What was agreed on is still there: actions, and which events are not answered."""
    talk = Talk(quiet={"hello"}, optional_actions={"add_header"}).go_to("mail")
    assert talk.say(QUIT_NC, CONNECT, HELO) == CONTINUE
    assert talk.context("connect")["actions"] == {"add_header"}
    assert "mail" in talk.context("connect")["events"]


def test_row_147_macros_of_the_next_session():
    """Macros sent for the CONNECT after QUIT_NC are in force there."""
    talk = Talk().go_to("mail")
    talk.say(QUIT_NC, macros(b"C", b"j", b"new"), CONNECT)
    assert talk.macro("connect", "j") == "new"


@pytest.mark.parametrize("event", OPEN)
def test_row_148_new_connection_within_a_message(event):
    """QUIT_NC with a message open: abort, then the end of the session; then CONNECT is handled."""
    talk = Talk().go_to(event)
    assert talk.say(QUIT_NC) == b""
    assert talk.heard == ["abort", "quit", "disconnect"]
    assert talk.say(packet(b"C", b"localhost\0U"), MAIL) == 2 * CONTINUE
    assert talk.heard[3:] == ["connect", "mail"]
