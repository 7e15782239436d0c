"""What follows when all handlers of an event have run: one answer, and what ends with it."""

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification, Verdict
from demyjpy.codec import encode_action
from demyjpy.engine.connection import Agreed, Job, Setup
from demyjpy.engine.dispatch import ANSWERED, OF_CONNECTION, agreed_table
from demyjpy.engine.handler_results import CONTINUE, check_bodies, merge_verdicts
from demyjpy.engine.handling import answer_failure
from demyjpy.engine.letters import ABORT, BODY, BODYEOB, MACRO, OPTNEG, QUIT, QUIT_NC
from demyjpy.engine.negotiation import Agreement, check_reply, with_data_size
from demyjpy.engine.phases import IN_MESSAGE, Phase
from demyjpy.engine.plan import encode_answer, in_sending_order
from demyjpy.engine.routes import make_routes
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry
from demyjpy.registry import Registry
from demyjpy.verdicts import decides, ends_message, strictest
from demyjpy.wire.framing import join_frame


def conclude(turn: Turn, job: Job) -> None:
    """All handlers of an event have run."""
    letter, scope = job.dispatch.letter, turn.scope
    if letter in ANSWERED:
        _settle(turn, job)
        return
    if letter == OPTNEG:
        _agree(turn, job)
        return
    turn.observe_job(job)
    if letter == MACRO:
        scope.take_macros()
    elif letter == ABORT:
        scope.leave_message()
    elif letter == QUIT:
        turn.hang_up()
    elif letter == QUIT_NC:
        if scope.phase is not Phase.CLOSED:
            scope.phase = Phase.READY
            turn.say_farewell()
    elif scope.phase is Phase.CLOSED:
        turn.is_closed = True
    else:
        scope.begin_session()


def _agree(turn: Turn, job: Job) -> None:
    """The negotiation is over: its answer holds for as long as the socket does."""
    offer, setup, scope = job.event, turn.setup, turn.scope
    replies = [one for _, one in job.modifications if isinstance(one, act.Negotiate)]
    try:
        if not replies or not isinstance(offer, ev.Options):
            raise HandlerError(
                "expected the options handler to queue Negotiate, got no answer: call "
                "default_event_handler(event, ctx) in it"
            )
        registry, reply, given = as_registry(scope.ctx["handlers"]), replies[-1], offer
        turn.agreed, packet = setup.caches.of(registry).once(
            (registry.sizes, given, reply),
            lambda: _agreed(setup, registry, given, reply),
        )
    except Exception as error:
        turn.note(error, "options")
        turn.hang_up()
        return
    scope.initial = scope.ctx
    scope.phase = Phase.READY
    turn.send(packet)
    turn.observe_job(job, (turn.agreed.agreement.reply,), packet)


def _agreed(
    setup: Setup, registry: Registry, offer: ev.Options, reply: act.Negotiate
) -> tuple[Agreed, bytes]:
    """What follows from an answer to an offer, and the answer as bytes; or why it may not be given."""
    check_reply(reply, offer)
    reply = with_data_size(reply, offer, setup.limits.data_size)
    agreement = Agreement.of(reply)
    table = agreed_table(registry, reply, observed=setup.observer is not None)
    routes = make_routes(table, agreement, setup.defers)
    return Agreed(agreement, table, routes, len(registry.parts)), join_frame(*encode_action(reply))


def _settle(turn: Turn, job: Job) -> None:
    """Decide the answer to an event, send it if one is due, and see what ends with it.

    Edits go out at end of message only: elsewhere both MTAs give up the filter (protocol file,
    section 8.4). What a verdict ends is in section 8.5.
    """
    letter = job.dispatch.letter
    verdict = job.forced or _merge_verdicts(turn, job)
    edits: tuple[Modification, ...] = ()
    if letter == BODYEOB and not job.forced:
        edits, verdict = _merge_edits(turn, job, verdict)
    sent = b""
    # libmilter answers a last chunk and its end each; the MTA waits for one answer (section 4.8)
    waits = job.last_chunk and not decides(verdict)
    if job.dispatch.replies and not waits:
        sent = encode_answer(edits, verdict, turn.agreed.agreement.leading_space)
        turn.send(sent)
    turn.observe_job(job, (*edits, verdict) if sent else (), sent)
    if sent and turn.scope.phase in IN_MESSAGE and ends_message(job.dispatch.name, verdict):
        if job.last_chunk:
            turn.intake.packets.popleft()  # its end has been answered
        turn.scope.show_macros()  # for abort handlers, if no other has looked
        turn.end_message(turn.surprised_by(job))


def _merge_verdicts(turn: Turn, job: Job) -> Verdict:
    """What all filters together answer; those that accept, or skip the body, are remembered."""
    agreed, scope = turn.agreed, turn.scope
    of_connection = job.dispatch.letter in OF_CONNECTION
    scope.decisions = scope.decisions.hear(job.verdicts, of_connection=of_connection)
    readers = (number for number, _ in agreed.table[BODY].chain)
    verdict = merge_verdicts(job, agreed.filters, scope.decisions, readers)
    # an MTA before protocol 6 does not know SKIP; Sendmail takes an unknown answer for an error
    if isinstance(verdict, act.Skip) and not agreed.agreement.may_skip:
        return CONTINUE
    return verdict


def _merge_edits(turn: Turn, job: Job, verdict: Verdict) -> tuple[tuple[Modification, ...], Verdict]:
    """The edits of all filters, in order; two that replace the body are an error."""
    handlers = dict(turn.agreed.table[BODYEOB].chain)
    error = check_bodies(job.modifications, handlers)
    if error:
        number = max(n for n, edit in job.modifications if isinstance(edit, act.ReplaceBody))
        _, plan = answer_failure(turn, error, job, number, handlers[number], raised=False)
        return plan.modifications, strictest([plan.verdict or CONTINUE, verdict])
    return in_sending_order(edit for _, edit in job.modifications), verdict
