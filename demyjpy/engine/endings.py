"""How messages, sessions and connections end in a turn, and which handlers get `abort` then.

A filter that saw a message begin and did not see its end gets `abort`, once. An MTA may say ABORT when
no message is open, and more than once (protocol file, section 8.6): that does nothing.
"""

from demyjpy import events as ev
from demyjpy.engine.connection import Job
from demyjpy.engine.dispatch import Chain
from demyjpy.engine.letters import ABORT, BODYEOB, DISCONNECT, MAIL
from demyjpy.engine.phases import IN_MESSAGE, Phase, ends_message
from demyjpy.engine.turn import Turn
from demyjpy.wire.framing import Packet


def hang_up(turn: Turn) -> None:
    """The peer is gone, or we leave it. What is out with the driver comes back first."""
    if turn.call:
        turn.is_ending = True
        return
    scope = turn.scope
    turn.intake.drop()
    if any(job.dispatch.letter == DISCONNECT for job in turn.jobs):
        scope.phase = Phase.CLOSED
    if turn.is_closed or scope.phase is Phase.CLOSED:
        return
    give_up_message(turn, refresh=True)
    scope.phase = Phase.CLOSED
    say_farewell(turn)


def say_farewell(turn: Turn) -> None:
    """Disconnect handlers are to run, also if nothing but the negotiation was said (section 8.6)."""
    dispatch = turn.agreed.table[DISCONNECT]
    turn.jobs.append(Job(dispatch, ev.Disconnect(), dispatch.chain, replies=False))


def give_up_message(turn: Turn, refresh: bool, packet: Packet | None = None) -> None:
    """The message that is open, if any, is given up; ``packet`` is what said so, if anything."""
    scope = turn.scope
    if scope.phase in IN_MESSAGE:
        if refresh:
            scope.show_macros()
        end_message(turn, scope.decisions.due(turn.agreed.table[ABORT]), given_up=True, packet=packet)


def end_message(
    turn: Turn, aborted: Chain, *, given_up: bool = False, packet: Packet | None = None
) -> None:
    """No message is open any more, once the handlers in ``aborted`` have run."""
    turn.scope.phase = Phase.CONNECTED
    if aborted or (given_up and turn.setup.observer):
        abort = turn.agreed.table[ABORT]
        turn.jobs.append(Job(abort, ev.Abort(), aborted, replies=False, packet=packet))
    else:
        turn.scope.leave_message()


def surprised_by(turn: Turn, job: Job) -> Chain:
    """Abort handlers of filters that neither ended this message themselves nor saw its end."""
    decisions = turn.scope.decisions
    chain = decisions.due(turn.agreed.table[ABORT])
    letter = job.dispatch.letter
    if job.forced:
        return () if letter == MAIL else chain
    if letter == BODYEOB:
        knowing = {number for number, _ in chain}
    else:
        knowing = {number for number, verdict in job.verdicts if ends_message(letter, verdict)}
    return tuple(one for one in chain if one[0] in decisions.failed or one[0] not in knowing)
