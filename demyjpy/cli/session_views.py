"""The steps of a session as they are shown: recorded ones, and those of a filter that is played now.

Both become `View` values. Nothing is made into text for a page here.
"""

import inspect
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from attrs import frozen

from demyjpy import events as ev
from demyjpy.cli.check_report import place_of
from demyjpy.codec import name_of
from demyjpy.context import Context
from demyjpy.engine.connection import Step
from demyjpy.findings import Finding, new_findings
from demyjpy.registry import Handler
from demyjpy.trace.format.question_words import learned_words
from demyjpy.trace.format.recorded_steps import Moment


@frozen
class Act:
    """What a handler did; ``source`` is its text where it is known, ``duration`` in seconds.

    ``again`` is the event that it got, if its filter waited for the end of the message, or got all of
    the message as a value. ``withheld`` is what it would have said if its filter were enforced.
    """

    handler: str
    before: Context
    after: Context
    actions: tuple[Any, ...] = ()
    findings: tuple[Finding, ...] = ()
    errors: tuple[str, ...] = ()
    duration: float | None = None
    place: str = ""
    source: str = ""
    again: str = ""
    withheld: tuple[Any, ...] = ()
    learned: tuple[str, ...] = ()


@frozen
class View:
    """One step as it is shown: what was said, what handlers did, what was answered."""

    name: str
    event: ev.Event | None
    acts: tuple[Act, ...]
    answer: tuple[Any, ...]


def recorded_views(moments: Iterable[Moment]) -> Iterator[View]:
    """The steps as they were recorded."""
    for one in moments:
        acts = tuple(
            Act(
                part.handler,
                part.ctx,
                part.after,
                part.actions,
                part.findings,
                part.errors,
                part.duration or None,
                again=part.again,
                withheld=part.withheld,
                learned=tuple(map(learned_words, part.learned)),
            )
            for part in one.parts
        )
        yield View(one.name, one.event, acts or (Act("", one.ctx, one.after),), one.answer)


def played_views(steps: Iterable[Step]) -> Iterator[View]:
    """The steps of a filter; the handlers of merged filters at one event are one view."""
    for _, said in groupby(steps, key=lambda step: step.exchange):
        yield _view(list(said))


def _view(said: list[Step]) -> View:
    answer = tuple(action for step in said for action in step.answer)
    event = said[0].said
    return View(name_of(event), event, tuple(map(_act, said)), answer)


def _act(step: Step) -> Act:
    errors = () if step.error is None else (f"{type(step.error).__name__}: {step.error}",)
    if step.handler is None:
        learned = tuple(map(learned_words, step.learned))
        return Act("", step.before, step.after, step.actions, (), errors, learned=learned)
    file, line = place_of(step.handler)
    return Act(
        step.handler.name,
        step.before,
        step.after,
        step.actions,
        new_findings(step.before, step.after),
        errors,
        step.duration,
        f"{file}:{line}" if file else "",
        _source_of(step.handler),
        name_of(step.event) if step.is_shown_again else "",
        step.withheld,
        tuple(map(learned_words, step.learned)),
    )


def _source_of(handler: Handler[Any]) -> str:
    try:
        return inspect.getsource(inspect.unwrap(handler.function))
    except (OSError, TypeError):
        return ""
