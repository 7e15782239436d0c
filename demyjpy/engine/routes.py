"""What the hot path looks up: all that the negotiation decides about a command in a phase."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from attrs import frozen

from demyjpy.context import Context
from demyjpy.engine.dispatch import Dispatch, Table
from demyjpy.engine.fact_keeping import Keep
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
from demyjpy.engine.limits import NO_WEIGHT, WEIGHTS, Weight
from demyjpy.engine.members import CONTENT, Members
from demyjpy.engine.negotiation import Agreement
from demyjpy.engine.open_questions import Questions
from demyjpy.engine.phases import IN_MESSAGE, Move, Phase, move
from demyjpy.errors import RemoteProtocolError
from demyjpy.registry import Handler
from demyjpy.wire.codes import Response
from demyjpy.wire.framing import join_frame

_LETTERS: Final = (CONNECT, HELO, MAIL, RCPT, DATA, HEADER, EOH, BODY, BODYEOB, ABORT)

AtOnce: TypeAlias = Callable[[int, Any, Any, Context, Questions], tuple[Any, Any, Context, Questions]]
"""What the hot path calls if the outcome of a handler is no context, or has something queued.

It gets the place of the handler, its outcome, the event, the context before, and the questions. It
returns the outcome, what is queued in it (None if it is no context), the context that the handler got,
and the questions.
"""

NOT_CALLED: Final = object()
"""Stands for the outcome of a handler that waits for answers: it is for `AtOnce` to call it."""


def _wait_for_answers(event: Any, ctx: Context) -> Any:
    return NOT_CALLED


_CONTINUE: Final = join_frame(Response.CONTINUE)
_NO_KEEPERS: Final[Mapping[int, Keep]] = MappingProxyType({})


@frozen
class Route:
    """What one command does in one phase, looked up once instead of decided each time.

    ``move`` is what it does to the session, ``weight`` what it counts; ``calls`` are the handlers to
    call: the place of each in their chain, its function, and itself. ``grants`` are the actions of each
    place. It may end a message that was open (``leaves``). ``at_once`` asks questions whose answers are
    known (see `known_answers`). ``keep`` is what is kept of its event for facts, None if nothing is.
    """

    dispatch: Dispatch
    calls: tuple[tuple[int, Callable[[Any, Context], Any], Handler[Any]], ...]
    answer: bytes
    move: Move
    weight: Weight
    leaves: bool
    grants: tuple[frozenset[str], ...]
    at_once: AtOnce | None = None
    keep: Keep | None = None


Routes: TypeAlias = dict[Phase, dict[int, Route]]


def make_routes(
    table: Table,
    agreement: Agreement,
    defers: Callable[[Handler[Any]], bool],
    members: Members | None,
    at_once: Callable[[Dispatch], AtOnce | None] = lambda dispatch: None,
    tried: frozenset[int] = frozenset(),
    keepers: Mapping[int, Keep] = _NO_KEEPERS,
) -> Routes | None:
    """The routes of a negotiated connection; None if handlers see its macros, as for an observer.

    ``defers`` says which handlers the driver calls itself: what those handle has no route. Nor has what
    is handled by one that waits for answers, if ``at_once`` gives nothing that finds those that are
    known (see `known_answers`). Nor has what several filters (``members``) do not all get as soon as it
    comes. What filters queue that are only ``tried`` is for a turn to withhold. ``keepers`` say what is
    kept for facts, by letter.
    """
    if table[MACRO].chain:
        return None
    # with SMFIP_RCPT_REJ the macros say of each recipient whether the MTA has refused it
    turned = {RCPT} if agreement.reports_rejected else set()
    if members is not None and members.takes_turns:
        turned.add(BODYEOB)
    if members is not None and members.turns_content:
        turned.update(CONTENT)
    if members is not None and members.keeps_recipients:
        turned.add(RCPT)
    plain = [
        (table[one], asks)
        for one in _LETTERS
        if one not in turned
        and not any(defers(handler) for _, handler in table[one].chain)
        and ((asks := at_once(table[one])) or not any(handler.waits for _, handler in table[one].chain))
    ]
    return {
        phase: {
            dispatch.letter: route
            for dispatch, asks in plain
            if (route := _route(dispatch, phase, agreement, members, asks, tried, keepers)) is not None
        }
        for phase in (Phase.READY, Phase.CONNECTED, *IN_MESSAGE)
    }


def _route(
    dispatch: Dispatch,
    phase: Phase,
    agreement: Agreement,
    members: Members | None,
    at_once: AtOnce | None,
    tried: frozenset[int],
    keepers: Mapping[int, Keep],
) -> Route | None:
    letter, chain = dispatch.letter, dispatch.chain
    if letter == BODY and not chain and (members is None or not members.gives_messages):
        return None  # its answer is SKIP, if the MTA knows that
    try:
        made = move(phase, letter, agreement.off)
    except RemoteProtocolError:
        return None
    if made.gives_up and letter != ABORT:
        return None
    is_open = phase in IN_MESSAGE
    if is_open and letter == ABORT and members is not None:
        return None  # for those that saw the message begin
    is_handled = is_open or letter != ABORT  # Postfix says ABORT between messages, too (section 8.6)
    return Route(
        dispatch,
        tuple(
            (place, _wait_for_answers if one.waits else one.function, one)
            for place, (_, one) in enumerate(chain)
            if is_handled
        ),
        _CONTINUE if dispatch.replies else b"",
        made,
        WEIGHTS.get(letter, NO_WEIGHT),
        leaves=made.ends and (is_open or made.begins),
        grants=tuple(
            frozenset()
            if number in tried
            else (agreement.actions if members is None else members.filters[number].actions)
            for number, _ in chain
        ),
        at_once=at_once,
        keep=keepers.get(letter),
    )
