"""Where the hot path meets what is not plain: edits, the event on which it ends, several filters.

Only functions of values; the loop is in `demyjpy.engine.hot_path`.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

from attrs import define, evolve

from demyjpy import events as ev
from demyjpy.actions import InsertHeader
from demyjpy.engine.chain_state import ChainState
from demyjpy.engine.connection import Connection, Job, Setup
from demyjpy.engine.dispatch import Dispatch
from demyjpy.engine.handler_results import CONTINUE
from demyjpy.engine.letters import BODY, BODYEOB, DATA, EOH, HEADER, MAIL, RCPT
from demyjpy.engine.members import Members, begun_by
from demyjpy.engine.phases import IN_MESSAGE, Phase
from demyjpy.engine.plan import Plan, check_plan
from demyjpy.engine.routes import Route, Routes
from demyjpy.errors import LocalProtocolError


@define(unsafe_hash=True)  # frozen, its making would take several times as long: nobody changes one
class Handover:
    """Where the hot path ends: what holds there, and the last outcome if that is what ended it.

    Its connection has the packets that are left; ``data_to_send`` is what those before it brought,
    ``taken`` how many of them the budget counts. ``is_spent``: it ended for others to have their turn.
    ``duration``: what the last handler took (seconds), if somebody watches.
    """

    connection: Connection
    job: Job | None = None
    outcome: Any = None
    duration: float | None = None
    taken: int = 0
    is_spent: bool = False


def edits_in(queue: Any, route: Route, place: int, members: Members | None) -> Plan | None:
    """The plan at end of message if a filter queued only edits, all of them legal; else None.

    Several filters end a message here only if one of them at most may edit.
    """
    if route.dispatch.letter != BODYEOB or not isinstance(queue, tuple):
        return None
    if members is not None and any(isinstance(one, InsertHeader) and one.index > 1 for one in queue):
        return None  # that they may not have all of these is for the turn to say
    try:
        plan = check_plan(queue, "end_of_message", replies=True, granted=route.grants[place])
    except LocalProtocolError:
        return None
    return plan if plan.verdict is None else None


def job_from(
    dispatch: Dispatch,
    event: ev.Event,
    place: int,
    payload: bytes,
    exchange: int,
    edits: tuple[Any, ...],
    editor: int,
) -> Job:
    """The event on its way, when the handlers before ``place`` had at most these edits to say."""
    said = tuple((number, CONTINUE) for number, _ in dispatch.chain[:place])
    return Job(
        dispatch,
        event,
        dispatch.chain[place:],
        dispatch.replies,
        verdicts=said,
        modifications=tuple((dispatch.chain[editor][0], edit) for edit in edits),
        packet=(dispatch.letter, payload),
        exchange=exchange,
    )


KEPT: Final = frozenset({MAIL, RCPT, HEADER, BODY})
"""Letters of the events that a message as a value is made of."""


def most_kept(setup: Setup, members: Members | None) -> int:
    """Bytes of header and body that this path keeps for filters that get messages as values.

    What goes to a file, and what is too large for a filter, is for the turn to decide.
    """
    limits = [] if members is None else [one.limit for one in members.filters if one.limit is not None]
    return min([*limits, *([] if setup.spool is None else [setup.spool.size])])


def most_events(setup: Setup) -> float:
    """So many events this path keeps: chunks of one byte are more in memory than they have bytes."""
    return math.inf if setup.spool is None else setup.spool.most_chunks


def with_kept(chain: ChainState, kept: Iterable[Any]) -> ChainState:
    """The open message with the events that this path has kept of it."""
    fields, recipients = chain.fields.evolver(), chain.recipients.evolver()
    stock, mail = chain.stock, chain.mail
    for event in kept:
        match event:
            case ev.Header():
                fields.append((event.name, event.raw))
            case ev.Body():
                stock = stock.add(event.data)
            case ev.Recipient():
                recipients.append(event)
            case _:  # MAIL
                mail = event
    return evolve(
        chain,
        fields=fields.persistent(),
        stock=stock,
        recipients=recipients.persistent(),
        mail=mail,
    )


def phase_before(routes: Routes, route: Route) -> Phase:
    """The phase in which this route was taken."""
    letter = route.dispatch.letter
    return next(phase for phase, rows in routes.items() if rows.get(letter) is route)


def seen_by(
    chain: ChainState,
    members: Members,
    phase: Phase,
    come: tuple[int, int],
    job: Job | None,
    off: frozenset[int],
) -> ChainState:
    """The open message with the filters that have seen it begin: all got what has come on this path.

    ``phase`` is that before the event that is still on its way (``job``). ``come``: recipients and
    header fields that came on this path, with that one.
    """
    letter = None if job is None else job.dispatch.letter
    letters = {one for one, first in _SINCE.items() if phase >= first} - off
    if come[0] > (letter == RCPT):
        letters.add(RCPT)
    if come[1] > (letter == HEADER):
        letters.add(HEADER)
    return chain.begin(begun_by(members, letters)) if phase in IN_MESSAGE else chain


_SINCE: Final = {
    MAIL: Phase.MAIL,
    DATA: Phase.DATA,
    EOH: Phase.END_OF_HEADERS,
    BODY: Phase.BODY,
}
"""The phases from which on these commands have come, unless they are switched off."""
