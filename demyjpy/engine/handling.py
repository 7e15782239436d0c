"""One event through its handlers: each is called or handed to the driver, and its outcome is taken."""

from collections.abc import Callable
from typing import Any, cast

from pyrsistent import PMap

from demyjpy.actions import TemporaryFailure
from demyjpy.context import Context
from demyjpy.effects import Do
from demyjpy.engine.chain_end import drop_edits, take_edits
from demyjpy.engine.chain_flow import see_message
from demyjpy.engine.chain_values import flattened, queued_in, with_edits
from demyjpy.engine.connection import Call, Happened, Job, Step
from demyjpy.engine.dispatch import ANSWERED, OF_CONNECTION
from demyjpy.engine.handler_results import (
    CONTINUE,
    apply_policy,
    as_exception,
    caught,
    check_job,
    take_outcome,
)
from demyjpy.engine.handler_times import time_for
from demyjpy.engine.letters import ABORT, BODYEOB, OPTNEG
from demyjpy.engine.open_questions import Questions
from demyjpy.engine.owed_effects import owe, owed_by
from demyjpy.engine.plan import EMPTY_PLAN, Plan
from demyjpy.engine.question_flow import asked_by, begin_questions, may_call
from demyjpy.engine.tape import Tape, is_on_tapes
from demyjpy.engine.told_questions import told_context, told_queue
from demyjpy.engine.turn import Turn
from demyjpy.engine.withholding import withhold
from demyjpy.errors import HandlerError, LocalProtocolError, describe
from demyjpy.handlers import default_event_handler
from demyjpy.message import Message
from demyjpy.policies import on_error_for
from demyjpy.questions import Ask
from demyjpy.registry import Handler
from demyjpy.requests import Request, take_requests
from demyjpy.verdicts import ends_message, refuses
from demyjpy.wishes import Wish


def run_handlers(turn: Turn, job: Job) -> Job | None:
    """Run what is left of an event's handlers.

    None if the driver is to call one of them, or if the connection is given up.
    """
    setup, clock, letter = turn.setup, turn.setup.clock, job.dispatch.letter
    while job.chain:
        handler = job.chain[0][1]
        # what the library answers to an offer is worked out once, for all connections
        is_default = letter == OPTNEG and handler.function is default_event_handler
        if letter != ABORT and not is_default:
            turn.scope.show_macros()
        if handler.waits:
            try:
                if not may_call(turn, job):
                    turn.jobs.appendleft(job)
                    return None
            except Exception as error:
                # only a handler of a negotiation ends a connection, and none of those waits
                job = cast("Job", absorb(turn, job, error, None, is_on_tape=True))
                continue
        is_of_end = job.place is not None and job.place.end is not None
        if setup.defers(handler) or (is_of_end and setup.defers_ends):
            # PROGRESS at end of message only: Sendmail takes it for an error elsewhere (section 8.4)
            progress = handler.progress if is_of_end or letter == BODYEOB else None
            hand_out(turn, job, progress)
            return None
        started = clock() if clock else 0.0
        outcome: Any
        try:
            outcome = handler.function(job.event, turn.scope.ctx)
        except BaseException as error:  # whatever it raises is its failure
            outcome = as_exception(error)
        following = absorb(turn, job, outcome, clock() - started if clock else None)
        if following is None:
            return None
        job = following
    return job


def hand_out(turn: Turn, job: Job, progress: float | None) -> None:
    """The driver is to call the next handler of this event."""
    handler = job.chain[0][1]
    turn.moment.read()  # for those that come after it: it may take long
    turn.call = Call(handler, job.event, turn.scope.ctx, progress, job, time_for(turn, job))


def absorb(
    turn: Turn, job: Job, outcome: Any, duration: float | None, *, is_on_tape: bool = False
) -> Job | None:
    """Take what the next handler returned or raised; None if the connection is given up.

    ``is_on_tape``: the tape has it already.
    """
    number, handler = job.chain[0]
    members = turn.agreed.members
    if members is not None:
        see_message(turn, members, job, number)
    before = after = turn.scope.ctx
    actions: tuple[Any, ...] = ()
    withheld: tuple[Any, ...] = ()
    error: Exception | None = None
    plan, asked = EMPTY_PLAN, None
    if isinstance(outcome, Exception):
        error = outcome
    elif outcome is not before:
        try:
            queued, after = take_outcome(outcome, handler, job.dispatch.name)
            if queued:
                given = outcome
                wished, outcome = _as_kept(turn, number, queued, after, given)
                queued, actions = _queued_now(turn, queued, given, wished)
                plan, asked, withheld = _take_queued(turn, job, queued)
        except Exception as problem:
            error = caught(problem)
    if turn.tape is not None and not is_on_tape and is_on_tapes(handler):
        turn.tape.note(handler, error if after is before else outcome, duration)
    if asked is not None:
        begin_questions(turn, asked)
    if error is not None:
        if job.dispatch.letter == OPTNEG:
            turn.note(error, job.dispatch.name, handler)
            turn.hang_up()
            return None
        if members is not None and job.modifications:
            job = drop_edits(turn, job, number)
        after, plan, requests, withheld = answer_failure(turn, error, job, number, handler)
        actions = (*take_requests(actions)[1], *requests)  # what it asked itself is not done
    turn.scope.ctx = after
    step = job.step
    if turn.is_watched:
        if step:
            turn.observe(step)
        step = Step(
            *(turn.session, job.event, before, after, handler, actions),
            error=error,
            duration=duration,
            packet=job.packet,
            exchange=job.exchange,
            learned=turn.take_news(),
            withheld=withheld,
            time=turn.moment.seconds,
        )
    return _job_after(job, plan, step, is_chain=members is not None)


def _as_kept(
    turn: Turn, number: int, queued: tuple[Any, ...], after: Context, outcome: Any
) -> tuple[Any, Any]:
    """An outcome with the edits that a wish means, and the same as a tape keeps it: without messages."""
    if any(type(one) is Wish for one in queued):
        outcome = with_edits(after, queued, turn.scope.chain.given_to(number))
    return outcome, told_context(outcome) if turn.is_watched else outcome


def _queued_now(
    turn: Turn, queued: tuple[Any, ...], given: Any, wished: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What a handler queued, with edits for a wish, and the same for who watches. A bad wish raises."""
    if wished is not given:
        queued = queued_in(wished)
    actions = flattened(queued)
    return queued, told_queue(actions) if turn.is_watched else actions


def _take_queued(
    turn: Turn, job: Job, queued: tuple[Any, ...]
) -> tuple[Plan, Questions | None, tuple[Any, ...]]:
    """The plan that a handler queued, the questions after those that it asked, and what is withheld.

    That is what its filter says and does while it is only tried. If all is legal, what else it asks of
    the driver is on its way.
    """
    number, handler = job.chain[0]
    requests, actions = take_requests(queued)
    asks = [one for one in requests if isinstance(one, Ask)]
    after = asked_by(turn, job, asks) if asks else None
    dos = [one for one in requests if isinstance(one, Do)]
    owed = owed_by(turn, job, dos) if dos else ()
    chain = turn.scope.chain
    plan = _plan_of(turn, job, actions)
    is_tried = number in turn.agreed.tried
    if is_tried:
        turn.scope.chain = chain  # its edits were only checked
    for request in requests:
        if not isinstance(request, Ask | Do):
            turn.request(request, handler, number)
    owe(turn, owed)
    plan, withheld = withhold(plan, job.dispatch.name) if is_tried else (plan, ())
    return plan, after, withheld


def _plan_of(turn: Turn, job: Job, actions: tuple[Any, ...]) -> Plan:
    """The plan that a handler queued, or `LocalProtocolError` that says what is wrong in it."""
    number, handler = job.chain[0]
    members = turn.agreed.members
    whose = None if members is None else members.filters[number].name
    plan = check_job(job, handler, actions, granted_to(turn, number), whose)
    if members is not None and (plan.modifications or plan.wished):
        take_edits(turn, members, job, plan)
    return plan


def _job_after(job: Job, plan: Plan, step: Step | None, *, is_chain: bool) -> Job:
    """What is left of an event when its next handler has made this plan."""
    number, edits = job.chain[0][0], job.modifications
    if plan.modifications or plan.wished:
        edits = (*edits, *((number, edit) for edit in plan.edits))
    verdict = plan.verdict or CONTINUE
    is_refused = (
        is_chain and verdict is not CONTINUE and refuses(verdict)
    )  # the filters behind it are not asked
    return Job(  # evolve() takes four times as long
        job.dispatch,
        job.event,
        () if is_refused else job.chain[1:],
        job.may_answer,
        job.forced,
        job.last_chunk,
        (*job.verdicts, (number, verdict)),
        edits,
        step,
        job.packet,
        job.exchange,
        job.place,
    )


def granted_to(turn: Turn, number: int) -> frozenset[str]:
    """The actions that a filter may use: of several each has its own."""
    agreed = turn.agreed
    return agreed.agreement.actions if agreed.members is None else agreed.members.filters[number].actions


def _noted(on_error: Callable[..., Any], tape: Tape) -> Callable[..., Any]:
    """The same function; what it returns or raises is on the tape."""

    def answer(error: Exception, event: Happened, ctx: Context) -> Any:
        try:
            result = on_error(error, event, ctx)
        except BaseException as failure:
            tape.note(None, as_exception(failure))
            raise
        known = result if isinstance(result, PMap) else HandlerError(f"{describe(result)} is no context")
        tape.note(None, None if result is ctx else told_context(known))
        return result

    return answer


def _wishing(on_error: Callable[..., Any], got: Message | None) -> Callable[..., Any]:
    """The same function; in place of a wish that it returns there are the edits that this means."""

    def answer(error: Exception, event: Happened, ctx: Context) -> Any:
        outcome = on_error(error, event, ctx)
        queue = tuple(outcome.get("queue", ())) if isinstance(outcome, PMap) else ()
        if not any(type(one) is Wish for one in queue):
            return outcome
        found = with_edits(outcome, queue, got)
        queued_in(found)
        return found

    return answer


def answering(turn: Turn, on_error: Any, event: str, number: int) -> Any:
    """``on_error`` as it is called for this filter; on the tape is what comes of it."""
    if not callable(on_error):
        return on_error
    if turn.setup.stand_in is not None:
        return turn.setup.stand_in
    on_error = _wishing(on_error, turn.scope.chain.given_to(number))
    if turn.agreed.views:
        on_error = turn.agreed.views[number].around(event, on_error)
    return on_error if turn.tape is None else _noted(on_error, turn.tape)


def answer_failure(
    turn: Turn, error: Exception, job: Job, number: int, handler: Handler[Any]
) -> tuple[Context, Plan, tuple[Request, ...], tuple[Any, ...]]:
    """What ``on_error`` makes of a handler that failed.

    A context, a plan, what it asks of the driver, and what of it is withheld.
    """
    scope, name, letter = turn.scope, job.dispatch.name, job.dispatch.letter
    turn.note(error, name, handler)
    members, granted = turn.agreed.members, granted_to(turn, number)
    given = on_error_for(turn.agreed.policy_of(number), scope.ctx, turn.setup.on_error)
    on_error = answering(turn, given, name, number)
    after, plan, second, requests = apply_policy(on_error, error, job, handler, scope.ctx, granted)
    if second:
        turn.note(second, name, handler)
    for request in requests:
        turn.request(request, handler, number)
    withheld: tuple[Any, ...] = ()
    if number in turn.agreed.tried:
        plan, withheld = withhold(plan, name)
    elif members is not None and plan.edits:
        try:
            take_edits(turn, members, job, plan)
        except LocalProtocolError as problem:
            turn.note(problem, name, handler)
            after, plan = scope.ctx, Plan((), TemporaryFailure())
    if job.dispatch.replies and not job.may_answer:
        return after, EMPTY_PLAN, requests, ()
    is_of_message = letter in ANSWERED and letter not in OF_CONNECTION
    if is_of_message and ends_message(name, plan.verdict or CONTINUE):
        scope.decisions = scope.decisions.fail(number)
    if job.may_answer and (members is None or handler.reply):
        return after, plan, requests, withheld
    if plan.verdict:
        decisions = scope.decisions
        owe = decisions.owe if members is None else decisions.owe_apart
        scope.decisions = owe(plan.verdict, number, of_connection=letter in OF_CONNECTION)
        if members is not None and is_of_message and refuses(plan.verdict):
            scope.decisions = scope.decisions.fail(number)  # what it owes will end the message for it
    return after, EMPTY_PLAN, requests, withheld
