"""The end of a message, filter by filter: who gets what, and the edits that are sent.

Each filter gets its whole end of message before the next one, as an MTA does it (Postfix
`milter_message()`, Sendmail `milter_data()`). First come the message handlers of those that wait for
nobody, in order. What a decision of one filter means for the others is in `demyjpy.engine.chain_flow`.
"""

from collections.abc import Iterable
from typing import Any, Final, cast

from attrs import evolve

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification, Verdict
from demyjpy.engine.chain_edits import as_granted, modifications_of
from demyjpy.engine.chain_flow import end_of_content, refusal_in
from demyjpy.engine.chain_state import AtEnd, ChainState
from demyjpy.engine.chain_values import Said, edits_by, message_for, refusal_of
from demyjpy.engine.connection import Happened, Job, Place
from demyjpy.engine.dispatch import Chain
from demyjpy.engine.fact_keeping import shown_again
from demyjpy.engine.handler_results import CONTINUE
from demyjpy.engine.letters import BODY, BODYEOB, EOH, HEADER, MESSAGE
from demyjpy.engine.members import STEPS, Member, Members
from demyjpy.engine.plan import Plan, in_sending_order
from demyjpy.engine.spooling import SPOOLING
from demyjpy.engine.stock import EMPTY_STOCK, Stock
from demyjpy.engine.turn import Turn
from demyjpy.errors import LimitError, LocalProtocolError
from demyjpy.message import Message, difference
from demyjpy.message.draft import Draft, apply_edits, shown_body
from demyjpy.verdicts import refuses
from demyjpy.wishes import Wished

_ACCEPT: Final = act.Accept()
_AT_MESSAGE: Final = STEPS.index(MESSAGE)

DONE: Final = Place()
"""All filters have had the end of the message."""

FAR: Final = 1_000
"""The least index that stands for the end of a header if its fields are the MTA's to count."""

_OWN_FIELDS: Final = 100  # more than Sendmail has of its own, which it counts and may not send


def begin_end(turn: Turn, members: Members, job: Job) -> None:
    """End of message has come: the filters get it one after the other, each with what it waited for."""
    scope = turn.scope
    state = scope.chain
    waits = members.waits(scope.decisions.done) if state.waits is None else state.waits
    is_known = members.keeps_recipients or members.gives_messages
    standing = [one.address for one in state.recipients] if is_known else None
    first = Draft.of(state.fields, standing)
    scope.chain = state.with_end(AtEnd(first, first), waits=waits)
    if members.gives_messages:
        _go_on_early(turn, members, job, Place(end=job, step=_AT_MESSAGE, is_early=True))
    else:
        _go_on(turn, members, job, Place(end=job))


def go_on_end(turn: Turn, members: Members, job: Job) -> None:
    """A handler has run at the end of a message: what it decided, and the next one."""
    scope, place = turn.scope, job.place or DONE
    number = place.number
    scope.decisions = scope.decisions.hear(job.verdicts, of_connection=False)
    refusal = refusal_in(job)
    if place.is_early:
        if refusal is not None:
            scope.chain = scope.chain.keep(*refusal)
        _go_on_early(turn, members, job, evolve(place, number=number + 1))
        return
    if job.dispatch.letter == BODYEOB or refusal is not None:
        scope.chain = scope.chain.tell(number)
    if refusal is not None:
        _finish(turn, job, place, refusal[1])
        return
    _go_on(turn, members, job, Place(None, place.end, number, place.step, place.index + 1))


def _go_on_early(turn: Turn, members: Members, job: Job, place: Place) -> None:
    """Find the next message handler of a filter that waits for nobody; then go filter by filter."""
    scope = turn.scope
    handlers = dict(turn.agreed.table[MESSAGE].chain)
    for number in range(place.number, len(members.filters)):
        state, decisions = scope.chain, scope.decisions
        if number >= end_of_content(members, state, decisions):
            break  # it, or one before it, refuses
        is_waiting = MESSAGE in (state.waits or {}).get(number, ())
        if number not in handlers or number in decisions.done or is_waiting:
            continue
        message = _message_of(turn, members, number)
        refusal = _refusal_for(turn, message, members.filters[number])
        if refusal is not None and number in turn.agreed.tried:
            scope.decisions = scope.decisions.tell((number,))
            continue
        if refusal is not None:
            scope.chain = evolve(scope.chain, kept=(number, refusal))
            break
        _schedule(turn, job, message, ((number, handlers[number]),), evolve(place, number=number))
        return
    _go_on(turn, members, job, Place(end=place.end))


def _go_on(turn: Turn, members: Members, job: Job, place: Place) -> None:
    """Find the next handler at the end of the message, from a place on; finish if there is none."""
    scope = turn.scope
    number, step, index = place.number, place.step, place.index
    while number < len(members.filters):
        state, decisions = scope.chain, scope.decisions
        refusal = decisions.owes(number)
        if refusal is not None:
            scope.chain = state.tell(number)
        elif state.kept is not None and state.kept[0] == number:
            refusal = state.kept[1]
        while refusal is None and step < len(STEPS) and number not in decisions.done:
            letter = STEPS[step]
            handler = dict(turn.agreed.table[letter].chain).get(number)
            try:
                event = None if handler is None else _event_at(turn, members, number, letter, index)
            except OSError as error:  # the file with the body cannot be read
                # whose frames hold this turn, which holds the error, and the body
                turn.note(error.with_traceback(None), turn.agreed.table[letter].name)
                if turn.tape is not None:
                    turn.tape.note(SPOOLING, error)
                refusal = act.TemporaryFailure()
                break
            if isinstance(event, Message):
                refusal = _refusal_for(turn, event, members.filters[number])
                if refusal is not None and number in turn.agreed.tried:
                    refusal = None
                    scope.decisions = scope.decisions.tell((number,))
                    break
                if refusal is not None:
                    break
            if handler is not None and event is not None:
                here = Place(None, place.end, number, step, index)
                _schedule(turn, job, event, ((number, handler),), here)
                return
            step, index = step + 1, 0
        if refusal is not None:
            _finish(turn, job, evolve(place, number=number), refusal)
            return
        scope.chain = _passed(members, scope.chain.tell(number), number, job.modifications)
        number, step, index = number + 1, 0, 0
    is_accepted = turn.agreed.is_done_by_all(scope.decisions.done)
    _finish(turn, job, place, _ACCEPT if is_accepted else CONTINUE)


def _message_of(turn: Turn, members: Members, number: int) -> Message:
    """The message as this filter gets it; the same is what its wishes are compared with."""
    state = turn.scope.chain
    message = message_for(state, members.filters[number])
    end = cast("AtEnd", state.end)  # it has come
    turn.scope.chain = state.with_end(evolve(end, given={**end.given, number: message}))
    return message


def _refusal_for(turn: Turn, message: Message, member: Member) -> Verdict | None:
    """What is answered in place of a filter that does not want so large a message; that is logged."""
    refusal = refusal_of(message, member)
    if refusal is not None:
        most = (
            f"at most {member.limit} bytes of a message (limit= of the message handler of {member.name})"
        )
        turn.note(LimitError(most, f"{message.size}"), "message")
    return refusal


def _schedule(turn: Turn, job: Job, event: Happened, chain: Chain, place: Place) -> None:
    scope, members = turn.scope, turn.agreed.members
    if members is not None and place.number in members.rereads and scope.chain.end is not None:
        scope.ctx = shown_again(scope.ctx, event, scope.chain.end.draft.fields, place.index)
    turn.jobs.append(
        Job(
            turn.agreed.table[STEPS[place.step]],
            event,
            chain,
            modifications=job.modifications,
            step=job.step,
            packet=job.packet,
            exchange=job.exchange,
            place=place,
        )
    )


def _event_at(turn: Turn, members: Members, number: int, letter: int, index: int) -> Happened | None:
    """What a filter gets at this place of the end of a message; None if there is nothing more."""
    state, decisions = turn.scope.chain, turn.scope.decisions
    if letter == BODYEOB:
        return None if index else ev.EndOfMessage()
    if letter not in (state.waits or {}).get(number, ()) or state.end is None:
        return None
    if letter == HEADER:
        fields = state.end.draft.fields
        return (
            None if index >= len(fields) else ev.Header.from_raw(fields[index].name, fields[index].raw)
        )
    if letter == BODY:
        piece = None if number in decisions.skipped else state.stock.piece(index)
        return None if piece is None else ev.Body(piece)
    if index:
        return None
    return ev.EndOfHeaders() if letter == EOH else _message_of(turn, members, number)


def _finish(turn: Turn, job: Job, place: Place, verdict: Verdict) -> None:
    """The answer to end of message is known: it is what is left of the event, without handlers."""
    end: Any = place.end
    turn.jobs.append(
        evolve(
            end,
            chain=(),
            verdicts=((place.number, verdict),),
            modifications=job.modifications,
            step=job.step,
            place=DONE,
        )
    )


# ---------------------------------------------------------------------------------------- edits
def take_edits(turn: Turn, members: Members, job: Job, plan: Plan) -> None:
    """A filter asks for edits; `LocalProtocolError` if it cannot have one of them."""
    number = job.chain[0][0]
    edits, is_wish = edits_by(number, (*job.modifications, *((number, one) for one in plan.edits)))
    state = turn.scope.chain
    if not is_wish and (not edits or members.is_alone(number)):
        return  # they go out as they are
    if not members.differs and not is_wish:
        _check_indexes(turn, edits)
    if state.end is not None:
        made = apply_edits(state.end.draft, edits)
        if job.place is None or not job.place.is_early:  # those before it may still ask for edits
            end = AtEnd(
                state.end.first, state.end.draft, (number, made), state.end.given, state.end.spent
            )
            turn.scope.chain = state.with_end(end)


def drop_edits(turn: Turn, job: Job, number: int) -> Job:
    """A filter has failed: what it asked for before in this message is not done either."""
    state = turn.scope.chain
    turn.scope.chain = evolve(state, end=state.end and evolve(state.end, made=None))
    return evolve(job, modifications=tuple([one for one in job.modifications if one[0] != number]))


def _passed(members: Members, state: ChainState, number: int, said: Said) -> ChainState:
    """After the chain has left a filter: the next one gets the message as this one has made it."""
    edits, is_wish = edits_by(number, said)
    end = state.end
    if end is None or not edits or (members.is_alone(number) and not is_wish):
        return state
    is_made = end.made is not None and end.made[0] == number
    made = end.made[1] if end.made and is_made else apply_edits(end.draft, edits)
    stock = state.stock
    if made.body is not None and made.body is not end.draft.body:
        is_read = any(n > number and letters & _OF_BODY for n, letters in (state.waits or {}).items())
        stock = Stock.of(shown_body(made.body)) if is_read else EMPTY_STOCK
    return state.with_end(AtEnd(end.first, made, None, end.given, end.spent), stock)


_OF_BODY: Final = frozenset({BODY, MESSAGE})
"""Letters of the events in which filters get a body."""


def _check_indexes(turn: Turn, edits: Iterable[Modification]) -> None:
    """Where a field may be inserted if it is for the MTA to count: Sendmail counts some of its own."""
    end = max(FAR, turn.scope.counts.headers + _OWN_FIELDS)
    for edit in edits:
        if isinstance(edit, act.InsertHeader) and 1 < edit.index < end:
            raise LocalProtocolError(
                f"InsertHeader: in a chain of filters the index of {edit.name} must be 0 (top), 1 "
                f"(below the Received of the MTA) or at least {end} (end), got {edit.index}; Sendmail "
                "and Postfix count the fields between in different ways"
            )


def edits_of(turn: Turn, members: Members, job: Job, verdict: Verdict) -> tuple[Modification, ...]:
    """The edits that are sent with this answer: none if the message is refused.

    The edits of a filter that is alone go out as they are, except if it wished.
    """
    state = turn.scope.chain
    authors = {number for number, _ in job.modifications}
    is_wish = any(isinstance(edit, Wished) for _, edit in job.modifications)
    literal = in_sending_order(edit for _, edit in job.modifications if not isinstance(edit, Wished))
    if len(authors) == 1 and members.is_alone(*authors) and not is_wish:
        return literal
    if refuses(verdict):
        return ()
    if any(isinstance(edit, Wished) and edit.is_literal for _, edit in job.modifications):
        asked = (edit for one in sorted(authors) for edit in edits_by(one, job.modifications)[0])
        return in_sending_order(asked)
    if (members.differs or is_wish) and state.end is not None:
        made = modifications_of(difference(state.end.first, state.end.draft), state.end.first)
        return as_granted(made, turn.agreed.agreement.actions)
    return literal
