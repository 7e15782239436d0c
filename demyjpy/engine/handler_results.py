"""What follows from a handler's outcome: a context and a plan, whatever it returned or raised.

Also what follows from the outcomes of several filters together. Functions over values; the
session's state is `demyjpy.engine.turn`'s.
"""

import inspect
from types import FunctionType
from typing import Any, Final

from pyrsistent import PMap

from demyjpy import actions as act
from demyjpy.actions import Modification, Verdict
from demyjpy.context import KEYS_FROM_THE_START, Context, take_actions
from demyjpy.effects import Do
from demyjpy.engine.connection import Job
from demyjpy.engine.decisions import Decisions
from demyjpy.engine.plan import EMPTY_PLAN, Plan, check_plan
from demyjpy.errors import HandlerError, describe
from demyjpy.events import Event
from demyjpy.filter_policy import OnError
from demyjpy.findings import findings_in, take_findings
from demyjpy.message import Message
from demyjpy.questions import Ask
from demyjpy.registry import Handler, Registry, name_of_filter
from demyjpy.requests import Request, take_requests
from demyjpy.verdicts import LEGAL

CONTINUE: Final = act.Continue()
_ACCEPT: Final = act.Accept()
_SKIP: Final = act.Skip()

_RETURN_ADVICE: Final[dict[type, str]] = {
    type(None): "; is there a return at its end?",
    Message: "; to have the mail become this message, return become(ctx, message)",
    bool: "; write return ctx, or return reject(ctx)",
    FunctionType: "; call it with the context, as in return reject(ctx)",
}


def _advice(outcome: Any) -> str:
    """What to return instead of something that is no context."""
    kind = type(outcome)
    if kind in _RETURN_ADVICE:
        return _RETURN_ADVICE[kind]
    if isinstance(outcome, Event):
        return "; write return ctx"
    if isinstance(outcome, Verdict | Modification):
        return f"; write return send_action(ctx, {kind.__name__}(...))"
    return ""


_POLICIES: Final[dict[str, Verdict]] = {
    "tempfail": act.TemporaryFailure(),
    "accept": _ACCEPT,
    "reject": act.Reject(),
}


def as_exception(error: BaseException) -> Exception:
    """What a handler raised, as an exception: ``sys.exit`` in a handler does not end the milter.

    Nor does anything else that it raises, be it KeyboardInterrupt or CancelledError. To be called where
    it was caught: the frame there is taken from its traceback, as in `caught`.
    """
    if isinstance(error, Exception):
        return caught(error)
    problem = HandlerError(f"expected a handler to return a context, got {describe(error)}")
    problem.__cause__ = error
    return problem


def caught(error: Exception) -> Exception:
    """An exception without the frame that has caught it.

    That frame holds the exception, and the message with its body: each would keep the other alive until
    Python looks for such circles.
    """
    trace = error.__traceback__
    return error if trace is None else error.with_traceback(trace.tb_next)


def forget_frames(error: BaseException) -> None:
    """Take the frames, which hold all that a handler had, from an exception and those that led to it."""
    known: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in known:
        known.add(id(following))
        BaseException.with_traceback(following, None)
        following = following.__cause__ or following.__context__


def check_context(ctx: Any) -> Context:
    """The context that ``on_connect`` returned, or `HandlerError`."""
    if not isinstance(ctx, PMap) or not all(key in ctx for key in KEYS_FROM_THE_START):
        raise HandlerError(
            f"expected on_connect to return a context made from the one it got, got {describe(ctx)}"
        )
    return ctx


def queue_of(outcome: Any) -> Any:
    """What a handler queued; None if it returned no context."""
    is_context = isinstance(outcome, PMap) and "connection" in outcome
    return outcome.get("queue") if is_context else None


def take_outcome(outcome: Any, handler: Handler[Any], event: str) -> tuple[tuple[Any, ...], Context]:
    """What a handler queued, and its context without it; `HandlerError` if it returned neither.

    Its findings stay in the context, with the name of the filter and of the event.
    """
    if inspect.iscoroutine(outcome):
        outcome.close()
        raise HandlerError(
            f"expected {handler.name} to return a context, got a coroutine: async def handlers need "
            'driver="asyncio", and what they return an await before it'
        )
    if not isinstance(outcome, PMap):
        raise HandlerError(
            f"expected {handler.name} to return a context, got {describe(outcome)}" + _advice(outcome)
        )
    if "queue" not in outcome or "connection" not in outcome:
        raise HandlerError(
            f"expected {handler.name} to return a context made from the one it got, "
            "got a map without the engine's keys"
        )
    if findings_in(outcome["queue"]):
        outcome = take_findings(outcome, _author(handler, outcome), event)
    return take_actions(outcome)


def _author(handler: Handler[Any], ctx: Context) -> str:
    """The name of the filter in findings: the same whether it is alone or one of several."""
    registry = ctx.get("handlers")
    if handler.filter is None and isinstance(registry, Registry):
        return name_of_filter(registry)
    return handler.filter or handler.name


def check_job(
    job: Job,
    handler: Handler[Any],
    actions: tuple[Any, ...],
    granted: frozenset[str],
    whose: str | None,
) -> Plan:
    """The plan that one handler made, or `LocalProtocolError`. ``whose``: of several filters."""
    if job.dispatch.name == "options":
        return Plan(actions)
    if (
        job.dispatch.replies and not job.may_answer
    ):  # a rejected recipient, to which Continue says nothing
        actions = tuple(action for action in actions if action != CONTINUE)
    return check_plan(actions, job.dispatch.name, handler.reply and job.may_answer, granted, whose)


def apply_policy(
    on_error: OnError,
    error: Exception,
    job: Job,
    handler: Handler[Any],
    before: Context,
    granted: frozenset[str],
) -> tuple[Context, Plan, Exception | None, tuple[Request, ...]]:
    """What ``on_error`` makes of a handler that failed: a context, a plan, its own failure, requests."""
    name = job.dispatch.name
    legal = LEGAL.get(name, ())
    if not legal:
        return before, EMPTY_PLAN, None, ()
    after: Context = before
    requests: tuple[Request, ...] = ()
    second: Exception | None = None
    if callable(on_error):
        try:
            actions, after = take_outcome(on_error(error, job.event, before), handler, name)
            asked, actions = take_requests(actions)
            _check_requests(asked)
            plan = check_plan(actions, name, replies=True, granted=granted)
            requests = asked
        except BaseException as failure:  # whatever it raises is its failure
            after, plan, second = before, Plan((), act.TemporaryFailure()), as_exception(failure)
    else:
        plan = Plan((), _POLICIES[on_error])
    if plan.verdict is not None and not isinstance(plan.verdict, legal):
        plan = Plan((), CONTINUE)
    return after, plan, second, requests


def _check_requests(requests: tuple[Request, ...]) -> None:
    """`HandlerError` for what belongs to the handler that failed: a question, an effect."""
    for one in requests:
        if isinstance(one, Ask | Do):
            raise HandlerError(
                f"expected on_error to answer in place of the handler, got {type(one).__name__}: "
                "ask, and do, in a handler"
            )


def verdict_of_one(
    job: Job, decisions: Decisions, *, reads_bodies: bool, is_tried: bool = False
) -> Verdict:
    """What one filter answers to an event: what its handler said, or what it has said before.

    One that ``is_tried`` has nothing to say, whatever it has decided for itself.
    """
    if not job.may_answer:
        return CONTINUE
    said = next((verdict for _, verdict in job.verdicts), None)
    if is_tried:
        said = CONTINUE if reads_bodies or job.dispatch.name != "body" else _SKIP
    elif decisions.done:
        said = _ACCEPT
    elif said is None:
        is_over = job.dispatch.name == "body" and (decisions.skipped or not reads_bodies)
        said = _SKIP if is_over else CONTINUE
    return said if isinstance(said, LEGAL[job.dispatch.name]) else CONTINUE
