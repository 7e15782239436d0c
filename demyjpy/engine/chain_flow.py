"""Several filters in a row: who is asked about an event, what is kept of it, and what is answered.

An MTA asks its milters one after the other. At HELO, MAIL, RCPT and DATA the event goes from filter to
filter at once. But each has its whole end of message before the next gets the first header field
(Postfix `milter_message()`, Sendmail `milter_data()`). So a filter sees the content as those before it
made it. Here handlers get content as soon as it comes if no filter before them may edit it. Those that
wait get it at the end of the message (`demyjpy.engine.chain_end`). What a decision of one filter means
for the others is the law of `merge_handlers` (docs/chains.md).
"""

import math
from typing import Final

from attrs import evolve

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Verdict
from demyjpy.engine.chain_state import ChainState
from demyjpy.engine.connection import Happened, Job
from demyjpy.engine.decisions import Decisions
from demyjpy.engine.dispatch import ANSWERED, OF_CONNECTION, Chain, Dispatch
from demyjpy.engine.handler_results import CONTINUE
from demyjpy.engine.letters import BODY, BODYEOB, HEADER, RCPT, UNKNOWN
from demyjpy.engine.members import CONTENT, OF_MESSAGE, Members
from demyjpy.engine.phases import IN_MESSAGE
from demyjpy.engine.turn import Turn
from demyjpy.verdicts import LEGAL, ends_message, refuses

Refusal = tuple[int, Verdict]
"""A refusal, and the number of the filter that gave it."""

_ACCEPT: Final = act.Accept()
_SKIP: Final = act.Skip()


# --------------------------------------------------------------------------------- who is asked
def ask_in_order(
    turn: Turn, members: Members, dispatch: Dispatch, chain: Chain, *, may_answer: bool
) -> tuple[Chain, Refusal | None]:
    """The handlers that get an event now, and the refusal that a filter behind them owes."""
    scope, letter = turn.scope, dispatch.letter
    if letter in CONTENT and members.takes_turns and scope.chain.waits is None:
        scope.chain = evolve(scope.chain, waits=members.waits(scope.decisions.done))
    if letter not in ANSWERED or letter == UNKNOWN:
        return chain, None
    state, decisions = scope.chain, scope.decisions
    owed = _owed_at(members, decisions, letter) if may_answer else None
    owing = {number for number, _ in decisions.owing} if scope.phase in IN_MESSAGE else set()
    end = end_of_content(members, state, decisions) if letter in (*CONTENT, BODYEOB) else None
    if owed is not None:
        end = owed[0] if end is None else min(end, owed[0])
    if letter == BODYEOB and members.takes_turns:
        return (), owed  # filter by filter: see `begin_end`
    waits = state.waits or {}
    asked = tuple(
        (number, handler)
        for number, handler in chain
        if (end is None or number < end) and number not in owing and letter not in waits.get(number, ())
    )
    return asked, owed


def _owed_at(members: Members, decisions: Decisions, letter: int) -> Refusal | None:
    """The refusal that is owed, and can be given at this event: its filter may answer it."""
    for number, verdict in decisions.owing:
        if letter == BODYEOB or letter in members.filters[number].answered:
            return number, verdict
    return None


def end_of_content(members: Members, state: ChainState, decisions: Decisions) -> int:
    """The number of the first filter that gets no more of the content: it, or one before, refuses."""
    if state.kept is None and not decisions.owing:
        return len(members.filters)
    refusing = [number for number, _ in decisions.owing]
    if state.kept is not None:
        refusing.append(state.kept[0])
    return min(refusing, default=len(members.filters))


def see_message(turn: Turn, members: Members, job: Job, number: int) -> None:
    """A filter sees an event: with one of a message that message has begun for it.

    So it has for those before it, which were called on the hot path.
    """
    letter = job.dispatch.letter
    if letter in OF_MESSAGE and (job.verdicts or number not in turn.scope.chain.began):
        numbers = (number, *(one for one, _ in job.verdicts))
        turn.scope.chain = turn.scope.chain.begin(
            one for one in numbers if letter in members.filters[one].handled
        )


def keep_content(turn: Turn, members: Members, event: Happened) -> None:
    """Keep what filters that wait, or the plan of several, will need of this event."""
    scope = turn.scope
    state, decisions = scope.chain, scope.decisions
    end = end_of_content(members, state, decisions)
    room = _room(members, decisions, end) if members.gives_messages else -1
    if isinstance(event, ev.Header):
        # the numbers in the edits of several count all fields, also if one behind them has refused
        if members.keeps_fields or room >= 0 or _is_awaited(state, decisions, HEADER, end):
            fields = state.fields.append((event.name, event.raw))
            scope.chain = state.with_content(fields, state.stock)
    elif isinstance(event, ev.Body):
        stock = state.stock
        if _is_awaited(state, decisions, BODY, end):
            room = math.inf
        if stock.size + len(event.data) > room and stock.is_kept:
            stock = stock.drop()
        scope.chain = state.with_content(state.fields, stock.add(event.data))
    elif isinstance(event, ev.Mail) and members.gives_messages:
        scope.chain = evolve(state, mail=event)


def keep_recipient(turn: Turn, event: Happened) -> None:
    """A recipient stands: neither a filter nor the MTA refused it."""
    scope, members = turn.scope, turn.agreed.members
    keep = turn.agreed.keepers.get(RCPT)
    if keep is not None:
        scope.ctx = keep(scope.ctx, event)
    is_kept = members is not None and (members.keeps_recipients or members.gives_messages)
    if is_kept and isinstance(event, ev.Recipient):
        standing = scope.chain.recipients.append(event)
        scope.chain = evolve(scope.chain, recipients=standing)


def _room(members: Members, decisions: Decisions, end: int) -> float:
    """Bytes of the largest body that some filter wants in a message as a value; -1 if none wants one."""
    limits = [
        one.limit
        for number, one in enumerate(members.filters[:end])
        if one.limit is not None and number not in decisions.done
    ]
    return max(limits, default=-1)


def _is_awaited(state: ChainState, decisions: Decisions, letter: int, end: int) -> bool:
    return any(
        letter in waiting and number < end and number not in decisions.done
        for number, waiting in (state.waits or {}).items()
    )


# ------------------------------------------------------------------------------ what is answered
def settle(turn: Turn, members: Members, job: Job) -> Verdict:
    """What all filters answer together: the first refusal, else that they go on."""
    scope, letter = turn.scope, job.dispatch.letter
    of_connection = letter in OF_CONNECTION
    scope.decisions = scope.decisions.hear(job.verdicts, of_connection=of_connection)
    if not job.may_answer:
        return CONTINUE
    refusal = refusal_in(job) or (None if job.place is None else job.place.owed)
    if letter in CONTENT or letter == BODYEOB:
        if refusal is not None:
            scope.chain = scope.chain.keep(*refusal)
        kept = scope.chain.kept
        is_due = kept is not None and (
            letter == BODYEOB or not _has_more_before(turn, members, kept[0], letter)
        )
        refusal = kept if is_due else None
    if letter == BODYEOB or (refusal is not None and letter in CONTENT):
        # the chain came to the end of each before the one that refuses: at content they have no more
        for number in range(len(members.filters) if refusal is None else refusal[0]):
            scope.chain = scope.chain.tell(number)
    if refusal is not None:
        number, verdict = refusal
        if ends_message(job.dispatch.name, verdict):
            scope.chain = scope.chain.tell(number)
        return verdict
    return _no_refusal(turn, members, letter, job.dispatch.name)


def _has_more_before(turn: Turn, members: Members, number: int, letter: int) -> bool:
    scope = turn.scope
    return members.has_more_before(number, letter, scope.decisions.done, scope.chain.waits or {})


def refusal_in(job: Job) -> Refusal | None:
    """The refusal that a handler of this event gave; those behind it were not asked."""
    for said in job.verdicts:
        if said[1] is not CONTINUE and refuses(said[1]):
            return said
    return None


def _no_refusal(turn: Turn, members: Members, letter: int, name: str) -> Verdict:
    """Accept if all have accepted; SKIP if none wants more of the body; else the message goes on."""
    state, decisions = turn.scope.chain, turn.scope.decisions
    if turn.agreed.is_done_by_all(decisions.done):
        return _ACCEPT if act.Accept in LEGAL[name] else CONTINUE
    if letter == BODY:
        end = end_of_content(members, state, decisions)
        over = (decisions.done | decisions.skipped) - turn.agreed.tried
        wanted = any(
            (BODY in one.handled and number not in over)
            or (one.limit is not None and number not in decisions.done)
            for number, one in enumerate(members.filters[:end])
        )
        return CONTINUE if wanted else _SKIP
    return CONTINUE
