"""One packet comes: whether it may, what it does to the scope, and the event that is set on its way.

What libmilter ignores without a reply makes the MTA wait for its timeout. So here each command has an
answer, or ends the connection (protocol file, section 8.2). Sections named below are of that file.
"""

from typing import Final

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Verdict
from demyjpy.codec import EVENTS, unknown_letter
from demyjpy.engine.chain_flow import ask_in_order, keep_content
from demyjpy.engine.connection import Happened, Job, Place, Step
from demyjpy.engine.dispatch import ANSWERED, OF_CONNECTION, Dispatch
from demyjpy.engine.letters import (
    ABORT,
    BODY,
    BODYEOB,
    CONNECT,
    DISCONNECT,
    HELO,
    MACRO,
    MAIL,
    QUIT,
    QUIT_NC,
    RCPT,
    UNKNOWN,
)
from demyjpy.engine.macros import OPENING_SLOTS
from demyjpy.engine.phases import IN_MESSAGE, move
from demyjpy.engine.question_flow import forget
from demyjpy.engine.spooling import is_large, schedule_spooling
from demyjpy.engine.turn import Turn
from demyjpy.errors import LimitError, RemoteProtocolError

TEARDOWN: Final = frozenset({ABORT, QUIT, QUIT_NC, DISCONNECT})
"""What runs to its end although nobody listens any more."""

_COMMANDS: Final = frozenset({CONNECT, HELO, MAIL, RCPT, UNKNOWN})
"""Letters of what comes from a line of SMTP, which is short."""

_TOO_BIG: Final = act.ReplyCode(552, "5.3.4", "Message too big for this filter")
_TOO_MANY_RECIPIENTS: Final = act.ReplyCode(452, "4.5.3", "Too many recipients for this filter")


def receive_packet(turn: Turn, letter: int, payload: bytes) -> None:
    """Take one packet; `RemoteProtocolError` if it may not come, or not like this."""
    _check_command(turn, letter, payload)
    scope, agreement, table = turn.scope, turn.agreed.agreement, turn.agreed.table
    phase = scope.phase
    made = move(phase, letter, agreement.off)
    if letter != MACRO:  # which changes no state, whenever it comes (section 4.9)
        scope.end_prelude(made.following)
    if letter in TEARDOWN:
        scope.macros = scope.macros.arrive(letter)
    if made.gives_up:
        # ABORT, QUIT, or as for libmilter a HELO or MAIL in mid-message (mi_engine(), section 8.2);
        # macros for MAIL or HELO that have come are the next message's: those before were kept then
        is_shown = bool(scope.macros.fresh & OPENING_SLOTS)
        said = (letter, payload) if letter == ABORT else None
        turn.give_up_message(refresh=letter in TEARDOWN or not is_shown, packet=said)
        if letter != ABORT:
            turn.intake.packets.appendleft((letter, payload))
        return
    if letter == ABORT:
        # no message is open: Postfix says it after every one, and before QUIT (section 8.6)
        scope.macros = scope.macros.end_message()
        if turn.setup.observer:
            scope.show_macros()  # what stood before MAIL may hold older ones
        if turn.is_watched:
            ctx, said = scope.shown(), (letter, payload)
            number = turn.next_exchange()
            turn.observe(
                Step(
                    turn.session,
                    ev.Abort(),
                    ctx,
                    ctx,
                    packet=said,
                    exchange=number,
                    time=turn.moment.seconds,
                )
            )
        return
    if letter == MACRO:
        _define_macros(turn, payload)
        return
    if letter not in TEARDOWN:
        scope.macros = scope.macros.arrive(letter)
    if letter == BODYEOB and payload and _reads_bodies(turn):
        # libmilter's last chunk may come with the end: one answer for both, not two (section 4.8)
        turn.intake.packets.appendleft((BODYEOB, b""))
        scope.enter(move(phase, BODY, agreement.off))
        _schedule(turn, table[BODY], ev.Body(payload), payload, last_chunk=True)
        return
    event = table[letter].decode(payload, agreement.leading_space)
    if letter not in TEARDOWN:
        scope.enter(made)
    if letter == HELO and scope.questions.last:
        forget(turn, "greeting")
    _schedule(turn, table[letter], event, payload)


def _reads_bodies(turn: Turn) -> bool:
    """Whether somebody wants the chunks of a body."""
    members = turn.agreed.members
    return bool(turn.agreed.table[BODY].chain) or (members is not None and members.gives_messages)


def _check_command(turn: Turn, letter: int, payload: bytes) -> None:
    if letter not in EVENTS:
        raise unknown_letter("a command that the MTA sends", (letter, payload))
    size, most = len(payload), turn.setup.limits.command_size
    if size > most and letter in _COMMANDS:
        raise LimitError(f"at most {most} bytes of a command (the option limits=)", f"{size}")


def _define_macros(turn: Turn, payload: bytes) -> None:
    """Macros may come at any time. At an empty packet libmilter closes, too (section 4.9)."""
    if not payload:
        raise RemoteProtocolError("a macro packet with the letter of its command", "nothing")
    scope, dispatch = turn.scope, turn.agreed.table[MACRO]
    defined, most = scope.macros.define(payload[0], payload[1:]), turn.setup.limits.macro_size
    if defined.size > most:
        raise LimitError(f"at most {most} bytes of macros (the option limits=)", f"{defined.size}")
    if payload[0] in (MAIL, HELO) and scope.phase in IN_MESSAGE:
        scope.show_macros()  # for the abort handlers of the message that these may end
        if payload[0] == MAIL and MAIL in turn.agreed.agreement.off:
            # Sendmail says no ABORT at RSET to a milter that it spared MAIL: this is all that shows
            # that another message begins
            turn.give_up_message(refresh=False)
            turn.intake.packets.appendleft((MACRO, payload))
            return
    if dispatch.chain:
        if payload[0] not in OF_CONNECTION:
            scope.begin_prelude()
        _schedule(turn, dispatch, dispatch.decode(payload, False), payload)
    else:
        scope.macros = defined


def _over_limit(turn: Turn, letter: int, payload: bytes) -> Verdict | None:
    """Count; what is answered if a limit is passed. It is logged once a message."""
    scope, limits = turn.scope, turn.setup.limits
    before, scope.counts = scope.counts, scope.counts.count(letter, payload)
    passed = None if scope.counts is before else scope.counts.passed(letter, limits)
    if passed is None:
        return None
    if scope.decisions.owed is None and before.passed(letter, limits) is None:
        turn.note(LimitError(f"at most {passed} (the option limits=)", "more"), EVENTS[letter].name)
    return _TOO_MANY_RECIPIENTS if letter == RCPT else _TOO_BIG


def _schedule(
    turn: Turn, dispatch: Dispatch, event: Happened, payload: bytes, last_chunk: bool = False
) -> None:
    """Set an event on its way."""
    scope, letter, may_answer = turn.scope, dispatch.letter, dispatch.replies
    if turn.tape is not None:
        turn.tape.receive(letter, payload)
    keep = turn.agreed.keepers.get(letter)
    if keep is not None and letter != RCPT:  # a recipient is kept when it stands
        scope.ctx = keep(scope.ctx, event)
    chain = scope.decisions.due(dispatch)
    over = _over_limit(turn, letter, payload)
    if over is not None and not may_answer:
        scope.decisions = scope.decisions.owe(over, None, of_connection=False)
    if letter == RCPT and is_rejected(turn):
        chain = tuple((number, handler) for number, handler in chain if handler.rejected)
        may_answer = False
    members, forced, owed = turn.agreed.members, None, None
    is_settled = False
    if letter in ANSWERED and letter != UNKNOWN:
        if may_answer:
            forced = over or (None if last_chunk else scope.decisions.owed)
        if forced or (scope.decisions.owed and scope.phase in IN_MESSAGE):
            chain, is_settled = (), True
            if letter == MAIL:  # nobody sees this message, so nobody gets its abort
                scope.decisions = scope.decisions.tell((0,))
    if members is not None and not is_settled:
        chain, owed = ask_in_order(turn, members, dispatch, chain, may_answer=may_answer)
        keep_content(turn, members, event)
    said = (BODYEOB if last_chunk else letter, payload)
    number = turn.next_exchange()
    turn.jobs.append(
        Job(
            dispatch,
            event,
            chain,
            may_answer,
            forced,
            last_chunk,
            packet=said,
            exchange=number,
            place=None if owed is None else Place(owed),
        )
    )
    if letter == BODY and is_large(turn):
        schedule_spooling(turn)


def is_rejected(turn: Turn) -> bool:
    """Whether the MTA itself has refused this recipient (SMFIP_RCPT_REJ, protocol file, section 4.3)."""
    return turn.agreed.agreement.reports_rejected and turn.scope.macros.get("rcpt_mailer") == "error"
