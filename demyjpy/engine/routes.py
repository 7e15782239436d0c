"""What the hot path looks up: all that the negotiation decides about a command in a phase."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from attrs import frozen

from demyjpy.context import Context
from demyjpy.engine.dispatch import Dispatch, Table
from demyjpy.engine.letters import (
    ABORT,
    BODY,
    BODYEOB,
    CONNECT,
    DATA,
    EOH,
    HEADER,
    HELO,
    MACRO,
    MAIL,
    RCPT,
)
from demyjpy.engine.negotiation import Agreement
from demyjpy.engine.phases import IN_MESSAGE, Phase, gives_up, receive
from demyjpy.errors import RemoteProtocolError
from demyjpy.registry import Handler
from demyjpy.wire.codes import Response
from demyjpy.wire.framing import join_frame

_LETTERS: Final = (CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, BODYEOB, ABORT)

_CONTINUE: Final = join_frame(Response.CONTINUE)


@frozen
class Route:
    """What one command does in one phase, looked up once instead of decided each time.

    ``calls`` are the functions to call, each with its place in the chain of handlers. The command may
    open a message (``begins``), be the last that the MTA says about one (``ends``), and end one that
    was open (``leaves``).
    """

    dispatch: Dispatch
    calls: tuple[tuple[int, Callable[[Any, Context], Any]], ...]
    answer: bytes
    following: Phase
    begins: bool
    ends: bool
    leaves: bool


Routes: TypeAlias = dict[Phase, dict[int, Route]]


def make_routes(
    table: Table, agreement: Agreement, defers: Callable[[Handler[Any]], bool]
) -> Routes | None:
    """The routes of a negotiated connection; None if handlers see its macros, as for an observer.

    ``defers`` says which handlers the driver calls itself: what those handle has no route.
    """
    if table[MACRO].chain:
        return None
    # with SMFIP_RCPT_REJ the macros say of each recipient whether the MTA has refused it
    letters = [one for one in _LETTERS if one != RCPT or not agreement.reports_rejected]
    plain = [
        table[one] for one in letters if not any(defers(handler) for _, handler in table[one].chain)
    ]
    return {
        phase: {
            dispatch.letter: route
            for dispatch in plain
            if (route := _route(dispatch, phase, agreement.off)) is not None
        }
        for phase in (Phase.READY, Phase.CONNECTED, *IN_MESSAGE)
    }


def _route(dispatch: Dispatch, phase: Phase, off: frozenset[int]) -> Route | None:
    letter, chain = dispatch.letter, dispatch.chain
    if letter == BODY and not chain:
        return None  # its answer is SKIP, if the MTA knows that
    try:
        following = receive(phase, letter, off)
    except RemoteProtocolError:
        return None
    if gives_up(phase, letter, off) and letter != ABORT:
        return None
    is_open = phase in IN_MESSAGE
    is_handled = is_open or letter != ABORT  # Postfix says ABORT between messages, too (section 8.6)
    return Route(
        dispatch,
        tuple((place, handler.function) for place, (_, handler) in enumerate(chain) if is_handled),
        _CONTINUE if dispatch.replies else b"",
        following,
        begins=not is_open and (following in IN_MESSAGE or letter == BODYEOB),
        ends=letter in (BODYEOB, ABORT),
        leaves=letter == BODYEOB or (letter == ABORT and is_open),
    )
