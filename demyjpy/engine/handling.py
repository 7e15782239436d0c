"""One event through its handlers: each is called or handed to the driver, and its outcome is taken."""

from collections.abc import Callable
from typing import Any

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
from demyjpy.engine.letters import ABORT, BODYEOB, OPTNEG
from demyjpy.engine.owed_effects import owe, owed_by
from demyjpy.engine.plan import EMPTY_PLAN, Plan
from demyjpy.engine.question_flow import asked_by, begin_questions, may_call
from demyjpy.engine.tape import Tape, is_on_tapes
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError, LocalProtocolError, describe
from demyjpy.message import Message
from demyjpy.questions import Ask
from demyjpy.registry import Handler
from demyjpy.requests import take_requests
from demyjpy.verdicts import ends_message, refuses
from demyjpy.wishes import Wish


def run_handlers(turn: Turn, job: Job) -> Job | None:
    """Run what is left of an event's handlers.

    None if the driver is to call one of them, or if the connection is given up.
    """
    setup, clock, letter = turn.setup, turn.setup.clock, job.dispatch.letter
    while job.chain:
        handler = job.chain[0][1]
        if letter != ABORT:
            turn.scope.show_macros()
        if handler.waits:
            try:
                if not may_call(turn, job):
                    turn.jobs.appendleft(job)
                    return None
            except Exception as error:
                following = absorb(turn, job, error, None, is_on_tape=True)
                if following is None:
                    return None
                job = following
                continue
        is_of_end = job.place is not None and job.place.end is not None
        if setup.defers(handler) or (is_of_end and setup.defers_ends):
            # PROGRESS at end of message only: Sendmail takes it for an error elsewhere (section 8.4)
            progress = handler.progress if is_of_end or letter == BODYEOB else None
            turn.call = Call(handler, job.event, turn.scope.ctx, progress, job)
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
    error: Exception | None = None
    plan = EMPTY_PLAN
    if isinstance(outcome, Exception):
        error = outcome
    elif outcome is not before:
        try:
            queued, after = take_outcome(outcome, handler, job.dispatch.name)
            if queued:
                if any(type(one) is Wish for one in queued):  # a tape keeps no message: this replaces it
                    outcome = with_edits(after, queued, turn.scope.chain.given_to(number))
                    queued = queued_in(outcome)
                actions = flattened(queued)
                plan = _take_queued(turn, job, queued)
        except Exception as problem:
            error = caught(problem)
    if turn.tape is not None and not is_on_tape and is_on_tapes(handler):
        turn.tape.note(handler, error if after is before else outcome, duration)
    if error is not None:
        if job.dispatch.letter == OPTNEG:
            turn.note(error, job.dispatch.name, handler)
            turn.hang_up()
            return None
        if members is not None and job.modifications:
            job = drop_edits(turn, job, number)
        after, plan = answer_failure(turn, error, job, number, handler)
    turn.scope.ctx = after
    step = job.step
    if turn.is_watched:
        if step:
            turn.observe(step)
        step = Step(
            turn.session,
            job.event,
            before,
            after,
            handler,
            actions,
            error=error,
            duration=duration,
            packet=job.packet,
            exchange=job.exchange,
            learned=turn.take_news(),
        )
    return _job_after(job, plan, step, is_chain=members is not None)


def _take_queued(turn: Turn, job: Job, queued: tuple[Any, ...]) -> Plan:
    """The plan that a handler queued; if it is legal, what it asks of the driver is on its way."""
    requests, actions = take_requests(queued)
    asks = [one for one in requests if isinstance(one, Ask)]
    after = asked_by(turn, job, asks) if asks else None
    dos = [one for one in requests if isinstance(one, Do)]
    owed = owed_by(turn, job, dos) if dos else ()
    plan = _plan_of(turn, job, actions)
    if after is not None:
        begin_questions(turn, after)
    owe(turn, owed)
    return plan


def _plan_of(turn: Turn, job: Job, actions: tuple[Any, ...]) -> Plan:
    """The plan that a handler queued, or `LocalProtocolError` that says what is wrong in it."""
    number, handler = job.chain[0]
    members = turn.agreed.members
    whose = None if members is None else members.filters[number].name
    plan = check_job(job, handler, actions, _granted(turn, number), whose)
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


def _granted(turn: Turn, number: int) -> frozenset[str]:
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
        tape.note(None, None if result is ctx else known)
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


def answer_failure(
    turn: Turn, error: Exception, job: Job, number: int, handler: Handler[Any]
) -> tuple[Context, Plan]:
    """What ``on_error`` makes of a handler that failed: a context and a plan."""
    scope, name, letter = turn.scope, job.dispatch.name, job.dispatch.letter
    turn.note(error, name, handler)
    members, granted = turn.agreed.members, _granted(turn, number)
    on_error = turn.setup.on_error
    if callable(on_error):
        on_error = _wishing(on_error, turn.scope.chain.given_to(number))
    if turn.tape is not None and callable(on_error):
        on_error = _noted(on_error, turn.tape)
    if turn.agreed.views and callable(on_error):
        on_error = turn.agreed.views[number].around(name, on_error)
    after, plan, second = apply_policy(on_error, error, job, handler, scope.ctx, granted)
    if second:
        turn.note(second, name, handler)
    if members is not None and plan.edits:
        try:
            take_edits(turn, members, job, plan)
        except LocalProtocolError as problem:
            turn.note(problem, name, handler)
            after, plan = scope.ctx, Plan((), TemporaryFailure())
    if job.dispatch.replies and not job.may_answer:
        return after, EMPTY_PLAN
    is_of_message = letter in ANSWERED and letter not in OF_CONNECTION
    if is_of_message and ends_message(name, plan.verdict or CONTINUE):
        scope.decisions = scope.decisions.fail(number)
    if job.may_answer and (members is None or handler.reply):
        return after, plan
    if plan.verdict:
        decisions = scope.decisions
        owe = decisions.owe if members is None else decisions.owe_apart
        scope.decisions = owe(plan.verdict, number, of_connection=letter in OF_CONNECTION)
        if members is not None and is_of_message and refuses(plan.verdict):
            scope.decisions = scope.decisions.fail(number)  # what it owes will end the message for it
    return after, EMPTY_PLAN
