"""``demyjpy replay --step``: one recorded session, step by step, with the context at each."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from demyjpy.cli.check_report import place_of
from demyjpy.cli.output import Paint, say
from demyjpy.cli.replay_report import context_words
from demyjpy.codec import name_of
from demyjpy.context import Context
from demyjpy.engine.connection import Step
from demyjpy.engine.open_questions import Learned
from demyjpy.events import Options
from demyjpy.findings import new_findings
from demyjpy.message import Message
from demyjpy.shown import safe
from demyjpy.trace.display.wording import (
    again_words,
    answer_words,
    finding_words,
    flag_words,
    plural,
    shorten,
)
from demyjpy.trace.format.json_questions import RecordedAnswer
from demyjpy.trace.format.question_words import learned_words
from demyjpy.trace.format.recorded_steps import Moment
from demyjpy.trace.format.trace import Trace

_MOST_LEARNED = 20  # answers of one step that are shown


def show_steps(trace: Trace, handlers: Any, paint: Paint) -> None:
    """Print the steps: as recorded, or (with handlers) as they are now; on a terminal with pauses."""
    lines = _played(trace, handlers, paint) if handlers is not None else _recorded(trace, paint)
    is_asking = sys.stdin.isatty() and sys.stdout.isatty()
    say(paint("bold", f"session {safe(trace.name)}, from {safe(trace.source)}"), coloured=paint.is_on)
    for number, group in enumerate(lines, 1):
        shown = (f"{number:4} {group[0]}", *(f"       {line}" for line in group[1:]))
        say(*shown, coloured=paint.is_on)
        if is_asking and input(paint("dim", "     Enter: next, q: end ")).strip() == "q":
            return


def _recorded(trace: Trace, paint: Paint) -> Iterator[list[str]]:
    for moment in trace.moments:
        yield _group(moment.event, moment.name, moment.ctx, moment.after, _did(moment), paint)


def _did(moment: Moment) -> list[str]:
    lines: list[str] = []
    for part in moment.parts:
        if part.handler:
            lines.append(f"handler: {safe(part.handler)}{safe(again_words(part.again))}")
        lines += _learned(part.learned)
        if part.actions:
            lines.append(f"queued: {answer_words(part.actions)}")
        if part.withheld:
            lines.append(f"would have: {answer_words(part.withheld)}")
        lines += [f"found: {finding_words(one)}" for one in part.findings]
        lines += [f"error: {shorten(error)}" for error in part.errors]
    if moment.answer:
        lines.append(f"answer: {answer_words(moment.answer)}")
    return [*lines, *([f"time: {moment.duration * 1000:.3f} ms"] if moment.duration else [])]


def _learned(learned: Sequence[Learned | RecordedAnswer]) -> list[str]:
    """The answers that had come, a line each."""
    words = [f"learned: {learned_words(one)}" for one in learned[:_MOST_LEARNED]]
    more = len(learned) - len(words)
    return [*words, f"learned: {more} more"] if more else words


def _played(trace: Trace, handlers: Any, paint: Paint) -> Iterator[list[str]]:
    for step in trace.step(handlers):
        yield _group(step.event, name_of(step.event), step.before, step.after, _does(step), paint)


def _does(step: Step) -> list[str]:
    lines = []
    if step.handler is not None:
        file, line = place_of(step.handler)
        lines.append(f"handler: {safe(step.handler.name)}" + (f" ({file}:{line})" if file else ""))
    lines += _learned(step.learned)
    if step.actions:
        lines.append(f"queued: {answer_words(step.actions)}")
    if step.withheld:
        lines.append(f"would have: {answer_words(step.withheld)}")
    lines += [f"found: {finding_words(one)}" for one in new_findings(step.before, step.after)]
    if step.error is not None:
        lines.append(f"error: {shorten(f'{type(step.error).__name__}: {step.error}')}")
    return [*lines, *([f"answer: {answer_words(step.answer)}"] if step.answer else [])]


def _shown(event: object) -> str:
    """An event in a line; a whole message by what it is made of: its steps were shown before."""
    if isinstance(event, Options):
        return f"version {event.version}, offers {flag_words(event.actions, event.protocol)}"
    if isinstance(event, Message):
        fields = plural(len(event.fields), "header field")
        return f"{plural(len(event.recipients), 'recipient')}, {fields}, {event.size:,} bytes"
    return shorten(repr(event))


def _group(
    event: object, name: str, before: Context, after: Context, did: list[str], paint: Paint
) -> list[str]:
    """A step: the event, what was done, and the context with what changed in it."""
    title = paint("bold", shorten(name)) + (f"  {_shown(event)}" if event is not None else "")
    old, new = context_words(before), context_words(after)
    lines = [title, *did]
    for key in sorted({**old, **new}):
        if old.get(key) == new.get(key):
            lines.append(f"  {safe(key)} = {old[key]}")
            continue
        if key in old:
            lines.append(paint("red", f"- {safe(key)} = {old[key]}"))
        if key in new:
            lines.append(paint("green", f"+ {safe(key)} = {new[key]}"))
    return lines
