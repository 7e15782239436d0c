"""What follows when all handlers of an event have run: one answer, and what ends with it."""

from functools import partial

from demyjpy import actions as act
from demyjpy import events as ev
from demyjpy.actions import Modification, Verdict
from demyjpy.codec import encode_action
from demyjpy.engine.arrival import is_rejected
from demyjpy.engine.chain_end import DONE, begin_end, edits_of, go_on_end
from demyjpy.engine.chain_flow import keep_recipient, settle
from demyjpy.engine.connection import Agreed, Job, Setup
from demyjpy.engine.dispatch import ANSWERED, OF_CONNECTION, agreed_table
from demyjpy.engine.effect_keeping import Ending, begin_keeping
from demyjpy.engine.fact_keeping import first_facts, keepers_of
from demyjpy.engine.filter_view import FilterView, in_view, views_of
from demyjpy.engine.handler_results import CONTINUE, verdict_of_one
from demyjpy.engine.known_answers import at_once_for
from demyjpy.engine.letters import ABORT, BODY, BODYEOB, MACRO, OPTNEG, QUIT, QUIT_NC, RCPT
from demyjpy.engine.members import Members, members_of
from demyjpy.engine.negotiation import Agreement, check_reply, with_data_size
from demyjpy.engine.phases import IN_MESSAGE, Phase
from demyjpy.engine.plan import encode_answer, in_sending_order
from demyjpy.engine.question_flow import forget
from demyjpy.engine.routes import make_routes
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError
from demyjpy.handlers import as_registry
from demyjpy.policies import policies_of
from demyjpy.registry import Registry
from demyjpy.verdicts import decides, ends_message, refuses
from demyjpy.wire.framing import join_frame


def conclude(turn: Turn, job: Job) -> None:
    """All handlers of an event have run."""
    letter, scope = job.dispatch.letter, turn.scope
    if letter in ANSWERED:
        _settle(turn, job)
        if letter == RCPT and "recipient" in scope.questions.learned:
            forget(turn, "recipient")
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
            scope.questions = scope.questions.end()
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
            (registry.sizes, given, reply, setup.observer is None),
            lambda: _agreed(setup, registry, given, reply),
        )
    except Exception as error:
        turn.note(error, "options")
        turn.hang_up()
        return
    if turn.agreed.facts is not None:
        scope.ctx = scope.ctx.set("facts", turn.agreed.facts)
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
    members = members_of(registry, agreement.actions, agreement.off)
    observed = setup.observer is not None
    views: tuple[FilterView, ...] = ()
    if members is None or len(registry.parts) < 2:  # it has all of the context for itself
        table = agreed_table(registry, reply, observed=observed)
    else:
        views = views_of(registry, members, agreement.actions)
        table = agreed_table(
            registry, reply, observed=observed, look=lambda n, one: in_view(views[n], one)
        )
    policies = policies_of(registry)
    tried = frozenset(number for number, one in enumerate(policies) if not one.is_enforced)
    facts = first_facts(registry, setup.trusted_relays)
    keepers = {} if facts is None else keepers_of(facts.names)
    plain = partial(make_routes, table, agreement, setup.defers, members, tried=tried, keepers=keepers)
    at_once = partial(at_once_for, setup, registry, alone=not views)
    agreed = Agreed(
        *(agreement, table, plain(at_once), members, views, plain(), policies, tried),
        facts=facts,
        keepers=keepers,
    )
    return agreed, join_frame(*encode_action(reply))


def _settle(turn: Turn, job: Job) -> None:
    """Decide the answer to an event; effects that are due by it are kept before it is sent.

    Edits go out at end of message only: elsewhere both MTAs give up the filter (protocol file,
    section 8.4). What a verdict ends is in section 8.5.
    """
    letter, members = job.dispatch.letter, turn.agreed.members
    edits: tuple[Modification, ...] = ()
    if job.forced is not None:
        verdict = job.forced
    elif members is None:
        verdict = _verdict_of_one(turn, job)
        if letter == BODYEOB:
            edits = in_sending_order(edit for _, edit in job.modifications)
    elif job.place is not None and job.place.end is not None:
        go_on_end(turn, members, job)
        return
    elif letter == BODYEOB and members.takes_turns and job.place is not DONE:
        begin_end(turn, members, job)
        return
    else:
        is_known = job.place is DONE
        verdict = job.verdicts[-1][1] if is_known else _known(turn, settle(turn, members, job))
        if letter == BODYEOB:
            edits, verdict = _edits_of_all(turn, members, job, verdict)
    if letter == RCPT and not refuses(verdict) and not is_rejected(turn):
        keep_recipient(turn, job.event)
    keep = turn.setup.keep_effects
    if keep is not None and _is_answered(job, verdict) and _ends_message(turn, job, verdict):
        due = turn.due_by(verdict)
        if due:
            begin_keeping(turn, Ending(job, edits, verdict, due, keep(due, turn.session)))
            return
    answer_event(turn, job, edits, verdict)


def _is_answered(job: Job, verdict: Verdict) -> bool:
    """Whether an answer is sent now."""
    # libmilter answers a last chunk and its end each; the MTA waits for one answer (section 4.8)
    waits = job.last_chunk and not decides(verdict)
    return job.dispatch.replies and not waits


def _ends_message(turn: Turn, job: Job, verdict: Verdict) -> bool:
    return turn.scope.phase in IN_MESSAGE and ends_message(job.dispatch.name, verdict)


def answer_event(turn: Turn, job: Job, edits: tuple[Modification, ...], verdict: Verdict) -> None:
    """Send an answer that is decided, if one is due, and see what ends with it."""
    sent = b""
    if _is_answered(job, verdict):
        sent = encode_answer(edits, verdict, turn.agreed.agreement.leading_space)
        turn.send(sent)
    turn.observe_job(job, (*edits, verdict) if sent else (), sent)
    if sent and _ends_message(turn, job, verdict):
        if job.last_chunk:
            turn.intake.packets.popleft()  # its end has been answered
        turn.scope.show_macros()  # for abort handlers, if no other has looked
        turn.end_message(turn.surprised_by(job), verdict)


def _edits_of_all(
    turn: Turn, members: Members, job: Job, verdict: Verdict
) -> tuple[tuple[Modification, ...], Verdict]:
    """The edits of several filters, with the verdict; without a plan the message is refused for now."""
    try:
        return edits_of(turn, members, job, verdict), verdict
    except Exception as error:  # nobody's session but this one may notice
        turn.note(error, job.dispatch.name)
        return (), act.TemporaryFailure()


def _verdict_of_one(turn: Turn, job: Job) -> Verdict:
    """What the filter answers; if it accepts, or skips the body, that is remembered."""
    scope = turn.scope
    of_connection = job.dispatch.letter in OF_CONNECTION
    scope.decisions = scope.decisions.hear(job.verdicts, of_connection=of_connection)
    reads_bodies = bool(turn.agreed.table[BODY].chain)
    is_tried = bool(turn.agreed.tried)
    return _known(
        turn,
        verdict_of_one(job, scope.decisions, reads_bodies=reads_bodies, is_tried=is_tried),
    )


def _known(turn: Turn, verdict: Verdict) -> Verdict:
    """What an MTA before protocol 6 knows instead of SKIP; Sendmail takes that for an error."""
    is_unknown = isinstance(verdict, act.Skip) and not turn.agreed.agreement.may_skip
    return CONTINUE if is_unknown else verdict
