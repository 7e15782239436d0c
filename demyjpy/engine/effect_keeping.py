"""Effects are kept before the verdict on their message leaves, if the driver has a place for them.

The driver keeps them as it runs a handler that blocks. So the answer waits for that, and others are
served meanwhile. What is kept is what is due by the verdict; if that fails, the verdict is another one.
"""

from typing import Any, Final

from attrs import evolve, frozen

from demyjpy import actions as act
from demyjpy.actions import Modification, Verdict
from demyjpy.context import Context
from demyjpy.effects import EffectKeeper
from demyjpy.engine.connection import Call, Job, Requested
from demyjpy.engine.handler_results import apply_policy, forget_frames
from demyjpy.engine.handling import answering, granted_to
from demyjpy.engine.turn import Turn
from demyjpy.errors import HandlerError
from demyjpy.policies import on_error_for
from demyjpy.registry import Handler
from demyjpy.verdicts import refuses


@frozen(eq=False)
class Ending:
    """A message whose answer is known, and waits until effects are kept."""

    job: Job
    edits: tuple[Modification, ...]
    verdict: Verdict
    due: tuple[Requested, ...]
    keeper: EffectKeeper

    def keep_effects(self, event: Any, ctx: Context) -> Context:
        """Keep them; whatever stands in the way is raised."""
        self.keeper.keep()
        return ctx


def ending_of(call: Call) -> Ending | None:
    """The message whose effects were handed out to be kept; None if that is not what was handed out."""
    ending = getattr(call.handler.function, "__self__", None)
    return ending if isinstance(ending, Ending) else None


def begin_keeping(turn: Turn, ending: Ending) -> None:
    """Hand out the keeping of what is due."""
    job = ending.job
    handler: Handler[Any] = Handler(job.dispatch.name, ending.keep_effects, blocking=True)
    turn.moment.read()  # for those that come after it: it may take long
    turn.call = Call(handler, job.event, turn.scope.ctx, None, job)


def end_keeping(
    turn: Turn, ending: Ending, outcome: Any
) -> tuple[Job, tuple[Modification, ...], Verdict]:
    """What is answered now that the effects are kept, or could not be; that is logged once."""
    failure = outcome if isinstance(outcome, Exception) else None
    if turn.tape is not None:
        turn.tape.note(KEEPING, failure)
    if failure is None:
        return ending.job, ending.edits, ending.verdict
    ending.keeper.leave()
    found = f"got {type(failure).__name__}: {failure}"
    forget_frames(failure)  # which hold the effects
    problem = HandlerError(f"expected effects to be kept before the verdict leaves, {found}")
    of_those_that_count = [one for one in ending.due if one.number not in turn.agreed.tried]
    whose = (of_those_that_count or ending.due)[0]
    turn.note(problem, ending.job.dispatch.name, whose.handler)
    is_refusal = refuses(ending.verdict) and not isinstance(ending.verdict, act.Discard)
    if is_refusal or not of_those_that_count:
        return ending.job, ending.edits, ending.verdict
    return ending.job, (), _refusal(turn, problem, ending.job, whose)


def _refusal(turn: Turn, error: HandlerError, job: Job, whose: Requested) -> Verdict:
    """What ``on_error`` answers, as if a handler of this filter had failed; it may only refuse."""
    scope, number, name = turn.scope, whose.number, job.dispatch.name
    given = on_error_for(turn.agreed.policy_of(number), scope.ctx, turn.setup.on_error)
    on_error = answering(turn, given, name, number)
    here = evolve(job, chain=((number, whose.handler),))
    scope.ctx, plan, second, requests = apply_policy(
        on_error, error, here, whose.handler, scope.ctx, granted_to(turn, number)
    )
    if second:
        turn.note(second, name, whose.handler)
    for request in requests:
        turn.request(request, whose.handler, number)
    verdict = plan.verdict
    return verdict if verdict is not None and refuses(verdict) else act.TemporaryFailure()


KEEPING: Final[Handler[Any]] = Handler("end_of_message", lambda event, ctx: ctx)
"""Stands on a tape for the keeping of effects. It is never called.

Its outcome is None if they were kept, else the error by which they were not.
"""
