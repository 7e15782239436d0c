"""Rows 92-103: verdicts. PROGRESS while a handler runs (rows 99 and 101) is in test_server."""

import pytest

from demyjpy import (
    Accept,
    AddHeader,
    Continue,
    Discard,
    HandlerError,
    LocalProtocolError,
    Progress,
    Reject,
    ReplyCode,
    Skip,
    TemporaryFailure,
)
from demyjpy.actions import ConnectionFailed, Shutdown
from tests.conformance.talk import (
    ABORT,
    ACCEPT,
    ACTIONS,
    ANSWERED,
    BODY,
    CONTINUE,
    DATA,
    DISCARD,
    EOM,
    HELO,
    MAIL,
    QUIT,
    RCPT,
    REJECT,
    SESSION,
    SKIP,
    STEPS,
    TEMPFAIL,
    Talk,
    macros,
    options,
    packet,
    reply_code,
)

PLAIN = {
    "continue": (Continue(), CONTINUE),
    "reject": (Reject(), REJECT),
    "tempfail": (TemporaryFailure(), TEMPFAIL),
    "reply": (ReplyCode(550, "5.7.1", "no"), reply_code(b"550 5.7.1 no")),
}
IN_MESSAGE = [name for name in SESSION if name not in ("connect", "hello")]
AFTER_MAIL = [name for name in IN_MESSAGE if name != "mail"]


@pytest.mark.parametrize("event", ANSWERED)
def test_row_092_silence_is_continue(event):
    """A handler that says nothing gets exactly one CONTINUE, of five bytes."""
    talk = Talk().go_to(event)
    assert talk.say(ANSWERED[event]) == b"\0\0\0\x01c"
    assert talk.heard == [event]


@pytest.mark.parametrize("verdict", PLAIN)
@pytest.mark.parametrize("event", ANSWERED)
def test_row_092_one_verdict(event, verdict):
    """A verdict is one packet, without payload but for a reply of one's own."""
    action, answer = PLAIN[verdict]
    talk = Talk({event: action}).go_to(event)
    assert talk.say(ANSWERED[event]) == answer
    assert talk.heard == [event]
    assert talk.troubles == []


@pytest.mark.parametrize("event", SESSION)
def test_row_092_accept(event):
    """ACCEPT is legal at every step but an unknown command."""
    talk = Talk({event: Accept()}).go_to(event)
    assert talk.say(SESSION[event]) == ACCEPT
    assert talk.troubles == []


@pytest.mark.parametrize("event", IN_MESSAGE)
def test_row_092_discard(event):
    """DISCARD is legal wherever there is a message."""
    talk = Talk({event: Discard()}).go_to(event)
    assert talk.say(SESSION[event]) == DISCARD
    assert talk.troubles == []


@pytest.mark.parametrize("event", ANSWERED)
def test_row_092_two_verdicts(event):
    """Two verdicts are an error: neither is sent, the policy for errors is."""
    talk = Talk({event: (Reject(), Continue())}).go_to(event)
    assert talk.say(ANSWERED[event]) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


@pytest.mark.parametrize("between", [(), (ABORT,), (ABORT, ABORT)], ids=["sendmail", "postfix", "twice"])
def test_row_093_accept_at_mail(between):
    """After ACCEPT at MAIL the next message is filtered again, and there is nothing to abort."""
    talk = Talk({"mail": Accept()}).go_to("mail")
    assert talk.say(MAIL) == ACCEPT
    assert talk.say(*between) == b""
    assert talk.say(macros(b"M", b"i", b"Q2"), MAIL) == ACCEPT
    assert talk.heard == ["mail", "mail"]
    assert talk.macro("mail", "i") == "Q2"


def test_row_094_reject_at_recipient():
    """REJECT at RCPT refuses that recipient: the message stays open, the next is asked about."""

    def refuse_first(event, ctx):
        return ctx if event.address == "c@d" else ctx.set("queue", (Reject(),))

    talk = Talk({"recipient": refuse_first}).go_to("recipient")
    assert talk.say(packet(b"R", b"<no@d>\0"), RCPT, DATA, EOM) == REJECT + 3 * CONTINUE
    assert talk.heard == ["recipient", "recipient", "data", "end_of_message"]


def test_row_095_accept_at_recipient():
    """ACCEPT at RCPT ends the message for the filter: no abort handler at ABORT."""
    talk = Talk({"recipient": Accept()}).go_to("recipient")
    assert talk.say(RCPT) == ACCEPT
    assert talk.say(ABORT, ABORT) == b""
    assert talk.heard == ["recipient"]
    assert talk.say(MAIL, RCPT) == CONTINUE + ACCEPT


@pytest.mark.parametrize("event", ["connect", "hello", "unknown"])
def test_row_096_discard_without_message(event):
    """DISCARD where there is no message to discard is refused."""
    talk = Talk({event: Discard()}).go_to(event)
    assert talk.say(ANSWERED[event]) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


def test_row_097_skip_at_body():
    """SKIP at body is said, no further chunk is delivered, the end is; the next message has a body."""
    talk = Talk({"body": Skip()}).go_to("body")
    assert talk.say(BODY) == SKIP
    assert talk.say(EOM) == CONTINUE
    assert talk.heard == ["body", "end_of_message"]
    assert talk.say(MAIL, RCPT, BODY, EOM) == 2 * CONTINUE + SKIP + CONTINUE
    assert talk.troubles == []


def test_row_097_chunk_after_skip():
    """A chunk that still comes is answered without its handler."""
    talk = Talk({"body": Skip()}).go_to("body")
    assert talk.say(BODY, BODY, EOM) == 2 * SKIP + CONTINUE
    assert talk.heard == ["body", "end_of_message"]


@pytest.mark.parametrize("event", sorted(set(ANSWERED) - {"body"}))
def test_row_098_skip_elsewhere(event):
    """SKIP anywhere but at body is refused, even where Postfix would take it."""
    talk = Talk({event: Skip()}).go_to(event)
    assert talk.say(ANSWERED[event]) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


def test_row_098_skip_not_negotiated():
    """Where SKIP was not agreed on, CONTINUE is said in its place."""
    talk = Talk({"body": Skip()}).go_to("body", options(6, ACTIONS, STEPS & ~0x400))
    assert talk.say(BODY, BODY, BODY, EOM) == 4 * CONTINUE
    assert talk.heard == ["body", "end_of_message"]
    assert talk.troubles == []


@pytest.mark.parametrize("event", ANSWERED)
def test_row_100_progress_is_not_for_handlers(event):
    """PROGRESS is the driver's: a handler that queues it is in error, at any event."""
    talk = Talk({event: Progress()}).go_to(event)
    assert talk.say(ANSWERED[event]) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


def _fails(event, ctx):
    raise ZeroDivisionError("a bug in the filter")


def _exits(event, ctx):
    raise SystemExit(3)


def _forgets(event, ctx):
    return None


@pytest.mark.parametrize(
    ("broken", "error"), [(_fails, ZeroDivisionError), (_exits, HandlerError), (_forgets, HandlerError)]
)
@pytest.mark.parametrize(
    ("on_error", "answer"), [("tempfail", TEMPFAIL), ("reject", REJECT), ("accept", ACCEPT)]
)
@pytest.mark.parametrize("event", SESSION)
def test_row_102_handler_fails(event, on_error, answer, broken, error):
    """A handler that fails is logged once and answered by the policy; the session goes on."""
    talk = Talk({event: broken}, on_error=on_error).go_to(event)
    assert talk.say(SESSION[event]) == answer
    assert talk.errors == [error]
    assert talk.troubles[0].event == event
    assert not talk.is_closed


def test_row_102_default_policy():
    """Without a policy of one's own it is a temporary failure, and the next message is handled."""
    talk = Talk({"data": _fails}).go_to("data")
    assert talk.say(DATA) == TEMPFAIL
    assert talk.say(MAIL, RCPT) == 2 * CONTINUE


def test_row_102_nothing_half_sent():
    """What a handler queued before it failed is not sent."""

    def half(event, ctx):
        ctx.set("queue", (AddHeader("X", "v"),))
        raise ZeroDivisionError

    talk = Talk({"end_of_message": half}, actions={"add_header"}).go_to("end_of_message")
    assert talk.say(EOM) == TEMPFAIL


@pytest.mark.parametrize("event", ["abort", "quit", "disconnect"])
def test_row_102_handler_that_is_not_answered_fails(event):
    """A handler that fails where nothing is answered is logged, and all the others still run."""
    talk = Talk({event: _fails}).go_to("data")
    assert talk.say(QUIT) == b""
    assert talk.heard == ["abort", "quit", "disconnect"]
    assert talk.errors == [ZeroDivisionError]
    assert talk.is_closed


@pytest.mark.parametrize("action", [Shutdown(), ConnectionFailed()], ids=["4", "f"])
@pytest.mark.parametrize("event", ANSWERED)
def test_row_103_never_sent(event, action):
    """SHUTDOWN and CONN_FAIL are refused; `l` is no response at all."""
    talk = Talk({event: action}).go_to(event)
    assert talk.say(ANSWERED[event]) == TEMPFAIL
    assert talk.errors == [LocalProtocolError]


def test_row_103_verdict_then_hello():
    """After a verdict on the connection the library still answers whatever comes."""
    talk = Talk({"connect": Reject()}).go_to("connect")
    assert talk.say(SESSION["connect"], HELO) == REJECT + CONTINUE
