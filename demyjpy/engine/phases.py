"""What the MTA may say when: the state of a session as a table.

A missing entry is an error of the MTA's. The table is liberal if the MTAs differ (Sendmail starts
a new message with MAIL alone, Postfix says ABORT at every end) and never leaves a command without an
answer or an error. What a filter may say when is in `demyjpy.verdicts`.
"""

from enum import IntEnum, auto
from typing import Final

from attrs import frozen

from demyjpy.codec import EVENTS
from demyjpy.errors import RemoteProtocolError
from demyjpy.wire.codes import Command

_C = Command


class Phase(IntEnum):
    """How far a session has come. From `MAIL` to `BODY` a message is open.

    ``NEW``: nothing is negotiated. ``READY``: negotiated, and CONNECT is to come. ``CONNECTED``: CONNECT
    has come or is switched off, and no message is open. ``CLOSED``: QUIT was said.
    """

    NEW = auto()
    READY = auto()
    CONNECTED = auto()
    MAIL = auto()
    RECIPIENT = auto()
    DATA = auto()
    HEADER = auto()
    END_OF_HEADERS = auto()
    BODY = auto()
    CLOSED = auto()


IN_MESSAGE: Final = frozenset(
    {
        Phase.MAIL,
        Phase.RECIPIENT,
        Phase.DATA,
        Phase.HEADER,
        Phase.END_OF_HEADERS,
        Phase.BODY,
    }
)
"""The phases in which a message is open."""

ABORTS: Final[frozenset[int]] = frozenset({_C.ABORT, _C.QUIT, _C.QUIT_NC, _C.MAIL, _C.HELO})
"""Commands that end an open message without its end having been seen."""

_AFTER: Final[dict[int, Phase]] = {
    _C.MAIL: Phase.MAIL,
    _C.RCPT: Phase.RECIPIENT,
    _C.DATA: Phase.DATA,
    _C.HEADER: Phase.HEADER,
    _C.EOH: Phase.END_OF_HEADERS,
    _C.BODY: Phase.BODY,
    _C.BODYEOB: Phase.CONNECTED,
}


def _message(phase: Phase, *commands: int) -> dict[int, Phase]:
    """In a message: these, at any time U, and what ends it."""
    return {
        **{command: _AFTER[command] for command in commands},
        _C.UNKNOWN: phase,
        _C.MACRO: phase,
        _C.MAIL: Phase.MAIL,
        _C.HELO: Phase.CONNECTED,
        _C.ABORT: Phase.CONNECTED,
        _C.QUIT: Phase.CLOSED,
        _C.QUIT_NC: Phase.READY,
    }


_MAIL = (_C.RCPT, _C.DATA, _C.HEADER, _C.EOH, _C.BODY, _C.BODYEOB)

TRANSITIONS: Final[dict[Phase, dict[int, Phase]]] = {
    Phase.NEW: {_C.OPTNEG: Phase.READY},
    Phase.READY: {
        _C.MACRO: Phase.READY,
        _C.CONNECT: Phase.CONNECTED,
        _C.UNKNOWN: Phase.READY,
        _C.ABORT: Phase.READY,
        _C.QUIT: Phase.CLOSED,
        _C.QUIT_NC: Phase.READY,
    },
    Phase.CONNECTED: {
        _C.MACRO: Phase.CONNECTED,
        _C.HELO: Phase.CONNECTED,
        _C.MAIL: Phase.MAIL,
        _C.UNKNOWN: Phase.CONNECTED,
        _C.ABORT: Phase.CONNECTED,
        _C.QUIT: Phase.CLOSED,
        _C.QUIT_NC: Phase.READY,
    },
    Phase.MAIL: _message(Phase.MAIL, *_MAIL),
    Phase.RECIPIENT: _message(Phase.RECIPIENT, *_MAIL),
    Phase.DATA: _message(Phase.DATA, _C.HEADER, _C.EOH, _C.BODY, _C.BODYEOB),
    Phase.HEADER: _message(Phase.HEADER, _C.HEADER, _C.EOH, _C.BODY, _C.BODYEOB),
    Phase.END_OF_HEADERS: _message(Phase.END_OF_HEADERS, _C.BODY, _C.BODYEOB),
    Phase.BODY: _message(Phase.BODY, _C.BODY, _C.BODYEOB),
    Phase.CLOSED: {},
}
"""Phase and command to the next phase. Steps that were switched off are simply not there."""


_NEGOTIATED: Final = frozenset(Phase) - {Phase.NEW, Phase.READY, Phase.CLOSED}


def receive(phase: Phase, letter: int, off: frozenset[int] = frozenset()) -> Phase:
    """The phase after the MTA said this; `RemoteProtocolError` if it may not come.

    ``off`` are the commands that were declined. Without CONNECT a session begins with what follows
    it, without MAIL a message begins with the first thing that is said about it.
    """
    following = TRANSITIONS[phase].get(letter)
    if following is None and phase is Phase.READY and _C.CONNECT in off:
        phase = Phase.CONNECTED
        following = TRANSITIONS[phase].get(letter)
    if following is None and phase in _NEGOTIATED and opens_message(letter, off):
        following = TRANSITIONS[Phase.MAIL].get(letter)
    if following is None:
        raise RemoteProtocolError(
            f"one of {describe(phase)}", f"{_describe_letter(letter)} while {phase.name}"
        )
    return following


def opens_message(letter: int, off: frozenset[int]) -> bool:
    """Whether a message may begin with this command."""
    return letter == _C.MAIL or (_C.MAIL in off and letter in _MAIL)


@frozen
class Move:
    """What one command does to a session. The hot path and the turn both go by these.

    ``during`` is the phase until it is answered, ``following`` the one after. ``begins``: a message
    begins with it. ``gives_up``: it ends an open message whose end was not seen. ``ends``: nothing more
    is said about the message.
    """

    during: Phase
    following: Phase
    begins: bool
    gives_up: bool
    ends: bool


def move(phase: Phase, letter: int, off: frozenset[int] = frozenset()) -> Move:
    """What this command does in a phase; `RemoteProtocolError` if it may not come."""
    following = receive(phase, letter, off)
    is_open, is_end = phase in IN_MESSAGE, letter == _C.BODYEOB
    during = Phase.BODY if is_end else following  # until it is answered, a message is open at its end
    return Move(
        during,
        following,
        begins=not is_open and during in IN_MESSAGE,
        gives_up=is_open
        and (letter in ABORTS or (letter not in TRANSITIONS[phase] and opens_message(letter, off))),
        ends=is_end or letter == _C.ABORT,
    )


def describe(phase: Phase) -> str:
    """The commands that may come in a phase, in words."""
    names = (_describe_letter(letter) for letter in TRANSITIONS[phase])
    return ", ".join(names) or "nothing more"


def _describe_letter(letter: int) -> str:
    row = EVENTS.get(letter)
    return row.letter.name if row else repr(chr(letter))
