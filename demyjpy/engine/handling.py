"""One event through its handlers: each is called or handed to the driver, and its outcome is taken."""

from typing import Any

from demyjpy.context import Context
from demyjpy.engine.connection import Call, Job, Step
from demyjpy.engine.dispatch import ANSWERED, OF_CONNECTION
from demyjpy.engine.handler_results import (
    CONTINUE,
    apply_policy,
    as_exception,
    check_job,
    take_outcome,
)
from demyjpy.engine.letters import ABORT, BODYEOB, OPTNEG
from demyjpy.engine.plan import EMPTY_PLAN, Plan
from demyjpy.engine.turn import Turn
from demyjpy.registry import Handler
from demyjpy.verdicts import ends_message


def run_handlers(turn: Turn, job: Job) -> Job | None:
    """Run what is left of an event's handlers.

    None if the driver is to call one of them, or if the connection is given up.
    """
    setup, clock, letter = turn.setup, turn.setup.clock, job.dispatch.letter
    while job.chain:
        handler = job.chain[0][1]
        if letter != ABORT:
            turn.scope.show_macros()
        if setup.defers(handler):
            # PROGRESS at end of message only: Sendmail takes it for an error elsewhere (section 8.4)
            progress = handler.progress if letter == BODYEOB else None
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


def absorb(turn: Turn, job: Job, outcome: Any, duration: float | None) -> Job | None:
    """Take what the next handler returned or raised; None if the connection is given up."""
    number, handler = job.chain[0]
    before = after = turn.scope.ctx
    actions: tuple[Any, ...] = ()
    error: Exception | None = None
    plan = EMPTY_PLAN
    if isinstance(outcome, Exception):
        error = outcome
    elif outcome is not before:
        try:
            actions, after = take_outcome(outcome, handler)
            plan = check_job(job, handler, actions, turn.agreed.agreement.actions)
        except Exception as problem:
            error = problem
    if error is not None:
        if job.dispatch.letter == OPTNEG:
            turn.note(error, job.dispatch.name, handler)
            turn.hang_up()
            return None
        after, plan = answer_failure(turn, error, job, number, handler)
    turn.scope.ctx = after
    step = job.step
    if turn.setup.observer:
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
        )
    edits = job.modifications
    if plan.modifications:
        edits = (*edits, *((number, edit) for edit in plan.modifications))
    return Job(  # evolve() takes four times as long
        job.dispatch,
        job.event,
        job.chain[1:],
        job.may_answer,
        job.forced,
        job.last_chunk,
        (*job.verdicts, (number, plan.verdict or CONTINUE)),
        edits,
        step,
        job.packet,
        job.exchange,
    )


def answer_failure(
    turn: Turn, error: Exception, job: Job, number: int, handler: Handler[Any], *, raised: bool = True
) -> tuple[Context, Plan]:
    """What ``on_error`` makes of a handler that failed: a context and a plan.

    ``raised``: it failed by itself, and so has not seen the end of a message that ends with it.
    """
    scope, name, letter = turn.scope, job.dispatch.name, job.dispatch.letter
    turn.note(error, name, handler)
    granted = turn.agreed.agreement.actions
    after, plan, second = apply_policy(turn.setup.on_error, error, job, handler, scope.ctx, granted)
    if second:
        turn.note(second, name, handler)
    if job.dispatch.replies and not job.may_answer:
        return after, EMPTY_PLAN
    is_of_message = letter in ANSWERED and letter not in OF_CONNECTION
    if raised and is_of_message and ends_message(name, plan.verdict or CONTINUE):
        scope.decisions = scope.decisions.fail(number)
    if job.may_answer:
        return after, plan
    if plan.verdict:
        scope.decisions = scope.decisions.owe(
            plan.verdict, number, of_connection=letter in OF_CONNECTION
        )
    return after, EMPTY_PLAN
