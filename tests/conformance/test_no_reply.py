"""Rows 88-91: what is never answered, and what was agreed not to be answered."""

import pytest

from demyjpy import (
    Accept,
    Continue,
    Discard,
    LocalProtocolError,
    Reject,
    ReplyCode,
    Skip,
    TemporaryFailure,
)
from tests.conformance.talk import (
    ABORT,
    ACCEPT,
    ANSWERED,
    CONNECT,
    CONTINUE,
    EOH,
    EOM,
    MAIL,
    OFFER,
    QUIT,
    QUIT_NC,
    REJECT,
    SESSION,
    TEMPFAIL,
    UNKNOWN,
    Talk,
    header,
    macros,
    options,
)

QUIETABLE = sorted(set(ANSWERED) - {"end_of_message"})
ALL_QUIET = 0xFF080


@pytest.mark.parametrize("event", [*SESSION, None])
@pytest.mark.parametrize("letter", [b"D", b"A", b"Q", b"K"])
def test_row_088_never_answered(event, letter):
    """MACRO, ABORT, QUIT and QUIT_NC are never answered, wherever they come."""
    talk = Talk().go_to(event) if event else Talk().greet(*SESSION.values())
    said = {b"D": macros(b"M", b"i", b"Q1"), b"A": ABORT, b"Q": QUIT, b"K": QUIT_NC}[letter]
    assert talk.say(said) == b""
    assert talk.hang_up() == b""
    assert talk.troubles == []


def test_row_089_quiet_headers():
    """With NR_HDR a hundred header fields are not answered; the end of headers is."""
    talk = Talk(quiet={"header"}).go_to("header")
    assert talk.say(*(header(b"X", b" %d" % number) for number in range(100))) == b""
    assert talk.say(EOH) == CONTINUE
    assert talk.heard == ["header"] * 100 + ["end_of_headers"]
    assert talk.troubles == []


VERDICTS = [
    Reject(),
    TemporaryFailure(),
    Accept(),
    Discard(),
    Continue(),
    Skip(),
    ReplyCode(550, "5.7.1", "no"),
]


@pytest.mark.parametrize("action", VERDICTS, ids=lambda action: type(action).__name__)
@pytest.mark.parametrize("event", QUIETABLE)
def test_row_090_answer_where_none_is_due(event, action):
    """A verdict of a handler that promised not to answer is its error, is logged, and is not sent."""
    talk = Talk({event: action}, quiet={event}).go_to(event)
    assert talk.say(ANSWERED[event]) == b""
    assert talk.errors == [LocalProtocolError]
    assert talk.troubles[0].event == event
    assert not talk.is_closed


@pytest.mark.parametrize(
    ("on_error", "answer"), [("tempfail", TEMPFAIL), ("accept", ACCEPT), ("reject", REJECT)]
)
def test_row_090_the_error_is_answered_later(on_error, answer):
    """The policy for errors takes effect at the next event that is answered."""
    talk = Talk({"header": Reject()}, quiet={"header"}, on_error=on_error).go_to("header")
    assert talk.say(SESSION["header"]) == b""
    assert talk.say(EOH) == answer


def test_row_090_the_error_ends_with_the_message():
    """What one message's handler did is not held against the next message."""
    talk = Talk({"header": Reject()}, quiet={"header"}).go_to("header")
    assert talk.say(SESSION["header"], EOH) == TEMPFAIL
    assert talk.say(ABORT, MAIL) == CONTINUE


@pytest.mark.parametrize("event", ["connect", "hello"])
@pytest.mark.parametrize(("on_error", "answer"), [("tempfail", TEMPFAIL), ("accept", ACCEPT)])
def test_row_090_the_error_of_a_connection(event, on_error, answer):
    """What a handler of the connection did concerns every message of it."""
    talk = Talk({event: Reject()}, quiet={"connect", "hello"}, on_error=on_error).greet(CONNECT)
    assert talk.say(SESSION["hello"]) == b""
    assert talk.say(MAIL) == answer
    assert talk.say(ABORT, MAIL) == answer
    assert talk.count("mail") == 0


def test_row_091_everything_quiet():
    """With all NR_* only the negotiation and the end of message are answered."""
    talk = Talk(quiet=QUIETABLE)
    assert talk.say(OFFER) == options(6, 0, 0x100400 | ALL_QUIET)
    message = [SESSION[name] for name in SESSION if name not in ("connect", "hello", "end_of_message")]
    assert talk.say(CONNECT, UNKNOWN, SESSION["hello"], *message) == b""
    assert talk.say(EOM) == CONTINUE
    assert talk.say(*message, UNKNOWN) == b""
    assert talk.say(EOM, ABORT, ABORT, QUIT) == CONTINUE
    assert talk.count("end_of_message") == 2
    assert talk.troubles == []
