"""What a handler's outcome comes to: a context and a plan, whatever it returned or raised.

Also what several filters' outcomes come to together. Functions over values; the session's state is
`demyjpy.engine.turn`'s.
"""

import inspect
from collections.abc import Iterable
from typing import Any, Final

from pyrsistent import PMap

from demyjpy import actions as act
from demyjpy.actions import Modification, Verdict
from demyjpy.context import ENGINE_KEYS, Context, take_actions
from demyjpy.engine.connection import Job, OnError
from demyjpy.engine.decisions import Decisions
from demyjpy.engine.plan import EMPTY_PLAN, Plan, check_plan
from demyjpy.errors import HandlerError, describe
from demyjpy.registry import Handler
from demyjpy.verdicts import LEGAL, strictest

CONTINUE: Final = act.Continue()
_ACCEPT: Final = act.Accept()
_SKIP: Final = act.Skip()

_POLICIES: Final[dict[str, Verdict]] = {
    "tempfail": act.TemporaryFailure(),
    "accept": _ACCEPT,
    "reject": act.Reject(),
}


def as_exception(error: BaseException) -> Exception:
    """What a handler raised, as an exception: ``sys.exit`` in a handler does not end the milter.

    Nor does anything else that it raises, be it KeyboardInterrupt or CancelledError.
    """
    if isinstance(error, Exception):
        return error
    problem = HandlerError(f"expected a handler to return a context, got {describe(error)}")
    problem.__cause__ = error
    return problem


def check_context(ctx: Any) -> Context:
    """The context that ``on_connect`` returned, or `HandlerError`."""
    if not isinstance(ctx, PMap) or not all(key in ctx for key in ENGINE_KEYS):
        raise HandlerError(
            f"expected on_connect to return a context made from the one it got, got {describe(ctx)}"
        )
    return ctx


def take_outcome(outcome: Any, handler: Handler[Any]) -> tuple[tuple[Any, ...], Context]:
    """What a handler queued, and its context without it; `HandlerError` if it returned neither."""
    if inspect.iscoroutine(outcome):
        outcome.close()
        raise HandlerError(
            f"expected {handler.name} to be a plain function, got a coroutine: async def handlers "
            'need driver="asyncio"'
        )
    if not isinstance(outcome, PMap):
        raise HandlerError(
            f"expected {handler.name} to return a context, got {describe(outcome)}"
            + ("; is there a return at its end?" if outcome is None else "")
        )
    if "queue" not in outcome or "connection" not in outcome:
        raise HandlerError(
            f"expected {handler.name} to return a context made from the one it got, "
            "got a map without the engine's keys"
        )
    return take_actions(outcome)


def check_job(
    job: Job, handler: Handler[Any], actions: tuple[Any, ...], granted: frozenset[str]
) -> Plan:
    """The plan that one handler made, or `LocalProtocolError`."""
    if not actions:
        return EMPTY_PLAN
    if job.dispatch.name == "options":
        return Plan(actions)
    if (
        job.dispatch.replies and not job.may_answer
    ):  # a rejected recipient, to which Continue says nothing
        actions = tuple(action for action in actions if action != CONTINUE)
    return check_plan(actions, job.dispatch.name, handler.reply and job.may_answer, granted)


def apply_policy(
    on_error: OnError,
    error: Exception,
    job: Job,
    handler: Handler[Any],
    before: Context,
    granted: frozenset[str],
) -> tuple[Context, Plan, Exception | None]:
    """What ``on_error`` makes of a handler that failed: a context, a plan, and its own failure."""
    name = job.dispatch.name
    legal = LEGAL.get(name, ())
    if not legal:
        return before, EMPTY_PLAN, None
    after: Context = before
    second: Exception | None = None
    if callable(on_error):
        try:
            actions, after = take_outcome(on_error(error, job.event, before), handler)
            plan = check_plan(actions, name, replies=True, granted=granted)
        except BaseException as failure:  # whatever it raises is its failure
            after, plan, second = before, Plan((), act.TemporaryFailure()), as_exception(failure)
    else:
        plan = Plan((), _POLICIES[on_error])
    if plan.verdict is not None and not isinstance(plan.verdict, legal):
        plan = Plan((), CONTINUE)
    return after, plan, second


def merge_verdicts(
    job: Job,
    filters: int,
    decisions: Decisions,
    readers: Iterable[int],
) -> Verdict:
    """What all filters together answer: the strictest of what each says or has said.

    ``readers`` are those that read bodies at all. A filter with nothing to say goes on.
    """
    if not job.may_answer:
        return CONTINUE
    said: dict[int, Verdict] = {**dict(job.verdicts), **dict.fromkeys(decisions.done, _ACCEPT)}
    if job.dispatch.name == "body":
        no_readers = decisions.skipped | (frozenset(range(filters)) - frozenset(readers))
        said = {**dict.fromkeys(no_readers, _SKIP), **said}
    verdict = strictest([said.get(number, CONTINUE) for number in range(filters)])
    return verdict if isinstance(verdict, LEGAL[job.dispatch.name]) else CONTINUE


def check_bodies(
    edits: Iterable[tuple[int, Modification]], handlers: dict[int, Handler[Any]]
) -> HandlerError | None:
    """The error if more than one filter replaces the body: each saw the old one only."""
    numbers = sorted({number for number, edit in edits if isinstance(edit, act.ReplaceBody)})
    if len(numbers) < 2:
        return None
    names = ", ".join(handlers[number].name for number in numbers)
    return HandlerError(f"expected at most one filter to replace the body, got {len(numbers)}: {names}")
