"""What the MTA may say when: libmilter's table, made liberal, as rows."""

import pytest

from demyjpy.engine.phases import (
    IN_MESSAGE,
    TRANSITIONS,
    Phase,
    describe,
    move,
    receive,
)
from demyjpy.errors import RemoteProtocolError
from demyjpy.wire.codes import Command

ALLOWED = {
    Phase.NEW: "O",
    Phase.READY: "DCUAQK",
    Phase.CONNECTED: "DHMUAQK",
    Phase.MAIL: "DHMRTLNBEUAQK",
    Phase.RECIPIENT: "DHMRTLNBEUAQK",
    Phase.DATA: "DHMLNBEUAQK",
    Phase.HEADER: "DHMLNBEUAQK",
    Phase.END_OF_HEADERS: "DHMBEUAQK",
    Phase.BODY: "DHMBEUAQK",
    Phase.CLOSED: "",
}
NEXT = {
    "M": Phase.MAIL,
    "R": Phase.RECIPIENT,
    "T": Phase.DATA,
    "L": Phase.HEADER,
    "N": Phase.END_OF_HEADERS,
    "B": Phase.BODY,
    "E": Phase.CONNECTED,
    "H": Phase.CONNECTED,
    "C": Phase.CONNECTED,
    "O": Phase.READY,
    "Q": Phase.CLOSED,
    "K": Phase.READY,
}
LETTERS = [chr(letter) for letter in Command] + ["X", "c"]


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("phase", Phase)
def test_what_may_be_said_in_a_phase_and_where_it_leads(phase, letter):
    """Every phase with every command: the next phase, or an error that says what was expected."""
    if letter not in ALLOWED[phase]:
        with pytest.raises(RemoteProtocolError) as caught:
            receive(phase, ord(letter))
        assert caught.value.expected == f"one of {describe(phase)}"
        assert caught.value.got.endswith(f" while {phase.name}")
    elif letter in "DU":
        assert receive(phase, ord(letter)) is phase
    elif letter == "A":
        assert receive(phase, ord(letter)) is (Phase.READY if phase is Phase.READY else Phase.CONNECTED)
    else:
        assert receive(phase, ord(letter)) is NEXT[letter]


def test_what_may_come_is_told_in_words():
    """Names of commands; after QUIT nothing."""
    assert describe(Phase.NEW) == "OPTNEG"
    assert describe(Phase.CLOSED) == "nothing more"
    with pytest.raises(RemoteProtocolError, match="got 'X' while NEW"):
        receive(Phase.NEW, ord("X"))
    with pytest.raises(RemoteProtocolError, match="got BODY while CONNECTED"):
        receive(Phase.CONNECTED, Command.BODY)


def test_without_connect_a_session_begins_with_what_follows_it():
    """HELO and MAIL may come first where CONNECT was declined."""
    for letter in "HM":
        assert receive(Phase.READY, ord(letter), frozenset({Command.CONNECT})) is NEXT[letter]
        with pytest.raises(RemoteProtocolError):
            receive(Phase.READY, ord(letter))
    with pytest.raises(RemoteProtocolError):
        receive(Phase.READY, Command.BODY, frozenset({Command.CONNECT}))


@pytest.mark.parametrize("letter", "RTLNBE")
def test_without_mail_a_message_begins_with_what_comes_of_it(letter):
    """Any step of a message may be its first, also right at the start."""
    off = frozenset({Command.MAIL, Command.CONNECT})
    for phase in (Phase.READY, Phase.CONNECTED, Phase.BODY):
        assert receive(phase, ord(letter), off) is NEXT[letter]
    for phase in (Phase.NEW, Phase.CLOSED):
        with pytest.raises(RemoteProtocolError):
            receive(phase, ord(letter), off)
    with pytest.raises(RemoteProtocolError):
        receive(Phase.READY, ord(letter), frozenset({Command.MAIL}))


GIVEN_UP = [
    (Phase.BODY, "A", "", True),
    (Phase.BODY, "Q", "", True),
    (Phase.BODY, "K", "", True),
    (Phase.MAIL, "M", "", True),
    (Phase.MAIL, "H", "", True),
    (Phase.MAIL, "R", "", False),
    (Phase.BODY, "E", "", False),
    (Phase.BODY, "U", "", False),
    (Phase.BODY, "D", "", False),
    (Phase.CONNECTED, "A", "", False),
    (Phase.CONNECTED, "M", "", False),
    (Phase.READY, "K", "", False),
    (Phase.BODY, "R", "M", True),
    (Phase.DATA, "R", "M", True),
    (Phase.RECIPIENT, "R", "M", False),
    (Phase.BODY, "B", "M", False),
    (Phase.CONNECTED, "R", "M", False),
]


@pytest.mark.parametrize(("phase", "letter", "off", "wanted"), GIVEN_UP)
def test_what_gives_up_an_open_message(phase, letter, off, wanted):
    """ABORT, the end, HELO, and the beginning of another message."""
    assert move(phase, ord(letter), frozenset(map(ord, off))).gives_up is wanted


def test_a_message_is_open_from_mail_to_body():
    """In six phases."""
    assert [phase for phase in Phase if phase in IN_MESSAGE] == list(Phase)[3:9]
    assert set(TRANSITIONS) == set(Phase)
